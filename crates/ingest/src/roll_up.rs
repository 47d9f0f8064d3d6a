//! Rows that agree in everything but metrics become one.
//!
//! It is done batch by batch as they come in, and again with all rows of a segment. Sums of counts
//! and sums stay what they were, and so do sketches. Where a sum would overflow, another row
//! begins.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, RecordBatch, UInt32Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{
    DataType as ArrowType, Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type, i256,
};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use schemas::decoding::{RollUp, RollUpFunction as Function};
use schemas::{DataType, TableSpec};

use crate::coerce::Cell;
use crate::columns::{Column, RowData};
use crate::sketches::Sketch;

/// Rows that come in. The same batch where the table rolls nothing up.
pub(crate) fn roll_up(spec: &TableSpec, batch: RecordBatch) -> RecordBatch {
    put_together(spec, batch, |function| function == Function::Count)
}

/// Rows that were rolled up before, batch by batch: all that one segment has.
pub fn roll_up_again(spec: &TableSpec, batch: RecordBatch) -> RecordBatch {
    put_together(spec, batch, |_| false)
}

/// Texts and bytes of its own: views keep whole buffers, of which few rows may be left.
pub fn compact(batch: &RecordBatch) -> RecordBatch {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            ArrowType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            ArrowType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        });
    RecordBatch::try_new(batch.schema(), columns.collect()).expect("columns of the batch")
}

/// Of rows that agree in everything one stays.
fn distinct(spec: &TableSpec, batch: RecordBatch) -> RecordBatch {
    let metrics: Vec<Metric<'_>> = spec.columns.iter().map(|_| None).collect();
    let Some((made, _)) = groups(&metrics, &batch, |_| false) else {
        return batch;
    };
    let mut last: Vec<u32> = made.iter().map(|group| group.last).collect();
    last.sort_unstable();
    let last = UInt32Array::from(last);
    take_record_batch(&batch, &last).expect("rows of the batch")
}

/// Rows of one segment that comes into being, in few batches that are put together again and again.
#[derive(Debug)]
pub struct RolledUp {
    spec: Arc<TableSpec>,
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Of them, those that were put together.
    tidy: usize,
    merged: u64,
    /// Only rows that agree in everything become one.
    distinct: bool,
}

/// So many rows at least are put together at once.
const ROWS_LEAST: usize = 1 << 16;

impl RolledUp {
    /// `None`: the table rolls nothing up.
    pub fn new(spec: &Arc<TableSpec>) -> Option<Self> {
        (!spec.pipeline.roll_up.is_empty()).then(|| Self {
            spec: Arc::clone(spec),
            batches: Vec::new(),
            rows: 0,
            tidy: 0,
            merged: 0,
            distinct: false,
        })
    }

    /// Whatever the table rolls up: of rows that agree in everything one stays.
    pub fn distinct(spec: &Arc<TableSpec>) -> Self {
        Self {
            spec: Arc::clone(spec),
            batches: Vec::new(),
            rows: 0,
            tidy: 0,
            merged: 0,
            distinct: true,
        }
    }

    /// Of one schema.
    pub fn add(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.batches.push(batch);
        if self.rows >= ROWS_LEAST.max(2 * self.tidy) {
            self.put_together();
        }
    }

