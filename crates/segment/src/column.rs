//! One column as queries see it, sealed and consuming alike.
//!
//! A [`ColumnView`] covers the rows of its [`crate::SegmentView`] and does not change: its
//! dictionary has the cardinality that was published when the view of the column was made, and
//! every code in its rows is below it.

mod buckets;
mod dictionary;
mod entries;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use index::dictionary::BytesDictionary;
use index::forward::counts::DocCounts;
use index::inverted::InvertedReader;
use schemas::DataType;
use serde_json::Value;

use crate::mutable::nulls::NullBits;
use crate::mutable::search::SeenTexts;
use crate::mutable::seen::{Seen, SeenCodes};
use crate::mutable::text::TextChunk;
use crate::mutable::{self, Derived};
use crate::raw::{RawColumn, RawSource, Zone};
use crate::sealed::index::IndexReader;
use crate::sealed::texts::TextColumn;
use crate::sealed::{column as sealed, forward};
use crate::{BLOCK_ROWS, SealedSegment, SegmentError};

pub use dictionary::DictionaryColumn;
use dictionary::DictionarySource;
pub use entries::{Entries, EntryCursor};
pub(crate) use entries::{EntryCodes, EntryStarts, sum_of_entries};

#[derive(Clone, Copy, Debug)]
pub struct ColumnView<'a> {
    data_type: DataType,
    row_count: u32,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Sealed(&'a SealedSegment, &'a sealed::Column, &'a sealed::Loaded),
    Mutable(&'a mutable::Column, &'a Derived),
}

impl<'a> ColumnView<'a> {
    pub(crate) fn sealed(
        segment: &'a SealedSegment,
        column: &'a sealed::Column,
        row_count: u32,
    ) -> Result<Self, SegmentError> {
        Ok(Self {
            data_type: column.data_type(),
            row_count,
            source: Source::Sealed(segment, column, column.load()?),
        })
    }

    pub(crate) fn mutable(
        column: &'a mutable::Column,
        row_count: u32,
        derived: &'a Derived,
    ) -> Self {
        Self {
            data_type: column.data_type,
            row_count,
            source: Source::Mutable(column, derived),
        }
    }

    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    pub fn row_count(&self) -> u32 {
        self.row_count
    }

