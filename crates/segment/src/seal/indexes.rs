//! The indexes of a segment, built from its sealed columns: at the seal and, over a segment that is
//! served, when a table asks for another index.
//!
//! Invariant: the bytes depend on the key and the rows alone, so both ways give the same index.

use index::inverted::Postings;
use schemas::TableSpec;

use crate::SegmentError;
use crate::column::{Codes, Values};
use crate::view::{IndexKey, IndexKind, SegmentView, blocks};

/// The indexes that the table asks for. Column by column, in the order of the schema.
pub fn wanted(spec: &TableSpec) -> Vec<IndexKey> {
    let mut keys = Vec::new();
    for column in &spec.columns {
        if column.inverted_index {
            keys.push(IndexKey::of_column(IndexKind::Inverted, &column.name));
        }
    }
    keys
}

/// The buffers of one index over all rows of a sealed segment. `None`: it cannot be had there,
/// because a column came later or is not stored in a form that the index goes with.
pub fn build(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    match key.kind {
        IndexKind::Inverted => inverted(view, key),
        _ => Ok(None),
    }
}

fn inverted(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Some(column) = view.column(&key.columns[0])? else {
        return Ok(None);
    };
    let postings = match column.values() {
        Values::Dictionary(dictionary) => {
            let mut all = Vec::with_capacity(view.row_count() as usize);
            for rows in blocks(view.row_count()) {
                extend(&mut all, dictionary.codes(rows));
            }
            Postings::from_codes(&all, dictionary.cardinality())
        }
        Values::Multi(multi) => {
            let entries = blocks(view.row_count()).map(|rows| multi.entries(rows));
            let (mut ends, mut all) = (Vec::new(), Vec::new());
            for entries in entries {
                let offsets = entries.offsets();
                let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
                let base = all.len() as u32;
                extend(
                    &mut all,
                    entries.codes().slice(first as usize..last as usize),
                );
                ends.extend(offsets[1..].iter().map(|end| base + end - first));
            }
            Postings::from_entries(&ends, &all, multi.cardinality())
        }
        Values::Raw(_) | Values::Bytes(_) => return Ok(None),
    };
    Ok(Some(vec![index::inverted::serialize(&postings)?]))
}

fn extend(all: &mut Vec<u32>, codes: Codes<'_>) {
    match codes {
        Codes::U8(codes) => all.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U16(codes) => all.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U32(codes) => all.extend_from_slice(codes),
    }
}
