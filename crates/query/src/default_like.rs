//! DEFAULT_LIKE(x): 0, false, an empty text or list, as the type of `x` is. What GAPFILL puts where
//! nothing was, as Pinot does.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DefaultLike {
    signature: Signature,
}

impl DefaultLike {
    pub(crate) fn udf() -> Arc<ScalarUDF> {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Self { signature }))
    }
}

impl ScalarUDFImpl for DefaultLike {
    fn name(&self) -> &str {
        "default_like"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [one] => Ok(one.clone()),
            _ => plan_err!("default_like takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_field.data_type();
        if let DataType::List(field) | DataType::LargeList(field) = data_type {
            let empty: ArrayRef = ScalarValue::new_list_nullable(&[], field.data_type());
            let empty = arrow::compute::cast(&empty, data_type)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &empty, 0,
            )?));
        }
        let default = match ScalarValue::new_zero(data_type) {
            Ok(zero) => zero,
            Err(_) => ScalarValue::new_default(data_type)?,
        };
        Ok(ColumnarValue::Scalar(default))
    }
}
