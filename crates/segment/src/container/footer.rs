//! The footer: what a segment is and where its buffers lie.
//!
//! A persisted shape. Fields may be added with `#[serde(default)]`; any other change raises
//! `VERSION` in `container/mod.rs` and keeps reading the versions before it.

use schemas::segment::Ledger;
use schemas::{DataType, Offset, SegmentId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) id: SegmentId,
    pub(crate) name: String,
    pub(crate) rows: u32,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) ledger: Ledger,
    pub(crate) newest_ingest_ms: i64,
    pub(crate) columns: Vec<ColumnFooter>,
    pub(crate) rejected: Option<BufferRef>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ColumnFooter {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) encoding: Encoding,
    /// One bit for each row, when there is a null.
    pub(crate) nulls: Option<BufferRef>,
    /// Least and greatest value of every block of 4096 rows: pairs of i64 or f64.
    pub(crate) zones: Option<BufferRef>,
    pub(crate) inverted: Option<BufferRef>,
    /// Where the rows of each code begin, when rows are in the order of this column.
    pub(crate) sorted: Option<BufferRef>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Encoding {
    Dictionary(DictionaryFooter),
    /// value = base + stored, of `width` bytes each.
    Frame {
        base: i64,
        width: u8,
        values: BufferRef,
    },
    /// As Arrow has them: i32, i64, f32, f64 or i256, by the data type.
    Plain {
        values: BufferRef,
    },
    /// `first`, `first + 1`, …
    Sequence {
        first: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DictionaryFooter {
    pub(crate) cardinality: u32,
    /// Bytes of one code.
    pub(crate) width: u8,
    pub(crate) codes: BufferRef,
    /// Only of byte strings.
    pub(crate) offsets: Option<BufferRef>,
    /// Ascending; numbers as in `Plain`, BOOLEAN as u8.
    pub(crate) values: BufferRef,
    pub(crate) doc_counts: BufferRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BufferRef {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

impl BufferRef {
    /// With the zeros after it.
    pub(crate) fn padded(&self) -> u64 {
        self.bytes.next_multiple_of(super::ALIGNMENT)
    }
}

impl Footer {
    pub(crate) fn buffers(&self) -> Vec<BufferRef> {
        let columns = self.columns.iter().flat_map(ColumnFooter::buffers);
        columns.chain(self.rejected).collect()
    }
}

impl ColumnFooter {
    fn buffers(&self) -> Vec<BufferRef> {
        let mut all = match &self.encoding {
            Encoding::Dictionary(dictionary) => {
                let mut all = vec![dictionary.codes, dictionary.values, dictionary.doc_counts];
                all.extend(dictionary.offsets);
                all
            }
            Encoding::Frame { values, .. } | Encoding::Plain { values } => vec![*values],
            Encoding::Sequence { .. } => vec![],
        };
        let indexes = [self.nulls, self.zones, self.inverted, self.sorted];
        all.extend(indexes.into_iter().flatten());
        all
    }
}
