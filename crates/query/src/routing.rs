//! Which server reads what of a table.
//!
//! A sealed segment is read by one of the servers that hold it; the consuming rows of a partition
//! by one of the servers that consume it. Replicas take turns by query; within a query the choice
//! is the same for every scan of a table. Few rows that one server holds alone are read there: it
//! then answers alone.
//!
//! Between the commit of a segment and the moment when its servers say that they hold it sealed, it
//! is read as part of the consuming run: `ConsumingFrom` then starts at its sequence. A server that
//! cannot serve a run from its first sequence on reports it as missing.

use std::collections::{BTreeMap, HashMap, HashSet};

use schemas::cluster::{ClusterState, InstanceState, Role, SegmentState, TableState};
use schemas::proto::{ConsumingFrom, SegmentRef, TableScan};
use schemas::{InstanceId, Offset, Partition, Sequence, TableId, TableType};

use crate::codec::PLAN_FORMAT;
use crate::scan_exec::ScanPart;

/// A table's segments spread over servers.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) parts: Vec<ScanPart>,
    /// Nobody that lives holds these.
    pub(crate) unavailable: Vec<String>,
    /// Sealed rows that are read, for the order of joins.
    pub(crate) rows: u64,
    /// Left out because no row can match: segments, and their rows.
    pub(crate) pruned: (u64, u64),
}

/// What shall be read of a table, and from whom not.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) cluster: &'a ClusterState,
    pub(crate) table: &'a TableState,
    /// By position in the table's segments.
    pub(crate) keep: Vec<bool>,
    pub(crate) turn: usize,
    pub(crate) avoid: &'a HashSet<InstanceId>,
}

/// What must be read from somebody.
#[derive(Debug)]
enum Piece {
    Sealed(SegmentRef),
    Consuming(ConsumingFrom),
}

pub(crate) fn route(wanted: &Wanted<'_>) -> Route {
    let servers: HashMap<&InstanceId, &InstanceState> = wanted
        .cluster
        .instances
        .iter()
        .filter(|(id, instance)| is_usable(instance) && !wanted.avoid.contains(id))
        .collect();
    let usable = |ids: &[InstanceId]| -> Vec<InstanceId> {
        ids.iter()
            .filter(|id| servers.contains_key(id))
            .cloned()
            .collect()
    };
    let mut route = Route::default();
    let mut by_server: BTreeMap<InstanceId, Vec<Piece>> = BTreeMap::new();
    let runs = consuming_runs(wanted, &usable);
    let alone = alone(wanted, &runs, &usable);
    for (at, segment) in wanted.table.segments.iter().enumerate() {
        let record = &segment.record;
        let in_run = runs
            .get(&record.id.partition)
            .is_some_and(|run| record.id.sequence >= run.from_sequence);
        if !record.is_done() || in_run {
            continue;
        }
        if !wanted.keep[at] {
            route.pruned.0 += 1;
            route.pruned.1 += record.ledger.rows;
            continue;
        }
        route.rows += record.ledger.rows;
        let holders = usable(&segment.online);
        let whose_turn = holders.get((wanted.turn + at) % holders.len().max(1));
        match alone.as_ref().or(whose_turn) {
            Some(holder) => {
                let piece = Piece::Sealed(reference(segment));
                by_server.entry(holder.clone()).or_default().push(piece);
            }
            None => route.unavailable.push(record.name.clone()),
        }
    }
    for (partition, run) in runs {
        let at = (wanted.turn + partition as usize) % run.servers.len().max(1);
        match alone.as_ref().or(run.servers.get(at)) {
            Some(server) => {
                let piece = Piece::Consuming(ConsumingFrom {
                    partition,
                    from_sequence: run.from_sequence,
                    start: run.start,
                });
                by_server.entry(server.clone()).or_default().push(piece);
            }
            None => route.unavailable.push(run.name),
        }
    }
    let parts = by_server.into_iter().filter_map(|(id, pieces)| {
        let server = servers.get(&id)?;
        Some(part(server, wanted.table.spec.id, pieces))
    });
    route.parts = parts.collect();
    route
}