    pub fn values(&self) -> Values<'a> {
        let row_count = self.row_count;
        match self.source {
            Source::Sealed(_, column, loaded) => match &loaded.values {
                forward::Forward::Texts(texts) => Values::Bytes(BytesColumn {
                    row_count,
                    column,
                    texts,
                }),
                forward::Forward::Dictionary(dictionary) => Values::Dictionary(DictionaryColumn {
                    row_count,
                    cardinality: dictionary.dictionary.cardinality,
                    source: DictionarySource::Sealed(dictionary),
                }),
                forward::Forward::Multi(multi) => Values::Multi(MultiColumn {
                    row_count,
                    cardinality: multi.dictionary.cardinality,
                    source: MultiSource::Sealed(multi),
                }),
                values => Values::Raw(RawColumn {
                    row_count,
                    source: RawSource::Sealed(values),
                }),
            },
            Source::Mutable(column, derived) => self.of_consuming(column, derived),
        }
    }

    fn of_consuming(&self, column: &'a mutable::Column, derived: &'a Derived) -> Values<'a> {
        let row_count = self.row_count;
        let cardinality = derived.cardinality(|| column.cardinality());
        let seen = |codes, dictionary| {
            Values::Dictionary(DictionaryColumn {
                row_count,
                cardinality,
                source: DictionarySource::Consuming(Seen {
                    codes,
                    dictionary,
                    kept: &column.kept,
                    derived,
                    rows: row_count,
                    cardinality,
                    order: None,
                }),
            })
        };
        match &column.values {
            mutable::Values::Dictionary { codes, dictionary } => {
                seen(SeenCodes::Wide(codes), dictionary)
            }
            mutable::Values::Multi(multi) => Values::Multi(MultiColumn {
                row_count,
                cardinality,
                source: MultiSource::Mutable(multi),
            }),
            values => match column.few(row_count) {
                Some(few) => seen(SeenCodes::Narrow(&few.codes), &few.dictionary),
                None => Values::Raw(RawColumn {
                    row_count,
                    source: RawSource::Mutable(values),
                }),
            },
        }
    }

    /// `None` when no row of the view is null.
    pub fn nulls(&self) -> Option<Nulls<'a>> {
        let source = match self.source {
            Source::Sealed(_, _, loaded) => NullSource::Sealed(loaded.nulls.as_deref()?),
            Source::Mutable(column, _) => {
                NullSource::Mutable(column.nulls.any_before(self.row_count)?)
            }
        };
        Some(Nulls {
            row_count: self.row_count,
            source,
        })
    }

    /// Least and greatest raw value of a block, the stored defaults of nulls among them. `None`
    /// where it is not known: in dictionaries, in blocks with a NaN.
    pub fn zone(&self, block: u32) -> Option<Zone> {
        match self.source {
            Source::Sealed(_, _, loaded) => loaded.zones.as_ref()?.get(block),
            Source::Mutable(column, ..) => column.zones.of(&column.values, block, self.row_count),
        }
    }

    /// Least and greatest code of a block. `None` where it is not known.
    pub fn code_zone(&self, block: u32) -> Option<(u32, u32)> {
        let Source::Sealed(_, _, loaded) = self.source else {
            return None;
        };
        let zones = loaded.code_zones.as_ref()?;
        let at = block as usize * 2;
        Some((*zones.get(at)?, *zones.get(at + 1)?))
    }

    /// The index over this column that `R` reads, in sealed segments.
    pub fn index<R: IndexReader>(&self) -> Result<Option<Arc<R>>, SegmentError> {
        let Source::Sealed(segment, column, _) = self.source else {
            return Ok(None);
        };
        let index = segment.find_index(R::KIND, column.name());
        index.map(|index| index.open(segment)).transpose()
    }

    pub fn inverted(&self) -> Result<Option<Arc<InvertedReader>>, SegmentError> {
        self.index()
    }

    /// Indexed parts of the dictionary of a consuming column, if they were made with these
    /// parameters.
    pub fn text_chunks(&self, parameters: &Value) -> Option<Arc<Vec<Arc<TextChunk>>>> {
        match self.source {
            Source::Mutable(column, _) => column.text.as_ref()?.chunks(parameters),
            Source::Sealed(..) => None,
        }
    }

    /// The text of a code, in a consuming column of texts.
    pub fn consuming_text(&self, code: u32) -> Option<&'a str> {
        match self.source {
            Source::Mutable(column, derived) => match &column.values {
                mutable::Values::Dictionary { dictionary, .. }
                    if code < derived.cardinality(|| column.cardinality()) =>
                {
                    Some(dictionary.text(code))
                }
                _ => None,
            },
            Source::Sealed(..) => None,
        }
    }

    /// The rows are in the order of this column's codes.
    pub fn is_sorted(&self) -> bool {
        self.sorted_starts().is_some()
    }

    /// Rows that hold `code`, in a sorted column.
    pub fn sorted_range(&self, code: u32) -> Option<Range<u32>> {
        let starts = self.sorted_starts()?;
        Some(index::sorted::DocRanges::new(starts).range(code))
    }

    fn sorted_starts(&self) -> Option<&'a [u32]> {
        match self.source {
            Source::Sealed(_, _, loaded) => loaded.sorted_starts.as_deref(),
            Source::Mutable(..) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    Dictionary(DictionaryColumn<'a>),
    Raw(RawColumn<'a>),
    /// Several values a row, at least one.
    Multi(MultiColumn<'a>),
    /// Texts without a dictionary, in sealed segments.
    Bytes(BytesColumn<'a>),
}

/// Where codes are put that are not stored. Costs nothing until it is used.
#[derive(Debug, Default)]
pub struct CodeRoom {
    pub(crate) bytes: Vec<u8>,
    pub(crate) shorts: Vec<u16>,
    pub(crate) words: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub enum Codes<'a> {
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
}

impl Codes<'_> {
    pub fn get(&self, at: usize) -> u32 {
        match self {
            Self::U8(codes) => codes[at].into(),
            Self::U16(codes) => codes[at].into(),
            Self::U32(codes) => codes[at],
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::U32(codes) => codes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::U8(codes) => Self::U8(&codes[range]),
            Self::U16(codes) => Self::U16(&codes[range]),
            Self::U32(codes) => Self::U32(&codes[range]),
        }
    }
}

/// STRING, JSON, BYTES or UUID that hardly repeat: unpacked block by block.
#[derive(Clone, Copy, Debug)]
pub struct BytesColumn<'a> {
    row_count: u32,
    column: &'a sealed::Column,
    texts: &'a TextColumn,
}

impl BytesColumn<'_> {
    /// Values of `rows`, which lie within one block, in the Arrow type of the column. The block is
    /// verified here.
    pub fn array(&self, rows: Range<u32>) -> Result<ArrayRef, SegmentError> {
        self.column.texts(self.texts, checked(rows, self.row_count))
    }
}

/// Several values a row, as codes of one dictionary. A null holds the default once.
#[derive(Clone, Copy, Debug)]
pub struct MultiColumn<'a> {
    row_count: u32,
    cardinality: u32,
    source: MultiSource<'a>,
}

