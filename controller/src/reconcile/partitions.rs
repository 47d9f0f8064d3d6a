//! Opens the partitions of streams that nobody consumes yet.
//!
//! Invariant: what comes into a topic after its first look is not skipped, wherever its table
//! begins.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::cluster::TableState;
use schemas::segment::SegmentRecord;
use schemas::table::{StreamSpec, StreamStart, partition_id, topic_partition};
use schemas::{Fault, Offset, Partition, SegmentId};
use stream::{StreamError, StreamSource};

use crate::state::State;

pub(super) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    let mut waiting = Vec::new();
    for table in state.tables() {
        if !table.spec.streams.is_empty()
            && let Err(fault) = open_partitions(state, &table).await
        {
            let name = table.spec.physical_name();
            tracing::debug!(table = name, cause = %fault, "partitions cannot be opened yet");
            waiting.push(format!("{name}: {fault}"));
        }
    }
    Ok(match waiting.is_empty() {
        true => "all partitions are open".to_owned(),
        false => waiting.join("; "),
    })
}

/// Also called at once when a table is created. A topic that is away does not keep the others
/// from being opened.
pub(crate) async fn open_partitions(state: &State, table: &TableState) -> Result<(), Fault> {
    if !state.fleet().takes_anything() && !table.spec.streams.is_empty() {
        return Err(Fault::unavailable("no server lives that takes segments"));
    }
    let (mut opened, mut failed) = (false, None);
    for topic in 0..table.spec.streams.len() {
        match open_topic(state, table, topic).await {
            Ok(some) => opened |= some,
            Err(fault) => failed = Some(fault),
        }
    }
    if opened {
        state.publish(table.spec.id).await?;
    }
    failed.map_or(Ok(()), Err)
}

async fn open_topic(state: &State, table: &TableState, topic: usize) -> Result<bool, Fault> {
    let spec = &table.spec;
    let source = state.source(spec, topic)?;
    let found = not_consumed(state, table, topic, &*source).await?;
    let mut opened = false;
    for (partition, start) in found {
        let now_ms = state.clock.now_ms();
        let id = SegmentId {
            table: spec.id,
            partition,
            sequence: 0,
        };
        let record = SegmentRecord::consuming(id, spec, start, now_ms);
        let assigned = state.servers_for(&record)?;
        let catalog = &state.catalog;
        let is_new = catalog.open_partition(spec, partition, start, assigned, now_ms);
        if is_new.await? {
            opened = true;
            // The next one goes elsewhere.
            state.publish(spec.id).await?;
        }
    }
    Ok(opened)
}

/// Partitions that nobody consumes, and where each begins. All of them are looked at before the
/// first is opened: what is found later is new.
async fn not_consumed(
    state: &State,
    table: &TableState,
    topic: usize,
    source: &dyn StreamSource,
) -> Result<Vec<(Partition, Offset)>, Fault> {
    let stream = &table.spec.streams[topic];
    let known: HashSet<Partition> = table
        .segments
        .partitions()
        .filter(|partition| topic_partition(*partition).0 == topic)
        .collect();
    let wanted = |number: &u32| {
        stream
            .partitions
            .as_ref()
            .is_none_or(|ids| ids.contains(number))
    };
    let mut found = Vec::new();
    for number in (0..source.partitions(&stream.topic).await?).filter(wanted) {
        let Some(partition) = partition_id(topic, number) else {
            let name = &stream.topic;
            return Err(Fault::invalid(format!(
                "topic `{name}` has more than 10,000 partitions"
            )));
        };
        if !known.contains(&partition) {
            let is_first = known.is_empty();
            let now_ms = state.clock.now_ms();
            let start = start_of(source, stream, number, is_first, now_ms).await?;
            found.push((partition, start));
        }
    }
    Ok(found)
}

async fn start_of(
    source: &dyn StreamSource,
    stream: &StreamSpec,
    partition: u32,
    is_first: bool,
    now_ms: i64,
) -> Result<Offset, StreamError> {
    let topic = &stream.topic;
    let (first, end) = source.watermarks(topic, partition).await?;
    let at = async |time_ms| {
        let offset = source.offset_at(topic, partition, time_ms).await?;
        Ok::<_, StreamError>(offset.unwrap_or(end))
    };
    Ok(match stream.start {
        // Nothing of a partition that came later is skipped.
        _ if !is_first => first,
        StreamStart::Earliest => first,
        StreamStart::Latest => end,
        StreamStart::AtTime(time_ms) => at(time_ms).await?,
        StreamStart::BackFor(period_ms) => at(now_ms - period_ms).await?,
        StreamStart::Offset(offset) => offset.clamp(first, end),
    })
}
