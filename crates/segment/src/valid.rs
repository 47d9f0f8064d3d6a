//! Which rows of a segment count, where newer ones of their keys have replaced others.
//!
//! One writer changes it; a copy costs an `Arc` and keeps what it was when it was made: a chunk is
//! copied before it is changed, if a copy shares it. Chunks without a dead row take no memory.

use std::sync::Arc;

use crate::BLOCK_ROWS;

/// Words of a block of rows.
pub const BLOCK_WORDS: usize = BLOCK_ROWS as usize / 64;

/// Rows of a chunk, which is what is copied.
pub(crate) const CHUNK_ROWS: u32 = 1 << 16;
pub(crate) const CHUNK_WORDS: usize = CHUNK_ROWS as usize / 64;

pub(crate) type Chunk = [u64; CHUNK_WORDS];

#[derive(Clone, Debug, Default)]
pub struct ValidRows {
    rows: u32,
    live: u32,
    /// `None`: every row of it is live. Bits past the last row are set.
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
}

impl ValidRows {
    /// All of so many rows.
    pub fn all(rows: u32) -> Self {
        let mut valid = Self::default();
        valid.extend(rows);
        valid
    }

    pub fn row_count(&self) -> u32 {
        self.rows
    }

    /// Rows that count.
    pub fn live(&self) -> u32 {
        self.live
    }

    pub fn is_all(&self) -> bool {
        self.live == self.rows
    }

    /// More rows, all of them live.
    pub fn extend(&mut self, rows: u32) {
        self.rows += rows;
        self.live += rows;
        let chunks = self.rows.div_ceil(CHUNK_ROWS) as usize;
        if chunks > self.chunks.len() {
            Arc::make_mut(&mut self.chunks).resize(chunks, None);
        }
    }

    /// `false`: it did not count before.
    pub fn clear(&mut self, row: u32) -> bool {
        let before = self.live;
        self.clear_all(&[row]);
        self.live < before
    }

    /// These rows count no more. It is quicker when they ascend.
    pub fn clear_all(&mut self, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        for own in rows.chunk_by(|one, next| one / CHUNK_ROWS == next / CHUNK_ROWS) {
            let Some(chunk) = chunks.get_mut((own[0] / CHUNK_ROWS) as usize) else {
                debug_assert!(false, "row {} of {}", own[0], self.rows);
                continue;
            };
            let chunk = chunk.get_or_insert_with(|| Arc::new([u64::MAX; CHUNK_WORDS]));
            let chunk = Arc::make_mut(chunk);
            for row in own.iter().filter(|row| **row < self.rows) {
                let at = row % CHUNK_ROWS;
                let (word, bit) = (&mut chunk[at as usize / 64], 1 << (at % 64));
                self.live -= u32::from(*word & bit != 0);
                *word &= !bit;
            }
        }
    }

    pub fn contains(&self, row: u32) -> bool {
        let at = row % CHUNK_ROWS;
        match &self.chunks[(row / CHUNK_ROWS) as usize] {
            None => row < self.rows,
            Some(chunk) => row < self.rows && chunk[at as usize / 64] >> (at % 64) & 1 == 1,
        }
    }

    pub(crate) fn chunks(&self) -> &[Option<Arc<Chunk>>] {
        &self.chunks
    }

    /// `None`: there are not as many chunks as the rows take.
    pub(crate) fn of_chunks(rows: u32, chunks: Vec<Option<Arc<Chunk>>>) -> Option<Self> {
        if chunks.len() != rows.div_ceil(CHUNK_ROWS) as usize {
            return None;
        }
        let mut live = 0;
        for (chunk, first) in chunks.iter().zip((0..rows).step_by(CHUNK_ROWS as usize)) {
            let own = CHUNK_ROWS.min(rows - first);
            live += chunk.as_ref().map_or(own, |chunk| ones(chunk, own));
        }
        Some(Self {
            rows,
            live,
            chunks: Arc::new(chunks),
        })
    }

    /// Rows of the block at `start`, a bit each; `None`: all of them. Bits past the last row may
    /// be set.
    pub fn block(&self, start: u32) -> Option<&[u64; BLOCK_WORDS]> {
        let chunk = self.chunks.get((start / CHUNK_ROWS) as usize)?.as_ref()?;
        let first = (start % CHUNK_ROWS) as usize / 64;
        chunk[first..].first_chunk()
    }
}

/// Bits that are set among the first `rows`.
pub(crate) fn ones(chunk: &Chunk, rows: u32) -> u32 {
    let (whole, rest) = (rows as usize / 64, rows % 64);
    let ones: u32 = chunk[..whole].iter().map(|word| word.count_ones()).sum();
    let last = chunk.get(whole).map_or(0, |word| word & ((1 << rest) - 1));
    ones + last.count_ones()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_are_those_that_were_not_cleared_and_copies_stay(
            steps in prop::collection::vec((0..90_000_u32, any::<bool>(), any::<u32>()), 1..40),
        ) {
            let (mut valid, mut dead) = (ValidRows::default(), BTreeSet::new());
            let mut kept: Option<(ValidRows, BTreeSet<u32>)> = None;
            for (more, keeps, row) in steps {
                valid.extend(more);
                if let Some(row) = row.checked_rem(valid.row_count()) {
                    prop_assert_eq!(valid.clear(row), dead.insert(row));
                }
                if keeps {
                    kept = Some((valid.clone(), dead.clone()));
                }
            }
            kept.get_or_insert_with(|| (valid.clone(), dead.clone()));
            for (valid, dead) in kept.into_iter().chain([(valid, dead)]) {
                let rows = valid.row_count();
                prop_assert_eq!(valid.live(), rows - dead.len() as u32);
                prop_assert_eq!(valid.is_all(), dead.is_empty());
                prop_assert!(dead.iter().all(|row| !valid.contains(*row)));
                let mut live = 0;
                for start in (0..rows).step_by(BLOCK_ROWS as usize) {
                    let len = BLOCK_ROWS.min(rows - start);
                    let words = valid.block(start);
                    let bit = |at: u32| {
                        words.is_none_or(|own| own[at as usize / 64] >> (at % 64) & 1 == 1)
                    };
                    live += (0..len).filter(|at| bit(*at)).count() as u32;
                }
                prop_assert_eq!(live, valid.live());
            }
        }
    }
}
