//! Rows as codes, and the value of each code: of a dictionary, or as a JSON index gives them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use segment::view::{CodeRoom, Codes, DictionaryColumn};

use crate::extracted::ExtractedColumn;

#[derive(Debug)]
pub(super) enum Coded<'a> {
    Dictionary(DictionaryColumn<'a>),
    Extracted(ExtractedColumn<'a>),
}

impl<'a> Coded<'a> {
    /// Codes are below it.
    pub(super) fn cardinality(&self) -> u32 {
        match self {
            Self::Dictionary(dictionary) => dictionary.cardinality(),
            Self::Extracted(extracted) => extracted.cardinality(),
        }
    }

    /// The value of each code; in a dictionary they differ.
    pub(super) fn array(&self) -> ArrayRef {
        match self {
            Self::Dictionary(dictionary) => dictionary.array(),
            Self::Extracted(extracted) => Arc::clone(extracted.values()),
        }
    }

    /// Of rows that lie within one block.
    pub(super) fn codes<'r>(&'r self, rows: Range<u32>, room: &'r mut CodeRoom) -> Codes<'r> {
        match self {
            Self::Dictionary(dictionary) => dictionary.codes(rows, room),
            Self::Extracted(extracted) => extracted.codes(rows),
        }
    }

    pub(super) fn dictionary(&self) -> Option<&DictionaryColumn<'a>> {
        match self {
            Self::Dictionary(dictionary) => Some(dictionary),
            Self::Extracted(_) => None,
        }
    }
}
