//! Shows as gauges what the controller that leads sees of the whole cluster: who lives, what nobody
//! holds or consumes, which tasks wait.
//!
//! Invariant: one that does not lead any more shows nothing of it, least of all what was.

use std::sync::Arc;

use schemas::Fault;
use schemas::cluster::Role;

use crate::counts::Counts;
use crate::state::State;

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    let metrics = &state.metrics;
    let instances = state.who_lives();
    for role in Role::ALL {
        for (name, alive) in [("alive", true), ("dead", false)] {
            let counted = instances
                .iter()
                .filter(|one| **one == (role, alive))
                .count();
            let gauge = metrics.instances.with_label_values(&[role.name(), name]);
            gauge.set(counted as i64);
        }
    }
    let tables = state.tables();
    state.census.keep(&tables);
    let counts = tables.iter().map(|table| state.census.count(table));
    let segments = counts.fold(Counts::default(), Counts::and);
    metrics.segments.set(segments.sealed);
    metrics.missing.set(segments.missing);
    metrics.under_replicated.set(segments.under_replicated);
    metrics.unconsumed.set(segments.unconsumed);
    show_tasks(state).await?;
    Ok(told(segments))
}

fn told(segments: Counts) -> String {
    let Counts {
        sealed,
        missing,
        under_replicated,
        unconsumed,
        ..
    } = segments;
    format!(
        "{sealed} sealed segments: {missing} are on no server, {under_replicated} on fewer \
         than wanted; {unconsumed} partitions are not consumed"
    )
}

/// Another one leads.
pub(super) fn forget(state: &State) {
    let metrics = &state.metrics;
    metrics.instances.reset();
    metrics.tasks.reset();
    let counts = [
        &metrics.segments,
        &metrics.missing,
        &metrics.under_replicated,
        &metrics.unconsumed,
    ];
    for count in counts {
        count.set(0);
    }
}

async fn show_tasks(state: &State) -> Result<(), Fault> {
    let now_ms = state.clock.now_ms();
    let (mut waiting, mut running, mut failing) = (0, 0, 0);
    for task in state.catalog.tasks().await? {
        if task.is_over() {
            continue;
        }
        if task.leased_until_ms > now_ms && !task.leased_by.is_empty() {
            running += 1;
        } else if task.last_error.is_empty() {
            waiting += 1;
        } else {
            failing += 1;
        }
    }
    for (name, count) in [
        ("waiting", waiting),
        ("running", running),
        ("failing", failing),
    ] {
        state.metrics.tasks.with_label_values(&[name]).set(count);
    }
    Ok(())
}
