//! Read half of the inverted index: code → the documents that hold the value.
//!
//! The grammars stand in `lists.rs` and, of what is no longer written, in `bitmaps.rs`.
//! [`InvertedReader::open`] checks the frame once; codes come from the dictionary of the same
//! column, so they are below the cardinality.
//!
//! The bytes stay where the segment mapped them: opening costs O(cardinality), memory O(1).

use bytes::Bytes;
use roaring::{MultiOps, RoaringBitmap};

use super::bitmaps::{self, Bitmaps};
use super::lists::{self, Lists};
use crate::CorruptIndex;

pub(super) const HEADER_BYTES: usize = 16;

#[derive(Clone, Debug)]
pub struct InvertedReader {
    head: Head,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Bitmaps(Bitmaps),
    Lists(Lists),
}

/// What both forms begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) cardinality: u32,
    pub(super) docs: u32,
}

impl InvertedReader {
    pub fn open(data: Bytes) -> Result<Self, CorruptIndex> {
        if data.len() < HEADER_BYTES {
            return Err(wrong_length(HEADER_BYTES, data.len()));
        }
        let head = Head {
            cardinality: read_u32(&data, 4),
            docs: read_u32(&data, 8),
        };
        let form = match data[..4].first_chunk() {
            Some(&lists::MAGIC) => Form::Lists(Lists::open(&data, head)?),
            Some(&bitmaps::MAGIC) => Form::Bitmaps(Bitmaps::open(&data, head)?),
            _ => return Err(CorruptIndex::WrongMagic { expected: "INV2" }),
        };
        Ok(Self { head, form })
    }

    pub fn cardinality(&self) -> u32 {
        self.head.cardinality
    }

    pub fn doc_count(&self) -> u32 {
        self.head.docs
    }

    /// Documents whose value is `code`.
    pub fn docs(&self, code: u32) -> Result<RoaringBitmap, CorruptIndex> {
        let code = self.head.checked(code);
        match &self.form {
            Form::Bitmaps(bitmaps) => bitmaps.docs(self.head, code),
            Form::Lists(lists) => lists.docs(self.head, code),
        }
    }

    /// Documents whose value is any of `codes`.
    pub fn docs_of_any(
        &self,
        codes: impl IntoIterator<Item = u32>,
    ) -> Result<RoaringBitmap, CorruptIndex> {
        match &self.form {
            Form::Bitmaps(_) => codes.into_iter().map(|code| self.docs(code)).union(),
            Form::Lists(lists) => lists.docs_of_any(self.head, codes),
        }
    }
}

impl Head {
    pub(super) fn checked(self, code: u32) -> u32 {
        assert!(
            code < self.cardinality,
            "code {code} is of another column: this one has {}",
            self.cardinality
        );
        code
    }

    /// The bitmap of `code`, which names no document that is not there.
    pub(super) fn bitmap(self, code: u32, bytes: &[u8]) -> Result<RoaringBitmap, CorruptIndex> {
        let bitmap = RoaringBitmap::deserialize_from(bytes)
            .map_err(|source| CorruptIndex::Bitmap { code, source })?;
        match bitmap.max() {
            Some(doc) if doc >= self.docs => Err(self.out_of_range(code, doc)),
            _ => Ok(bitmap),
        }
    }

    pub(super) fn out_of_range(self, code: u32, doc: u32) -> CorruptIndex {
        CorruptIndex::DocOutOfRange {
            code,
            doc,
            docs: self.docs,
        }
    }
}

pub(super) fn wrong_length(wanted: usize, got: usize) -> CorruptIndex {
    CorruptIndex::Length {
        wanted: wanted as u64,
        got: got as u64,
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into().expect("a four-byte slice");
    u32::from_le_bytes(word)
}
