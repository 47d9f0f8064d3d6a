//! Which server reads what, while segments move.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::segment::{SegmentRecord, SegmentStatus};
use schemas::table::InstanceSelector;
use schemas::{SegmentId, TableSpec};

use super::*;

fn id(name: &str) -> InstanceId {
    InstanceId(name.to_owned())
}

pub(crate) fn spec() -> TableSpec {
    TableSpec {
        replication: 2,
        ..TableSpec::new("t".parse().unwrap(), TableType::Realtime, Vec::new())
    }
}

/// Segments of partition 0 in order: whether sealed, and who holds them; all assigned to a and b.
fn cluster(segments: &[(bool, &[&str])], rows: u64) -> (ClusterState, Arc<TableState>) {
    let spec = spec();
    let states = segments
        .iter()
        .enumerate()
        .map(|(sequence, (sealed, online))| {
            let segment = SegmentId {
                table: spec.id,
                partition: 0,
                sequence: sequence as u32,
            };
            let mut record = SegmentRecord::consuming(segment, &spec, sequence as i64 * 10, 0);
            if *sealed {
                record.status = SegmentStatus::Done;
                record.crc = 1 + sequence as u32;
                record.ledger.rows = rows;
            }
            SegmentState {
                record,
                assigned: vec![id("a"), id("b")].into(),
                online: online.iter().map(|name| id(name)).collect(),
                hidden: false,
            }
        });
    let table = Arc::new(TableState {
        segments: states.collect(),
        paused: false,
        time_boundary_ms: None,
        reloads: Vec::new(),
        orders: Default::default(),
        spec,
    });
    let instances = ["a", "b", "old"].map(|name| {
        let instance = InstanceState {
            id: id(name),
            role: Role::Server,
            address: String::new(),
            alive: true,
            leads: false,
            plan_format: if name == "old" {
                PLAN_FORMAT + 1
            } else {
                PLAN_FORMAT
            },
            exchange_format: 0,
        };
        (id(name), instance)
    });
    let state = ClusterState {
        version: 1,
        tables: HashMap::from([(table.spec.id, Arc::clone(&table))]),
        instances: HashMap::from(instances),
    };
    (state, table)
}

/// More rows than one server reads alone.
const MANY: u64 = ALONE_ROWS_MAX;

/// `server: sealed sequences, from the first of the run`.
fn routed(segments: &[(bool, &[&str])], turn: usize, avoid: &[&str]) -> (Vec<String>, usize) {
    let (cluster, table) = cluster(segments, MANY);
    routed_in(&cluster, &table, turn, avoid)
}

fn routed_in(
    cluster: &ClusterState,
    table: &TableState,
    turn: usize,
    avoid: &[&str],
) -> (Vec<String>, usize) {
    let avoid: HashSet<InstanceId> = avoid.iter().map(|name| id(name)).collect();
    let route = route(&Wanted {
        cluster,
        table,
        index: &TableIndex::of(table),
        keep: table.segments.iter().collect(),
        turn,
        standing: &Standing::default(),
        avoid: &avoid,
    });
    let parts = route.parts.iter().map(|part| {
        let sealed: Vec<u32> = part.scan.sealed.iter().map(|s| s.sequence).collect();
        let run = part.scan.consuming.iter();
        let run: Vec<(u32, i64)> = run.map(|c| (c.from_sequence, c.start)).collect();
        format!("{}: {sealed:?} {run:?}", part.server.id)
    });
    (parts.collect(), route.unavailable.len())
}

#[test]
fn replicas_take_turns_and_others_are_left_alone() {
    let segments: [(bool, &[&str]); 3] = [
        (true, &["a", "b"]),
        (true, &["b", "old"]),
        (false, &["a", "b"]),
    ];
    assert_eq!(
        routed(&segments, 0, &[]).0,
        ["a: [0] [(2, 20)]", "b: [1] []"]
    );
    assert_eq!(routed(&segments, 1, &[]).0, ["b: [0, 1] [(2, 20)]"]);
    assert_eq!(
        routed(&segments, 0, &["b"]),
        (vec!["a: [0] [(2, 20)]".to_owned()], 1)
    );
}

#[test]
fn few_rows_that_one_server_holds_are_read_there() {
    let segments: [(bool, &[&str]); 3] = [
        (true, &["a", "b"]),
        (true, &["b", "old"]),
        (false, &["a", "b"]),
    ];
    let (cluster, table) = cluster(&segments, 10);
    for turn in 0..3 {
        let (parts, _) = routed_in(&cluster, &table, turn, &[]);
        assert_eq!(parts, ["b: [0, 1] [(2, 20)]"], "{turn}");
    }
    let without = routed_in(&cluster, &table, 0, &["b"]);
    assert_eq!(without, (vec!["a: [0] [(2, 20)]".to_owned()], 1));
}

