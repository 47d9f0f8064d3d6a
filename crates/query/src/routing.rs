//! Which server reads what of a table.
//!
//! A sealed segment is read by one of the servers that hold it; the consuming rows of a partition
//! by one of the servers that consume it. Replicas take turns by query.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use schemas::cluster::{ClusterState, InstanceState, SegmentState, TableState};
use schemas::proto::{ConsumingFrom, SegmentRef, TableScan};
use schemas::{InstanceId, SegmentId, TableId};

use crate::codec::PLAN_FORMAT;
use crate::scan_exec::ScanPart;

/// A table's segments spread over servers.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) parts: Vec<ScanPart>,
    /// Nobody that lives holds these.
    pub(crate) unavailable: Vec<String>,
    /// Sealed rows, for the order of joins.
    pub(crate) rows: u64,
}

/// What must be read from somebody.
#[derive(Debug)]
enum Piece {
    Sealed(SegmentRef),
    Consuming(ConsumingFrom),
}

pub(crate) fn route(
    cluster: &ClusterState,
    table: &TableState,
    wanted: impl Fn(&SegmentState) -> bool,
    turn: usize,
    avoid: &HashSet<InstanceId>,
) -> Route {
    let mut route = Route::default();
    let mut by_server: BTreeMap<&InstanceId, Vec<Piece>> = BTreeMap::new();
    let mut consuming_seen = HashSet::new();
    for (at, segment) in table.segments.iter().enumerate() {
        let record = &segment.record;
        route.rows += record.ledger.rows;
        let SegmentId {
            partition,
            sequence,
            ..
        } = record.id;
        let piece = if record.is_done() {
            if !wanted(segment) {
                continue;
            }
            Piece::Sealed(SegmentRef {
                partition,
                sequence,
                crc: record.crc,
            })
        } else {
            if !consuming_seen.insert(partition) {
                continue;
            }
            Piece::Consuming(ConsumingFrom {
                partition,
                from_sequence: sequence,
                start: record.start,
            })
        };
        let usable: Vec<&InstanceId> = segment
            .online
            .iter()
            .filter(|id| !avoid.contains(id) && speaks(cluster, id))
            .collect();
        match usable.is_empty() {
            false => by_server
                .entry(usable[(turn + at) % usable.len()])
                .or_default()
                .push(piece),
            true => route.unavailable.push(record.name.clone()),
        }
    }
    for (id, pieces) in by_server {
        if let Some(server) = cluster.instances.get(id) {
            route.parts.push(part(server, table.spec.id, pieces));
        }
    }
    route
}

/// Every segment of a dimension table, for a server that holds them all.
pub(crate) fn whole_table(table: &TableState) -> TableScan {
    let sealed = table
        .segments
        .iter()
        .filter(|s| s.record.is_done())
        .map(|s| {
            let SegmentId {
                partition,
                sequence,
                ..
            } = s.record.id;
            SegmentRef {
                partition,
                sequence,
                crc: s.record.crc,
            }
        });
    let table_id = table.spec.id.to_bytes();
    TableScan {
        table_id,
        sealed: sealed.collect(),
        ..TableScan::default()
    }
}

fn speaks(cluster: &ClusterState, id: &InstanceId) -> bool {
    cluster
        .instances
        .get(id)
        .is_some_and(|i| i.alive && i.plan_format == PLAN_FORMAT)
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

/// The pieces of `scan` on other servers than those to `avoid`; the names of what nobody else has.
pub(crate) fn reroute(
    cluster: &ClusterState,
    table: &Arc<TableState>,
    scan: &TableScan,
    avoid: &HashSet<InstanceId>,
) -> Route {
    let sealed: HashSet<(u32, u32)> = scan
        .sealed
        .iter()
        .map(|s| (s.partition, s.sequence))
        .collect();
    let consuming: HashSet<u32> = scan.consuming.iter().map(|c| c.partition).collect();
    let mut narrowed = TableState::clone(table);
    narrowed.segments.retain(|segment| {
        let id = segment.record.id;
        sealed.contains(&(id.partition, id.sequence))
            || (!segment.record.is_done() && consuming.contains(&id.partition))
    });
    route(cluster, &narrowed, |_| true, 0, avoid)
}
