//! "I live, this is what I hold": every second, and at once when something changed.
//!
//! Invariant: heartbeats reach the controller in the order in which they were made, so that an
//! older one never takes back what a newer one said.

use std::sync::Arc;
use std::time::Duration;

use query::codec::PLAN_FORMAT;
use runtime::TaskGroup;
use schemas::cluster::Role;
use schemas::proto::{ConsumerState, HeartbeatRequest, HeldSegment, SegmentRef};
use schemas::{Fault, FaultKind};
use tokio::sync::{Mutex, Notify};
use upsert::KeyFigures;

use crate::Core;
use crate::exchanges::format_of;
use crate::indexes::IndexLists;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Heart {
    started_ms: i64,
    changed: Notify,
    in_order: Mutex<()>,
}

impl Heart {
    pub(crate) fn new(started_ms: i64) -> Self {
        Self {
            started_ms,
            changed: Notify::new(),
            in_order: Mutex::default(),
        }
    }

    /// Something changed that others should know soon.
    pub(crate) fn hurry(&self) {
        self.changed.notify_one();
    }

    /// Returns when the controller has heard what this server holds now.
    pub(crate) async fn beat(&self, core: &Core) -> Result<(), Fault> {
        let _in_order = self.in_order.lock().await;
        count_segments(core);
        count_keys(core);
        let request = request(core, self.started_ms);
        let heard = core.network.controller()?.heartbeat(request).await;
        if let Err(fault) = &heard
            && fault.kind == FaultKind::Conflict
        {
            tracing::error!(cause = %fault, "the controller refuses this server");
            core.ready.refused(&fault.message);
        }
        heard.map(|_| ())
    }
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn("server heartbeat", |stop| async move {
        let beats = async {
            loop {
                if let Err(fault) = core.heart.beat(&core).await {
                    tracing::debug!(cause = %fault, "no heartbeat");
                }
                tokio::select! {
                    () = core.heart.changed.notified() => {}
                    () = core.clock.sleep(EVERY) => {}
                }
            }
        };
        stop.run_until_cancelled(beats).await;
    });
}

fn request(core: &Core, started_ms: i64) -> HeartbeatRequest {
    let (mut held, mut consumers) = (Vec::new(), Vec::new());
    let mut index_lists = IndexLists::default();
    for table in core.tables.all() {
        let table_id = table.id.to_bytes();
        let view = table.view();
        let statuses = table.consumers();
        index_lists.next_table();
        let mut hold = |partition, sequence, crc, disk_bytes, index_list| {
            let segment = SegmentRef {
                partition,
                sequence,
                crc,
            };
            held.push(HeldSegment {
                table_id: table_id.clone(),
                segment: Some(segment),
                disk_bytes,
                index_list,
            });
        };
        for ((partition, sequence), segment) in view.sealed() {
            if !view.is_shown(*partition) {
                continue;
            }
            let bytes = segment.bytes() + segment.sidecar_bytes();
            let list = index_lists.position(segment, &view.spec);
            hold(*partition, *sequence, segment.crc(), bytes, list);
            // Sealed and not committed yet: for the controller it still consumes.
            let run = view.run(*partition).first();
            if run.is_some_and(|first| first.id().sequence == sequence + 1) {
                hold(*partition, *sequence, 0, 0, 0);
            }
        }
        for ((partition, sequence), crc) in view.cold() {
            hold(*partition, *sequence, *crc, 0, 0);
        }
        for segment in view.runs() {
            let id = segment.id();
            let is_hidden = statuses.get(&id.partition).is_some_and(|s| s.hidden);
            if !is_hidden && view.is_shown(id.partition) {
                hold(id.partition, id.sequence, 0, 0, 0);
            }
        }
        let said = statuses.into_iter();
        consumers.extend(said.map(|(partition, status)| ConsumerState {
            table_id: table_id.clone(),
            partition,
            ..status.state
        }));
    }
    HeartbeatRequest {
        instance: core.config.instance.0.clone(),
        role: Role::Server.name().to_owned(),
        address: core.config.address.clone(),
        zone: String::new(),
        started_ms: started_ms.max(0) as u64,
        held,
        consumers,
        plan_format: PLAN_FORMAT,
        exchange_format: format_of(&*core.network),
        index_lists: index_lists.finish(),
        reloads: core.indexer.jobs.progress(&core.tables),
        deep_store_of: core.config.deep_store_of.clone(),
        low_on_disk: core.room.short().is_some(),
    }
}

fn count_segments(core: &Core) {
    let (mut sealed, mut cold, mut consuming) = (0, 0, 0);
    for table in core.tables.all() {
        let view = table.view();
        let shown = view.sealed().keys();
        sealed += shown
            .filter(|(partition, _)| view.is_shown(*partition))
            .count();
        cold += view.cold().len();
        consuming += view.runs().count();
    }
    core.metrics.segments.set(sealed as i64);
    core.metrics.cold.set(cold as i64);
    core.metrics.consuming.set(consuming as i64);
}

fn count_keys(core: &Core) {
    let mut all = KeyFigures::default();
    for table in core.tables.all() {
        let view = table.view();
        view.all_keys().for_each(|own| all += own.figures());
    }
    let metrics = &core.metrics;
    metrics.keys.set(all.keys as i64);
    metrics.key_bytes.set(all.bytes as i64);
    metrics.spilled_key_bytes.set(all.spilled_bytes as i64);
}
