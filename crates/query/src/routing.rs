//! Which server reads what of a table.
//!
//! A sealed segment is read by one of the servers that hold it; the consuming rows of a partition
//! by one of the servers that consume it. Replicas take turns by query; within a query the choice
//! is the same for every scan of a table. Few rows that one server holds alone are read there: it
//! then answers alone. Of a table whose keys have rules all of a partition is read by one server,
//! which knows which of its rows count.
//!
//! Between the commit of a segment and the moment when its servers say that they hold it sealed, it
//! is read as part of the consuming run: `ConsumingFrom` then starts at its sequence. A server that
//! cannot serve a run from its first sequence on reports it as missing.

use std::collections::{BTreeMap, HashMap, HashSet};

use schemas::cluster::{ClusterState, InstanceState, Role, SegmentState, TableState};
use schemas::proto::{ConsumingFrom, SegmentRef, TableScan};
use schemas::{InstanceId, Offset, Partition, Sequence, TableType};

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
    let usable = Usable::of(wanted);
    let runs = consuming_runs(wanted);
    let mut route = Route::default();
    let mut pieces = Vec::with_capacity(wanted.table.segments.len());
    for (at, segment) in wanted.table.segments.iter().enumerate() {
        let record = &segment.record;
        let in_run = runs
            .get(&record.id.partition)
            .is_some_and(|run| record.id.sequence >= run.from_sequence);
        if !record.is_done() || in_run || segment.hidden {
            continue;
        }
        if !wanted.keep[at] {
            route.pruned.0 += 1;
            route.pruned.1 += record.ledger.rows;
            continue;
        }
        route.rows += record.ledger.rows;
        pieces.push(Routed {
            partition: record.id.partition,
            turn: wanted.turn + at,
            holders: &segment.online,
            name: &record.name,
            piece: Piece::Sealed(reference(segment)),
        });
    }
    pieces.extend(runs.iter().map(|(partition, run)| Routed {
        partition: *partition,
        turn: wanted.turn + *partition as usize,
        holders: run.servers,
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
    let alone = match route.rows <= ALONE_ROWS_MAX {
        true => usable.holder_of_all(&pieces, wanted.turn),
        false => None,
    };
    let mut scans: Vec<Option<TableScan>> = vec![None; usable.servers.len()];
    let keyed = wanted.table.spec.keyed.as_ref();
    let together = keyed.map(|_| usable.holders_of_partitions(&pieces, wanted.turn));
    for Routed {
        partition,
        turn,
        holders,
        name,
        piece,
    } in pieces
    {
        let own = || match &together {
            Some(together) => together.get(&partition).copied().flatten(),
            None => usable.whose_turn(holders, turn),
        };
        let Some(server) = alone.or_else(own) else {
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
    name: &'a str,
    piece: Piece,
}

/// Servers that may be asked, in the order of their names.
struct Usable<'a> {
    servers: Vec<&'a InstanceState>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Usable<'a> {
    fn of(wanted: &Wanted<'a>) -> Self {
        let servers = wanted.cluster.instances.values();
        let servers = servers.filter(|i| is_usable(i) && !wanted.avoid.contains(&i.id));
        let mut servers: Vec<&InstanceState> = servers.collect();
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        let places = servers.iter().enumerate();
        let places = places.map(|(place, server)| (server.id.0.as_str(), place));
        Self {
            places: places.collect(),
            servers,
        }
    }

    fn among<'b>(&'b self, ids: &'b [InstanceId]) -> impl Iterator<Item = usize> + Clone + 'b {
        ids.iter()
            .filter_map(|id| self.places.get(id.0.as_str()).copied())
    }

    fn whose_turn(&self, holders: &[InstanceId], turn: usize) -> Option<usize> {
        let usable = self.among(holders);
        usable.clone().nth(turn % usable.count().max(1))
    }

    /// For each partition the server that reads all of it, where one can.
    fn holders_of_partitions(
        &self,
        pieces: &[Routed<'_>],
        turn: usize,
    ) -> BTreeMap<Partition, Option<usize>> {
        let mut of: BTreeMap<Partition, Vec<&Routed<'_>>> = BTreeMap::new();
        for piece in pieces {
            of.entry(piece.partition).or_default().push(piece);
        }
        let holder = |(partition, pieces): (Partition, Vec<&Routed<'_>>)| {
            let turn = turn + partition as usize;
            (partition, self.holder_of(pieces.into_iter(), turn))
        };
        of.into_iter().map(holder).collect()
    }

    /// The server that reads all pieces, where one can.
    fn holder_of_all(&self, pieces: &[Routed<'_>], turn: usize) -> Option<usize> {
        self.holder_of(pieces.iter(), turn)
    }

    fn holder_of<'p>(
        &self,
        mut pieces: impl Iterator<Item = &'p Routed<'p>>,
        turn: usize,
    ) -> Option<usize> {
        let mut holders: Vec<usize> = self.among(pieces.next()?.holders).collect();
        for piece in pieces {
            if holders.is_empty() {
                return None;
            }
            holders.retain(|holder| self.among(piece.holders).any(|other| other == *holder));
        }
        holders.get(turn % holders.len().max(1)).copied()
    }
}

/// The segments of a partition that one server must answer for together.
#[derive(Debug)]
struct Run<'a> {
    from_sequence: Sequence,
    start: Offset,
    servers: &'a [InstanceId],
    name: &'a str,
}

fn consuming_runs<'a>(wanted: &Wanted<'a>) -> BTreeMap<Partition, Run<'a>> {
    let mut runs = BTreeMap::new();
    if wanted.table.spec.table_type == TableType::Offline {
        return runs;
    }
    let segments = || wanted.table.segments.iter().enumerate();
    for (at, segment) in segments().filter(|(_, segment)| !segment.record.is_done()) {
        let id = segment.record.id;
        let known = runs.get(&id.partition);
        let is_first = known.is_none_or(|run: &Run<'_>| id.sequence < run.from_sequence);
        if wanted.keep[at] && is_first {
            let run = Run {
                from_sequence: id.sequence,
                start: segment.record.start,
                servers: &segment.online,
                name: &segment.record.name,
            };
            runs.insert(id.partition, run);
        }
    }
    // Committed, but not yet reported as sealed by anybody: they are few, and right before it.
    let mut waiting: BTreeMap<Partition, Vec<&SegmentState>> = BTreeMap::new();
    let mut newest_held: BTreeMap<Partition, Sequence> = BTreeMap::new();
    for (_, segment) in segments().filter(|(_, segment)| segment.record.is_done()) {
        let id = segment.record.id;
        if runs
            .get(&id.partition)
            .is_none_or(|run| id.sequence >= run.from_sequence)
        {
            continue;
        }
        if is_held(wanted.cluster, &segment.online) {
            let newest = newest_held.entry(id.partition).or_insert(id.sequence);
            *newest = id.sequence.max(*newest);
        } else {
            waiting.entry(id.partition).or_default().push(segment);
        }
    }
    for (partition, segments) in waiting {
        let held = newest_held.get(&partition);
        let behind = segments
            .into_iter()
            .filter(|segment| held.is_none_or(|held| segment.record.id.sequence > *held));
        let first = behind.min_by_key(|segment| segment.record.id.sequence);
        if let (Some(first), Some(run)) = (first, runs.get_mut(&partition)) {
            run.from_sequence = first.record.id.sequence;
            run.start = first.record.start;
            run.servers = &first.assigned;
        }
    }
    runs
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
    let segments = tables.iter().flat_map(|table| table.seen());
    let mut sealed = segments.filter(|segment| segment.record.is_done());
    sealed.all(|segment| segment.online.contains(server))
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
pub(crate) mod tests;
