//! Gives segments of dead servers to living ones, replicas to tables that want more of them, and
//! dimension tables to every server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::{Fault, InstanceId, Partition};

use crate::assignment::repaired;
use crate::state::State;

/// A server that restarts within this time keeps its segments.
const GRACE: Duration = Duration::from_secs(30);

pub(crate) async fn run(state: &Arc<State>) -> Result<(), Fault> {
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
    let mut loads = state.loads();
    for table in state.tables() {
        if table.spec.is_dimension_table {
            continue;
        }
        let wanted = table.spec.replication;
        let mut changed = false;
        // Of a table whose keys have rules a partition is whole on each of its servers: where its
        // newest segment is.
        let is_keyed = table.spec.keyed.is_some();
        let mut together: HashMap<Partition, Vec<InstanceId>> = HashMap::new();
        let mut segments: Vec<_> = table.segments.iter().collect();
        if is_keyed {
            segments.reverse();
        }
        for segment in segments {
            let partition = segment.record.id.partition;
            let known = together.get(&partition).filter(|_| is_keyed);
            let current = &segment.assigned;
            let assigned = match known {
                Some(known) => Some(known.clone()).filter(|known| known != current),
                None => repaired(current, &trusted, &alive, &loads, wanted),
            };
            together.insert(partition, assigned.as_ref().unwrap_or(current).clone());
            let Some(assigned) = assigned else {
                continue;
            };
            for server in assigned.iter().filter(|server| !current.contains(server)) {
                *loads.entry(server.clone()).or_default() += 1;
            }
            state.catalog.assign(segment.record.id, assigned).await?;
            changed = true;
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