/// A table with more rows to read is shared out among its replicas.
const ALONE_ROWS_MAX: u64 = 2_000_000;

/// The server that reads all that is wanted, where there are few rows and it holds them all.
fn alone(
    wanted: &Wanted<'_>,
    runs: &BTreeMap<Partition, Run>,
    usable: &dyn Fn(&[InstanceId]) -> Vec<InstanceId>,
) -> Option<InstanceId> {
    let is_read = |(at, segment): &(usize, &SegmentState)| {
        let id = segment.record.id;
        let run = runs.get(&id.partition);
        let in_run = run.is_some_and(|run| id.sequence >= run.from_sequence);
        segment.record.is_done() && wanted.keep[*at] && !in_run
    };
    let sealed = wanted.table.segments.iter().enumerate().filter(is_read);
    let mut rows = 0;
    let mut holders: Option<Vec<InstanceId>> = None;
    let of_runs = runs.values().map(|run| (0, run.servers.clone()));
    let pieces = sealed.map(|(_, s)| (s.record.ledger.rows, usable(&s.online)));
    for (more, servers) in pieces.chain(of_runs) {
        rows += more;
        match &mut holders {
            Some(holders) => holders.retain(|holder| servers.contains(holder)),
            None => holders = Some(servers),
        }
        if rows > ALONE_ROWS_MAX || holders.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
    }
    let holders = holders?;
    holders.get(wanted.turn % holders.len().max(1)).cloned()
}

/// The segments of a partition that one server must answer for together.
#[derive(Debug)]
struct Run {
    from_sequence: Sequence,
    start: Offset,
    servers: Vec<InstanceId>,
    name: String,
}

fn consuming_runs(
    wanted: &Wanted<'_>,
    usable: &dyn Fn(&[InstanceId]) -> Vec<InstanceId>,
) -> BTreeMap<Partition, Run> {
    if wanted.table.spec.table_type == TableType::Offline {
        return BTreeMap::new();
    }
    let mut by_partition: BTreeMap<Partition, BTreeMap<u32, &SegmentState>> = BTreeMap::new();
    let mut asked_for = HashSet::new();
    for (at, segment) in wanted.table.segments.iter().enumerate() {
        let id = segment.record.id;
        by_partition
            .entry(id.partition)
            .or_default()
            .insert(id.sequence, segment);
        if wanted.keep[at] && !segment.record.is_done() {
            asked_for.insert(id.partition);
        }
    }
    let mut runs = BTreeMap::new();
    for (partition, segments) in by_partition {
        let mut consuming = segments.values().filter(|s| !s.record.is_done());
        let Some(head) = consuming.next().filter(|_| asked_for.contains(&partition)) else {
            continue;
        };
        let mut run = Run {
            from_sequence: head.record.id.sequence,
            start: head.record.start,
            servers: usable(&head.online),
            name: head.record.name.clone(),
        };
        // Committed, but not yet reported as sealed by anybody.
        let before = segments.range(..run.from_sequence).rev();
        for (sequence, segment) in before {
            let is_held = segment.online.iter().any(|id| is_alive(wanted.cluster, id));
            if !segment.record.is_done() || is_held {
                break;
            }
            run.from_sequence = *sequence;
            run.start = segment.record.start;
            run.servers = usable(&segment.assigned);
        }
        runs.insert(partition, run);
    }
    runs
}

fn is_usable(instance: &InstanceState) -> bool {
    instance.alive && instance.role == Role::Server && instance.plan_format == PLAN_FORMAT
}

fn is_alive(cluster: &ClusterState, id: &InstanceId) -> bool {
    cluster.instances.get(id).is_some_and(is_usable)
}

