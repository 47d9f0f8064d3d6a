//! Null bits of a consuming column: written by one thread, read by others below the row count
//! that they know to be published.
//!
//! A word may hold bits of rows that are not published yet, so words are atomic and readers mask
//! them. Ordering comes from the row count; the bits themselves are relaxed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::prefix::{Place, capacity_of, place};

const CHUNKS: usize = 20;
const NO_ROW: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct NullBits {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    /// First null row.
    first: AtomicU32,
}

impl NullBits {
    pub(crate) fn new() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
            first: AtomicU32::new(NO_ROW),
        }
    }

    /// `None` when none of the first `rows` rows is null.
    pub(crate) fn any_before(&self, rows: u32) -> Option<&Self> {
        (self.first.load(Ordering::Relaxed) < rows).then_some(self)
    }

    /// Called by the one writer, for rows that are not published, in ascending order.
    pub(crate) fn set(&self, row: u32) {
        let Place { chunk, at } = place(row as usize);
        let words = self.chunks[chunk].get_or_init(|| {
            let words = capacity_of(chunk) / 64;
            (0..words).map(|_| AtomicU64::new(0)).collect()
        });
        words[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
        self.first.fetch_min(row, Ordering::Relaxed);
    }

    /// Bits of the rows `64 * index ..`, also of those that are not published.
    pub(crate) fn word(&self, index: usize) -> u64 {
        let Place { chunk, at } = place(index * 64);
        match self.chunks.get(chunk).and_then(OnceLock::get) {
            Some(words) => words[at / 64].load(Ordering::Relaxed),
            None => 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let allocated = self.chunks.iter().filter_map(OnceLock::get);
        allocated.map(|words| words.len() * 8).sum()
    }
}
