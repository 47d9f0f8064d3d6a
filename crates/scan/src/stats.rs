//! What a fragment did, counted by all its operators.

use parking_lot::Mutex;
use schemas::proto::{ScanStats, SegmentClass};

use crate::predicate::classify;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<ScanStats>,
}

impl Counters {
    pub(crate) fn update(&self, change: impl FnOnce(&mut ScanStats)) {
        change(&mut self.counts.lock());
    }

    pub(crate) fn add(&self, more: &Self) {
        let more = more.counts.lock();
        let mut counts = self.counts.lock();
        counts.add(&more);
        for segment in &more.explained {
            classify(&mut counts.explained, segment.clone());
        }
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

    pub(crate) fn snapshot(&self) -> ScanStats {
        self.counts.lock().clone()
    }
}