#[test]
fn a_seal_is_invisible_between_commit_and_heartbeat() {
    // 1 is committed, nobody has said yet that he holds it sealed, nor that he consumes 2.
    let segments: [(bool, &[&str]); 3] = [(true, &["a", "b"]), (true, &[]), (false, &[])];
    assert_eq!(
        routed(&segments, 0, &[]),
        (vec!["a: [0] [(1, 10)]".to_owned()], 0)
    );
    let segments: [(bool, &[&str]); 3] = [(true, &["a", "b"]), (true, &[]), (false, &["b"])];
    assert_eq!(
        routed(&segments, 1, &[]),
        (vec!["b: [0] [(1, 10)]".to_owned()], 0)
    );
    // One said so: it is read as what it is.
    let segments: [(bool, &[&str]); 3] = [(true, &["a"]), (true, &["a"]), (false, &["b"])];
    assert_eq!(
        routed(&segments, 0, &[]).0,
        ["a: [0, 1] []", "b: [] [(2, 20)]"]
    );
    // Held by one who shall not be asked: nobody else may pretend.
    assert_eq!(
        routed(&segments, 0, &["a"]),
        (vec!["b: [] [(2, 20)]".to_owned()], 2)
    );
}

#[test]
fn what_is_rerouted_is_what_was_missing() {
    let segments: [(bool, &[&str]); 3] = [
        (true, &["a", "b"]),
        (true, &["a", "b"]),
        (false, &["a", "b"]),
    ];
    let (cluster, table) = cluster(&segments, MANY);
    let mut scan = whole_table(&table);
    scan.sealed.remove(0);
    let avoid = HashSet::from([id("a")]);
    let route = reroute(
        &cluster,
        (&table, &TableIndex::of(&table)),
        &scan,
        (0, &Standing::default()),
        &avoid,
    );
    assert_eq!(route.parts.len(), 1);
    assert_eq!(route.parts[0].scan, scan);
    assert!(route.unavailable.is_empty());
}

#[test]
fn only_who_holds_everything_answers_for_dimension_tables() {
    let segments: [(bool, &[&str]); 2] = [(true, &["a", "b", "old"]), (true, &["b", "old"])];
    let (cluster, table) = cluster(&segments, MANY);
    let holder = |avoid: &[&str]| {
        let avoid = avoid.iter().map(|name| id(name)).collect();
        let holder = holder_of_all(&cluster, &[&table], (3, &Standing::default()), &avoid);
        holder.map(|instance| instance.id.clone())
    };
    assert_eq!(holder(&[]), Some(id("b")));
    assert_eq!(holder(&["b"]), None);
}

/// Only who holds all of a partition knows which of its rows count.
#[test]
fn a_partition_whose_keys_have_rules_is_read_by_one_server() {
    let read = |segments: &[(bool, &[&str])], turn: usize| {
        let (cluster, table) = cluster(segments, MANY);
        let mut table = TableState::clone(&table);
        table.spec.keyed = Some(schemas::keyed::KeyedSpec::Dedup(Default::default()));
        let wanted = Wanted {
            cluster: &cluster,
            table: &table,
            index: &TableIndex::of(&table),
            keep: table.segments.iter().collect(),
            turn,
            standing: &Standing::default(),
            avoid: &HashSet::new(),
        };
        let route = route(&wanted);
        let parts = route.parts.iter();
        let parts = parts.map(|part| (part.server.id.0.clone(), part.scan.sealed.len()));
        (parts.collect::<Vec<_>>(), route.unavailable.len())
    };
    let segments: [(bool, &[&str]); 3] =
        [(true, &["a", "b"]), (true, &["a"]), (false, &["b", "a"])];
    for turn in 0..3 {
        assert_eq!(read(&segments, turn), (vec![("a".to_owned(), 2)], 0));
    }
    let apart: [(bool, &[&str]); 2] = [(true, &["a"]), (false, &["b"])];
    assert_eq!(read(&apart, 0), (Vec::new(), 2));
    let both: [(bool, &[&str]); 2] = [(true, &["a", "b"]), (false, &["a", "b"])];
    let servers = [0, 1].map(|turn| read(&both, turn).0[0].0.clone());
    assert_ne!(servers[0], servers[1], "replicas take turns");
}

