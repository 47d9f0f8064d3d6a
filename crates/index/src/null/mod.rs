//! The null index: one bit for each document, set where the value is null.
//!
//! ```text
//! NULLS := ⌈docs / 64⌉ × u64, bit d % 64 of word d / 64 is document d; bits past the last are 0
//! ```

use std::ops::Range;

/// Bytes of the index over `docs` documents.
pub fn words(docs: u32) -> usize {
    docs.div_ceil(64) as usize
}

/// Write half.
#[derive(Debug)]
pub struct NullWriter {
    words: Vec<u64>,
}

impl NullWriter {
    pub fn new(docs: u32) -> Self {
        Self {
            words: vec![0; words(docs)],
        }
    }

    pub fn set(&mut self, doc: u32) {
        self.words[doc as usize / 64] |= 1 << (doc % 64);
    }

    pub fn finish(self) -> Vec<u64> {
        self.words
    }
}

/// Read half. Documents past the last are no nulls.
#[derive(Clone, Copy, Debug)]
pub struct NullReader<'a>(&'a [u64]);

impl<'a> NullReader<'a> {
    pub fn new(words: &'a [u64]) -> Self {
        Self(words)
    }

    /// Bits of the documents `64 * index ..`.
    pub fn word(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    pub fn is_null(self, doc: u32) -> bool {
        self.word(doc as usize / 64) >> (doc % 64) & 1 == 1
    }

    pub fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// Whether any bit of `docs` is set, word by word.
pub fn any_in(docs: Range<u32>, word: impl Fn(usize) -> u64) -> bool {
    if docs.is_empty() {
        return false;
    }
    let (first, last) = (docs.start as usize / 64, (docs.end - 1) as usize / 64);
    (first..=last).any(|index| word(index) & mask_of(&docs, index) != 0)
}

/// The bits of word `index` that lie in `docs`.
fn mask_of(docs: &Range<u32>, index: usize) -> u64 {
    let base = index as u64 * 64;
    let from = u64::from(docs.start).saturating_sub(base).min(64);
    let to = u64::from(docs.end).saturating_sub(base).min(64);
    ones(to) & !ones(from)
}

/// The lowest `count` bits.
fn ones(count: u64) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NullReader, NullWriter, any_in};

    proptest! {
        #[test]
        fn reads_what_was_written(
            flags in prop::collection::vec(prop::bool::weighted(0.02), 0..500),
            from in 0_u32..500,
            length in 0_u32..200,
        ) {
            let mut writer = NullWriter::new(flags.len() as u32);
            for (doc, flag) in flags.iter().enumerate() {
                if *flag {
                    writer.set(doc as u32);
                }
            }
            let words = writer.finish();
            let reader = NullReader::new(&words);
            for (doc, flag) in flags.iter().enumerate() {
                prop_assert_eq!(reader.is_null(doc as u32), *flag);
            }
            prop_assert_eq!(reader.count() as usize, flags.iter().filter(|flag| **flag).count());
            let range = from..from + length;
            let expected = range.clone().any(|doc| flags.get(doc as usize) == Some(&true));
            prop_assert_eq!(any_in(range, |index| reader.word(index)), expected);
        }
    }
}
