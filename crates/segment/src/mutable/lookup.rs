//! Codes by the hashes of their values: one thread adds, others search meanwhile.
//!
//! Invariants: a slot changes once, from empty to a code, before the value of that code is
//! published; so whoever knows how many values are published finds all of them, and passes over
//! what is newer. A larger table holds all of the one before it. At most every second slot is
//! taken, so every search ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::prefix::prefetch;

const SLOTS_MIN: usize = 512;
const EMPTY: u64 = 0;

/// Each slot: half of a hash, and the code plus one.
struct Table(Box<[AtomicU64]>);

/// Read half.
pub(super) struct Lookup(Arc<ArcSwap<Table>>);

/// Write half.
pub(super) struct LookupWriter {
    published: Arc<ArcSwap<Table>>,
    /// The one that is published.
    table: Arc<Table>,
    taken: usize,
}

pub(super) fn lookup() -> (LookupWriter, Lookup) {
    let table = Arc::new(Table::new(SLOTS_MIN));
    let published = Arc::new(ArcSwap::new(Arc::clone(&table)));
    let writer = LookupWriter {
        published: Arc::clone(&published),
        table,
        taken: 0,
    };
    (writer, Lookup(published))
}

const fn tag_of(hash: u64) -> u64 {
    hash >> 32
}

impl Table {
    /// `slots` is a power of two.
    fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(EMPTY)).collect())
    }

    /// The code that `is_it` accepts, or the free slot where the search ended.
    #[inline(always)]
    fn find(&self, tag: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let last = self.0.len() - 1;
        let mut at = tag as usize & last;
        loop {
            // Ordered by the publication of values.
            let slot = self.0[at].load(Ordering::Relaxed);
            if slot == EMPTY {
                return Err(at);
            }
            let code = (slot as u32).wrapping_sub(1);
            if slot >> 32 == tag && is_it(code) {
                return Ok(code);
            }
            at = (at + 1) & last;
        }
    }

    fn put(&self, at: usize, slot: u64) {
        self.0[at].store(slot, Ordering::Relaxed);
    }
}

impl Lookup {
    /// `is_it` must refuse codes whose values the caller does not know to be published.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.load().find(tag_of(hash), is_it).ok()
    }
}

impl LookupWriter {
    /// The code that `is_it` accepts, or else where [`Self::insert`] may put it next.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        self.table.find(tag_of(hash), is_it)
    }

    /// Asks memory for where a search begins.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        let slots = &self.table.0;
        prefetch(&slots[tag_of(hash) as usize & (slots.len() - 1)]);
    }

    /// The code that [`Self::find`] would ask of first.
    #[inline(always)]
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        self.table.find(tag_of(hash), |_| true).ok()
    }

    /// To be called before the value of `code` is published; `at` is what a search has just found.
    pub(super) fn insert(&mut self, at: usize, hash: u64, code: u32) {
        let slot = (tag_of(hash) << 32) | (u64::from(code) + 1);
        self.table.put(at, slot);
        self.taken += 1;
        if self.taken * 2 >= self.table.0.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let larger = Table::new(self.table.0.len() * 2);
        for slot in &self.table.0 {
            let slot = slot.load(Ordering::Relaxed);
            if slot != EMPTY
                && let Err(at) = larger.find(slot >> 32, |_| false)
            {
                larger.put(at, slot);
            }
        }
        self.table = Arc::new(larger);
        self.published.store(Arc::clone(&self.table));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Few hashes, so that many values share one.
    fn hash_of(value: u64) -> u64 {
        (value % 977).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn all_that_is_published_is_found_while_the_table_grows() {
        let (mut writer, lookup) = lookup();
        let published = AtomicUsize::new(0);
        let all = 20_000;
        std::thread::scope(|scope| {
            for step in [1, 7, 31] {
                let (lookup, published) = (&lookup, &published);
                scope.spawn(move || {
                    let mut value = step;
                    loop {
                        let known = published.load(Ordering::Acquire) as u64;
                        if known > 0 {
                            value = (value * 13 + step) % known;
                            let is_it = |code| u64::from(code) < known && u64::from(code) == value;
                            assert_eq!(lookup.find(hash_of(value), is_it), Some(value as u32));
                        }
                        if known == all {
                            return;
                        }
                    }
                });
            }
            for value in 0..all {
                let is_it = |code| u64::from(code) == value;
                let Err(at) = writer.find(hash_of(value), is_it) else {
                    panic!("{value} is new");
                };
                writer.insert(at, hash_of(value), value as u32);
                published.store(value as usize + 1, Ordering::Release);
            }
        });
        assert_eq!(lookup.find(hash_of(5), |_| false), None);
    }
}
