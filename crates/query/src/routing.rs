//! Which server reads what of a table.
//!
//! A sealed segment is read by one of the servers that hold it; the consuming rows of a partition
//! by one of the servers that consume it. Replicas that are about as good as the best take turns by
//! query; within a query the choice is the same for every scan of a table. Few rows that one server
//! holds alone are read there: it then answers alone. Of a table whose keys have rules all of a
//! partition is read by one server, which knows which of its rows count. Where the table asks for
//! it, all is read from one replica: the servers at one position of what segments are assigned to.
//!
//! Between the commit of a segment and the moment when its servers say that they hold it sealed, it
//! is read as part of the consuming run: `ConsumingFrom` then starts at its sequence. A server that
//! cannot serve a run from its first sequence on reports it as missing.

mod index;
mod usable;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use schemas::cluster::{ClusterState, InstanceState, Role, SegmentState, TableState};
use schemas::proto::{ConsumingFrom, SegmentRef, TableScan};
use schemas::segments::SegmentKey;
use schemas::{InstanceId, Offset, Partition, Sequence, TableType};

use crate::codec::PLAN_FORMAT;
use crate::scan_exec::ScanPart;
use crate::servers::{Standing, choose};
pub use index::TableIndexes;
pub(crate) use index::{Bounds, Conditions, TableIndex};
use usable::Usable;

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
    pub(crate) index: &'a TableIndex,
    /// Of the table's segments, in their order.
    pub(crate) keep: Vec<&'a SegmentState>,
    pub(crate) turn: usize,
    pub(crate) standing: &'a Standing,
    pub(crate) avoid: &'a HashSet<InstanceId>,
}

/// What must be read from somebody.
#[derive(Debug)]
enum Piece {
    Sealed(SegmentRef),
    Consuming(ConsumingFrom),
}

pub(crate) fn route(wanted: &Wanted<'_>) -> Route {
    let usable = Usable::of(wanted);
    let Runs { of: runs, waiting } = consuming_runs(wanted);
    let mut route = Route::default();
    let mut pieces = Vec::with_capacity(wanted.keep.len());
    let mut kept = (0, 0);
    for segment in &wanted.keep {
        let record = &segment.record;
        let in_run = runs
            .get(&record.id.partition)
            .is_some_and(|run| record.id.sequence >= run.from_sequence);
        if !record.is_done() || in_run || segment.hidden {
            continue;
        }
        kept = (kept.0 + 1, kept.1 + record.ledger.rows);
        pieces.push(Routed {
            partition: record.id.partition,
            turn: wanted.turn + turn_of(segment),
            holders: &segment.online,
            assigned: &segment.assigned,
            name: &record.name,
            piece: Piece::Sealed(reference(segment)),
        });
    }
    let (segments, rows) = wanted.index.seen;
    route.rows = kept.1;
    route.pruned = (
        segments.saturating_sub(kept.0 + waiting.0),
        rows.saturating_sub(kept.1 + waiting.1),
    );
    pieces.extend(runs.iter().map(|(partition, run)| Routed {
        partition: *partition,
        turn: wanted.turn + *partition as usize,
        holders: run.servers,
        assigned: run.assigned,
        name: run.name,
        piece: Piece::Consuming(ConsumingFrom {
            partition: *partition,
            from_sequence: run.from_sequence,
            start: run.start,
        }),
    }));
    spread(wanted, &usable, pieces, &mut route);
    route
}

/// Says who reads which piece.
fn spread(wanted: &Wanted<'_>, usable: &Usable<'_>, pieces: Vec<Routed<'_>>, route: &mut Route) {
    let mut scans: Vec<Option<TableScan>> = vec![None; usable.servers.len()];
    let places: Vec<_> = {
        let readers = usable.readers(wanted, &pieces, route.rows <= ALONE_ROWS_MAX);
        let pieces = pieces.iter();
        pieces.map(|piece| usable.reader(&readers, piece)).collect()
    };
    for (Routed { name, piece, .. }, place) in pieces.into_iter().zip(places) {
        let Some(server) = place else {
            route.unavailable.push(name.to_owned());
            continue;
        };
        let scan = scans[server].get_or_insert_with(|| TableScan {
            table_id: wanted.table.spec.id.to_bytes(),
            ..TableScan::default()
        });
        match piece {
            Piece::Sealed(segment) => scan.sealed.push(segment),
            Piece::Consuming(from) => scan.consuming.push(from),
        }
    }
    let parts = scans.into_iter().zip(&usable.servers);
    let parts = parts.filter_map(|(scan, server)| {
        let server = InstanceState::clone(server);
        scan.map(|scan| ScanPart { server, scan })
    });
    route.parts = parts.collect();
}

