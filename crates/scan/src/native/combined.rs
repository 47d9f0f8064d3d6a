//! Columns of few values each: a row has the number of the values that come together in it, so
//! that an expression over them is evaluated once for each of these.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::keys::Key;
use super::number::BlockRows;
use crate::predicate::{Compiler, Inputs};

#[derive(Debug)]
pub(crate) struct Combined<'a> {
    /// Of the columns, as they are.
    keys: Vec<Key<'a>>,
    pub(crate) domain: u64,
}

impl<'a> Combined<'a> {
    /// `None`: there are more than `most` combinations, or they are not known.
    pub(crate) fn new(
        inputs: &Inputs,
        most: u64,
        compiler: &Compiler<'a, '_>,
    ) -> Result<Option<Self>> {
        let mut keys = Vec::with_capacity(inputs.schema.fields().len());
        let mut domain = 1u64;
        for field in inputs.schema.fields() {
            let index = compiler.table_schema.index_of(field.name())?;
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
            let key = Key::new(&column, compiler)?;
            domain = domain.saturating_mul(key.domain);
            if !key.is_steady() || domain > most {
                return Ok(None);
            }
            keys.push(key);
        }
        Ok(Some(Self { keys, domain }))
    }

    pub(crate) fn numbers(&self, rows: BlockRows<'_>) -> Result<Vec<u32>> {
        let mut numbers = vec![0; rows.count()];
        for key in &self.keys {
            key.join_known(rows, &mut numbers)?;
        }
        Ok(numbers)
    }

    /// The value of each column behind each number.
    pub(crate) fn columns(&self, numbers: &[u64]) -> Result<Vec<ArrayRef>> {
        let mut left = numbers.to_vec();
        let mut columns = Vec::with_capacity(self.keys.len());
        for key in self.keys.iter().rev() {
            let own: Vec<u64> = left.iter().map(|number| number % key.domain).collect();
            left.iter_mut().for_each(|number| *number /= key.domain);
            columns.push(key.values(&own)?);
        }
        columns.reverse();
        Ok(columns)
    }
}
