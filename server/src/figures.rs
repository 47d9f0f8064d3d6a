//! What of a server is measured rather than counted: how far its consumers are, memory, disk.
//!
//! Invariant: what is not consumed here any more is not shown any more, so that nobody is woken by
//! a lag that is another server's now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use runtime::TaskGroup;
use schemas::proto::ConsumerState;

use crate::Core;

const EVERY: Duration = Duration::from_secs(1);

/// A table's name and a partition, as labels.
type Labels = (String, String);

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    let mut shown = BTreeSet::new();
    tasks.spawn("server figures", |stop| async move {
        let again_and_again = async {
            loop {
                show_consumers(&core, &mut shown);
                show_memory(&core);
                show_disk(&core);
                core.clock.sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(again_and_again).await;
    });
}

fn show_consumers(core: &Core, shown: &mut BTreeSet<Labels>) {
    let mut found = BTreeSet::new();
    for table in core.tables.all() {
        let name = table.view().spec.physical_name();
        for (partition, status) in table.consumers() {
            let labels = (name.clone(), partition.to_string());
            show_consumer(core, &labels, &status.state);
            found.insert(labels);
        }
    }
    let metrics = &core.metrics.figures;
    for (table, partition) in shown.difference(&found) {
        for gauges in [&metrics.lag, &metrics.newest_row, &metrics.stopped] {
            // One that was never set is not there.
            let _ = gauges.remove_label_values(&[table, partition]);
        }
    }
    *shown = found;
}

fn show_consumer(core: &Core, (table, partition): &Labels, state: &ConsumerState) {
    let metrics = &core.metrics.figures;
    let labels = [table.as_str(), partition.as_str()];
    if state.log_end_offset >= 0 {
        let lag = state.log_end_offset.saturating_sub(state.next_offset);
        metrics.lag.with_label_values(&labels).set(lag.max(0));
    }
    if state.newest_event_ms > 0 {
        let seconds = state.newest_event_ms / 1000;
        metrics.newest_row.with_label_values(&labels).set(seconds);
    }
    let is_stopped = state.state == "ERROR";
    let stopped = metrics.stopped.with_label_values(&labels);
    stopped.set(i64::from(is_stopped));
}

fn show_memory(core: &Core) {
    let metrics = &core.metrics.figures;
    for (name, budget) in core.budgets.named() {
        let used = metrics.memory_used.with_label_values(&[name]);
        used.set(budget.used_bytes() as i64);
        let limit = metrics.memory_limit.with_label_values(&[name]);
        limit.set(budget.limit_bytes() as i64);
    }
}

fn show_disk(core: &Core) {
    let tables = core.tables.all();
    let views = tables.iter().map(|table| table.view());
    let bytes: u64 = views
        .flat_map(|view| {
            let segments = view.sealed().values();
            let bytes = segments.map(|segment| segment.bytes() + segment.sidecar_bytes());
            bytes.collect::<Vec<_>>()
        })
        .sum();
    let metrics = &core.metrics.figures;
    metrics.segment_bytes.set(bytes as i64);
    match rustix::fs::statvfs(&core.config.data_dir) {
        Ok(space) => {
            let of = |blocks: u64| blocks.saturating_mul(space.f_frsize) as i64;
            metrics.disk_free.set(of(space.f_bavail));
            if core.room.measured(of(space.f_bavail) as u64) {
                core.heart.hurry();
            }
            metrics.disk_total.set(of(space.f_blocks));
        }
        Err(error) => tracing::debug!(%error, "the space on the disk is not known"),
    }
}
