//! Read half of the inverted index: code → the documents that hold the value.
//!
//! ```text
//! INVERTED := HEADER OFFSETS BITMAPS
//! HEADER   := magic "INV1" | cardinality: u32 | docs: u32 | zero: u32      (16 bytes)
//! OFFSETS  := (cardinality + 1) × u32, relative to the start of BITMAPS
//! BITMAPS  := one roaring bitmap (portable encoding) per code, in the order of codes
//! ```
//!
//! [`InvertedReader::open`] checks the frame once; afterwards the reader relies on:
//! - offsets never decrease, and the last one is exactly the length of `BITMAPS`;
//! - codes come from the dictionary of the same column, so they are `< cardinality`.
//!
//! The bytes stay where the segment mapped them: opening costs O(cardinality), memory O(1).

use bytes::Bytes;
use roaring::{MultiOps, RoaringBitmap};

use crate::CorruptIndex;

pub(super) const MAGIC: [u8; 4] = *b"INV1";
pub(super) const HEADER_BYTES: usize = 16;

#[derive(Clone, Debug)]
pub struct InvertedReader {
    offsets: Bytes,
    bitmaps: Bytes,
    cardinality: u32,
    docs: u32,
}

impl InvertedReader {
    pub fn open(data: Bytes) -> Result<Self, CorruptIndex> {
        if data.len() < HEADER_BYTES {
            return Err(wrong_length(HEADER_BYTES, data.len()));
        }
        if data[..4] != MAGIC {
            return Err(CorruptIndex::WrongMagic { expected: "INV1" });
        }
        let cardinality = read_u32(&data, 4);
        let offsets_end = HEADER_BYTES + (cardinality as usize + 1) * 4;
        if data.len() < offsets_end {
            return Err(wrong_length(offsets_end, data.len()));
        }
        let reader = Self {
            offsets: data.slice(HEADER_BYTES..offsets_end),
            bitmaps: data.slice(offsets_end..),
            cardinality,
            docs: read_u32(&data, 8),
        };
        reader.check_offsets()?;
        Ok(reader)
    }

    pub fn cardinality(&self) -> u32 {
        self.cardinality
    }

    pub fn doc_count(&self) -> u32 {
        self.docs
    }

    /// Documents whose value is `code`.
    pub fn docs(&self, code: u32) -> Result<RoaringBitmap, CorruptIndex> {
        assert!(
            code < self.cardinality,
            "code {code} is of another column: this one has {}",
            self.cardinality
        );
        let range = self.offset(code)..self.offset(code + 1);
        let bitmap = RoaringBitmap::deserialize_from(&self.bitmaps[range])
            .map_err(|source| CorruptIndex::Bitmap { code, source })?;
        match bitmap.max() {
            Some(doc) if doc >= self.docs => Err(CorruptIndex::DocOutOfRange {
                code,
                doc,
                docs: self.docs,
            }),
            _ => Ok(bitmap),
        }
    }

    /// Documents whose value is any of `codes`.
    pub fn docs_of_any(
        &self,
        codes: impl IntoIterator<Item = u32>,
    ) -> Result<RoaringBitmap, CorruptIndex> {
        codes.into_iter().map(|code| self.docs(code)).union()
    }

    fn offset(&self, index: u32) -> usize {
        read_u32(&self.offsets, index as usize * 4) as usize
    }

    fn check_offsets(&self) -> Result<(), CorruptIndex> {
        let mut previous = 0;
        for index in 0..=self.cardinality {
            let offset = self.offset(index);
            if offset < previous {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = offset;
        }
        if previous != self.bitmaps.len() {
            return Err(wrong_length(previous, self.bitmaps.len()));
        }
        Ok(())
    }
}

fn wrong_length(wanted: usize, got: usize) -> CorruptIndex {
    CorruptIndex::Length {
        wanted: wanted as u64,
        got: got as u64,
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into().expect("a four-byte slice");
    u32::from_le_bytes(word)
}
