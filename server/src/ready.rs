//! Whether the server serves: everything that was assigned to it when it started is there.
//!
//! Once ready it stays ready: what comes later is seen in the state of tables, not here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use schemas::{Partition, SegmentId, TableId};

#[derive(Debug, Default)]
pub(crate) struct Readiness {
    done: AtomicBool,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    state_known: bool,
    segments: BTreeSet<SegmentId>,
    /// Why one of them could not be loaded.
    last_failure: Option<String>,
    /// Consumers that have not reached the end of the log as it was when they began.
    consumers: BTreeSet<(TableId, Partition)>,
}

impl Readiness {
    /// The first state of the cluster is here, and with it what to wait for.
    pub(crate) fn begin(
        &self,
        segments: impl Iterator<Item = SegmentId>,
        consumers: impl Iterator<Item = (TableId, Partition)>,
    ) {
        let mut waits = self.waits.lock();
        waits.state_known = true;
        waits.segments.extend(segments);
        waits.consumers.extend(consumers);
    }

    /// Loaded, or not wanted any more.
    pub(crate) fn segment_settled(&self, id: SegmentId) {
        if !self.done.load(Ordering::Relaxed) {
            self.waits.lock().segments.remove(&id);
        }
    }

    /// It is tried again; meanwhile whoever asks hears why it takes so long.
    pub(crate) fn segment_failed(&self, reason: &str) {
        if !self.done.load(Ordering::Relaxed) {
            self.waits.lock().last_failure = Some(reason.to_owned());
        }
    }

    /// At the end of the log, or failing in a way that waiting does not mend.
    pub(crate) fn consumer_settled(&self, table: TableId, partition: Partition) {
        if !self.done.load(Ordering::Relaxed) {
            self.waits.lock().consumers.remove(&(table, partition));
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Nobody waits for what is not assigned to this server any more.
    pub(crate) fn keep(
        &self,
        is_wanted: impl Fn(SegmentId) -> bool,
        is_consumed: impl Fn(TableId, Partition) -> bool,
    ) {
        let mut waits = self.waits.lock();
        waits.segments.retain(|id| is_wanted(*id));
        waits.consumers.retain(|(id, at)| is_consumed(*id, *at));
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.done.load(Ordering::Relaxed) {
            return Ok(());
        }
        let waits = self.waits.lock();
        if !waits.state_known {
            return Err("waiting for the controller".to_owned());
        }
        if !waits.segments.is_empty() {
            let count = waits.segments.len();
            return Err(match &waits.last_failure {
                Some(reason) => format!("segments to load: {count}; the last attempt: {reason}"),
                None => format!("segments to load: {count}"),
            });
        }
        if !waits.consumers.is_empty() {
            return Err(format!(
                "partitions to catch up with: {}",
                waits.consumers.len()
            ));
        }
        self.done.store(true, Ordering::Relaxed);
        Ok(())
    }
}
