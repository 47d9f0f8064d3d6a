//! Values of a column as Arrow arrays, always of the plain logical type: strings come as views into
//! the dictionary, never as dictionary arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, Decimal256Array, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, TimestampMillisecondArray,
    UInt32Array, make_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, i256};
use schemas::arrow::{BIG_DECIMAL_SCALE, entry_field, ingest_schema};
use schemas::{DataType, TableSpec};

use crate::view::{CodeRoom, Codes, ColumnView, Entries, Nulls, RawValues, Values, blocks};
use crate::{SegmentError, SegmentView};

/// What stored columns cannot be.
fn unfit(what: impl ToString) -> SegmentError {
    SegmentError::Batch {
        what: what.to_string(),
    }
}

/// The rows of a segment in the form in which they once came, [`ingest_schema`]: nulls are nulls,
/// and a column that came later than the segment has no values.
#[derive(Debug)]
pub struct StoredRows<'a> {
    schema: SchemaRef,
    columns: Vec<Option<ColumnView<'a>>>,
    row_count: u32,
}

impl<'a> StoredRows<'a> {
    pub fn of(view: &'a SegmentView, spec: &TableSpec) -> Result<Self, SegmentError> {
        let schema = ingest_schema(spec);
        let columns = schema.fields().iter();
        let columns = columns.map(|field| view.column(field.name()));
        Ok(Self {
            columns: columns.collect::<Result<_, SegmentError>>()?,
            schema,
            row_count: view.row_count(),
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        blocks(self.row_count)
    }

    /// The rows of a block.
    pub fn batch(&self, block: &Range<u32>) -> Result<RecordBatch, SegmentError> {
        let arrays = (0..self.columns.len()).map(|at| self.column(at, block));
        let arrays = arrays.collect::<Result<Vec<_>, SegmentError>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(unfit)
    }

    /// One column of them, by its place in the schema.
    pub fn column(&self, at: usize, block: &Range<u32>) -> Result<ArrayRef, SegmentError> {
        let field = self.schema.field(at);
        let Some(column) = &self.columns[at] else {
            return Ok(new_null_array(field.data_type(), block.len()));
        };
        let array = values(column, block.clone(), None)?;
        if array.data_type() != field.data_type() {
            let (name, found) = (field.name(), array.data_type());
            return Err(unfit(format!("column `{name}` is {found}")));
        }
        match column.nulls().filter(|_| field.is_nullable()) {
            Some(nulls) => with_nulls(nulls, array, block.start, None),
            None => Ok(array),
        }
    }
}

/// The values of the rows of a block; `rows` are relative to its first, `None` = all.
pub fn values(
    column: &ColumnView<'_>,
    range: Range<u32>,
    rows: Option<&[u32]>,
) -> Result<ArrayRef, SegmentError> {
    match column.values() {
        Values::Dictionary(dictionary) => {
            let codes: UInt32Array = match dictionary.codes(range, &mut CodeRoom::default()) {
                Codes::U8(codes) => pick(codes, rows, u32::from).into(),
                Codes::U16(codes) => pick(codes, rows, u32::from).into(),
                Codes::U32(codes) => pick(codes, rows, |code| code).into(),
            };
            take(&dictionary.array(), &codes, None).map_err(unfit)
        }
        Values::Multi(multi) => {
            let entries = multi.entries(range);
            lists(&multi.array(), &entries, rows)
        }
        Values::Bytes(texts) => {
            let array = texts.array(range)?;
            match rows {
                None => Ok(array),
                Some(rows) => {
                    let rows = UInt32Array::from_iter_values(rows.iter().copied());
                    take(&array, &rows, None).map_err(unfit)
                }
            }
        }
        Values::Raw(raw) => {
            let values = raw.values(range);
            let long = || longs(values, rows);
            Ok(match column.data_type() {
                DataType::Int => Arc::new(Int32Array::from_iter_values(
                    long().into_iter().map(|v| v as i32),
                )),
                DataType::Long => Arc::new(Int64Array::from(long())),
                DataType::Timestamp => Arc::new(TimestampMillisecondArray::from(long())),
                DataType::Boolean => {
                    let long = long();
                    let mut bits = BooleanBufferBuilder::new(long.len());
                    long.iter().for_each(|value| bits.append(*value != 0));
                    Arc::new(BooleanArray::new(bits.finish(), None))
                }
                DataType::Float => match values {
                    RawValues::F32(values) => {
                        Arc::new(Float32Array::from(pick(values, rows, |v| v)))
                    }
                    _ => return Err(unfit("a FLOAT column of another form")),
                },
                DataType::Double => match values {
                    RawValues::F64(_) | RawValues::Scaled { .. } => {
                        Arc::new(Float64Array::from(doubles(values, rows)))
                    }
                    _ => return Err(unfit("a DOUBLE column of another form")),
                },
                DataType::BigDecimal => match values {
                    RawValues::I256(values) => decimals(pick(values, rows, |v| v))?,
                    _ => return Err(unfit("a BIG_DECIMAL column of another form")),
                },
                DataType::String | DataType::Json | DataType::Bytes | DataType::Uuid => {
                    return Err(unfit("a column of text without a dictionary"));
                }
            })
        }
    }
}

fn lists(
    dictionary: &ArrayRef,
    entries: &Entries<'_>,
    rows: Option<&[u32]>,
) -> Result<ArrayRef, SegmentError> {
    let (offsets, codes) = match rows {
        None => {
            let mut room = Vec::new();
            let starts = entries.offsets(&mut room);
            let first = starts[0];
            let offsets: Vec<i32> = starts.iter().map(|start| (start - first) as i32).collect();
            let codes: UInt32Array = match entries.codes().slice(entries.range()) {
                Codes::U8(codes) => pick(codes, None, u32::from).into(),
                Codes::U16(codes) => pick(codes, None, u32::from).into(),
                Codes::U32(codes) => pick(codes, None, |code| code).into(),
            };
            (OffsetBuffer::new(offsets.into()), codes)
        }
        Some(rows) => {
            let mut cursor = entries.cursor();
            let held = rows.iter().map(|row| cursor.row(*row as usize));
            let held: Vec<Range<usize>> = held.collect();
            let offsets = OffsetBuffer::<i32>::from_lengths(held.iter().map(Range::len));
            let at = held.into_iter().flatten();
            let codes: UInt32Array = match entries.codes() {
                Codes::U8(codes) => at.map(|at| u32::from(codes[at])).collect(),
                Codes::U16(codes) => at.map(|at| u32::from(codes[at])).collect(),
                Codes::U32(codes) => at.map(|at| codes[at]).collect(),
            };
            (offsets, codes)
        }
    };
    let values = take(dictionary, &codes, None).map_err(unfit)?;
    let field = entry_field(values.data_type().clone());
    let lists = ListArray::try_new(field, offsets, values, None);
    Ok(Arc::new(lists.map_err(unfit)?))
}

fn decimals(values: Vec<i256>) -> Result<ArrayRef, SegmentError> {
    let array = Decimal256Array::from(values);
    let precision = schemas::arrow::BIG_DECIMAL_PRECISION;
    let array = array.with_precision_and_scale(precision, BIG_DECIMAL_SCALE);
    Ok(Arc::new(array.map_err(unfit)?))
}

fn pick<T: Copy, U>(values: &[T], rows: Option<&[u32]>, of: impl Fn(T) -> U) -> Vec<U> {
    match rows {
        None => values.iter().map(|value| of(*value)).collect(),
        Some(rows) => rows.iter().map(|row| of(values[*row as usize])).collect(),
    }
}

/// Whole numbers of any narrowed form.
pub fn longs(values: RawValues<'_>, rows: Option<&[u32]>) -> Vec<i64> {
    match values {
        RawValues::U8 { base, values } => pick(values, rows, |v| base + i64::from(v)),
        RawValues::U16 { base, values } => pick(values, rows, |v| base + i64::from(v)),
        RawValues::U32 { base, values } => pick(values, rows, |v| base.wrapping_add(i64::from(v))),
        RawValues::Bits { base, bits } => match rows {
            None => pick(&bits.bytes(), None, |bit| base + i64::from(bit)),
            Some(rows) => {
                let bits = rows.iter().map(|row| bits.get(*row as usize));
                bits.map(|bit| base + i64::from(bit)).collect()
            }
        },
        RawValues::I32(values) => pick(values, rows, i64::from),
        RawValues::I64(values) => pick(values, rows, |v| v),
        RawValues::Sequence { first, count } => match rows {
            None => (first..).take(count).collect(),
            Some(rows) => rows.iter().map(|row| first + i64::from(*row)).collect(),
        },
        RawValues::F32(values) => pick(values, rows, |v| v as i64),
        RawValues::F64(values) => pick(values, rows, |v| v as i64),
        RawValues::Scaled { .. } => doubles(values, rows)
            .into_iter()
            .map(|v| v as i64)
            .collect(),
        RawValues::I256(values) => pick(values, rows, |v| v.as_i128() as i64),
    }
}

/// Numbers of any form.
pub fn doubles(values: RawValues<'_>, rows: Option<&[u32]>) -> Vec<f64> {
    match values {
        RawValues::F64(values) => pick(values, rows, |v| v),
        RawValues::F32(values) => pick(values, rows, f64::from),
        RawValues::Scaled {
            divisor,
            base,
            stored,
        } => match stored {
            Codes::U8(stored) => pick(stored, rows, |v| (base + f64::from(v)) / divisor),
            Codes::U16(stored) => pick(stored, rows, |v| (base + f64::from(v)) / divisor),
            Codes::U32(stored) => pick(stored, rows, |v| (base + f64::from(v)) / divisor),
        },
        whole => longs(whole, rows).into_iter().map(|v| v as f64).collect(),
    }
}

/// Takes the null bits into the array.
pub fn with_nulls(
    nulls: Nulls<'_>,
    array: ArrayRef,
    start: u32,
    rows: Option<&[u32]>,
) -> Result<ArrayRef, SegmentError> {
    let count = array.len() as u32;
    if rows.is_none() && !nulls.any_in(start..start + count) {
        return Ok(array);
    }
    let valid = (0..count).map(|at| {
        let row = rows.map_or(at, |rows| rows[at as usize]);
        !nulls.is_null(start + row)
    });
    let valid = NullBuffer::from_iter(valid);
    let data = array.to_data().into_builder().nulls(Some(valid)).build();
    Ok(make_array(data.map_err(unfit)?))
}
