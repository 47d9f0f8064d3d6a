//! From a table and the servers to what shall be where.
//!
//! Segments of a table are placed in classes: those that consume, those that are sealed, those of
//! each tier. Of a class each segment is placed by itself; of a table whose keys have rules each
//! partition is, with all of its segments.

use std::collections::{BTreeMap, HashMap};

use schemas::cluster::{SegmentState, TableState};
use schemas::placement::{InstancePartitions, PlaceKind, TierTakes};
use schemas::segment::SegmentRecord;
use schemas::{InstanceId, Partition, SegmentId, TableSpec, TableType};

use super::spread::{Aim, Capacity, Rows, spread};

/// A server, as far as it matters here.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: InstanceId,
    pub(crate) tags: Vec<String>,
    /// It may be given something.
    pub(crate) takes: bool,
    /// It may keep what it has.
    pub(crate) keeps: bool,
    /// Replicas of all tables that it has.
    pub(crate) burden: u64,
}

/// All servers.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    nodes: Vec<Node>,
    positions: HashMap<InstanceId, u32>,
}

impl Fleet {
    pub(crate) fn new(mut nodes: Vec<Node>) -> Self {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let positions = nodes.iter().enumerate();
        let positions = positions.map(|(at, node)| (node.id.clone(), at as u32));
        Self {
            positions: positions.collect(),
            nodes,
        }
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn takes_anything(&self) -> bool {
        self.nodes.iter().any(|node| node.takes)
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn position(&self, id: &InstanceId) -> Option<u32> {
        self.positions.get(id).copied()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) aim: Aim,
    /// Also what consumes.
    pub(crate) consuming: bool,
    /// As if nobody held anything yet.
    pub(crate) bootstrap: bool,
    pub(crate) now_ms: i64,
}

/// A segment shall be on these servers, and is not wanted there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) segment: SegmentId,
    pub(crate) servers: Vec<InstanceId>,
}

/// Servers of a tag that may be given something, who has least first.
pub(crate) fn pool(fleet: &Fleet, tag: &str) -> Vec<InstanceId> {
    let nodes = fleet.nodes.iter();
    let mut nodes: Vec<&Node> = nodes
        .filter(|node| node.takes && node.tags.iter().any(|own| own == tag))
        .collect();
    nodes.sort_by_key(|node| (node.burden, &node.id));
    nodes.into_iter().map(|node| node.id.clone()).collect()
}

/// Segments that are placed alike.
struct Class<'a> {
    tag: String,
    groups: Option<&'a InstancePartitions>,
    /// Of each unit the segment that stands for it, by position in the table.
    units: Vec<u32>,
    /// Of each unit the partition of the groups that it is in.
    partitions: Vec<u32>,
}

/// What of a table is to be moved. `wanted` says where a segment shall be by now.
pub(crate) fn plan<'a>(
    table: &'a TableState,
    wanted: impl Fn(&'a SegmentState) -> &'a [InstanceId],
    fleet: &Fleet,
    groups: &BTreeMap<PlaceKind, InstancePartitions>,
    order: Order,
) -> Vec<Wish> {
    let mut wishes = Vec::new();
    if table.spec.is_dimension_table {
        everywhere(table, wanted, fleet, &mut wishes);
        return wishes;
    }
    let all: Vec<&'a SegmentState> = table.segments.iter().collect();
    let (classes, followers) = classes(&table.spec, &all, groups, order);
    for class in classes {
        let units = class.units.iter();
        let current: Vec<&[InstanceId]> = units.map(|at| wanted(all[*at as usize])).collect();
        let planned = place(&class, &current, fleet, &table.spec, order);
        for (unit, at) in class.units.iter().enumerate() {
            let leader = all[*at as usize];
            let servers = planned.row(unit, current[unit], fleet);
            let partition = leader.record.id.partition;
            for other in followers.get(&partition).into_iter().flatten() {
                let segment = all[*other as usize];
                if !same(wanted(segment), &servers) {
                    wishes.push(Wish {
                        segment: segment.record.id,
                        servers: servers.clone(),
                    });
                }
            }
            if !same(current[unit], &servers) {
                wishes.push(Wish {
                    segment: leader.record.id,
                    servers,
                });
            }
        }
    }
    wishes
}

/// Where a segment shall be that is not there yet: beside those of its partition, or with who has
/// least.
pub(crate) fn placed_new(
    table: &TableState,
    record: &SegmentRecord,
    fleet: &Fleet,
    groups: &BTreeMap<PlaceKind, InstancePartitions>,
) -> Vec<InstanceId> {
    let kind = match (table.spec.table_type, record.is_done()) {
        (TableType::Offline, _) => PlaceKind::Offline,
        (TableType::Realtime, false) => PlaceKind::Consuming,
        (TableType::Realtime, true) => PlaceKind::Completed,
    };
    let mut class = class(&table.spec, kind, groups);
    class.partitions.push(partition(&table.spec, kind, record));
    class.units.push(0);
    // What it has of this table counts before what it has of others.
    let alike = table.segments.iter();
    let alike = alike.filter(|segment| segment.record.is_done() == record.is_done());
    let mut own: HashMap<&InstanceId, u64> = HashMap::new();
    for server in alike.flat_map(|segment| &segment.assigned) {
        *own.entry(server).or_default() += 1;
    }
    let mut fleet = fleet.clone();
    for node in &mut fleet.nodes {
        let of_table = own.get(&node.id).copied().unwrap_or(0);
        node.burden += of_table << 32;
    }
    let order = Order {
        aim: Aim::Repair,
        consuming: true,
        bootstrap: false,
        now_ms: 0,
    };
    let planned = place(&class, &[&[]], &fleet, &table.spec, order);
    planned.row(0, &[], &fleet)
}

