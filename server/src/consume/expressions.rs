//! The query engine's expressions, for the pipelines of tables.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use ingest::{Expression, Expressions, FieldUse};
use query::expressions;

/// Functions and operators mean what they mean in questions.
#[derive(Clone, Copy, Debug)]
pub struct EngineExpressions;

#[derive(Debug)]
struct Compiled(expressions::Expression);

impl Expressions for EngineExpressions {
    fn fields(&self, text: &str) -> Result<Vec<FieldUse>, String> {
        let columns = expressions::columns_of(text).map_err(|fault| fault.message)?;
        let used = columns.into_iter().map(|column| FieldUse {
            name: column.name,
            as_number: column.as_number,
        });
        Ok(used.collect())
    }

    fn compile(&self, text: &str, schema: &SchemaRef) -> Result<Box<dyn Expression>, String> {
        let compiled = expressions::compile(text, schema).map_err(|fault| fault.message)?;
        Ok(Box::new(Compiled(compiled)))
    }
}

impl Expression for Compiled {
    fn data_type(&self) -> &DataType {
        self.0.data_type()
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        self.0.evaluate(batch).map_err(|fault| fault.message)
    }
}
