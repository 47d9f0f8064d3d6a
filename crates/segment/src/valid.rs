//! Which rows of a segment count, where newer ones of their keys have replaced others.
//!
//! One writer changes it; a copy costs an `Arc` and keeps what it was when it was made: a chunk is
//! copied before it is changed, if a copy shares it. Chunks without a dead row take no memory.

use std::sync::Arc;

use crate::BLOCK_ROWS;

/// Words of a block of rows.
pub const BLOCK_WORDS: usize = BLOCK_ROWS as usize / 64;

/// Rows of a chunk, which is what is copied.
const CHUNK_ROWS: u32 = 1 << 16;
const CHUNK_WORDS: usize = CHUNK_ROWS as usize / 64;

type Chunk = [u64; CHUNK_WORDS];

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
        debug_assert!(row < self.rows, "row {row} of {}", self.rows);
        if row >= self.rows || !self.contains(row) {
            return false;
        }
        let chunk = &mut Arc::make_mut(&mut self.chunks)[(row / CHUNK_ROWS) as usize];
        let chunk = chunk.get_or_insert_with(|| Arc::new([u64::MAX; CHUNK_WORDS]));
        let at = row % CHUNK_ROWS;
        Arc::make_mut(chunk)[at as usize / 64] &= !(1 << (at % 64));
        self.live -= 1;
        true
    }

    pub fn contains(&self, row: u32) -> bool {
        let at = row % CHUNK_ROWS;
        match &self.chunks[(row / CHUNK_ROWS) as usize] {
            None => row < self.rows,
            Some(chunk) => row < self.rows && chunk[at as usize / 64] >> (at % 64) & 1 == 1,
        }
    }

    /// Rows of the block at `start`, a bit each; `None`: all of them. Bits past the last row may
    /// be set.
    pub fn block(&self, start: u32) -> Option<&[u64; BLOCK_WORDS]> {
        let chunk = self.chunks.get((start / CHUNK_ROWS) as usize)?.as_ref()?;
        let first = (start % CHUNK_ROWS) as usize / 64;
        chunk[first..].first_chunk()
    }
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
