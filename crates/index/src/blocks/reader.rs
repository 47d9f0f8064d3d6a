//! Read half: a block at a time.

use super::{EXPANSION_MAX, LENGTH_BYTES};
use crate::CorruptIndex;

/// Borrows bytes whose frame was [checked](BlocksReader::check_frame) once.
#[derive(Clone, Copy, Debug)]
pub struct BlocksReader<'a> {
    starts: &'a [u64],
    data: &'a [u8],
}

/// The values of one block.
#[derive(Clone, Debug)]
pub struct BlockValues {
    /// Lengths, then the values.
    rows: Vec<u8>,
    count: usize,
}

impl<'a> BlocksReader<'a> {
    pub fn new(starts: &'a [u64], data: &'a [u8]) -> Self {
        Self { starts, data }
    }

    /// There are as many starts as there must be, they never decrease and end where the data
    /// ends.
    pub fn check_frame(self, blocks: usize) -> Result<(), CorruptIndex> {
        let wanted = blocks as u64 + 1;
        if self.starts.len() as u64 != wanted {
            return Err(CorruptIndex::Length {
                wanted: wanted * 8,
                got: self.starts.len() as u64 * 8,
            });
        }
        let mut previous = 0;
        for (index, start) in (0..).zip(self.starts) {
            if *start < previous || (index == 0 && *start != 0) {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            previous = *start;
        }
        match previous == self.data.len() as u64 {
            true => Ok(()),
            false => Err(CorruptIndex::Length {
                wanted: previous,
                got: self.data.len() as u64,
            }),
        }
    }

    /// The values of block `at`, which is over `count` documents.
    pub fn block(self, at: usize, count: usize) -> Result<BlockValues, CorruptIndex> {
        let bytes = &self.data[self.starts[at] as usize..self.starts[at + 1] as usize];
        let corrupt = || CorruptIndex::Block { index: at as u32 };
        let (length, packed) = bytes
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or_else(corrupt)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > packed.len().saturating_mul(EXPANSION_MAX) || length < count * 4 {
            return Err(corrupt());
        }
        let rows = match packed.len() == length {
            true => packed.to_vec(),
            false => {
                let mut rows = vec![0; length];
                let unpacked = lz4_flex::block::decompress_into(packed, &mut rows);
                if unpacked.ok() != Some(length) {
                    return Err(corrupt());
                }
                rows
            }
        };
        let values = BlockValues { rows, count };
        let total: u64 = values.lengths().map(u64::from).sum();
        match total == (length - count * 4) as u64 {
            true => Ok(values),
            false => Err(corrupt()),
        }
    }
}

impl BlockValues {
    fn lengths(&self) -> impl Iterator<Item = u32> {
        let (lengths, _) = self.rows[..self.count * 4].as_chunks::<4>();
        lengths.iter().map(|length| u32::from_le_bytes(*length))
    }

    /// Where each value lies in [`Self::into_bytes`].
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut next = self.count * 4;
        self.lengths().map(move |length| {
            let start = next;
            next += length as usize;
            start..next
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges().map(|range| &self.rows[range])
    }

    /// All values one after the other.
    pub fn concatenated(&self) -> &[u8] {
        &self.rows[self.count * 4..]
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.rows
    }
}