#[derive(Clone, Copy, Debug)]
enum MultiSource<'a> {
    Sealed(&'a forward::MultiColumn),
    Mutable(&'a mutable::multi::Multi),
}

impl<'a> MultiColumn<'a> {
    /// See [`DictionaryColumn::bytes`].
    pub fn bytes(&self) -> Option<BytesDictionary<'a>> {
        match self.source {
            MultiSource::Sealed(column) => column.dictionary.bytes(),
            MultiSource::Mutable(_) => None,
        }
    }

    /// See [`DictionaryColumn::texts`].
    pub fn texts(&self) -> Option<SeenTexts<'a>> {
        match self.source {
            MultiSource::Sealed(_) => None,
            MultiSource::Mutable(column) => SeenTexts::new(&column.dictionary, self.cardinality),
        }
    }

    /// Every code in the rows of the view is below it.
    pub fn cardinality(&self) -> u32 {
        self.cardinality
    }

    /// See [`DictionaryColumn::array`].
    pub fn array(&self) -> ArrayRef {
        match self.source {
            MultiSource::Sealed(column) => column.dictionary.array(),
            MultiSource::Mutable(column) => column.dictionary.array(self.cardinality),
        }
    }

    /// Codes ascend with values.
    pub fn is_ordered(&self) -> bool {
        matches!(self.source, MultiSource::Sealed(_))
    }

    /// The codes of `rows`, which lie within one block.
    pub fn entries(&self, rows: Range<u32>) -> Entries<'a> {
        let rows = checked(rows, self.row_count);
        match self.source {
            MultiSource::Sealed(column) => column.entries(rows),
            MultiSource::Mutable(column) => column.entries(rows),
        }
    }

    /// Rows that hold each code, in sealed segments. Not to be used where `valid` hides rows.
    pub fn doc_counts(&self) -> Option<DocCounts<'a>> {
        match self.source {
            MultiSource::Sealed(column) => Some(column.dictionary.doc_counts.all()),
            MultiSource::Mutable(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Nulls<'a> {
    row_count: u32,
    source: NullSource<'a>,
}

#[derive(Clone, Copy, Debug)]
enum NullSource<'a> {
    Sealed(&'a [u64]),
    Mutable(&'a NullBits),
}

impl Nulls<'_> {
    pub fn is_null(&self, doc: u32) -> bool {
        self.word(doc as usize / 64) >> (doc % 64) & 1 == 1
    }

    pub fn any_in(&self, docs: Range<u32>) -> bool {
        index::null::any_in(docs, |word| self.word(word))
    }

    /// Sets `mask[i]` to the null bits of the rows `start + 64 * i ..`; `start` is a multiple
    /// of 64. Bits past the view are 0.
    pub fn fill_mask(&self, start: u32, mask: &mut [u64]) {
        debug_assert!(start.is_multiple_of(64));
        let first = start as usize / 64;
        for (at, word) in mask.iter_mut().enumerate() {
            *word = self.word(first + at);
        }
    }

    /// Null rows of the view.
    pub fn count(&self) -> u32 {
        let words = 0..index::null::words(self.row_count);
        words.map(|at| self.word(at).count_ones()).sum()
    }

    fn word(&self, at: usize) -> u64 {
        let word = match self.source {
            NullSource::Sealed(words) => words.get(at).copied().unwrap_or(0),
            NullSource::Mutable(bits) => bits.word(at),
        };
        let rows = (self.row_count as usize).saturating_sub(at * 64);
        if rows >= 64 {
            word
        } else {
            word & ((1 << rows) - 1)
        }
    }
}

pub(crate) fn checked(rows: Range<u32>, row_count: u32) -> Range<usize> {
    assert!(
        rows.start <= rows.end && rows.end <= row_count,
        "rows {rows:?} of a view of {row_count}"
    );
    debug_assert!(
        rows.is_empty() || rows.start / BLOCK_ROWS == (rows.end - 1) / BLOCK_ROWS,
        "rows {rows:?} lie in more than one block"
    );
    rows.start as usize..rows.end as usize
}
