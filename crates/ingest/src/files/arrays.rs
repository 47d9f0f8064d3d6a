//! Files whose rows come as Arrow batches, Parquet and Arrow's own: whole columns at a time, by the
//! same rules and through the same pipeline as rows of a stream.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray,
    RecordBatch, TimestampMillisecondArray, new_null_array,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{
    DataType as ArrowType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use schemas::arrow::{column_type, ingest_schema};
use schemas::{ColumnSpec, DataType, TableSpec};

use crate::convert::{Wrong, convert};
use crate::message::{Decoded, RawMessage, Rejection};
use crate::pipeline::{Expressions, Pipeline};
use crate::row::{Row, Target};

#[derive(Debug)]
pub(super) struct Arrays {
    target: Target,
    pipeline: Option<Pipeline>,
    row: Row,
}

impl Arrays {
    pub(super) fn new(
        spec: &Arc<TableSpec>,
        expressions: &dyn Expressions,
    ) -> Result<Self, String> {
        let pipeline = Pipeline::new(spec, expressions)?;
        let target = match &pipeline {
            None => Target::new(Arc::clone(spec)),
            Some(pipeline) => Target::unchecked(Arc::clone(pipeline.source())),
        };
        let mut row = Row::default();
        row.texts.lenient = spec.pipeline.continue_on_error;
        Ok(Self {
            target,
            pipeline,
            row,
        })
    }

    /// `first` is the number of the batch's first row.
    pub(super) fn take(&mut self, batch: &RecordBatch, first: i64, now_ms: i64) -> Decoded {
        let rows = batch.num_rows();
        let mut wrong: Wrong = vec![None; rows];
        let spec = Arc::clone(&self.target.spec);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(spec.columns.len() + 2);
        for (at, column) in spec.columns.iter().enumerate() {
            arrays.push(match batch.column_by_name(&column.name) {
                None => new_null_array(&column_type(column), rows),
                Some(array) => {
                    let array = widened(array, column);
                    convert(&array, &self.target, at, &mut self.row, &mut wrong)
                }
            });
        }
        arrays.push(Arc::new(Int64Array::from_iter_values((first..).take(rows))));
        arrays.push(Arc::new(TimestampMillisecondArray::from_value(
            now_ms, rows,
        )));
        let mut table =
            RecordBatch::try_new(ingest_schema(&spec), arrays).expect("columns of the schema");
        let mut decoded = Decoded::default();
        if self.row.texts.lenient {
            decoded.incomplete = wrong.iter_mut().filter_map(Option::take).count() as u64;
        }
        self.target.check_times(&table, &mut wrong);
        if wrong.iter().any(Option::is_some) {
            let keep: BooleanArray = wrong.iter().map(|one| Some(one.is_none())).collect();
            table = filter_record_batch(&table, &keep).expect("as many rows as the batch has");
            let told = (first..).zip(wrong);
            let told = told.filter_map(|(offset, reason)| Some((offset, reason?)));
            decoded
                .rejected
                .extend(told.map(|(offset, reason)| Rejection::of(&message(offset), reason)));
        }
        if table.num_rows() > 0 {
            decoded.batches.push(table);
        }
        match &mut self.pipeline {
            None => decoded,
            Some(pipeline) => pipeline.run(decoded, (first..).take(rows).map(message)),
        }
    }
}

fn message(offset: i64) -> RawMessage<'static> {
    RawMessage {
        offset,
        ..RawMessage::default()
    }
}

/// Types that hold all values of the array's and are the column's: without a look at each value.
/// What has another form stays as it is.
fn widened(array: &ArrayRef, column: &ColumnSpec) -> ArrayRef {
    use ArrowType as A;
    if let A::List(entry) | A::LargeList(entry) = array.data_type() {
        let mut entries = column.clone();
        entries.multi_value = false;
        let same = is_wider(entry.data_type(), column.data_type)
            || *entry.data_type() == column_type(&entries)
            || (matches!(entry.data_type(), A::Utf8 | A::LargeUtf8)
                && column.data_type == DataType::String);
        return match column.multi_value && same {
            true => cast(array, &column_type(column)).unwrap_or_else(|_| Arc::clone(array)),
            false => Arc::clone(array),
        };
    }
    if column.multi_value {
        return Arc::clone(array);
    }
    match (array.data_type(), column.data_type) {
        (A::Timestamp(TimeUnit::Millisecond, Some(_)), DataType::Timestamp) => {
            let times = array.as_primitive::<TimestampMillisecondType>().clone();
            Arc::new(times.with_timezone_opt(None::<Arc<str>>))
        }
        (A::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp) => {
            milliseconds(array.as_primitive::<TimestampMicrosecondType>(), 1_000)
        }
        (A::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp) => {
            milliseconds(array.as_primitive::<TimestampNanosecondType>(), 1_000_000)
        }
        (from, to) if is_wider(from, to) => {
            cast(array, &column_type(column)).unwrap_or_else(|_| Arc::clone(array))
        }
        _ => Arc::clone(array),
    }
}

fn milliseconds<T: ArrowPrimitiveType<Native = i64>>(
    times: &PrimitiveArray<T>,
    parts: i64,
) -> ArrayRef {
    let ms = times.unary::<_, TimestampMillisecondType>(|time| time.div_euclid(parts));
    Arc::new(ms)
}

fn is_wider(from: &ArrowType, to: DataType) -> bool {
    use ArrowType as A;
    let small = matches!(from, A::Int8 | A::Int16 | A::UInt8 | A::UInt16);
    match to {
        DataType::Int => small,
        DataType::Long => small || matches!(from, A::Int32 | A::UInt32),
        DataType::Double => small || matches!(from, A::Int32 | A::UInt32 | A::Float32),
        DataType::Timestamp => matches!(from, A::Date32),
        _ => false,
    }
}