/// A table with more rows to read is shared out among its replicas.
const ALONE_ROWS_MAX: u64 = 2_000_000;

/// A piece and those who may read it.
struct Routed<'a> {
    partition: Partition,
    turn: usize,
    holders: &'a [InstanceId],
    assigned: &'a [InstanceId],
    name: &'a str,
    piece: Piece,
}

/// The segments of a partition that one server must answer for together.
#[derive(Debug)]
struct Run<'a> {
    from_sequence: Sequence,
    start: Offset,
    servers: &'a [InstanceId],
    assigned: &'a [InstanceId],
    name: &'a str,
}

/// Runs by partition, and what is read as part of them that is committed: segments, and rows.
struct Runs<'a> {
    of: BTreeMap<Partition, Run<'a>>,
    waiting: (u64, u64),
}

fn consuming_runs<'a>(wanted: &Wanted<'a>) -> Runs<'a> {
    let mut runs = Runs {
        of: BTreeMap::new(),
        waiting: (0, 0),
    };
    if wanted.table.spec.table_type == TableType::Offline {
        return runs;
    }
    let is_kept = |open: &SegmentState| {
        let key = |segment: &&SegmentState| segment.record.id.key();
        wanted
            .keep
            .binary_search_by_key(&open.record.id.key(), key)
            .is_ok()
    };
    for consuming in &wanted.index.open {
        let id = consuming.record.id;
        let known = runs.of.get(&id.partition);
        let is_first = known.is_none_or(|run: &Run<'_>| id.sequence < run.from_sequence);
        if is_first && is_kept(consuming) {
            let run = Run {
                from_sequence: id.sequence,
                start: consuming.record.start,
                servers: &consuming.online,
                assigned: &consuming.assigned,
                name: &consuming.record.name,
            };
            runs.of.insert(id.partition, run);
        }
    }
    // Committed, but not yet reported as sealed by anybody: they are few, and right before it.
    for (partition, run) in &mut runs.of {
        let all_before = (*partition, run.from_sequence);
        let before = wanted.table.segments.between((*partition, 0), all_before);
        let before = before.rev().filter(|segment| segment.record.is_done());
        for waiting in before.take_while(|one| !is_held(wanted.cluster, &one.online)) {
            run.from_sequence = waiting.record.id.sequence;
            run.start = waiting.record.start;
            run.servers = &waiting.assigned;
            run.assigned = &waiting.assigned;
            if !waiting.hidden {
                runs.waiting.0 += 1;
                runs.waiting.1 += waiting.record.ledger.rows;
            }
        }
    }
    runs
}

/// Neighbours go to replicas in turn.
fn turn_of(segment: &SegmentState) -> usize {
    let (partition, sequence) = segment.record.id.key();
    partition as usize + sequence as usize
}

fn is_usable(instance: &InstanceState) -> bool {
    instance.alive && instance.role == Role::Server && instance.plan_format == PLAN_FORMAT
}

/// Also one that is not asked now may say that it holds a segment sealed.
fn is_held(cluster: &ClusterState, online: &[InstanceId]) -> bool {
    online
        .iter()
        .any(|id| cluster.instances.get(id).is_some_and(is_usable))
}

pub(crate) fn reference(segment: &SegmentState) -> SegmentRef {
    let id = segment.record.id;
    SegmentRef {
        partition: id.partition,
        sequence: id.sequence,
        crc: segment.record.crc,
    }
}

/// Every segment of a dimension table, for a server that holds them all.
pub(crate) fn whole_table(table: &TableState) -> TableScan {
    let sealed = table.seen().filter(|s| s.record.is_done());
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
        index: &TableIndex::of(table),
        keep: table.segments.iter().collect(),
        turn: 0,
        standing: &Standing::default(),
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
    (turn, standing): (usize, &Standing),
    avoid: &HashSet<InstanceId>,
) -> Option<&'a InstanceState> {
    let mut holders: Vec<&InstanceState> = cluster
        .instances
        .values()
        .filter(|i| is_usable(i) && !avoid.contains(&i.id) && holds_all(tables, &i.id))
        .collect();
    holders.sort_by(|a, b| a.id.cmp(&b.id));
    choose(
        holders.iter().map(|one| (*one, standing.stands(&one.id))),
        turn,
    )
}

