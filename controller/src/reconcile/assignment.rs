//! Gives segments of dead servers to living ones, and dimension tables to every server.

use std::sync::Arc;
use std::time::Duration;

use schemas::{Fault, InstanceId};

use crate::assignment::repaired;
use crate::state::State;

/// A server that restarts within this time keeps its segments.
const GRACE: Duration = Duration::from_secs(30);

pub(super) async fn run(state: &Arc<State>) -> Result<(), Fault> {
    state.judge_liveness();
    let now = state.clock.monotonic();
    let instances = state.instances();
    let alive = state.alive_servers();
    if alive.is_empty() || now < GRACE {
        return spread_dimension_tables(state, &alive).await;
    }
    // Servers that died a moment ago still count: they may come back with their segments.
    let trusted: Vec<InstanceId> = instances
        .iter()
        .filter(|(id, instance)| {
            alive.contains(id) || now.saturating_sub(instance.last_heard) < GRACE
        })
        .map(|(id, _)| id.clone())
        .collect();
    let loads = state.loads();
    for table in state.tables() {
        let mut changed = false;
        for segment in &table.segments {
            let whole = segment
                .assigned
                .iter()
                .all(|server| trusted.contains(server));
            if table.spec.is_dimension_table || (whole && !segment.assigned.is_empty()) {
                continue;
            }
            let replication = table.spec.replication;
            if let Some(assigned) = repaired(&segment.assigned, &alive, &loads, replication) {
                state.catalog.assign(segment.record.id, assigned).await?;
                changed = true;
            }
        }
        if changed {
            state.publish(table.spec.id).await?;
        }
    }
    spread_dimension_tables(state, &alive).await
}

async fn spread_dimension_tables(state: &State, alive: &[InstanceId]) -> Result<(), Fault> {
    for table in state
        .tables()
        .iter()
        .filter(|table| table.spec.is_dimension_table)
    {
        let mut changed = false;
        for segment in &table.segments {
            if alive
                .iter()
                .any(|server| !segment.assigned.contains(server))
            {
                state
                    .catalog
                    .assign(segment.record.id, alive.to_vec())
                    .await?;
                changed = true;
            }
        }
        if changed {
            state.publish(table.spec.id).await?;
        }
    }
    Ok(())
}
