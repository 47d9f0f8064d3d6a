//! What must hold of every assignment, on tables, servers and histories that are drawn.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use schemas::cluster::{SegmentState, TableState};
use schemas::keyed::{DedupSpec, KeyedSpec};
use schemas::partition::{ColumnPartitions, PartitionFunction, Partitioning};
use schemas::placement::{GroupSpec, InstancePartitions, PlaceKind, Tier, TierTakes};
use schemas::segment::{SegmentRecord, SegmentStatus};
use schemas::{InstanceId, SegmentId, TableSpec, TableType};

use super::*;

const DAY_MS: i64 = 86_400_000;
const NOW_MS: i64 = 1_000 * DAY_MS;

fn name(at: usize) -> InstanceId {
    InstanceId(format!("s{at:03}"))
}

fn node(at: usize) -> Node {
    Node {
        id: name(at),
        tags: vec![
            "DefaultTenant_OFFLINE".to_owned(),
            "DefaultTenant_REALTIME".to_owned(),
        ],
        takes: true,
        keeps: true,
        burden: 0,
    }
}

fn spec(table_type: TableType, replication: u32) -> TableSpec {
    let mut spec = TableSpec::new("t".parse().unwrap(), table_type, Vec::new());
    spec.replication = replication;
    spec
}

/// Sealed segments with nobody to hold them; the last of each partition of a REALTIME table
/// consumes.
fn table(spec: TableSpec, partitions: u32, segments: u32) -> TableState {
    let is_realtime = spec.table_type == TableType::Realtime;
    let mut list = Vec::new();
    for partition in 0..partitions {
        for sequence in 0..segments {
            let id = SegmentId {
                table: spec.id,
                partition,
                sequence,
            };
            let mut record = SegmentRecord::consuming(id, &spec, 0, NOW_MS);
            if !is_realtime || sequence + 1 < segments {
                record.status = SegmentStatus::Done;
            }
            list.push(SegmentState {
                record,
                assigned: Default::default(),
                online: Default::default(),
                hidden: false,
            });
        }
    }
    TableState {
        spec,
        segments: list.into(),
        paused: false,
        orders: Default::default(),
        time_boundary_ms: None,
        reloads: Vec::new(),
    }
}

const fn order(aim: Aim) -> Order {
    Order {
        aim,
        consuming: true,
        bootstrap: false,
        now_ms: NOW_MS,
    }
}

type Groups = BTreeMap<PlaceKind, InstancePartitions>;

/// Makes it so, and says how many replicas came to a server.
fn apply(table: &mut TableState, fleet: &Fleet, groups: &Groups, aim: Aim) -> usize {
    let wishes = plan(table, |s| &*s.assigned, fleet, groups, order(aim));
    let mut came = 0;
    let wishes: HashMap<SegmentId, Vec<InstanceId>> = wishes
        .into_iter()
        .map(|wish| (wish.segment, wish.servers))
        .collect();
    for segment in &mut table.segments {
        if let Some(servers) = wishes.get(&segment.record.id) {
            let new = servers.iter().filter(|id| !segment.assigned.contains(id));
            came += new.count();
            segment.assigned = servers.clone().into();
        }
    }
    came
}

fn loads<'a>(segments: impl Iterator<Item = &'a SegmentState>) -> HashMap<InstanceId, usize> {
    let mut loads = HashMap::new();
    for server in segments.flat_map(|segment| &segment.assigned) {
        *loads.entry(server.clone()).or_default() += 1;
    }
    loads
}

/// Greatest and least load of those who may be given something.
fn skew<'a>(fleet: &Fleet, segments: impl Iterator<Item = &'a SegmentState>) -> usize {
    let loads = loads(segments);
    let takers = fleet.nodes().iter().filter(|node| node.takes);
    let all: Vec<usize> = takers
        .map(|node| loads.get(&node.id).copied().unwrap_or(0))
        .collect();
    all.iter().max().unwrap_or(&0) - all.iter().min().unwrap_or(&0)
}