/// One of these servers, if any can be asked.
pub(crate) fn holder_among<'a>(
    cluster: &'a ClusterState,
    holders: &[&InstanceId],
    (turn, standing): (usize, &Standing),
    avoid: &HashSet<InstanceId>,
) -> Option<&'a InstanceState> {
    let able = holders.iter().filter_map(|id| cluster.instances.get(*id));
    let able = able.filter(|i| is_usable(i) && !avoid.contains(&i.id));
    let mut able: Vec<&InstanceState> = able.collect();
    able.sort_by(|a, b| a.id.cmp(&b.id));
    let able = able.iter().map(|one| (*one, standing.stands(&one.id)));
    choose(able, turn)
}

/// A server that can read all that these scans name, sealed and consuming.
pub(crate) fn reader_of_all<'a>(
    cluster: &'a ClusterState,
    scans: &[(&TableState, &TableScan)],
    (turn, standing): (usize, &Standing),
    avoid: &HashSet<InstanceId>,
) -> Option<&'a InstanceState> {
    let able = cluster.instances.values();
    let able = able.filter(|i| is_usable(i) && !avoid.contains(&i.id));
    let mut able: Vec<&InstanceState> = able.collect();
    able.sort_by(|a, b| a.id.cmp(&b.id));
    for (table, scan) in scans {
        let sealed: HashSet<SegmentKey> = sealed_of(scan).collect();
        for key in sealed_of(scan).chain(runs_of(scan)) {
            let segment = table.segments.get(key)?;
            // A run that begins with what nobody holds sealed yet is where it was consumed.
            let waits = segment.record.is_done() && !sealed.contains(&key);
            let holders = match waits {
                true => &segment.assigned,
                false => &segment.online,
            };
            able.retain(|server| holders.contains(&server.id));
        }
    }
    choose(
        able.iter().map(|one| (*one, standing.stands(&one.id))),
        turn,
    )
}

/// Names of the segments that a scan asks for.
pub(crate) fn names_of(table: &TableState, scan: &TableScan) -> Vec<String> {
    let asked: BTreeSet<SegmentKey> = sealed_of(scan).chain(runs_of(scan)).collect();
    let segments = asked.into_iter().filter_map(|key| table.segments.get(key));
    segments
        .map(|segment| segment.record.name.clone())
        .collect()
}

fn sealed_of(scan: &TableScan) -> impl Iterator<Item = SegmentKey> {
    scan.sealed.iter().map(|one| (one.partition, one.sequence))
}

/// Where the runs of consuming segments begin.
fn runs_of(scan: &TableScan) -> impl Iterator<Item = SegmentKey> {
    let runs = scan.consuming.iter();
    runs.map(|run| (run.partition, run.from_sequence))
}

/// Whether the server says that it holds all sealed segments of these tables.
pub(crate) fn holds_all(tables: &[&TableState], server: &InstanceId) -> bool {
    let segments = tables.iter().flat_map(|table| table.seen());
    let mut sealed = segments.filter(|segment| segment.record.is_done());
    sealed.all(|segment| segment.online.contains(server))
}

/// What `scan` names, on other servers than those to avoid.
pub(crate) fn reroute(
    cluster: &ClusterState,
    (table, index): (&TableState, &TableIndex),
    scan: &TableScan,
    (turn, standing): (usize, &Standing),
    avoid: &HashSet<InstanceId>,
) -> Route {
    let consuming: HashSet<u32> = scan.consuming.iter().map(|c| c.partition).collect();
    let open = index.open.iter().map(|open| open.record.id.key());
    let open = open.filter(|(partition, _)| consuming.contains(partition));
    let named: BTreeSet<SegmentKey> = sealed_of(scan).chain(open).collect();
    let keep = named.into_iter().filter_map(|key| table.segments.get(key));
    let wanted = Wanted {
        cluster,
        table,
        index,
        keep: keep.map(|segment| &**segment).collect(),
        turn,
        standing,
        avoid,
    };
    route(&wanted)
}

#[cfg(test)]
pub(crate) mod tests;
