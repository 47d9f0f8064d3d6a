//! What a change costs: to find what differs, to send it, to take it, to route by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use query::TableIndexes;
use schemas::cluster::{ClusterState, SegmentState, ServerLists, Servers, TableState, changed};
use schemas::partition::Partitioning;
use schemas::proto::ClusterUpdate;
use schemas::segment::SegmentRecord;

use crate::cluster::{HOUR_MS, Simulated, seal};
use crate::{Asked, ask, resident_mib};

const CHANGES: usize = 100;

pub(crate) fn measure(simulated: &Simulated, indexes: &Arc<TableIndexes>) {
    let now = &simulated.cluster;
    let before = resident_mib();
    let (mut bytes, mut parts, mut lists) = (0, 0, ServerLists::default());
    let mut copy = ClusterState::default();
    let (mut telling, mut taking) = (Duration::ZERO, Duration::ZERO);
    let mut updates = changed(None, now);
    loop {
        let begun = Instant::now();
        let Some(update) = updates.next() else { break };
        let sent = update.encode_to_vec();
        telling += begun.elapsed();
        (bytes, parts) = (bytes + sent.len(), parts + 1);
        let begun = Instant::now();
        let update = ClusterUpdate::decode(&sent[..]).unwrap();
        copy = copy.updated(&update, &mut lists).unwrap();
        taking += begun.elapsed();
    }
    let grown = resident_mib().saturating_sub(before);
    println!(
        "told everything: {} MiB in {parts} parts, {telling:.1?} to tell, {taking:.1?} to take, a \
         copy of {grown} MiB",
        bytes >> 20
    );
    let mut copied = Simulated::like(simulated, copy);
    let step = |at: usize, state: &ClusterState| sealed(simulated, state, at);
    told("a segment is sealed", &mut copied, indexes, CHANGES, step);
    let step = |at: usize, state: &ClusterState| dead(state, at);
    told("a server dies", &mut copied, indexes, 5, step);
}

/// The state after the next change.
fn told(
    what: &str,
    copied: &mut Simulated,
    indexes: &Arc<TableIndexes>,
    changes: usize,
    step: impl Fn(usize, &ClusterState) -> ClusterState,
) {
    let mut lists = ServerLists::default();
    let (mut times, mut bytes) = ([const { Vec::new() }; 4], 0);
    for at in 0..changes {
        let before = Arc::clone(&copied.cluster);
        let after = step(at, &before);
        let mut begun = Instant::now();
        let mut lap = |of: usize| {
            times[of].push(begun.elapsed());
            begun = Instant::now();
        };
        let updates: Vec<ClusterUpdate> = changed(Some(&before), &after).collect();
        lap(0);
        let sent: Vec<Vec<u8>> = updates.iter().map(Message::encode_to_vec).collect();
        bytes = sent.iter().map(Vec::len).sum();
        let sent: Vec<_> = sent
            .iter()
            .map(|sent| ClusterUpdate::decode(&sent[..]))
            .collect();
        lap(1);
        let mut taken = ClusterState::clone(&before);
        for update in sent {
            taken = taken.updated(&update.unwrap(), &mut lists).unwrap();
        }
        lap(2);
        copied.now(taken);
        let table = at % copied.tables.len();
        ask(copied, indexes, table, Asked::Hours(1));
        lap(3);
    }
    let shown = times.map(|mut times| {
        times.sort();
        format!("{:.3?}", times[times.len() / 2])
    });
    let [find, send, take, route] = shown;
    println!(
        "{what}: found in {find}, {bytes} bytes sent and read in {send}, taken in {take}, first \
         query routed by it in {route}"
    );
}

fn with(state: &ClusterState, at: usize, change: impl FnOnce(&mut TableState)) -> ClusterState {
    let mut after = state.clone();
    after.version += 1;
    let mut ids: Vec<_> = after.tables.keys().copied().collect();
    ids.sort();
    if let Some(table) = after.tables.get_mut(&ids[at % ids.len()]) {
        change(Arc::make_mut(table));
    }
    after
}

fn sealed(simulated: &Simulated, state: &ClusterState, at: usize) -> ClusterState {
    with(state, at, |table| {
        let partitions = table.segments.partitions().count();
        let partition = (at * 37 % partitions) as u32;
        let newest = table.segments.of_partition(partition).next_back().unwrap();
        let mut done = newest.clone();
        let by = Partitioning {
            function: schemas::partition::PartitionFunction::Modulo,
            partitions: partitions as u32,
        };
        seal(&mut done.record, by, simulated.now_ms - HOUR_MS);
        let mut id = done.record.id;
        id.sequence += 1;
        let end = done.record.end.unwrap_or_default();
        let record = SegmentRecord::consuming(id, &table.spec, end, simulated.now_ms);
        let next = SegmentState {
            record,
            ..done.clone()
        };
        table.segments.put(done);
        table.segments.put(next);
    })
}

/// It is taken from all that it holds, in every table.
fn dead(state: &ClusterState, at: usize) -> ClusterState {
    let mut after = state.clone();
    after.version += 1;
    let first = after
        .tables
        .values()
        .next()
        .and_then(|table| table.segments.first());
    let Some(first) = first.cloned() else {
        return after;
    };
    let number = at * 11 % after.instances.len();
    let name = after
        .instances
        .keys()
        .nth(number)
        .unwrap_or(&first.assigned[0])
        .clone();
    for table in after.tables.values_mut() {
        let held = table
            .segments
            .iter()
            .filter(|one| one.online.contains(&name));
        let without = held.map(|one| SegmentState {
            online: one
                .online
                .iter()
                .filter(|other| **other != name)
                .cloned()
                .collect::<Servers>(),
            ..one.clone()
        });
        let without: Vec<SegmentState> = without.collect();
        if !without.is_empty() {
            Arc::make_mut(table).segments.extend(without);
        }
    }
    after
}