/// Segments of two partitions with the servers that they are assigned to and that hold them.
fn replicated(segments: &[(u32, &[&str], &[&str])], selector: InstanceSelector) -> Replicated {
    let mut spec = spec();
    spec.routing.selector = selector;
    let states = segments.iter().enumerate();
    let states = states.map(|(at, (partition, assigned, online))| {
        let segment = SegmentId {
            table: spec.id,
            partition: *partition,
            sequence: at as u32,
        };
        let mut record = SegmentRecord::consuming(segment, &spec, at as i64 * 10, 0);
        record.status = SegmentStatus::Done;
        record.ledger.rows = MANY;
        SegmentState {
            record,
            assigned: assigned.iter().map(|name| id(name)).collect(),
            online: online.iter().map(|name| id(name)).collect(),
            hidden: false,
        }
    });
    let (mut cluster, table) = cluster(&[], 0);
    let mut table = TableState::clone(&table);
    table.segments = states.collect();
    table.spec = spec;
    for name in ["c", "d"] {
        let like = cluster.instances[&id("a")].clone();
        cluster.instances.insert(
            id(name),
            InstanceState {
                id: id(name),
                ..like
            },
        );
    }
    Replicated { cluster, table }
}

struct Replicated {
    cluster: ClusterState,
    table: TableState,
}

impl Replicated {
    /// Who reads which sequences; how many nobody does.
    fn read(&self, turn: usize, avoid: &[&str]) -> (Vec<(String, Vec<u32>)>, usize) {
        let avoid: HashSet<InstanceId> = avoid.iter().map(|name| id(name)).collect();
        let route = route(&Wanted {
            cluster: &self.cluster,
            table: &self.table,
            index: &TableIndex::of(&self.table),
            keep: self.table.segments.iter().collect(),
            turn,
            standing: &Standing::default(),
            avoid: &avoid,
        });
        let parts = route.parts.iter().map(|part| {
            let sealed = part.scan.sealed.iter().map(|s| s.sequence).collect();
            (part.server.id.0.clone(), sealed)
        });
        (parts.collect(), route.unavailable.len())
    }
}

fn reads(parts: &[(&str, &[u32])]) -> Vec<(String, Vec<u32>)> {
    let parts = parts.iter();
    parts
        .map(|(name, sealed)| ((*name).to_owned(), sealed.to_vec()))
        .collect()
}

/// Servers a and c are one replica, b and d the other.
const GROUPS: [(u32, &[&str], &[&str]); 4] = [
    (0, &["a", "b"], &["a", "b"]),
    (1, &["c", "d"], &["c", "d"]),
    (0, &["a", "b"], &["b", "a"]),
    (1, &["c", "d"], &["d", "c"]),
];

#[test]
fn a_replica_group_reads_all_of_a_query() {
    for selector in [
        InstanceSelector::ReplicaGroup,
        InstanceSelector::StrictReplicaGroup,
    ] {
        let given = replicated(&GROUPS, selector);
        let first = reads(&[("a", &[0, 2]), ("c", &[1, 3])]);
        let second = reads(&[("b", &[0, 2]), ("d", &[1, 3])]);
        assert_eq!(given.read(0, &[]), (first.clone(), 0));
        assert_eq!(given.read(1, &[]), (second.clone(), 0));
        // Of the first one not all can be asked.
        for turn in 0..2 {
            assert_eq!(given.read(turn, &["c"]), (second.clone(), 0));
            assert_eq!(given.read(turn, &["b"]), (first.clone(), 0));
        }
    }
    let balanced = replicated(&GROUPS, InstanceSelector::Balanced);
    assert_eq!(balanced.read(0, &[]).0.len(), 4);
}

#[test]
fn what_is_on_the_same_servers_is_read_by_one_of_them() {
    // Of each replica a server is away: no group is whole.
    let strict = replicated(&GROUPS, InstanceSelector::StrictReplicaGroup);
    let apart = reads(&[("a", &[0, 2]), ("d", &[1, 3])]);
    for turn in 0..2 {
        assert_eq!(strict.read(turn, &["b", "c"]), (apart.clone(), 0));
    }
    // One does not hold a segment: another one reads all.
    let behind: [(u32, &[&str], &[&str]); 2] =
        [(0, &["a", "b"], &["b"]), (0, &["a", "b"], &["a", "b"])];
    let strict = replicated(&behind, InstanceSelector::StrictReplicaGroup);
    for turn in 0..2 {
        assert_eq!(strict.read(turn, &[]), (reads(&[("b", &[0, 1])]), 0));
        assert_eq!(strict.read(turn, &["b"]), (Vec::new(), 2));
    }
    let lenient = replicated(&behind, InstanceSelector::ReplicaGroup);
    assert_eq!(lenient.read(0, &["b"]), (reads(&[("a", &[1])]), 1));
}
