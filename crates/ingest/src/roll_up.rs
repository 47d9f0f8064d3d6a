//! Rows that agree in everything but metrics become one as they come in.
//!
//! It is done batch by batch: sums of counts and sums stay what they were, how many rows hold them
//! depends on how the log was read. Where a sum would overflow, another row begins.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use schemas::decoding::{RollUp, RollUpFunction as Function};
use schemas::{DataType, TableSpec};

use crate::coerce::Cell;
use crate::columns::{Column, RowData};

/// The same batch where the table rolls nothing up.
pub(crate) fn roll_up(spec: &TableSpec, batch: RecordBatch) -> RecordBatch {
    let rules = &spec.pipeline.roll_up;
    if rules.is_empty() || batch.num_rows() == 0 {
        return batch;
    }
    let rule = |name: &str| rules.iter().find(|rule| rule.column == name);
    let columns = spec.columns.iter();
    let metrics = columns.map(|column| Some((rule(&column.name)?, column.data_type)));
    let metrics: Vec<Metric<'_>> = metrics.collect();
    let keys = metrics
        .iter()
        .zip(batch.columns())
        .filter(|(rule, _)| rule.is_none());
    let keys: Vec<ArrayRef> = keys.map(|(_, array)| Arc::clone(array)).collect();
    let fields = keys
        .iter()
        .map(|array| SortField::new(array.data_type().clone()));
    let rows = RowConverter::new(fields.collect()).and_then(|rows| rows.convert_columns(&keys));
    // Types that have no order cannot be rolled up: none of ours is.
    let Ok(rows) = rows else {
        return batch;
    };
    let mut groups: HashMap<&[u8], usize> = HashMap::new();
    let mut made: Vec<Group> = Vec::new();
    let keyed: Vec<_> = rows.iter().collect();
    for (at, key) in keyed.iter().enumerate() {
        let values = values(&metrics, &batch, at);
        let known = groups.get(key.data()).copied();
        let joined = known.is_some_and(|group| made[group].join(&metrics, &values));
        match known.filter(|_| joined) {
            Some(group) => made[group].last = at as u32,
            None => {
                groups.insert(key.data(), made.len());
                made.push(Group {
                    last: at as u32,
                    values,
                });
            }
        }
    }
    // In the order of their last messages, so that the last row passes all offsets before it.
    made.sort_by_key(|group| group.last);
    let last = UInt32Array::from_iter_values(made.iter().map(|group| group.last));
    let batch = take_record_batch(&batch, &last).expect("rows of the batch");
    let mut arrays = batch.columns().to_vec();
    let metrics = metrics
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.is_some());
    for (metric, (at, _)) in metrics.enumerate() {
        let mut column = Column::of(&spec.columns[at]);
        for group in &made {
            let none = RowData {
                text: "",
                bytes: &[],
                entries: &[],
            };
            column.push(group.values[metric], none);
        }
        arrays[at] = column.finish();
    }
    RecordBatch::try_new(batch.schema(), arrays).expect("columns of the schema")
}

/// How a column is rolled up; `None`: it is a key.
type Metric<'a> = Option<(&'a RollUp, DataType)>;

struct Group {
    /// Its last row.
    last: u32,
    /// Of each metric.
    values: Vec<Cell>,
}

impl Group {
    /// `false`: the row does not fit into it, and nothing was changed.
    fn join(&mut self, metrics: &[Metric<'_>], values: &[Cell]) -> bool {
        let pairs = self.values.iter().zip(values);
        let metrics = metrics.iter().flatten().zip(pairs);
        let joined = metrics.map(|((rule, data_type), (a, b))| {
            join(rule.function, *a, *b).filter(|sum| fits(*sum, *data_type))
        });
        match joined.collect::<Option<Vec<Cell>>>() {
            Some(values) => {
                self.values = values;
                true
            }
            None => false,
        }
    }
}

/// `None`: the result does not fit.
fn join(function: Function, a: Cell, b: Cell) -> Option<Cell> {
    let is_first = |ordering: std::cmp::Ordering| match function {
        Function::Max => ordering.is_gt(),
        _ => ordering.is_lt(),
    };
    let adds = matches!(function, Function::Count | Function::Sum);
    Some(match (a, b) {
        (Cell::Null, other) | (other, Cell::Null) => other,
        (Cell::Long(a), Cell::Long(b)) if adds => Cell::Long(a.checked_add(b)?),
        (Cell::Double(a), Cell::Double(b)) if adds => Cell::Double(a + b),
        (Cell::Decimal(a), Cell::Decimal(b)) if adds => Cell::Decimal(a.checked_add(b)?),
        (Cell::Long(a), Cell::Long(b)) => Cell::Long(if is_first(a.cmp(&b)) { a } else { b }),
        (Cell::Double(a), Cell::Double(b)) => {
            Cell::Double(if is_first(a.total_cmp(&b)) { a } else { b })
        }
        (Cell::Decimal(a), Cell::Decimal(b)) => {
            Cell::Decimal(if is_first(a.cmp(&b)) { a } else { b })
        }
        _ => return None,
    })
}

fn fits(value: Cell, data_type: DataType) -> bool {
    match (value, data_type) {
        (Cell::Long(value), DataType::Int) => i32::try_from(value).is_ok(),
        (Cell::Double(value), DataType::Float) => !value.is_finite() || (value as f32).is_finite(),
        _ => true,
    }
}

fn values(metrics: &[Metric<'_>], batch: &RecordBatch, row: usize) -> Vec<Cell> {
    let columns = metrics.iter().enumerate();
    let columns = columns.filter_map(|(at, rule)| Some((at, (*rule)?)));
    let value = |(at, (rule, data_type)): (usize, (&RollUp, DataType))| match rule.function {
        Function::Count => Cell::Long(1),
        _ => number(batch.column(at), data_type, row),
    };
    columns.map(value).collect()
}

fn number(array: &ArrayRef, data_type: DataType, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match data_type {
        DataType::Int => Cell::Long(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Long => Cell::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float => Cell::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Double => Cell::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::BigDecimal => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            Cell::Decimal(value)
        }
        _ => Cell::Null,
    }
}
