//! What a fragment did, counted by all its operators.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use schemas::proto::{ScanStats, SegmentClass};

use crate::predicate::classify;

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

    /// A segment of a query that asks how it is read.
    pub(crate) fn explain(&self, segment: SegmentClass) {
        classify(&mut self.counts.lock().explained, segment);
    }

    /// Runs a job of the compute pool; it does nothing but compute, so its time is CPU time.
    pub(crate) fn timed<T>(&self, job: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = job();
        let ns = start.elapsed().as_nanos() as u64;
        self.cpu_ns.fetch_add(ns, Ordering::Relaxed);
        result
    }

    pub(crate) fn snapshot(&self) -> ScanStats {
        let mut stats = self.counts.lock().clone();
        stats.cpu_ns = self.cpu_ns.load(Ordering::Relaxed);
        stats
    }
}