/// Dimension tables are on every server.
fn everywhere<'a>(
    table: &'a TableState,
    wanted: impl Fn(&'a SegmentState) -> &'a [InstanceId],
    fleet: &Fleet,
    wishes: &mut Vec<Wish>,
) {
    for segment in &table.segments {
        let current = wanted(segment);
        let nodes = fleet.nodes.iter();
        let stays = |node: &&Node| node.takes || (node.keeps && current.contains(&node.id));
        let servers: Vec<InstanceId> = nodes.filter(stays).map(|node| node.id.clone()).collect();
        if !servers.is_empty() && !same(current, &servers) {
            wishes.push(Wish {
                segment: segment.record.id,
                servers,
            });
        }
    }
}

/// The same servers; their order only matters to groups, which keep it.
fn same(a: &[InstanceId], b: &[InstanceId]) -> bool {
    a.len() == b.len() && a.iter().all(|one| b.contains(one))
}

/// Segments of a partition beside the one that stands for all of it.
type Followers = HashMap<Partition, Vec<u32>>;

fn classes<'a>(
    spec: &TableSpec,
    all: &[&SegmentState],
    groups: &'a BTreeMap<PlaceKind, InstancePartitions>,
    order: Order,
) -> (Vec<Class<'a>>, Followers) {
    if spec.keyed.is_some() {
        return match order.consuming {
            true => whole_partitions(spec, all, groups),
            false => (Vec::new(), Followers::new()),
        };
    }
    let new = |kind: &PlaceKind| class(spec, *kind, groups);
    let mut of_kind: Vec<Class<'a>> = PlaceKind::of(spec.table_type).iter().map(new).collect();
    let of_tier = |tier: &schemas::placement::Tier| Class {
        tag: tier.server_tag.clone(),
        groups: None,
        units: Vec::new(),
        partitions: Vec::new(),
    };
    let mut of_tier: Vec<Class<'a>> = spec.placement.tiers.iter().map(of_tier).collect();
    let sealed = of_kind.len() - 1;
    for (at, segment) in all.iter().enumerate() {
        let record = &segment.record;
        let tier = tier_of(spec, record, order.now_ms);
        let (class, kind) = match (record.is_done(), tier) {
            (true, Some(tier)) => (&mut of_tier[tier], None),
            (true, None) => (&mut of_kind[sealed], PlaceKind::of(spec.table_type).last()),
            (false, _) if order.consuming => (&mut of_kind[0], Some(&PlaceKind::Consuming)),
            (false, _) => continue,
        };
        class.units.push(at as u32);
        if class.groups.is_some()
            && let Some(kind) = kind
        {
            class.partitions.push(partition(spec, *kind, record));
        }
    }
    of_kind.extend(of_tier);
    (of_kind, Followers::new())
}

fn class<'a>(
    spec: &TableSpec,
    kind: PlaceKind,
    groups: &'a BTreeMap<PlaceKind, InstancePartitions>,
) -> Class<'a> {
    Class {
        tag: spec.placement.tag(kind),
        groups: groups.get(&kind).filter(|groups| !groups.groups.is_empty()),
        units: Vec::new(),
        partitions: Vec::new(),
    }
}

/// A partition is where its newest segment is.
fn whole_partitions<'a>(
    spec: &TableSpec,
    all: &[&SegmentState],
    groups: &'a BTreeMap<PlaceKind, InstancePartitions>,
) -> (Vec<Class<'a>>, Followers) {
    let mut followers = Followers::new();
    for (at, segment) in all.iter().enumerate() {
        let of = followers.entry(segment.record.id.partition).or_default();
        of.push(at as u32);
    }
    let mut class = class(spec, PlaceKind::Consuming, groups);
    let mut order: Vec<Partition> = followers.keys().copied().collect();
    order.sort_unstable();
    for partition_id in order {
        let segments = followers.entry(partition_id).or_default();
        segments.sort_by_key(|at| all[*at as usize].record.id.sequence);
        if let Some(newest) = segments.pop() {
            let record = &all[newest as usize].record;
            let of = partition(spec, PlaceKind::Consuming, record);
            class.partitions.push(of);
            class.units.push(newest);
        }
    }
    (vec![class], followers)
}