fn is_right(table: &TableState, fleet: &Fleet) {
    let takers = fleet.nodes().iter().filter(|node| node.takes).count();
    let wanted = (table.spec.replication as usize).min(takers);
    for segment in &table.segments {
        let distinct: BTreeSet<_> = segment.assigned.iter().collect();
        assert_eq!(distinct.len(), segment.assigned.len(), "one server twice");
        assert_eq!(distinct.len(), wanted.max(distinct.len()), "{segment:?}");
        assert!(distinct.len() >= wanted);
        for server in &segment.assigned {
            let mut nodes = fleet.nodes().iter();
            let may_stay = nodes.any(|node| node.id == *server && node.keeps);
            assert!(may_stay || takers < table.spec.replication as usize);
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Joins,
    Leaves(prop::sample::Index),
    IsDisabled(prop::sample::Index),
    Sealed(u32),
    Replication(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Joins),
        3 => any::<prop::sample::Index>().prop_map(Event::Leaves),
        1 => any::<prop::sample::Index>().prop_map(Event::IsDisabled),
        2 => (1..9_u32).prop_map(Event::Sealed),
        1 => (1..4_u32).prop_map(Event::Replication),
    ]
}

/// A table of OFFLINE segments that lives through events.
#[derive(Debug)]
struct History {
    table: TableState,
    nodes: Vec<Node>,
    joined: usize,
}

impl History {
    fn begin(servers: usize, segments: u32, replication: u32) -> Self {
        Self {
            table: table(spec(TableType::Offline, replication), 1, segments),
            nodes: (0..servers).map(node).collect(),
            joined: servers,
        }
    }

    fn fleet(&self) -> Fleet {
        Fleet::new(self.nodes.clone())
    }

    fn meet(&mut self, event: &Event) {
        match event {
            Event::Joins => {
                self.nodes.push(node(self.joined));
                self.joined += 1;
            }
            Event::Leaves(which) if self.nodes.len() > 1 => {
                let at = which.index(self.nodes.len());
                self.nodes.remove(at);
            }
            Event::IsDisabled(which) => {
                let at = which.index(self.nodes.len());
                self.nodes[at].takes = !self.nodes[at].takes;
            }
            Event::Sealed(more) => {
                let have = self.table.segments.len() as u32;
                let all = table(self.table.spec.clone(), 1, have + more);
                let new = all.segments.into_iter().skip(have as usize);
                self.table.segments.extend(new);
            }
            Event::Replication(replicas) => self.table.spec.replication = *replicas,
            Event::Leaves(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_replicas_are_distinct_and_even(
        servers in 1..9_usize,
        segments in 0..40_u32,
        replication in 1..4_u32,
        events in prop::collection::vec(event(), 0..12),
    ) {
        let mut history = History::begin(servers, segments, replication);
        for event in &events {
            history.meet(event);
            let fleet = history.fleet();
            apply(&mut history.table, &fleet, &Groups::new(), Aim::Repair);
            if fleet.takes_anything() {
                is_right(&history.table, &fleet);
            }
            let again = apply(&mut history.table, &fleet, &Groups::new(), Aim::Repair);
            prop_assert_eq!(again, 0, "what is right stays");
        }
        history.nodes.iter_mut().for_each(|node| node.takes = true);
        let fleet = history.fleet();
        apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        is_right(&history.table, &fleet);
        prop_assert!(skew(&fleet, history.table.segments.iter()) <= 1);
        let again = apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        prop_assert_eq!(again, 0, "what is even stays");
    }

    #[test]
    fn who_comes_gets_its_share_and_nobody_else_anything(
        servers in 2..12_usize,
        segments in 1..60_u32,
        replication in 1..4_u32,
    ) {
        let mut history = History::begin(servers, segments, replication);
        let fleet = history.fleet();
        apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        history.meet(&Event::Joins);
        let fleet = history.fleet();
        let came = apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        let before = (replication as usize).min(servers);
        let after = (replication as usize).min(servers + 1);
        let added = (after - before) * segments as usize;
        let share = (segments as usize * after) / (servers + 1);
        prop_assert!(came <= added.max(share) + 1, "{came} of {added}, {share}");
    }

    #[test]
    fn only_what_was_on_a_server_that_goes_moves(
        servers in 4..12_usize,
        segments in 1..60_u32,
        replication in 1..4_u32,
        which in any::<prop::sample::Index>(),
    ) {
        let mut history = History::begin(servers, segments, replication);
        let fleet = history.fleet();
        apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        let gone = &history.nodes[which.index(servers)].id.clone();
        let had = loads(history.table.segments.iter()).get(gone).copied().unwrap_or(0);
        history.meet(&Event::Leaves(which));
        let fleet = history.fleet();
        let came = apply(&mut history.table, &fleet, &Groups::new(), Aim::Repair);
        prop_assert_eq!(came, had);
        let moved = apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
        // A row that has a server that lacks something swaps with another.
        prop_assert!(moved <= had + 2 * servers, "they were almost even: {moved} of {had}");
    }

    #[test]
    fn groups_have_nothing_in_common_and_each_has_all(
        servers in 4..16_usize,
        replication in 2..4_u32,
        partitions in 0..5_u32,
        each in 0..3_u32,
        events in prop::collection::vec(event(), 0..6),
    ) {
        let mut history = History::begin(servers, 24, replication);
        let rule = GroupSpec { groups: replication, partitions, partition_instances: each, ..GroupSpec::default() };
        history.table.spec.placement.groups.insert(PlaceKind::Offline, rule.clone());
        let mut groups = Groups::new();
        for event in &events {
            if !matches!(event, Event::Replication(_) | Event::IsDisabled(_)) {
                history.meet(event);
            }
            let fleet = history.fleet();
            let pool = pool(&fleet, "DefaultTenant_OFFLINE");
            let made = instance_partitions(&rule, &pool, groups.get(&PlaceKind::Offline));
            let members: Vec<BTreeSet<&InstanceId>> =
                made.groups.iter().map(|group| group.iter().flatten().collect()).collect();
            let all: BTreeSet<&InstanceId> = members.iter().flatten().copied().collect();
            prop_assert_eq!(all.len(), members.iter().map(BTreeSet::len).sum::<usize>());
            if pool.len() >= replication as usize {
                prop_assert!(members.iter().all(|group| !group.is_empty()), "{made:?}");
            }
            groups.insert(PlaceKind::Offline, made);
            apply(&mut history.table, &fleet, &groups, Aim::Repair);
            if history.nodes.len() < replication as usize {
                continue;
            }
            let made = &groups[&PlaceKind::Offline];
            for segment in &history.table.segments {
                for (at, server) in segment.assigned.iter().enumerate() {
                    let of = segment.record.id.sequence % partitions.max(1);
                    prop_assert!(made.groups[at][of as usize].contains(server), "{segment:?}");
                }
                prop_assert_eq!(segment.assigned.len(), replication as usize);
            }
        }
    }
}

#[test]
fn a_partition_whose_keys_have_rules_is_whole() {
    let mut spec = spec(TableType::Realtime, 2);
    spec.keyed = Some(KeyedSpec::Dedup(DedupSpec::default()));
    let mut table = table(spec, 6, 5);
    let fleet = Fleet::new((0..3).map(node).collect());
    apply(&mut table, &fleet, &Groups::new(), Aim::Balance);
    let fleet = Fleet::new((0..4).map(node).collect());
    let came = apply(&mut table, &fleet, &Groups::new(), Aim::Balance);
    assert_eq!(came, 3 * 5, "three of twelve replicas of partitions");
    let mut homes: BTreeMap<u32, BTreeSet<Vec<InstanceId>>> = BTreeMap::new();
    for segment in &table.segments {
        let mut servers = segment.assigned.to_vec();
        servers.sort();
        homes
            .entry(segment.record.id.partition)
            .or_default()
            .insert(servers);
    }
    assert!(homes.values().all(|of| of.len() == 1), "{homes:?}");
    is_right(&table, &fleet);
    let without = Order {
        consuming: false,
        ..order(Aim::Balance)
    };
    let five = Fleet::new((0..5).map(node).collect());
    let still = plan(&table, |s| &*s.assigned, &five, &Groups::new(), without);
    assert_eq!(still, [], "nothing goes without what consumes");
}

#[test]
fn what_consumes_what_is_sealed_and_what_is_old_lie_apart() {
    let mut spec = spec(TableType::Realtime, 2);
    spec.placement.consuming_tag = Some("hot_REALTIME".to_owned());
    spec.placement.completed_tag = Some("warm_OFFLINE".to_owned());
    spec.placement.tiers.push(Tier {
        name: "cold".to_owned(),
        takes: TierTakes::OlderThanMs(30 * DAY_MS),
        server_tag: "cold_OFFLINE".to_owned(),
    });
    let mut table = table(spec, 4, 6);
    for segment in &mut table.segments {
        let age = i64::from(10 - segment.record.id.sequence) * 4;
        segment.record.time_range = Some((0, NOW_MS - age * DAY_MS));
    }
    let tags = ["hot_REALTIME", "warm_OFFLINE", "cold_OFFLINE"];
    let tagged = |at: usize| Node {
        tags: vec![tags[at % 3].to_owned()],
        ..node(at)
    };
    let fleet = Fleet::new((0..9).map(tagged).collect());
    apply(&mut table, &fleet, &Groups::new(), Aim::Repair);
    for segment in &table.segments {
        let record = &segment.record;
        let wanted = match (record.is_done(), record.id.sequence) {
            (false, _) => 0,
            (true, 0..=2) => 2,
            (true, _) => 1,
        };
        let places: Vec<usize> = segment
            .assigned
            .iter()
            .map(|id| id.0[1..].parse::<usize>().unwrap() % 3)
            .collect();
        assert_eq!(places, [wanted; 2], "{record:?}");
    }
    // Nobody of the tag is left: what is there stays.
    let fleet = Fleet::new((0..9).filter(|at| at % 3 != 2).map(tagged).collect());
    assert_eq!(apply(&mut table, &fleet, &Groups::new(), Aim::Balance), 0);
}

#[test]
fn a_server_that_drains_keeps_what_has_no_other_place() {
    let mut history = History::begin(2, 4, 2);
    let fleet = history.fleet();
    apply(&mut history.table, &fleet, &Groups::new(), Aim::Balance);
    (history.nodes[0].takes, history.nodes[0].keeps) = (false, false);
    let fleet = history.fleet();
    assert_eq!(
        apply(&mut history.table, &fleet, &Groups::new(), Aim::Repair),
        0
    );
    assert!(history.table.segments.iter().all(|s| s.assigned.len() == 2));
    history.meet(&Event::Joins);
    let fleet = history.fleet();
    assert_eq!(
        apply(&mut history.table, &fleet, &Groups::new(), Aim::Repair),
        4
    );
    assert!(!loads(history.table.segments.iter()).contains_key(&name(0)));
}

#[test]
fn segments_of_a_partition_of_a_column_are_together() {
    let by = Partitioning {
        function: PartitionFunction::Modulo,
        partitions: 3,
    };
    let mut spec = spec(TableType::Offline, 2);
    let rule = GroupSpec {
        groups: 2,
        partitions: 3,
        partition_instances: 1,
        partition_column: Some("customer".to_owned()),
        ..GroupSpec::default()
    };
    spec.placement
        .groups
        .insert(PlaceKind::Offline, rule.clone());
    let mut table = table(spec, 1, 12);
    for segment in &mut table.segments {
        let held = vec![(segment.record.id.sequence / 4) % 3];
        let column = "customer".to_owned();
        segment.record.partitions = vec![ColumnPartitions { column, by, held }];
    }
    let fleet = Fleet::new((0..6).map(node).collect());
    let made = instance_partitions(&rule, &pool(&fleet, "DefaultTenant_OFFLINE"), None);
    let groups = Groups::from([(PlaceKind::Offline, made)]);
    apply(&mut table, &fleet, &groups, Aim::Balance);
    let all: Vec<&SegmentState> = table.segments.iter().collect();
    let homes: Vec<&[InstanceId]> = all.chunks(4).map(|s| &*s[0].assigned).collect();
    for (of, segments) in homes.iter().zip(all.chunks(4)) {
        assert!(segments.iter().all(|segment| *segment.assigned == **of));
    }
    let all: BTreeSet<&InstanceId> = homes.iter().copied().flatten().collect();
    assert_eq!(all.len(), 6);
    let new = placed_new(&table, &table.segments[5].record, &fleet, &groups);
    assert_eq!(table.segments[5].assigned, new);
}

#[test]
fn what_is_partitioned_alike_is_on_the_same_servers() {
    let rule = GroupSpec {
        groups: 2,
        partitions: 3,
        partition_instances: 1,
        ..GroupSpec::default()
    };
    let made = |burdens: [u64; 6]| {
        let nodes = burdens.into_iter().enumerate();
        let nodes = nodes.map(|(at, burden)| Node { burden, ..node(at) });
        let fleet = Fleet::new(nodes.collect());
        instance_partitions(&rule, &pool(&fleet, "DefaultTenant_OFFLINE"), None)
    };
    assert_eq!(made([0; 6]), made([3, 0, 9, 1, 0, 2]));
}

#[test]
fn dimension_tables_are_everywhere() {
    let mut spec = spec(TableType::Offline, 1);
    spec.is_dimension_table = true;
    let mut table = table(spec, 1, 2);
    let mut nodes: Vec<Node> = (0..3).map(node).collect();
    apply(
        &mut table,
        &Fleet::new(nodes.clone()),
        &Groups::new(),
        Aim::Repair,
    );
    assert!(table.segments.iter().all(|s| s.assigned.len() == 3));
    (nodes[1].takes, nodes[1].keeps) = (false, false);
    apply(&mut table, &Fleet::new(nodes), &Groups::new(), Aim::Repair);
    assert_eq!(table.segments[0].assigned, [name(0), name(2)]);
}

#[test]
fn new_segments_go_to_who_has_least_of_the_table() {
    let mut history = History::begin(3, 3, 1);
    history.nodes[0].burden = 7;
    let fleet = history.fleet();
    for at in 0..3 {
        let record = history.table.segments[at].record.clone();
        history.table.segments[at].assigned =
            placed_new(&history.table, &record, &fleet, &Groups::new()).into();
    }
    let homes = history.table.segments.iter().map(|s| s.assigned[0].clone());
    assert_eq!(homes.collect::<Vec<_>>(), [name(1), name(2), name(0)]);
}
