//! Values of rows that lie anywhere in a segment.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat, take};
use datafusion::common::Result;
use schemas::TableSpec;
use schemas::arrow::full_schema;
use schemas::proto::NullMode;
use segment::view::{CodeRoom, Codes, DictionaryColumn, Values};
use segment::{BLOCK_ROWS, SegmentView};

use crate::columns::{Source, Stored, source};

/// Values of stored rows, which ascend, null where there is none: of each of the columns, by their
/// positions in the spec.
pub fn read_rows(
    view: &SegmentView,
    spec: &TableSpec,
    columns: &[usize],
    rows: &[u32],
) -> Result<Vec<ArrayRef>> {
    let mode = NullMode::ThreeValued;
    let schema = full_schema(spec, mode);
    let read = columns.iter().map(|at| {
        let source = source(view, spec, schema.field(*at), mode)?;
        gather(&source, rows)
    });
    read.collect()
}

/// The values at `documents`, in that order; quick where they ascend.
pub(crate) fn gather(source: &Source<'_>, documents: &[u32]) -> Result<ArrayRef> {
    if let Source::Stored(Stored {
        column,
        nulls: None,
    }) = source
        && let Values::Dictionary(dictionary) = column.values()
    {
        let codes = codes(&dictionary, documents);
        return Ok(take(&dictionary.array(), &UInt32Array::from(codes), None)?);
    }
    let rows_of = |block: &[u32]| -> Vec<u32> {
        block.iter().map(|document| document % BLOCK_ROWS).collect()
    };
    let array = |block: &[u32]| {
        let start = block[0] / BLOCK_ROWS * BLOCK_ROWS;
        let rows = rows_of(block);
        let len = rows.iter().max().map_or(0, |last| last + 1);
        source.array(start, len, Some(&rows))
    };
    let blocks = blocks(documents).map(array);
    let blocks = blocks.collect::<Result<Vec<_>>>()?;
    match &blocks[..] {
        [] => source.array(0, 0, Some(&[])),
        [one] => Ok(Arc::clone(one)),
        several => {
            let several: Vec<_> = several.iter().map(AsRef::as_ref).collect();
            Ok(concat(&several)?)
        }
    }
}

pub(crate) fn codes(dictionary: &DictionaryColumn<'_>, documents: &[u32]) -> Vec<u32> {
    let mut gathered = Vec::with_capacity(documents.len());
    let mut room = CodeRoom::default();
    for block in blocks(documents) {
        let start = block[0] / BLOCK_ROWS * BLOCK_ROWS;
        let end = block.iter().max().map_or(start, |last| last + 1);
        let rows = block.iter().map(|document| (document - start) as usize);
        match dictionary.codes(start..end, &mut room) {
            Codes::U8(codes) => gathered.extend(rows.map(|row| u32::from(codes[row]))),
            Codes::U16(codes) => gathered.extend(rows.map(|row| u32::from(codes[row]))),
            Codes::U32(codes) => gathered.extend(rows.map(|row| codes[row])),
        }
    }
    gathered
}

/// Runs of documents of one block.
pub(crate) fn blocks(documents: &[u32]) -> impl Iterator<Item = &[u32]> {
    documents.chunk_by(|a, b| a / BLOCK_ROWS == b / BLOCK_ROWS)
}
