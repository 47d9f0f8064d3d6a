//! Read half of the bloom filter.
//!
//! ```text
//! BLOOM  := HEADER BLOCKS
//! HEADER := magic "BLM1" | blocks: u32 | zero: u64     (16 bytes)
//! BLOCKS := blocks × 8 × u32, at least one block
//! ```

use bytes::Bytes;

use super::place;
use crate::CorruptIndex;

pub(super) const MAGIC: [u8; 4] = *b"BLM1";
pub(super) const HEADER_BYTES: usize = 16;

#[derive(Debug)]
pub struct BloomReader {
    data: Bytes,
    blocks: u32,
}

impl BloomReader {
    pub fn open(data: Bytes) -> Result<Self, CorruptIndex> {
        let length = |wanted: u64| CorruptIndex::Length {
            wanted,
            got: data.len() as u64,
        };
        if data.len() < HEADER_BYTES {
            return Err(length(HEADER_BYTES as u64));
        }
        if data[..4] != MAGIC {
            return Err(CorruptIndex::WrongMagic { expected: "BLM1" });
        }
        let blocks = u32::from_le_bytes(word(&data, 4));
        let wanted = HEADER_BYTES as u64 + u64::from(blocks.max(1)) * 32;
        if data.len() as u64 != wanted || blocks == 0 {
            return Err(length(wanted));
        }
        Ok(Self { data, blocks })
    }

    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// `false`: no document holds a value of this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let (block, bits) = place(hash, self.blocks);
        let words = &self.data[HEADER_BYTES + block * 32..][..32];
        let words = words.as_chunks::<4>().0.iter();
        words
            .zip(bits)
            .all(|(word, bit)| u32::from_le_bytes(*word) & bit != 0)
    }
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("a four-byte slice")
}