fn reference(segment: &SegmentState) -> SegmentRef {
    let id = segment.record.id;
    SegmentRef {
        partition: id.partition,
        sequence: id.sequence,
        crc: segment.record.crc,
    }
}

/// Every segment of a dimension table, for a server that holds them all.
pub(crate) fn whole_table(table: &TableState) -> TableScan {
    let sealed = table.segments.iter().filter(|s| s.record.is_done());
    TableScan {
        table_id: table.spec.id.to_bytes(),
        sealed: sealed.map(reference).collect(),
        ..TableScan::default()
    }
}

/// For people: the segments that each server would be asked for now.
pub fn servers_of(cluster: &ClusterState, table: &TableState) -> BTreeMap<InstanceId, Vec<String>> {
    let wanted = Wanted {
        cluster,
        table,
        keep: vec![true; table.segments.len()],
        turn: 0,
        avoid: &HashSet::new(),
    };
    let mut servers = BTreeMap::new();
    for part in route(&wanted).parts {
        let scan = &part.scan;
        let is_read = |segment: &&SegmentState| {
            let id = segment.record.id;
            let sealed = scan.sealed.contains(&reference(segment));
            let run = scan
                .consuming
                .iter()
                .find(|run| run.partition == id.partition);
            sealed || run.is_some_and(|run| id.sequence >= run.from_sequence)
        };
        let names = table.segments.iter().filter(is_read);
        let names: Vec<String> = names.map(|segment| segment.record.name.clone()).collect();
        servers.insert(part.server.id.clone(), names);
    }
    servers
}

/// A server that holds all segments of all these tables.
pub(crate) fn holder_of_all<'a>(
    cluster: &'a ClusterState,
    tables: &[&TableState],
    turn: usize,
    avoid: &HashSet<InstanceId>,
) -> Option<&'a InstanceState> {
    let mut holders: Vec<&InstanceState> = cluster
        .instances
        .values()
        .filter(|i| is_usable(i) && !avoid.contains(&i.id) && holds_all(tables, &i.id))
        .collect();
    holders.sort_by(|a, b| a.id.cmp(&b.id));
    holders.get(turn % holders.len().max(1)).copied()
}

/// Whether the server says that it holds all sealed segments of these tables.
pub(crate) fn holds_all(tables: &[&TableState], server: &InstanceId) -> bool {
    let segments = tables.iter().flat_map(|table| &table.segments);
    let mut sealed = segments.filter(|segment| segment.record.is_done());
    sealed.all(|segment| segment.online.contains(server))
}

fn part(server: &InstanceState, table: TableId, pieces: Vec<Piece>) -> ScanPart {
    let mut scan = TableScan {
        table_id: table.to_bytes(),
        ..TableScan::default()
    };
    for piece in pieces {
        match piece {
            Piece::Sealed(segment) => scan.sealed.push(segment),
            Piece::Consuming(from) => scan.consuming.push(from),
        }
    }
    ScanPart {
        server: server.clone(),
        scan,
    }
}

/// What `scan` names, on other servers than those to avoid.
pub(crate) fn reroute(
    cluster: &ClusterState,
    table: &TableState,
    scan: &TableScan,
    avoid: &HashSet<InstanceId>,
) -> Route {
    let sealed: HashSet<(u32, u32)> = scan
        .sealed
        .iter()
        .map(|s| (s.partition, s.sequence))
        .collect();
    let consuming: HashSet<u32> = scan.consuming.iter().map(|c| c.partition).collect();
    let keep = table.segments.iter().map(|segment| {
        let id = segment.record.id;
        sealed.contains(&(id.partition, id.sequence))
            || (!segment.record.is_done() && consuming.contains(&id.partition))
    });
    let wanted = Wanted {
        cluster,
        table,
        keep: keep.collect(),
        turn: 0,
        avoid,
    };
    route(&wanted)
}

#[cfg(test)]
mod tests;