    fn put_together(&mut self) {
        let Some(schema) = self.batches.first().map(RecordBatch::schema) else {
            return;
        };
        let all = concat_batches(&schema, &self.batches).expect("batches of one schema");
        let all = match self.distinct {
            true => distinct(&self.spec, all),
            false => roll_up_again(&self.spec, all),
        };
        let all = compact(&all);
        self.merged += (self.rows - all.num_rows()) as u64;
        (self.rows, self.tidy) = (all.num_rows(), all.num_rows());
        self.batches = vec![all];
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn memory_bytes(&self) -> usize {
        let batches = self.batches.iter();
        batches.map(RecordBatch::get_array_memory_size).sum()
    }

    /// All rows so far, and how many went into others. It begins anew.
    pub fn take(&mut self) -> (Vec<RecordBatch>, u64) {
        self.put_together();
        (self.rows, self.tidy) = (0, 0);
        let batches = std::mem::take(&mut self.batches);
        let few = batches.iter().flat_map(|batch| {
            let starts = (0..batch.num_rows()).step_by(crate::BATCH_ROWS_MAX);
            starts.map(move |start| {
                let rows = crate::BATCH_ROWS_MAX.min(batch.num_rows() - start);
                batch.slice(start, rows)
            })
        });
        (few.collect(), std::mem::take(&mut self.merged))
    }
}

/// Each row counts for one in the columns of functions that `counts`.
fn put_together(
    spec: &TableSpec,
    batch: RecordBatch,
    counts: impl Fn(Function) -> bool,
) -> RecordBatch {
    let rules = &spec.pipeline.roll_up;
    if rules.is_empty() || batch.num_rows() == 0 {
        return batch;
    }
    let rule = |name: &str| rules.iter().find(|rule| rule.column == name);
    let columns = spec.columns.iter();
    let metrics = columns.map(|column| Some((rule(&column.name)?, column.data_type)));
    let metrics: Vec<Metric<'_>> = metrics.collect();
    let Some((made, group_of)) = groups(&metrics, &batch, counts) else {
        return batch;
    };
    // In the order of their last messages, so that the last row passes all offsets before it.
    let mut order: Vec<usize> = (0..made.len()).collect();
    order.sort_by_key(|group| made[*group].last);
    let last = UInt32Array::from_iter_values(order.iter().map(|group| made[*group].last));
    let rolled = take_record_batch(&batch, &last).expect("rows of the batch");
    let mut arrays = rolled.columns().to_vec();
    let mut number = 0;
    for (at, rule) in metrics.iter().enumerate() {
        let Some((rule, _)) = rule else {
            continue;
        };
        if rule.function.is_sketch() {
            arrays[at] = joined(rule.function, batch.column(at), &group_of, &order);
            continue;
        }
        let mut column = Column::of(&spec.columns[at]);
        for group in &order {
            let (cell, decimal) = match made[*group].values[number] {
                Total::Null => (Cell::Null, None),
                Total::Long(value) => (Cell::Long(value), None),
                Total::Double(value) => (Cell::Double(value), None),
                Total::Decimal(value) => (Cell::Decimal(0), Some(value)),
            };
            let row = RowData {
                text: "",
                bytes: &[],
                decimals: decimal.as_slice(),
                entries: &[],
            };
            column.push(cell, row);
        }
        arrays[at] = column.finish();
        number += 1;
    }
    RecordBatch::try_new(batch.schema(), arrays).expect("columns of the schema")
}

/// Rows that become one, and to which of them each row belongs. `None`: keys have no order, which
/// none of our types lacks.
fn groups(
    metrics: &[Metric<'_>],
    batch: &RecordBatch,
    counts: impl Fn(Function) -> bool,
) -> Option<(Vec<Group>, Vec<u32>)> {
    let keys = metrics
        .iter()
        .zip(batch.columns())
        .filter(|(rule, _)| rule.is_none());
    let mut keys: Vec<ArrayRef> = keys.map(|(_, array)| Arc::clone(array)).collect();
    if keys.is_empty() {
        // Then all rows agree.
        keys.push(Arc::new(BooleanArray::from(vec![false; batch.num_rows()])));
    }
    let fields = keys
        .iter()
        .map(|array| SortField::new(array.data_type().clone()));
    let rows = RowConverter::new(fields.collect()).and_then(|rows| rows.convert_columns(&keys));
    let rows = rows.ok()?;
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    let mut made: Vec<Group> = Vec::new();
    let mut group_of = Vec::with_capacity(batch.num_rows());
    let keyed: Vec<_> = rows.iter().collect();
    for (at, key) in keyed.iter().enumerate() {
        let values = values(metrics, batch, at, &counts);
        let group = known.get(key.data()).copied();
        let group = group.filter(|group| made[*group].join(metrics, &values));
        let group = group.unwrap_or_else(|| {
            known.insert(key.data(), made.len());
            made.push(Group { last: 0, values });
            made.len() - 1
        });
        made[group].last = at as u32;
        group_of.push(group as u32);
    }
    Some((made, group_of))
}

/// The sketches of each group as one, groups in this order. What cannot be read was refused when
/// it came.
fn joined(function: Function, states: &ArrayRef, group_of: &[u32], order: &[usize]) -> ArrayRef {
    enum Known<'a> {
        Nothing,
        One(&'a [u8]),
        Several(Sketch),
    }
    let states = states.as_binary_view();
    let mut known: Vec<Known<'_>> = order.iter().map(|_| Known::Nothing).collect();
    for (row, group) in group_of.iter().enumerate() {
        if states.is_null(row) || states.value(row).is_empty() {
            continue;
        }
        let (state, place) = (states.value(row), &mut known[*group as usize]);
        let before = match std::mem::replace(place, Known::Nothing) {
            Known::Nothing => {
                *place = Known::One(state);
                continue;
            }
            Known::One(first) => {
                let mut sketch = Sketch::new(function);
                // Both were read before.
                let _ = sketch.as_mut().map(|sketch| sketch.join(first));
                sketch
            }
            Known::Several(sketch) => Some(sketch),
        };
        if let Some(mut sketch) = before {
            let _ = sketch.join(state);
            *place = Known::Several(sketch);
        }
    }
    let mut column = BinaryViewBuilder::with_capacity(order.len());
    for group in order {
        match &mut known[*group] {
            Known::Nothing => column.append_null(),
            Known::One(state) => column.append_value(state),
            Known::Several(sketch) => column.append_option(sketch.state().ok()),
        }
    }
    Arc::new(column.finish())
}

/// How a column is rolled up; `None`: it is a key.
type Metric<'a> = Option<(&'a RollUp, DataType)>;

struct Group {
    /// Its last row.
    last: u32,
    /// Of each metric that is a number.
    values: Vec<Total>,
}

impl Group {
    /// `false`: the row does not fit into it, and nothing was changed.
    fn join(&mut self, metrics: &[Metric<'_>], values: &[Total]) -> bool {
        let pairs = self.values.iter().zip(values);
        let metrics = numbers(metrics).map(|(_, metric)| metric).zip(pairs);
        let joined = metrics.map(|((rule, data_type), (a, b))| {
            join(rule.function, *a, *b).filter(|sum| fits(*sum, data_type))
        });
        match joined.collect::<Option<Vec<Total>>>() {
            Some(values) => {
                self.values = values;
                true
            }
            None => false,
        }
    }
}

/// What rows have together in one column.
#[derive(Clone, Copy, Debug)]
enum Total {
    Null,
    Long(i64),
    Double(f64),
    Decimal(i256),
}

/// `None`: the result does not fit.
fn join(function: Function, a: Total, b: Total) -> Option<Total> {
    let is_first = |ordering: std::cmp::Ordering| match function {
        Function::Max => ordering.is_gt(),
        _ => ordering.is_lt(),
    };
    let adds = matches!(function, Function::Count | Function::Sum);
    Some(match (a, b) {
        (Total::Null, other) | (other, Total::Null) => other,
        (Total::Long(a), Total::Long(b)) if adds => Total::Long(a.checked_add(b)?),
        (Total::Double(a), Total::Double(b)) if adds => Total::Double(a + b),
        (Total::Decimal(a), Total::Decimal(b)) if adds => Total::Decimal(a.checked_add(b)?),
        (Total::Long(a), Total::Long(b)) => Total::Long(if is_first(a.cmp(&b)) { a } else { b }),
        (Total::Double(a), Total::Double(b)) => {
            Total::Double(if is_first(a.total_cmp(&b)) { a } else { b })
        }
        (Total::Decimal(a), Total::Decimal(b)) => {
            Total::Decimal(if is_first(a.cmp(&b)) { a } else { b })
        }
        _ => return None,
    })
}

fn fits(value: Total, data_type: DataType) -> bool {
    match (value, data_type) {
        (Total::Long(value), DataType::Int) => i32::try_from(value).is_ok(),
        (Total::Double(value), DataType::Float) => !value.is_finite() || (value as f32).is_finite(),
        _ => true,
    }
}

/// Metrics that are no sketches, with the places of their columns.
fn numbers<'a>(metrics: &'a [Metric<'_>]) -> impl Iterator<Item = (usize, (&'a RollUp, DataType))> {
    let columns = metrics.iter().enumerate();
    let columns = columns.filter_map(|(at, rule)| Some((at, (*rule)?)));
    columns.filter(|(_, (rule, _))| !rule.function.is_sketch())
}

fn values(
    metrics: &[Metric<'_>],
    batch: &RecordBatch,
    row: usize,
    counts: impl Fn(Function) -> bool,
) -> Vec<Total> {
    let value = |(at, (rule, data_type)): (usize, (&RollUp, DataType))| match counts(rule.function)
    {
        true => Total::Long(1),
        false => number(batch.column(at), data_type, row),
    };
    numbers(metrics).map(value).collect()
}

fn number(array: &ArrayRef, data_type: DataType, row: usize) -> Total {
    if array.is_null(row) {
        return Total::Null;
    }
    match data_type {
        DataType::Int => Total::Long(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Long => Total::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float => Total::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Double => Total::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::BigDecimal => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            Total::Decimal(value)
        }
        _ => Total::Null,
    }
}
