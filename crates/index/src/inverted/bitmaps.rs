//! The first form of the inverted index, which is read and no longer written.
//!
//! ```text
//! INVERTED := HEADER OFFSETS BITMAPS
//! HEADER   := magic "INV1" | cardinality: u32 | docs: u32 | zero: u32      (16 bytes)
//! OFFSETS  := (cardinality + 1) × u32, relative to the start of BITMAPS
//! BITMAPS  := one roaring bitmap (portable encoding) per code, in the order of codes
//! ```
//!
//! [`Bitmaps::open`] checks the frame once: offsets never decrease, and the last one is exactly
//! the length of `BITMAPS`.

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::reader::{HEADER_BYTES, Head, read_u32, wrong_length};
use crate::CorruptIndex;

pub(super) const MAGIC: [u8; 4] = *b"INV1";

#[derive(Clone, Debug)]
pub(super) struct Bitmaps {
    offsets: Bytes,
    bitmaps: Bytes,
}

impl Bitmaps {
    pub(super) fn open(data: &Bytes, head: Head) -> Result<Self, CorruptIndex> {
        let offsets_end = HEADER_BYTES + (head.cardinality as usize + 1) * 4;
        if data.len() < offsets_end {
            return Err(wrong_length(offsets_end, data.len()));
        }
        let reader = Self {
            offsets: data.slice(HEADER_BYTES..offsets_end),
            bitmaps: data.slice(offsets_end..),
        };
        let mut previous = 0;
        for index in 0..=head.cardinality {
            let offset = reader.offset(index);
            if offset < previous {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = offset;
        }
        if previous != reader.bitmaps.len() {
            return Err(wrong_length(previous, reader.bitmaps.len()));
        }
        Ok(reader)
    }

    pub(super) fn docs(&self, head: Head, code: u32) -> Result<RoaringBitmap, CorruptIndex> {
        head.bitmap(
            code,
            &self.bitmaps[self.offset(code)..self.offset(code + 1)],
        )
    }

    fn offset(&self, index: u32) -> usize {
        read_u32(&self.offsets, index as usize * 4) as usize
    }
}
