//! Removes segments that were replaced or never counted, and keeps the time boundaries of OFFLINE
//! tables where their segments say.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::cluster::TableState;
use schemas::{Fault, SegmentId, TableType};

use crate::state::State;

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    for moving in state.moving() {
        let table = &moving.table;
        let id = table.spec.id;
        if table.spec.table_type == TableType::Offline {
            clean(state, table).await?;
            // It follows from what is published of the table.
            if state.bounded.lock().get(&id) != Some(&moving.changed) {
                move_boundary(state, table).await?;
                state.bounded.lock().insert(id, moving.changed);
            }
        }
    }
    state
        .bounded
        .lock()
        .retain(|id, _| state.table(*id).is_some());
    Ok("replaced segments are gone, time boundaries are where segments say".to_owned())
}

async fn clean(state: &State, table: &TableState) -> Result<(), Fault> {
    let id = table.spec.id;
    let Some(stored) = state.catalog.table(id).await? else {
        return Ok(());
    };
    if stored.value.lineage.is_empty() {
        return Ok(());
    }
    let now_ms = state.clock.now_ms();
    let changing = state
        .catalog
        .change_lineage(id, |lineage, there| Ok(lineage.clean(there, now_ms)));
    changing.await?;
    // Whoever follows the catalog publishes it; here it is sooner, and costs nothing twice.
    state.publish(id).await?;
    Ok(())
}

/// Only when somebody who lives holds each segment that counts.
pub(crate) async fn move_boundary(state: &State, table: &TableState) -> Result<(), Fault> {
    if table.spec.time_column.is_none() {
        return Ok(());
    }
    let held = table.seen().filter(|segment| !segment.online.is_empty());
    let held: HashSet<SegmentId> = held.map(|segment| segment.record.id).collect();
    let id = table.spec.id;
    if state
        .catalog
        .move_boundary(id, |one| held.contains(&one))
        .await?
    {
        state.publish(id).await?;
    }
    Ok(())
}
