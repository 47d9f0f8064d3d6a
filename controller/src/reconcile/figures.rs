//! Shows as gauges what the controller that leads sees of the whole cluster: who lives, what nobody
//! holds or consumes, which tasks wait.
//!
//! Invariant: one that does not lead any more shows nothing of it, least of all what was.

use std::sync::Arc;

use schemas::Fault;
use schemas::cluster::{Role, TableState};

use crate::state::State;

#[derive(Debug, Default, PartialEq, Eq)]
struct Segments {
    sealed: i64,
    missing: i64,
    under_replicated: i64,
    unconsumed: i64,
}

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
    let mut segments = Segments::default();
    for table in state.tables() {
        segments.add(&table);
    }
    metrics.segments.set(segments.sealed);
    metrics.missing.set(segments.missing);
    metrics.under_replicated.set(segments.under_replicated);
    metrics.unconsumed.set(segments.unconsumed);
    show_tasks(state).await?;
    Ok(segments.told())
}

impl Segments {
    fn told(&self) -> String {
        let Self {
            sealed,
            missing,
            under_replicated,
            unconsumed,
        } = self;
        format!(
            "{sealed} sealed segments: {missing} are on no server, {under_replicated} on fewer \
             than wanted; {unconsumed} partitions are not consumed"
        )
    }

    fn add(&mut self, table: &TableState) {
        for segment in &table.segments {
            let holders = segment.online.len();
            if !segment.record.is_done() {
                self.unconsumed += i64::from(holders == 0);
                continue;
            }
            self.sealed += 1;
            self.missing += i64::from(holders == 0);
            // Of dimension tables every server has one.
            let wanted = match table.spec.is_dimension_table {
                true => segment.assigned.len(),
                false => table.spec.replication as usize,
            };
            self.under_replicated += i64::from(holders < wanted);
        }
    }
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
