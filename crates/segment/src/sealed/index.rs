//! The indexes of a sealed segment, opened and verified at their first use.
//!
//! What an index is made of is known to its folder in the `index` crate; here it is a key and some
//! buffers. An [`IndexReader`] ties the two: it is one `impl` for each kind.

use std::any::Any;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use index::CorruptIndex;
use index::bloom::BloomReader;
use index::inverted::InvertedReader;
use index::json::JsonIndexReader;
use index::range::RangeReader;
use index::text::{Analyzer, TextIndexReader};
use serde_json::Value;

use super::SealedSegment;
use super::buckets::Buckets;
use super::star_tree::StarTree;
use crate::SegmentError;
use crate::container::{Container, IndexFooter, IndexKey, IndexKind};

/// A reader that the segment keeps once it was opened.
pub trait IndexReader: Debug + Send + Sync + Sized + 'static {
    const KIND: IndexKind;

    /// The checksums of the buffers were verified, what they hold was not.
    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex>;

    /// Whether it can be of rows and a first column like these.
    fn fits(&self, shape: IndexShape) -> bool;
}

/// The bytes of one index, and how it was made.
#[derive(Debug)]
pub struct IndexParts<'a> {
    pub buffers: Vec<Bytes>,
    pub parameters: &'a Value,
}

impl IndexParts<'_> {
    /// The only buffer.
    pub fn single(mut self) -> Result<Bytes, CorruptIndex> {
        match (self.buffers.pop(), self.buffers.len()) {
            (Some(buffer), 0) => Ok(buffer),
            (_, others) => Err(CorruptIndex::Buffers {
                wanted: 1,
                got: others as u32 + 1,
            }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexShape {
    pub rows: u32,
    /// Of the first column, when it has a dictionary.
    pub cardinality: Option<u32>,
}

#[derive(Debug)]
pub struct Index {
    container: Arc<Container>,
    footer: IndexFooter,
    reader: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Index {
    pub(crate) fn new(container: &Arc<Container>, footer: IndexFooter) -> Self {
        Self {
            container: Arc::clone(container),
            footer,
            reader: OnceLock::new(),
        }
    }

    pub fn key(&self) -> &IndexKey {
        &self.footer.key
    }

    /// Of the file, without padding.
    pub fn bytes(&self) -> u64 {
        self.footer.buffers.iter().map(|buffer| buffer.bytes).sum()
    }

    /// Verifies it at the first call; later ones are free. `R` is the reader of its kind.
    pub(crate) fn open<R: IndexReader>(
        &self,
        segment: &SealedSegment,
    ) -> Result<Arc<R>, SegmentError> {
        let reader = Arc::clone(self.opened::<R>(segment)?).downcast::<R>();
        Ok(reader.expect("a kind of index has one reader"))
    }

    /// As [`Self::open`], for as long as the segment lives.
    pub(crate) fn open_here<R: IndexReader>(
        &self,
        segment: &SealedSegment,
    ) -> Result<&R, SegmentError> {
        let reader = self.opened::<R>(segment)?.downcast_ref::<R>();
        Ok(reader.expect("a kind of index has one reader"))
    }

    fn opened<R: IndexReader>(
        &self,
        segment: &SealedSegment,
    ) -> Result<&Arc<dyn Any + Send + Sync>, SegmentError> {
        if let Some(opened) = self.reader.get() {
            return Ok(opened);
        }
        let reader: Arc<dyn Any + Send + Sync> = Arc::new(self.read::<R>(segment)?);
        Ok(self.reader.get_or_init(|| reader))
    }

    fn read<R: IndexReader>(&self, segment: &SealedSegment) -> Result<R, SegmentError> {
        let part = self.part();
        let parts = IndexParts {
            buffers: self.buffers()?,
            parameters: &self.footer.key.parameters,
        };
        let reader = R::open(parts)
            .map_err(|error| SegmentError::corrupt_index(self.container.path(), &part, &error))?;
        let column = self.footer.key.columns.first();
        let column = column.and_then(|name| segment.find(name));
        let shape = IndexShape {
            rows: segment.row_count(),
            cardinality: column.and_then(|column| column.cardinality()),
        };
        if !reader.fits(shape) {
            let what = format!("{part} is of another column");
            return Err(self.container.corrupt(what));
        }
        Ok(reader)
    }

    pub(super) fn buffers(&self) -> Result<Vec<Bytes>, SegmentError> {
        let part = self.part();
        let buffers = self.footer.buffers.iter();
        buffers
            .map(|buffer| self.container.buffer(buffer, &part))
            .collect()
    }

    fn checked(&self, checked: Result<(), CorruptIndex>) -> Result<(), SegmentError> {
        checked.map_err(|error| {
            SegmentError::corrupt_index(self.container.path(), &self.part(), &error)
        })
    }

    fn part(&self) -> String {
        let IndexKey { kind, columns, .. } = &self.footer.key;
        format!("the {kind} index of `{}`", columns.join("`, `"))
    }

    pub(crate) fn verify(&self, segment: &SealedSegment) -> Result<(), SegmentError> {
        match self.footer.key.kind {
            IndexKind::Inverted => self.open::<InvertedReader>(segment).map(drop),
            IndexKind::Range => self.open::<RangeReader>(segment).map(drop),
            IndexKind::Bloom => self.open::<BloomReader>(segment).map(drop),
            IndexKind::Text => self.checked(self.open::<TextIndexReader>(segment)?.verify()),
            IndexKind::Json => self.checked(self.open::<JsonIndexReader>(segment)?.verify()),
            IndexKind::StarTree => self.open::<StarTree>(segment).map(drop),
            IndexKind::Timestamp => self.open::<Buckets>(segment).map(drop),
            IndexKind::Computed | IndexKind::Unknown => self.buffers().map(drop),
        }
    }
}

impl IndexReader for InvertedReader {
    const KIND: IndexKind = IndexKind::Inverted;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        Self::open(parts.single()?)
    }

    fn fits(&self, shape: IndexShape) -> bool {
        (Some(self.cardinality()), self.doc_count()) == (shape.cardinality, shape.rows)
    }
}

impl IndexReader for RangeReader {
    const KIND: IndexKind = IndexKind::Range;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        Self::open(parts.single()?)
    }

    fn fits(&self, shape: IndexShape) -> bool {
        let are_codes = match (self.bounds(), shape.cardinality) {
            (Some((least, greatest)), Some(cardinality)) => {
                least >= 0 && greatest < i64::from(cardinality)
            }
            _ => true,
        };
        are_codes && self.doc_count() == shape.rows
    }
}

impl IndexReader for BloomReader {
    const KIND: IndexKind = IndexKind::Bloom;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        Self::open(parts.single()?)
    }

    fn fits(&self, _: IndexShape) -> bool {
        true
    }
}

impl IndexReader for TextIndexReader {
    const KIND: IndexKind = IndexKind::Text;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        let analyzer = Analyzer::of_parameters(parts.parameters);
        let unknown = || CorruptIndex::Text("its analyzer is not known".to_owned());
        Self::open(parts.buffers, analyzer.ok_or_else(unknown)?)
    }

    fn fits(&self, shape: IndexShape) -> bool {
        self.doc_count() == shape.rows
    }
}

impl IndexReader for JsonIndexReader {
    const KIND: IndexKind = IndexKind::Json;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        Self::open(parts.buffers)
    }

    fn fits(&self, shape: IndexShape) -> bool {
        self.doc_count() == shape.rows
    }
}
