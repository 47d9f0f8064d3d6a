//! When a query wants any few groups, and nothing of them but their keys: workers stop as soon as
//! so many were found, wherever they are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

#[derive(Debug)]
pub(super) struct Enough {
    wanted: usize,
    /// Hashes of groups of segments that are done: no two of them are of one group.
    hashes: Mutex<HashSet<u64>>,
    is_reached: AtomicBool,
}

impl Enough {
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            hashes: Mutex::default(),
            is_reached: AtomicBool::new(false),
        }
    }

    pub(super) fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }

    /// So many groups of one segment are known.
    pub(super) fn found(&self, groups: usize) {
        if groups >= self.wanted {
            self.is_reached.store(true, Ordering::Relaxed);
        }
    }

    /// These groups of a segment, or of a part of it, are known by their hashes.
    pub(super) fn found_all(&self, hashes: &[u64]) {
        let mut known = self.hashes.lock();
        known.extend(hashes.iter().take(self.wanted));
        self.found(known.len());
    }
}
