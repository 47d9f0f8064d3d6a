//! SINGLE_VALUE: the value of the only row. What a subquery is that stands for a value and depends
//! on the rows around it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, Signature, Volatility,
};

use crate::arguments::wrong;
use crate::docs::{Section, documentation};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SingleValue {
    signature: Signature,
    docs: Documentation,
}

impl Default for SingleValue {
    fn default() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
            docs: documentation(
                Section::Aggregate,
                "SINGLE_VALUE(x)",
                "x of the only row; more than one row is an error, as it is of a subquery that \
                 stands for a value.",
                &[("SINGLE_VALUE(s) FROM (SELECT 'a' AS s) t", "a")],
            ),
        }
    }
}

/// The call.
pub fn single_value(of: Expr) -> Expr {
    AggregateUDF::from(SingleValue::default()).call(vec![of])
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.docs)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = args.return_field.data_type().clone();
        let states = [("value", value), ("rows", DataType::Int64)];
        let fields = states.map(|(name, data_type)| {
            let name = format_state_name(args.name, name);
            Arc::new(Field::new(name, data_type, true))
        });
        Ok(fields.to_vec())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Only {
            value: ScalarValue::try_from(args.return_field.data_type())?,
            rows: 0,
        }))
    }
}

#[derive(Debug)]
struct Only {
    value: ScalarValue,
    rows: i64,
}

impl Only {
    fn add(&mut self, rows: i64) -> Result<()> {
        self.rows += rows;
        match self.rows > 1 {
            true => Err(wrong(
                "a subquery that stands for a value gave more than one row; take one of them by \
                 an aggregate or LIMIT 1",
            )),
            false => Ok(()),
        }
    }
}

impl Accumulator for Only {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].len() as i64)?;
        if !values[0].is_empty() {
            self.value = ScalarValue::try_from_array(&values[0], 0)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (at, rows) in states[1].as_primitive::<Int64Type>().iter().enumerate() {
            let rows = rows.unwrap_or(0);
            self.add(rows)?;
            if rows > 0 {
                self.value = ScalarValue::try_from_array(&states[0], at)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::from(self.rows)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
