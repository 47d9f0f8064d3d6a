//! REPEATED(x): x, where the planner cannot see that it is.
//!
//! Behind UNNEST a row comes as often as its lists have entries, so that what was a key before is
//! none any more; the planner takes it for one, and lets go of what an order or a group names
//! behind a key. It follows keys through columns alone.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Repeated {
    signature: Signature,
}

impl Repeated {
    pub(crate) fn udf() -> Arc<ScalarUDF> {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Self { signature }))
    }
}

/// The columns of a plan, none of them known as a key.
pub(super) fn without_keys(plan: &LogicalPlan) -> Vec<Expr> {
    let schema = plan.schema();
    let columns = schema.columns().into_iter();
    if schema.functional_dependencies().is_empty() {
        return columns.map(Expr::Column).collect();
    }
    let repeated = Repeated::udf();
    let hidden = columns.map(|column| {
        let (table, name) = (column.relation.clone(), column.name.clone());
        repeated
            .call(vec![Expr::Column(column)])
            .alias_qualified(table, name)
    });
    hidden.collect()
}

impl ScalarUDFImpl for Repeated {
    fn name(&self) -> &str {
        "repeated"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the field of its argument says more")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(Arc::clone(field)),
            _ => internal_err!("repeated takes one argument"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.pop() {
            Some(value) => Ok(value),
            None => internal_err!("repeated takes one argument"),
        }
    }
}