/// The tier that takes it, by position.
fn tier_of(spec: &TableSpec, record: &SegmentRecord, now_ms: i64) -> Option<usize> {
    spec.placement
        .tiers
        .iter()
        .position(|tier| match &tier.takes {
            TierTakes::Named(names) => names.contains(&record.name),
            TierTakes::OlderThanMs(age) => {
                let newest = record.time_range.map_or(record.created_ms, |range| range.1);
                newest < now_ms.saturating_sub(*age)
            }
        })
}

/// Which partition of the groups it belongs to.
fn partition(spec: &TableSpec, kind: PlaceKind, record: &SegmentRecord) -> u32 {
    let group = spec.placement.groups.get(&kind);
    let count = group.map_or(1, |group| group.partitions.max(1));
    let column = group.and_then(|group| group.partition_column.as_ref());
    let id = match (spec.table_type, column) {
        (TableType::Realtime, _) => record.id.partition,
        (TableType::Offline, Some(column)) => {
            let mut known = record.partitions.iter();
            let own = known.find(|one| one.column == *column);
            let one = own.filter(|one| one.held.len() == 1);
            one.map_or(record.id.sequence, |one| one.held[0])
        }
        (TableType::Offline, None) => record.id.sequence,
    };
    id % count
}

/// Rows of servers, a unit each.
struct Planned {
    /// Of each group one; without groups one for all.
    spreads: Vec<Vec<Vec<u32>>>,
    flat: Option<Rows>,
    replicas: usize,
}

fn place(
    class: &Class<'_>,
    current: &[&[InstanceId]],
    fleet: &Fleet,
    spec: &TableSpec,
    order: Order,
) -> Planned {
    let replicas = spec.replication as usize;
    let may = |node: &Node| node.tags.contains(&class.tag);
    let nodes = || fleet.nodes.iter();
    let mut capacity = Capacity {
        takes: nodes().map(|node| node.takes && may(node)).collect(),
        burden: nodes().map(|node| node.burden).collect(),
    };
    let keeps: Vec<bool> = nodes().map(|node| node.keeps && may(node)).collect();
    let kept = |servers: &[InstanceId]| {
        let known = servers.iter().filter_map(|id| fleet.position(id));
        let kept = known.filter(|at| keeps[*at as usize] && !order.bootstrap);
        kept.collect::<Vec<u32>>()
    };
    let Some(groups) = class.groups else {
        let most = current.iter().map(|servers| servers.len()).max();
        let mut rows = Rows::new(most.unwrap_or(0).max(replicas), current.len());
        for servers in current {
            rows.push(kept(servers).into_iter());
        }
        spread(&mut rows, &capacity, replicas, order.aim);
        return Planned {
            spreads: Vec::new(),
            flat: Some(rows),
            replicas,
        };
    };
    let takes = capacity.takes.clone();
    let mut spreads = Vec::with_capacity(groups.groups.len());
    for partitions in &groups.groups {
        let mut of_group = vec![Vec::new(); current.len()];
        for (partition, members) in partitions.iter().enumerate() {
            let members: Vec<u32> = members.iter().filter_map(|id| fleet.position(id)).collect();
            let units =
                (0..current.len()).filter(|unit| class.partitions[*unit] == partition as u32);
            let units: Vec<usize> = units.collect();
            for (at, takes) in takes.iter().enumerate() {
                capacity.takes[at] = *takes && members.contains(&(at as u32));
            }
            let mut rows = Rows::new(1, units.len());
            for unit in &units {
                let own = kept(current[*unit]);
                rows.push(own.into_iter().filter(|at| members.contains(at)));
            }
            spread(&mut rows, &capacity, 1, order.aim);
            for (row, unit) in units.into_iter().enumerate() {
                for server in rows.row(row) {
                    capacity.burden[*server as usize] += 1;
                    of_group[unit].push(*server);
                }
            }
        }
        spreads.push(of_group);
    }
    Planned {
        spreads,
        flat: None,
        replicas,
    }
}

impl Planned {
    /// With too few of those who may, who has it now keeps it.
    fn row(&self, unit: usize, current: &[InstanceId], fleet: &Fleet) -> Vec<InstanceId> {
        let mut servers: Vec<InstanceId> = match &self.flat {
            Some(rows) => {
                let row = rows.row(unit).iter();
                row.map(|at| fleet.node(*at).id.clone()).collect()
            }
            None => {
                let own = self.spreads.iter().flat_map(|group| &group[unit]);
                own.map(|at| fleet.node(*at).id.clone()).collect()
            }
        };
        if servers.len() < self.replicas {
            let lives = |id: &InstanceId| {
                let node = fleet.position(id).map(|at| fleet.node(at));
                node.is_some_and(|node| node.keeps || node.takes)
            };
            let mut others: Vec<&InstanceId> =
                current.iter().filter(|id| !servers.contains(id)).collect();
            others.sort_by_key(|id| !lives(id));
            let missing = self.replicas - servers.len();
            servers.extend(others.into_iter().take(missing).cloned());
        }
        servers
    }
}
