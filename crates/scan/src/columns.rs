//! A column of a table as one segment has it, and its values as Arrow arrays.
//!
//! Arrays are always of the plain logical type: strings come as views into the dictionary, never as
//! dictionary arrays.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray,
    new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use schemas::arrow::tested_by;
use schemas::proto::NullMode;
use schemas::table::virtual_column;
use schemas::{DataType, TableSpec};
pub(crate) use segment::arrays::{doubles, longs};
use segment::view::{ColumnView, Nulls, RawColumn, RawValues, Zone};
use segment::{BLOCK_ROWS, SegmentView, arrays};

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
                let array = arrays::values(column, start..start + len, rows).map_err(external)?;
                match nulls {
                    Some(nulls) => arrays::with_nulls(*nulls, array, start, rows).map_err(external),
                    None => Ok(array),
                }
            }
        }
    }
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
