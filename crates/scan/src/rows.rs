//! The rows of one block that a predicate keeps: one bit a row.

use segment::BLOCK_ROWS;
use segment::view::Nulls;

use kernels::{count_ones, set_bits};

pub(crate) const WORDS: usize = BLOCK_ROWS as usize / 64;

/// Bit i of the mask is row `start + i`; bits at and past `len` are 0.
#[derive(Clone, Debug)]
pub(crate) struct BlockMask {
    pub(crate) words: [u64; WORDS],
    pub(crate) len: u32,
}

impl BlockMask {
    pub(crate) fn all(len: u32) -> Self {
        let mut words = [0; WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            let from = at as u32 * 64;
            *word = match len.saturating_sub(from) {
                0 => 0,
                rows @ 1..64 => (1 << rows) - 1,
                _ => u64::MAX,
            };
        }
        Self { words, len }
    }

    pub(crate) fn none(len: u32) -> Self {
        Self {
            words: [0; WORDS],
            len,
        }
    }

    pub(crate) fn and(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Bits of `words` past the last row do not matter.
    pub(crate) fn and_words(&mut self, words: &[u64; WORDS]) {
        for (word, other) in self.words.iter_mut().zip(words) {
            *word &= other;
        }
    }

    pub(crate) fn count(&self) -> u32 {
        count_ones(&self.words)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().fold(0, |any, word| any | word) == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.words == Self::all(self.len).words
    }

    /// The null rows of the block at `start`.
    pub(crate) fn of_nulls(nulls: Nulls<'_>, start: u32, len: u32) -> Self {
        let mut mask = Self::none(len);
        nulls.fill_mask(start, &mut mask.words);
        mask
    }

    pub(crate) fn and_not(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    pub(crate) fn or(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Keeps the rows that pass.
    pub(crate) fn retain(&mut self, passes: impl Fn(u32) -> bool) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                if !passes(at as u32 * 64 + bit.trailing_zeros()) {
                    *word &= !bit;
                }
                left ^= bit;
            }
        }
    }

    /// Sets the bits of these rows.
    pub(crate) fn set_range(&mut self, rows: std::ops::Range<u32>) {
        let mut row = rows.start;
        while row < rows.end {
            let upto = rows.end.min((row / 64 + 1) * 64);
            let ones = u64::MAX >> (64 - (upto - row));
            self.words[row as usize / 64] |= ones << (row % 64);
            row = upto;
        }
    }

    pub(crate) fn set(&mut self, row: u32) {
        self.words[row as usize / 64] |= 1 << (row % 64);
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words[row as usize / 64] >> (row % 64) & 1 == 1
    }

    /// How many rows are kept before each word.
    pub(crate) fn before(&self) -> [u16; WORDS] {
        let mut count = 0;
        self.words.map(|word| {
            let before = count;
            count += word.count_ones() as u16;
            before
        })
    }

    /// How many rows are kept before `row`; `before` is [`Self::before`].
    pub(crate) fn rank(&self, row: u32, before: &[u16; WORDS]) -> u32 {
        let word = row as usize / 64;
        let below = self.words[word] & ((1 << (row % 64)) - 1);
        u32::from(before[word]) + below.count_ones()
    }

    /// Rows in the block, ascending.
    pub(crate) fn collect_into(&self, rows: &mut Vec<u32>) {
        set_bits(&self.words, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_know_their_rows() {
        let mut mask = BlockMask::all(130);
        assert_eq!((mask.count(), mask.is_full()), (130, true));
        assert!(!mask.is_empty() && BlockMask::none(130).is_empty());
        let mut some = BlockMask::none(130);
        [3, 64, 129].into_iter().for_each(|row| some.set(row));
        mask.and(&some);
        let mut rows = Vec::new();
        mask.collect_into(&mut rows);
        assert_eq!(rows, [3, 64, 129]);
        assert!(!mask.is_full());
        mask.retain(|row| row != 64);
        mask.or(&BlockMask::none(130));
        assert_eq!((mask.count(), mask.contains(64)), (2, false));
        mask.set(64);
        for (from, to) in [(0, 130), (5, 5), (63, 65), (64, 128), (1, 129)] {
            let mut range = BlockMask::none(130);
            range.set_range(from..to);
            assert!((0..130).all(|row| range.contains(row) == (from..to).contains(&row)));
        }
        let mut rest = BlockMask::all(130);
        rest.and_not(&mask);
        assert_eq!((rest.count(), rest.contains(64)), (127, false));
        assert_eq!(BlockMask::all(BLOCK_ROWS).count(), BLOCK_ROWS);
        rest.collect_into(&mut rows);
        let before = rest.before();
        let places = rows.iter().map(|row| rest.rank(*row, &before));
        assert!(places.eq(0..rows.len() as u32));
    }
}
