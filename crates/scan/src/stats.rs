//! What a fragment did, counted by all its operators.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use schemas::proto::ScanStats;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<ScanStats>,
    cpu_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn update(&self, change: impl FnOnce(&mut ScanStats)) {
        change(&mut self.counts.lock());
    }

    pub(crate) fn index(&self, name: String) {
        let mut counts = self.counts.lock();
        if !counts.indexes.contains(&name) {
            counts.indexes.push(name);
        }
    }

    pub(crate) fn add_cpu(&self, ns: u64) {
        self.cpu_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> ScanStats {
        let mut stats = self.counts.lock().clone();
        stats.cpu_ns = self.cpu_ns.load(Ordering::Relaxed);
        stats
    }
}
