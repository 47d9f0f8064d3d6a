//! What queries read: a prefix of the rows of a segment, fixed at the moment the view was made.
//!
//! Rows of a view never change and never move, whatever is appended to the segment meanwhile.
//! Blocks are [`BLOCK_ROWS`] rows, counted from the first; a range of rows that is asked for lies
//! within one block.

use std::ops::Range;
use std::sync::Arc;

use schemas::table::virtual_column;
use schemas::{Offset, SegmentId};

pub use crate::column::{
    BytesColumn, CodeRoom, Codes, ColumnView, DictionaryColumn, Entries, EntryCursor, MultiColumn,
    Nulls, Values,
};
pub use crate::container::{IndexKey, IndexKind};
use crate::mutable::Derived;
pub use crate::mutable::search::{Head, SeenTexts};
pub use crate::mutable::text::TextChunk;
pub use crate::raw::{Bits, RawColumn, RawValues, SparseValues, Zone};
pub use crate::sealed::index::{Index, IndexParts, IndexReader, IndexShape};
pub use crate::sealed::star_tree::{StarTree, StarTreeDimension, StarTreeMetric};
pub use crate::valid::{BLOCK_WORDS, ValidRows};
use crate::{MutableSegment, RejectedRow, SealedSegment, SegmentError};
pub use index::forward::counts::DocCounts;

/// Rows of a block. Blocks never straddle the chunks of a consuming segment.
pub const BLOCK_ROWS: u32 = 4096;

#[derive(Clone, Debug)]
pub enum Segment {
    Sealed(Arc<SealedSegment>),
    Consuming(Arc<MutableSegment>),
}

#[derive(Clone, Debug)]
pub struct SegmentView {
    pub segment: Segment,
    pub row_count: u32,
    /// Rows that count, where newer ones have replaced others; `None` = all.
    pub(crate) valid: Option<ValidRows>,
    /// Of each column of a consuming segment.
    pub(crate) derived: Arc<[Derived]>,
}

impl SegmentView {
    pub fn id(&self) -> SegmentId {
        match &self.segment {
            Segment::Sealed(segment) => segment.id(),
            Segment::Consuming(segment) => segment.id(),
        }
    }

    pub fn name(&self) -> &str {
        match &self.segment {
            Segment::Sealed(segment) => segment.name(),
            Segment::Consuming(segment) => segment.name(),
        }
    }

    pub fn partition(&self) -> u32 {
        self.id().partition
    }

    pub fn row_count(&self) -> u32 {
        self.row_count
    }

    /// The rows of the segment that were there when `valid` was made, without those that are
    /// replaced. A view in which none is replaced is one without an upsert.
    pub fn with_valid(mut self, valid: ValidRows) -> Self {
        self.row_count = self.row_count.min(valid.row_count());
        self.valid = (!valid.is_all()).then_some(valid);
        self
    }

    /// Where it is not `None`, nothing that is known of the stored rows as a whole is an answer.
    pub fn valid(&self) -> Option<&ValidRows> {
        self.valid.as_ref()
    }

    pub fn is_consuming(&self) -> bool {
        matches!(self.segment, Segment::Consuming(_))
    }

    /// First offset of the segment.
    pub fn start_offset(&self) -> Offset {
        match &self.segment {
            Segment::Sealed(segment) => segment.start(),
            Segment::Consuming(segment) => segment.start_offset(),
        }
    }

    /// First offset that is not in the view.
    pub fn next_offset(&self) -> Offset {
        match &self.segment {
            Segment::Sealed(segment) => segment.end(),
            Segment::Consuming(segment) => segment.next_offset_at(self.row_count),
        }
    }

    /// Ingestion time of the newest row; `i64::MIN` when there is none.
    pub fn newest_ingest_ms(&self) -> i64 {
        match &self.segment {
            Segment::Sealed(segment) => segment.newest_ingest_ms(),
            Segment::Consuming(segment) => segment.newest_ingest_ms_at(self.row_count),
        }
    }

    /// A column of the table, or `$offset` or `$ingestTime`. `None`: the segment was written
    /// before the column existed, its rows hold [`crate::default_array`].
    ///
    /// The first use of a sealed column verifies its checksums.
    pub fn column(&self, name: &str) -> Result<Option<ColumnView<'_>>, SegmentError> {
        match &self.segment {
            Segment::Sealed(segment) => match segment.find(name) {
                Some(column) => ColumnView::sealed(segment, column, self.row_count).map(Some),
                None => Ok(None),
            },
            Segment::Consuming(segment) => Ok(segment.position(name).map(|at| {
                let column = &segment.columns()[at];
                ColumnView::mutable(column, self.row_count, &self.derived[at])
            })),
        }
    }

    /// All indexes of a sealed segment; a consuming one has none.
    pub fn indexes(&self) -> &[Arc<Index>] {
        match &self.segment {
            Segment::Sealed(segment) => segment.indexes(),
            Segment::Consuming(_) => &[],
        }
    }

    /// The reader of one of [`Self::indexes`].
    pub fn open_index<R: IndexReader>(&self, index: &Index) -> Result<Arc<R>, SegmentError> {
        match &self.segment {
            Segment::Sealed(segment) => index.open(segment),
            Segment::Consuming(_) => unreachable!("a consuming segment has no index"),
        }
    }

    /// Rows of these offsets that could not be decoded, as far as they are kept.
    pub fn rejected(&self) -> Result<Vec<RejectedRow>, SegmentError> {
        match &self.segment {
            Segment::Sealed(segment) => segment.rejected(),
            Segment::Consuming(segment) => Ok(segment.rejected()),
        }
    }
}

/// The rows of each block.
pub fn blocks(rows: u32) -> impl Iterator<Item = Range<u32>> {
    let starts = (0..rows).step_by(BLOCK_ROWS as usize);
    starts.map(move |start| start..rows.min(start.saturating_add(BLOCK_ROWS)))
}

/// Columns that are stored beside those of the schema.
pub(crate) const STORED_VIRTUAL: [(&str, schemas::DataType); 2] = [
    (virtual_column::OFFSET, schemas::DataType::Long),
    (virtual_column::INGEST_TIME, schemas::DataType::Timestamp),
];

/// Name for messages.
pub(crate) fn describe(id: SegmentId, crc: u32) -> String {
    format!("segment {id} with checksum {crc:08x}")
}
