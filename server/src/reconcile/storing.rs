//! Uploads what was committed while the deep store was away.
//!
//! Invariant: of the servers that hold such a segment the first one uploads it, again and again
//! until the controller knows that it is stored; when that server goes, the next one is the first.

use std::sync::Arc;

use runtime::Backoff;
use schemas::Fault;
use schemas::cluster::{SegmentState, TableState};
use schemas::proto::CommitEndRequest;
use schemas::segment::SegmentRecord;

use super::{RETRY_MAX, Reconciler};
use crate::Core;
use crate::view::Table;

impl Reconciler {
    pub(super) fn store_later(
        &mut self,
        table: &TableState,
        own: &[Arc<SegmentState>],
        here: &Table,
    ) {
        let view = here.view();
        for segment in own.iter().filter(|segment| segment.record.unstored) {
            let record = &segment.record;
            let held = view.find(record.id.partition, record.id.sequence);
            let is_held = held.is_some_and(|held| held.crc() == record.crc);
            if is_held && self.is_first(segment) {
                self.store_one(record);
            }
        }
        self.storing.retain(|(id, _)| {
            let known = table.segments.find(*id);
            id.table != table.spec.id || known.is_some_and(|segment| segment.record.unstored)
        });
    }

    fn is_first(&self, segment: &SegmentState) -> bool {
        segment.online.first() == Some(&self.core.config.instance)
    }

    fn store_one(&mut self, record: &SegmentRecord) {
        if !self.storing.insert((record.id, record.crc)) {
            return;
        }
        let (core, record) = (Arc::clone(&self.core), record.clone());
        let storing = async move {
            let mut backoff = Backoff::up_to(RETRY_MAX);
            while let Err(fault) = store(&core, &record).await {
                let delay = backoff.next_delay();
                tracing::warn!(segment = %record.id, cause = %fault, ?delay,
                    "not in the deep store yet, will be tried again");
                core.clock.sleep(delay).await;
            }
        };
        self.tasks.spawn("store a segment", |stop| async move {
            stop.run_until_cancelled(storing).await;
        });
    }
}

/// A commit of what is committed tells that the object is there.
async fn store(core: &Core, record: &SegmentRecord) -> Result<(), Fault> {
    let key = SegmentRecord::object_key(record.id, record.crc);
    let path = core.store.path(record.id, record.crc);
    let stored = SegmentRecord {
        unstored: false,
        stored_bytes: core.store.put(record.crc, &key, path).await?,
        ..record.clone()
    };
    let json = serde_json::to_vec(&stored).map_err(|error| Fault::internal(error.to_string()))?;
    let request = CommitEndRequest {
        instance: core.config.instance.0.clone(),
        epoch: 0,
        segment: json.into(),
    };
    let reply = core.network.controller()?.commit_end(request).await?;
    match reply.accepted {
        true => tracing::info!(segment = %record.id, "in the deep store now"),
        false => tracing::info!(segment = %record.id, reason = reply.reason,
            "in the deep store, but not wanted any more"),
    }
    Ok(())
}
