//! Values of an expression that is evaluated for each row, numbered in the order in which they
//! appear: numbers by their bits, all else by Arrow's row format.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;

use super::number::{BlockRows, of_bits};
use super::rows::RowNumbers;
use super::table::Numbers;
use super::values::bits;
use crate::columns::{Source, batch};
use crate::predicate::Inputs;

#[derive(Debug)]
pub(super) enum Evaluated {
    /// Number 0 is null.
    Bits(Numbers, DataType),
    Rows(RowNumbers),
}

impl Evaluated {
    pub(super) fn new(data_type: DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Timestamp(TimeUnit::Millisecond, None) => {
                let mut numbers = Numbers::default();
                numbers.reserve_one();
                Self::Bits(numbers, data_type)
            }
            other => Self::Rows(RowNumbers::new(&[other])?),
        })
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Bits(numbers, _) => numbers.values.len(),
            Self::Rows(rows) => rows.count(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Bits(numbers, _) => numbers.memory_bytes(),
            Self::Rows(rows) => rows.memory_bytes(),
        }
    }

    /// The number of each value.
    pub(super) fn number(&mut self, values: &ArrayRef) -> Result<Vec<u32>> {
        let seen = match self {
            Self::Rows(rows) => return rows.number(std::slice::from_ref(values)),
            Self::Bits(numbers, _) => numbers,
        };
        // Of narrow ones the upper half is 0, which is cut off again.
        let bits: Vec<i64> = bits(values)?.into_iter().map(|own| own as i64).collect();
        let mut numbers = vec![0; bits.len()];
        match values.logical_nulls().filter(|n| n.null_count() > 0) {
            None => seen.number(&bits, |at, number| numbers[at] = number),
            Some(nulls) => {
                let places: Vec<usize> = nulls.valid_indices().collect();
                let left: Vec<i64> = places.iter().map(|at| bits[*at]).collect();
                seen.number(&left, |at, number| numbers[places[at]] = number);
            }
        }
        Ok(numbers)
    }

    pub(super) fn values(&self, numbers: &[u64]) -> Result<ArrayRef> {
        match self {
            Self::Bits(seen, data_type) => {
                let value = |number: &u64| (*number > 0).then(|| seen.values[*number as usize]);
                of_bits(numbers.iter().map(value), data_type)
            }
            Self::Rows(rows) => {
                let rows = rows.values(numbers.iter().map(|number| *number as usize))?;
                Ok(ArrayRef::clone(&rows[0]))
            }
        }
    }
}

pub(super) fn is_column(inputs: &Inputs) -> bool {
    inputs.expr.downcast_ref::<Column>().is_some()
}

pub(super) fn row_values(
    inputs: &Inputs,
    sources: &[Source<'_>],
    rows: BlockRows<'_>,
) -> Result<ArrayRef> {
    let columns = sources.iter();
    let columns = columns.map(|source| source.array(rows.start, rows.len, rows.picked));
    evaluated(inputs, columns.collect::<Result<_>>()?, rows.count())
}

pub(super) fn evaluated(inputs: &Inputs, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
    if is_column(inputs) {
        return Ok(ArrayRef::clone(&columns[0]));
    }
    let batch = batch(&inputs.schema, columns, rows)?;
    inputs.expr.evaluate(&batch)?.into_array(rows)
}
