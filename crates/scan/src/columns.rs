//! A column of a table as one segment has it, and its values as Arrow arrays.
//!
//! Arrays are always of the plain logical type: strings come as views into the dictionary, never as
//! dictionary arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, Decimal256Array, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringViewArray, TimestampMillisecondArray, UInt32Array, make_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef, i256};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use schemas::arrow::{BIG_DECIMAL_SCALE, entry_field, tested_by};
use schemas::proto::NullMode;
use schemas::table::virtual_column;
use schemas::{DataType, TableSpec};
use segment::view::{
    CodeRoom, Codes, ColumnView, Entries, Nulls, RawColumn, RawValues, Values, Zone,
};
use segment::{BLOCK_ROWS, SegmentView};

use crate::extracted::ExtractedColumn;

/// One column of one segment.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    Stored(Stored<'a>),
    /// The same for every row: virtual columns, and columns that the segment does not have.
    Constant(ArrayRef),
    DocId,
    /// What a call gives in the place of a column.
    Extracted(ExtractedColumn<'a>),
    /// Whether another column has no value in the row.
    IsNull(Option<Nulls<'a>>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) column: ColumnView<'a>,
    /// Only where nulls are told from defaults.
    pub(crate) nulls: Option<Nulls<'a>>,
}

pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

pub(crate) fn source<'a>(
    view: &'a SegmentView,
    spec: &TableSpec,
    field: &Field,
    null_mode: NullMode,
) -> Result<Source<'a>> {
    let name = field.name().as_str();
    let partition = || Arc::new(Int32Array::from(vec![view.partition() as i32])) as ArrayRef;
    match name {
        virtual_column::SEGMENT_NAME => {
            return Ok(Source::Constant(Arc::new(StringViewArray::from(vec![
                view.name(),
            ]))));
        }
        virtual_column::DOC_ID => return Ok(Source::DocId),
        virtual_column::PARTITION | virtual_column::PARTITION_ID => {
            return Ok(Source::Constant(partition()));
        }
        _ => {}
    }
    if let Some(tested) = tested_by(name) {
        return Ok(match view.column(tested).map_err(external)? {
            Some(column) => Source::IsNull(column.nulls()),
            None => Source::Constant(Arc::new(BooleanArray::from(vec![true]))),
        });
    }
    let has_nulls = null_mode == NullMode::ThreeValued && field.is_nullable();
    if let Some(column) = view.column(name).map_err(external)? {
        let nulls = if has_nulls { column.nulls() } else { None };
        return Ok(Source::Stored(Stored { column, nulls }));
    }
    if has_nulls {
        return Ok(Source::Constant(new_null_array(field.data_type(), 1)));
    }
    match spec.column(name) {
        Some(column) => Ok(Source::Constant(
            segment::default_array(column).map_err(external)?,
        )),
        None => internal_err!("the table has no column `{name}`"),
    }
}

impl Source<'_> {
    /// The values of the block's rows that begin at `start`; `rows` are relative to it, `None` =
    /// all
    /// `len`.
    pub(crate) fn array(&self, start: u32, len: u32, rows: Option<&[u32]>) -> Result<ArrayRef> {
        let count = rows.map_or(len as usize, <[u32]>::len);
        match self {
            Self::Constant(one) => {
                let value = ScalarValue::try_from_array(one, 0)?;
                value.to_array_of_size(count)
            }
            Self::DocId => {
                let ids = (0..count).map(|at| (start + rows.map_or(at as u32, |r| r[at])) as i32);
                Ok(Arc::new(Int32Array::from_iter_values(ids)))
            }
            Self::Extracted(extracted) => extracted.array(start, len, rows),
            Self::IsNull(nulls) => {
                let is_null = |row| nulls.is_some_and(|nulls| nulls.is_null(start + row));
                let missing: BooleanBuffer = match rows {
                    Some(rows) => rows.iter().map(|row| is_null(*row)).collect(),
                    None => (0..len).map(is_null).collect(),
                };
                Ok(Arc::new(BooleanArray::new(missing, None)))
            }
            Self::Stored(Stored { column, nulls }) => {
                let array = stored(column, start..start + len, rows)?;
                match nulls {
                    Some(nulls) => with_nulls(*nulls, array, start, rows),
                    None => Ok(array),
                }
            }
        }
    }
}

