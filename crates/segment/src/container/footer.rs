//! The footer: what a segment is and where its buffers lie.
//!
//! A persisted shape. Fields may be added with `#[serde(default)]`; any other change raises
//! `VERSION` in `container/mod.rs` and keeps reading the versions before it.

use std::fmt;

use schemas::segment::Ledger;
use schemas::{DataType, Offset, SegmentId};
use serde::{Deserialize, Serialize};

use super::Content;

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
    #[serde(default)]
    pub(crate) indexes: Vec<IndexFooter>,
    /// Asked for, and not to be had in this segment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) declined: Vec<IndexKey>,
    pub(crate) rejected: Option<BufferRef>,
    /// What is known of the partition's keys at the end of the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<BufferRef>,
    /// Files whose place this one has taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) earlier: Option<BufferRef>,
}

/// One index: which, over which columns, made how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IndexFooter {
    #[serde(flatten)]
    pub(crate) key: IndexKey,
    pub(crate) buffers: Vec<BufferRef>,
}

/// What tells one index of a segment from another. Two indexes with equal keys over the same rows
/// are the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexKey {
    pub kind: IndexKind,
    pub columns: Vec<String>,
    /// What the table asked for beside the columns, in the form of its kind.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub parameters: serde_json::Value,
}

impl IndexKey {
    /// An index over one column that needs no parameters.
    pub fn of_column(kind: IndexKind, column: &str) -> Self {
        Self {
            kind,
            columns: vec![column.to_owned()],
            parameters: serde_json::Value::Null,
        }
    }

    /// Its only column.
    pub fn is_of(&self, kind: IndexKind, column: &str) -> bool {
        self.kind == kind && self.columns.len() == 1 && self.columns[0] == column
    }
}

impl fmt::Display for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind, self.columns.join(","))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    Inverted,
    Range,
    Bloom,
    Text,
    Json,
    Timestamp,
    StarTree,
    /// No index: the values of a column that the segment was written without, by its transform.
    Computed,
    /// Of a newer program: never used.
    #[serde(other)]
    Unknown,
}

impl IndexKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inverted => "inverted",
            Self::Range => "range",
            Self::Bloom => "bloom",
            Self::Text => "text",
            Self::Json => "json",
            Self::Timestamp => "timestamp",
            Self::StarTree => "star_tree",
            Self::Computed => "computed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
    /// Version 1 only, later versions have it among `indexes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inverted: Option<BufferRef>,
    /// Least and greatest code of every block of 4096 rows: pairs of u32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code_zones: Option<BufferRef>,
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
    /// value = base + one bit: u64.
    Bits {
        base: i64,
        values: BufferRef,
    },
    /// By the way from each to the next, see `index::forward::steps`.
    Steps {
        starts: BufferRef,
        values: BufferRef,
    },
    /// DOUBLE: value = (base + stored) / 10^decimals, of `width` bytes each.
    Scaled {
        decimals: u8,
        base: i64,
        width: u8,
        values: BufferRef,
    },
    /// Several values a row: codes of all entries, one row after the other.
    Multi {
        entries: u32,
        /// Where the entries of each row begin, and the end of the last: u32.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offsets: Option<BufferRef>,
        /// Instead of offsets: how many each row has, see `index::forward::entries`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<EntryCounts>,
        dictionary: DictionaryFooter,
    },
    /// As Arrow has them: i32, i64, f32, f64 or i256, by the data type; UUID as 16 bytes.
    Plain {
        values: BufferRef,
    },
    /// Nearly every row holds one value, of which `default` is the integer or the bits.
    Sparse {
        default: i64,
        /// Rows that hold another: u32, ascending.
        positions: BufferRef,
        count: u32,
        /// What they hold: `Frame` or `Plain`. All rows fit its form.
        values: Box<Encoding>,
    },
    /// Byte strings in compressed blocks of 4096 rows, see `index::blocks`.
    Blocks {
        starts: BufferRef,
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
    /// Bytes of one code: 1, 2, 4, or 3 where there is one code a row.
    pub(crate) width: u8,
    /// `None`: rows are in the order of the codes, `sorted` of the column tells which hold each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) codes: Option<BufferRef>,
    /// Only of byte strings.
    pub(crate) offsets: Option<BufferRef>,
    /// Ascending; numbers as in `Plain`, BOOLEAN as u8, UUID as 16 bytes.
    pub(crate) values: BufferRef,
    /// Of byte strings without offsets: values are packed as `index::dictionary::prefixed` says,
    /// and are so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefixed: Option<u64>,
    /// Of whole numbers: value = base + stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<ValueFrame>,
    /// Rows that hold each code: u32, or u8 where there are `more_counts`.
    pub(crate) doc_counts: BufferRef,
    /// See `index::forward::counts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) more_counts: Option<BufferRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ValueFrame {
    pub(crate) base: i64,
    /// Bytes of one difference.
    pub(crate) width: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntryCounts {
    pub(crate) before: BufferRef,
    pub(crate) counts: BufferRef,
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

impl Content for Footer {
    const MAGIC: [u8; 8] = *b"TanninSg";
    const NOUN: &'static str = "segment";

    fn id(&self) -> SegmentId {
        self.id
    }

    fn buffers(&self) -> Vec<BufferRef> {
        let columns = self.columns.iter().flat_map(ColumnFooter::buffers);
        let indexes = self.indexes.iter().flat_map(|index| index.buffers.clone());
        let others = [self.rejected, self.keys, self.earlier]
            .into_iter()
            .flatten();
        columns.chain(indexes).chain(others).collect()
    }
}

impl Footer {
    /// All indexes, those of version 1 among them.
    pub(crate) fn all_indexes(&self) -> Vec<IndexFooter> {
        let of_column = |column: &ColumnFooter| {
            let buffers = vec![column.inverted?];
            let key = IndexKey::of_column(IndexKind::Inverted, &column.name);
            Some(IndexFooter { key, buffers })
        };
        let old = self.columns.iter().filter_map(of_column);
        old.chain(self.indexes.iter().cloned()).collect()
    }
}

impl ColumnFooter {
    pub(crate) fn buffers(&self) -> Vec<BufferRef> {
        let mut all = self.encoding.buffers();
        let indexes = [
            self.nulls,
            self.zones,
            self.code_zones,
            self.inverted,
            self.sorted,
        ];
        all.extend(indexes.into_iter().flatten());
        all
    }
}

impl Encoding {
    pub(crate) fn buffers(&self) -> Vec<BufferRef> {
        match self {
            Self::Dictionary(dictionary) => dictionary.buffers(),
            Self::Multi {
                offsets,
                counts,
                dictionary,
                ..
            } => {
                let mut all = dictionary.buffers();
                all.extend(offsets);
                all.extend(counts.iter().flat_map(|own| [own.before, own.counts]));
                all
            }
            Self::Frame { values, .. }
            | Self::Bits { values, .. }
            | Self::Scaled { values, .. }
            | Self::Plain { values } => {
                vec![*values]
            }
            Self::Sparse {
                positions, values, ..
            } => {
                let mut all = values.buffers();
                all.push(*positions);
                all
            }
            Self::Blocks { starts, values } | Self::Steps { starts, values } => {
                vec![*starts, *values]
            }
            Self::Sequence { .. } => vec![],
        }
    }
}

impl DictionaryFooter {
    fn buffers(&self) -> Vec<BufferRef> {
        let mut all = vec![self.values, self.doc_counts];
        all.extend(
            [self.codes, self.offsets, self.more_counts]
                .into_iter()
                .flatten(),
        );
        all
    }
}
