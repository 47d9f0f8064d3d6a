//! Opens the partitions of streams that nobody consumes yet.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::cluster::TableState;
use schemas::table::StreamStart;
use schemas::{Fault, InstanceId};

use crate::assignment::least_loaded;
use crate::state::State;

pub(super) async fn run(state: &Arc<State>) -> Result<(), Fault> {
    for table in state.tables() {
        if table.spec.stream.is_some()
            && let Err(fault) = open_partitions(state, &table).await
        {
            let name = table.spec.physical_name();
            tracing::debug!(table = name, cause = %fault, "partitions cannot be opened yet");
        }
    }
    Ok(())
}

/// Also called at once when a table is created.
pub(crate) async fn open_partitions(state: &State, table: &TableState) -> Result<(), Fault> {
    let Some(stream) = &table.spec.stream else {
        return Ok(());
    };
    let alive = state.alive_servers();
    if alive.is_empty() {
        return Err(Fault::unavailable("no server lives"));
    }
    let source = state.source(table)?;
    let partitions = source.partitions(&stream.topic).await?;
    // All of them are looked at before the first is opened: what is found later is new.
    let mut found = Vec::new();
    for partition in 0..partitions {
        let known = |s: &schemas::cluster::SegmentState| s.record.id.partition == partition;
        if table.segments.iter().any(known) {
            continue;
        }
        let (first, end) = source.watermarks(&stream.topic, partition).await?;
        let start = match stream.start {
            // Nothing of a partition that came later is skipped.
            StreamStart::Latest if table.segments.is_empty() => end,
            StreamStart::Latest | StreamStart::Earliest => first,
        };
        found.push((partition, start));
    }
    let mut opened = false;
    let mut loads = consuming_loads(state);
    for (partition, start) in found {
        let assigned = least_loaded(&alive, &loads, table.spec.replication);
        for server in &assigned {
            *loads.entry(server.clone()).or_default() += 1;
        }
        let now_ms = state.clock.now_ms();
        let spec = &table.spec;
        opened |= state
            .catalog
            .open_partition(spec, partition, start, assigned, now_ms)
            .await?;
    }
    if opened {
        state.publish(table.spec.id).await?;
    }
    Ok(())
}

/// Consuming segments of each server: those cost most.
fn consuming_loads(state: &State) -> HashMap<InstanceId, usize> {
    let mut loads = HashMap::new();
    for table in state.tables() {
        for segment in table
            .segments
            .iter()
            .filter(|segment| !segment.record.is_done())
        {
            for server in &segment.assigned {
                *loads.entry(server.clone()).or_default() += 1;
            }
        }
    }
    loads
}