fn stored(column: &ColumnView<'_>, range: Range<u32>, rows: Option<&[u32]>) -> Result<ArrayRef> {
    match column.values() {
        Values::Dictionary(dictionary) => {
            let codes: UInt32Array = match dictionary.codes(range, &mut CodeRoom::default()) {
                Codes::U8(codes) => pick(codes, rows, u32::from).into(),
                Codes::U16(codes) => pick(codes, rows, u32::from).into(),
                Codes::U32(codes) => pick(codes, rows, |code| code).into(),
            };
            Ok(take(&dictionary.array(), &codes, None)?)
        }
        Values::Multi(multi) => {
            let entries = multi.entries(range);
            lists(&multi.array(), &entries, rows)
        }
        Values::Bytes(texts) => {
            let array = texts.array(range).map_err(external)?;
            match rows {
                None => Ok(array),
                Some(rows) => {
                    let rows = UInt32Array::from_iter_values(rows.iter().copied());
                    Ok(take(&array, &rows, None)?)
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
                    _ => return internal_err!("a FLOAT column of another form"),
                },
                DataType::Double => match values {
                    RawValues::F64(_) | RawValues::Scaled { .. } => {
                        Arc::new(Float64Array::from(doubles(values, rows)))
                    }
                    _ => return internal_err!("a DOUBLE column of another form"),
                },
                DataType::BigDecimal => match values {
                    RawValues::I256(values) => decimals(pick(values, rows, |v| v))?,
                    _ => return internal_err!("a BIG_DECIMAL column of another form"),
                },
                DataType::String | DataType::Json | DataType::Bytes | DataType::Uuid => {
                    return internal_err!("a column of text without a dictionary");
                }
            })
        }
    }
}

fn lists(dictionary: &ArrayRef, entries: &Entries<'_>, rows: Option<&[u32]>) -> Result<ArrayRef> {
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
    let values = take(dictionary, &codes, None)?;
    let field = entry_field(values.data_type().clone());
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

fn decimals(values: Vec<i256>) -> Result<ArrayRef> {
    let array = Decimal256Array::from(values);
    let precision = schemas::arrow::BIG_DECIMAL_PRECISION;
    Ok(Arc::new(
        array.with_precision_and_scale(precision, BIG_DECIMAL_SCALE)?,
    ))
}

fn pick<T: Copy, U>(values: &[T], rows: Option<&[u32]>, of: impl Fn(T) -> U) -> Vec<U> {
    match rows {
        None => values.iter().map(|value| of(*value)).collect(),
        Some(rows) => rows.iter().map(|row| of(values[*row as usize])).collect(),
    }
}

/// Whole numbers of any narrowed form.
pub(crate) fn longs(values: RawValues<'_>, rows: Option<&[u32]>) -> Vec<i64> {
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
pub(crate) fn doubles(values: RawValues<'_>, rows: Option<&[u32]>) -> Vec<f64> {
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
fn with_nulls(
    nulls: Nulls<'_>,
    array: ArrayRef,
    start: u32,
    rows: Option<&[u32]>,
) -> Result<ArrayRef> {
    let count = array.len() as u32;
    if rows.is_none() && !nulls.any_in(start..start + count) {
        return Ok(array);
    }
    let valid = (0..count).map(|at| {
        let row = rows.map_or(at, |rows| rows[at as usize]);
        !nulls.is_null(start + row)
    });
    let valid = NullBuffer::from_iter(valid);
    let data = array.to_data().into_builder().nulls(Some(valid)).build()?;
    Ok(make_array(data))
}

/// A batch of the given columns; the schema may have none.
pub(crate) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// `schema` with only the columns at `indices`, and nothing else changed.
pub(crate) fn project(schema: &Schema, indices: &[usize]) -> Result<SchemaRef> {
    Ok(Arc::new(schema.project(indices)?))
}

/// Least and greatest value of a column of whole numbers, where they are known.
pub(crate) fn bounds(
    column: &ColumnView<'_>,
    values: &RawColumn<'_>,
    rows: u32,
) -> Option<(i64, i64)> {
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let mut ends: Option<(i64, i64)> = None;
    for block in 0..blocks {
        let Some(Zone::I64 { min, max }) = column.zone(block) else {
            ends = None;
            break;
        };
        let (low, high) = ends.unwrap_or((min, max));
        ends = Some((low.min(min), high.max(max)));
    }
    // BOOLEAN has two values, and a narrow form says its bounds, also without zones.
    ends.or(match values.values(0..rows.min(1)) {
        _ if column.data_type() == DataType::Boolean => Some((0, 1)),
        RawValues::U8 { base, .. } => Some((base, base.checked_add(i64::from(u8::MAX))?)),
        RawValues::U16 { base, .. } => Some((base, base.checked_add(i64::from(u16::MAX))?)),
        RawValues::Bits { base, .. } => Some((base, base.checked_add(1)?)),
        _ => None,
    })
}
