//! A column of codes, one a row, and the values behind them.

use std::ops::Range;

use arrow::array::ArrayRef;
use index::dictionary::BytesDictionary;
use index::forward::counts::DocCounts;
use index::sketch::Raise;

use super::{CodeRoom, Codes, checked};
use crate::mutable::search::SeenTexts;
use crate::mutable::seen::Seen;
use crate::sealed::forward;

/// Of consuming segments STRING, JSON, BYTES and UUID always, INT and LONG where they hardly
/// differ; of sealed ones all types where codes are worth it.
#[derive(Clone, Copy, Debug)]
pub struct DictionaryColumn<'a> {
    pub(super) row_count: u32,
    pub(super) cardinality: u32,
    pub(super) source: DictionarySource<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum DictionarySource<'a> {
    Sealed(&'a forward::DictionaryColumn),
    Consuming(Seen<'a>),
}

impl<'a> DictionaryColumn<'a> {
    pub fn row_count(&self) -> u32 {
        self.row_count
    }

    /// Every code in the rows of the view is below it.
    pub fn cardinality(&self) -> u32 {
        self.cardinality
    }

    /// All values in the order of their codes, in the Arrow type of the column. Made once and
    /// kept; a consuming column makes it again when it has grown.
    pub fn array(&self) -> ArrayRef {
        match self.source {
            DictionarySource::Sealed(column) => column.dictionary.array(),
            DictionarySource::Consuming(seen) => seen.array(),
        }
    }

    /// The same with codes that ascend with the values. For a consuming segment the values are
    /// sorted, those that are new since it was asked last.
    pub fn in_order(self) -> Self {
        Self {
            source: match self.source {
                DictionarySource::Consuming(seen) => DictionarySource::Consuming(seen.in_order()),
                sealed => sealed,
            },
            ..self
        }
    }

    /// The values as they are stored: of sealed strings and bytes. Codes ascend with them.
    pub fn bytes(&self) -> Option<BytesDictionary<'a>> {
        match self.source {
            DictionarySource::Sealed(column) => column.dictionary.bytes(),
            DictionarySource::Consuming(_) => None,
        }
    }

    /// The values as they are stored: of consuming strings and bytes whose codes have no order.
    pub fn texts(&self) -> Option<SeenTexts<'a>> {
        match self.source {
            DictionarySource::Sealed(_) => None,
            DictionarySource::Consuming(seen) => seen.texts(),
        }
    }

    /// What each value does to the registers of a sketch, for values that have hashes. Made once
    /// and kept.
    pub fn raises(&self) -> Option<&'a [Raise]> {
        match self.source {
            DictionarySource::Sealed(column) => column.dictionary.raises(),
            DictionarySource::Consuming(seen) => seen.raises(),
        }
    }

    /// Codes ascend with values.
    pub fn is_ordered(&self) -> bool {
        match self.source {
            DictionarySource::Sealed(_) => true,
            DictionarySource::Consuming(seen) => seen.is_ordered(),
        }
    }

    /// Codes of `rows`, which lie within one block. Those that are stored stay where they are,
    /// others are put into `room`.
    pub fn codes<'r>(&self, rows: Range<u32>, room: &'r mut CodeRoom) -> Codes<'r>
    where
        'a: 'r,
    {
        let rows = checked(rows, self.row_count);
        match self.source {
            DictionarySource::Sealed(column) => column.codes.slice(rows, room),
            DictionarySource::Consuming(seen) => seen.codes(rows, room),
        }
    }

    /// Rows of each code. Not to be used where `valid` hides rows.
    pub fn doc_counts(&self) -> DocCounts<'a> {
        match self.source {
            DictionarySource::Sealed(column) => column.dictionary.doc_counts.all(),
            DictionarySource::Consuming(seen) => seen.doc_counts(),
        }
    }
}
