//! Write half: hashes of values → blocks of bits.

use super::place;

pub(super) const BLOCK_BYTES: u64 = 32;

#[derive(Debug)]
pub struct BloomWriter {
    pub(super) blocks: Vec<[u32; 8]>,
}

impl BloomWriter {
    /// For so many distinct values. With too few bytes the filter tells less than was asked for.
    pub fn new(values: u64, false_positives: f64, bytes_max: u64) -> Self {
        let share = false_positives.clamp(1e-9, 0.999);
        // Each of eight words has the bit of an absent value with the eighth root of the share.
        let bits = -8.0 * values.max(1) as f64 / (1.0 - share.powf(1.0 / 8.0)).ln();
        let blocks = (bits / 8.0 / BLOCK_BYTES as f64).ceil();
        let blocks = (blocks as u64).min(bytes_max / BLOCK_BYTES);
        let blocks = blocks.clamp(1, u64::from(u32::MAX));
        Self {
            blocks: vec![[0; 8]; blocks as usize],
        }
    }

    pub fn add(&mut self, hash: u64) {
        let (block, bits) = place(hash, self.blocks.len() as u32);
        for (word, bit) in self.blocks[block].iter_mut().zip(bits) {
            *word |= bit;
        }
    }
}
