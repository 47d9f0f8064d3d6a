//! Watchers of both formats end with the state that was published, whatever they were told before.

use proptest::prelude::*;

use super::*;
use crate::cluster::Role;
use crate::ids::SegmentId;
use crate::partition::{ColumnPartitions, PartitionFunction, Partitioning};
use crate::segment::{Ledger, SegmentRecord, SegmentStatus, SourceMark};
use crate::table::TableSpec;
use crate::types::{DataType, FieldRole, Value};
use crate::{ColumnSpec, TableType};

fn server(at: u32) -> InstanceId {
    InstanceId(format!("Server_10.0.0.{at}_8098"))
}

fn instance(at: u32, alive: bool) -> InstanceState {
    InstanceState {
        id: server(at),
        role: Role::Server,
        address: format!("10.0.0.{at}:8098"),
        alive,
        plan_format: 4,
        exchange_format: 0,
        leads: false,
    }
}

fn table(at: u8) -> TableState {
    let columns = vec![ColumnSpec::new("id", DataType::Long, FieldRole::Dimension)];
    let name = format!("events_{at}").parse().unwrap();
    let mut spec = TableSpec::new(name, TableType::Realtime, columns);
    spec.id = TableId(uuid::Uuid::from_bytes([at; 16]));
    TableState {
        spec,
        segments: Segments::default(),
        paused: false,
        orders: Default::default(),
        time_boundary_ms: None,
        reloads: Vec::new(),
    }
}

/// As it may come from anywhere: `kind` says what is known of it.
fn mark() -> SourceMark {
    SourceMark {
        uri: "s3://bucket/file.parquet".to_owned(),
        version: "7-1".to_owned(),
        reader: uuid::Uuid::from_bytes([9; 16]),
        part: 1,
        files: 3,
        piece: 2,
        is_last: true,
    }
}

fn segment(spec: &TableSpec, (partition, sequence): (u32, u32), kind: u32) -> SegmentState {
    let id = SegmentId {
        table: spec.id,
        partition,
        sequence,
    };
    let mut record =
        SegmentRecord::consuming(id, spec, i64::from(sequence) * 100, 1_700_000_000_000);
    if kind > 0 {
        record.status = SegmentStatus::Done;
        record.end = Some(record.start + 100);
        record.crc = kind + sequence;
        record.uri = Some(SegmentRecord::object_key(id, record.crc));
        record.ledger = Ledger {
            rows: 90,
            rejected: 4,
            filtered: 3,
            absent: 2,
            unnested: 0,
            merged: 1,
        };
        record.time_range = Some((-5, 1_700_000_000_000));
        record.column_ranges = vec![
            ("id".to_owned(), Value::Long(-7), Value::Long(i64::MAX)),
            ("ok".to_owned(), Value::Boolean(false), Value::Boolean(true)),
            (
                "x".to_owned(),
                Value::Double(-0.5),
                Value::Double(f64::INFINITY),
            ),
            (
                "s".to_owned(),
                Value::String(String::new()),
                Value::String("zoë".to_owned()),
            ),
            (
                "b".to_owned(),
                Value::Bytes(vec![]),
                Value::Bytes(vec![0, 255]),
            ),
        ];
        record.partitions = vec![ColumnPartitions {
            column: "id".to_owned(),
            by: Partitioning {
                function: PartitionFunction::Murmur,
                partitions: 8,
            },
            held: vec![partition % 8, 7],
        }];
    }
    if kind > 1 {
        record.name = "uploaded under its own name".to_owned();
        record.uri = Some("elsewhere.seg".to_owned());
        (record.unstored, record.earlier) = (true, vec![7, u32::MAX]);
        record.marks.merge_level = Some("daily".to_owned());
        record.source = Some(Box::new(mark()));
    }
    let servers = (0..kind % 3).map(|at| server((partition + at) % 4));
    SegmentState {
        record,
        assigned: servers.clone().collect(),
        online: servers.skip(1).collect(),
        hidden: kind == 4,
    }
}

fn applied(state: &ClusterState, updates: impl Iterator<Item = ClusterUpdate>) -> ClusterState {
    let (mut state, mut lists) = (state.clone(), ServerLists::default());
    for update in updates {
        let bytes = prost::Message::encode_to_vec(&update);
        let update: ClusterUpdate = prost::Message::decode(&bytes[..]).unwrap();
        state = state.updated(&update, &mut lists).unwrap();
    }
    state
}

fn same(one: &ClusterState, other: &ClusterState) -> bool {
    one.version == other.version && one.tables == other.tables && one.instances == other.instances
}

/// What happens to a cluster.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, (u32, u32), u32),
    Remove(u8, (u32, u32)),
    Pause(u8),
    Drop(u8),
    Instance(u32, bool),
    /// A watcher is told what there is.
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0_u32..3, 0_u32..5);
    let step = prop_oneof![
        8 => (0_u8..3, key(), 0_u32..5).prop_map(|(table, key, kind)| Step::Put(table, key, kind)),
        3 => (0_u8..3, key()).prop_map(|(table, key)| Step::Remove(table, key)),
        1 => (0_u8..3).prop_map(Step::Pause),
        1 => (0_u8..3).prop_map(Step::Drop),
        1 => (0_u32..4, any::<bool>()).prop_map(|(at, alive)| Step::Instance(at, alive)),
        3 => Just(Step::Tell),
    ];
    prop::collection::vec(step, 1..60)
}

fn happen(state: &mut ClusterState, step: &Step) {
    state.version += 1;
    let id = |at: &u8| TableId(uuid::Uuid::from_bytes([*at; 16]));
    let mut change = |at: &u8, change: &dyn Fn(&mut TableState)| {
        let known = state
            .tables
            .entry(id(at))
            .or_insert_with(|| Arc::new(table(*at)));
        change(Arc::make_mut(known));
    };
    match step {
        Step::Put(at, key, kind) => change(at, &|table| {
            let segment = segment(&table.spec, *key, *kind);
            table.segments.put(segment);
        }),
        Step::Remove(at, key) => change(at, &|table| drop(table.segments.remove(*key))),
        Step::Pause(at) => change(at, &|table| table.paused = !table.paused),
        Step::Drop(at) => drop(state.tables.remove(&id(at))),
        Step::Instance(at, alive) => {
            state.instances.insert(server(*at), instance(*at, *alive));
        }
        Step::Tell => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn watchers_have_what_is_published(steps in steps()) {
        let mut now = ClusterState::default();
        let (mut told, mut watcher) = (None::<ClusterState>, ClusterState::default());
        let mut old_watcher = ClusterState::default();
        for step in steps.iter().chain([&Step::Tell]) {
            happen(&mut now, step);
            if matches!(step, Step::Tell) {
                watcher = applied(&watcher, changed(told.as_ref(), &now));
                prop_assert!(same(&watcher, &now), "{watcher:?}\n{now:?}");
                let whole = whole_tables(told.as_ref(), &now);
                old_watcher = applied(&old_watcher, [whole].into_iter());
                prop_assert!(same(&old_watcher, &now));
                told = Some(now.clone());
            }
        }
    }
}

fn large(segments: u32) -> ClusterState {
    let mut table = table(1);
    let keys = (0..segments).map(|at| (at / 100, at % 100));
    table.segments = keys.map(|key| segment(&table.spec, key, 1)).collect();
    ClusterState {
        version: 7,
        tables: HashMap::from([(table.spec.id, Arc::new(table))]),
        instances: HashMap::from([(server(1), instance(1, true))]),
    }
}

#[test]
fn a_large_state_comes_in_parts_and_a_change_of_it_in_few_bytes() {
    let before = large(20_000);
    let parts: Vec<ClusterUpdate> = changed(None, &before).collect();
    assert!(parts.len() > 2 && parts[0].complete && !parts[1].complete);
    let (last, others) = parts.split_last().unwrap();
    assert!(!last.more && others.iter().all(|part| part.more));
    let bytes: usize = parts.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes / 20_000 < 250, "{} bytes each", bytes / 20_000);
    let watcher = applied(&ClusterState::default(), parts.into_iter());
    assert!(same(&watcher, &before));

    let mut after = before.clone();
    after.version = 8;
    let table = Arc::make_mut(after.tables.values_mut().next().unwrap());
    let spec = table.spec.clone();
    table.segments.put(segment(&spec, (50, 100), 0));
    let mut moved = table.segments[100].clone();
    moved.online = moved.assigned.clone();
    table.segments.put(moved);
    let updates: Vec<ClusterUpdate> = changed(Some(&before), &after).collect();
    assert_eq!(updates.len(), 1);
    let put = &updates[0].changed[0].put;
    let with_facts: Vec<bool> = put.iter().map(|one| one.facts.is_some()).collect();
    assert_eq!(
        with_facts,
        [false, true],
        "where it is held is told without what it is"
    );
    assert!(updates[0].changed[0].head.is_empty() && updates[0].instances.is_empty());
    assert!(prost::Message::encoded_len(&updates[0]) < 300);
    assert!(same(&applied(&before, updates.into_iter()), &after));
}

#[test]
fn what_does_not_fit_is_refused() {
    let before = large(10);
    let mut lists = ServerLists::default();
    let mut refused = |state: &ClusterState, update: &ClusterUpdate| {
        state.updated(update, &mut lists).unwrap_err().to_string()
    };
    let mut after = before.clone();
    after.version = 9;
    Arc::make_mut(after.tables.values_mut().next().unwrap()).segments[0].hidden = true;
    let update = changed(Some(&before), &after).next().unwrap();
    let gap = ClusterState {
        version: 6,
        ..before.clone()
    };
    assert_eq!(
        refused(&gap, &update),
        "it changes version 7 of the cluster's state, this is 6"
    );
    let nothing = ClusterState {
        tables: HashMap::new(),
        ..before.clone()
    };
    assert_eq!(
        refused(&nothing, &update),
        "it changes a table that is not known"
    );
    let mut unlisted = update.clone();
    unlisted.server_lists.clear();
    assert_eq!(
        refused(&before, &unlisted),
        "it names list of servers 0, which it does not list"
    );
    let mut empty = before.clone();
    Arc::make_mut(empty.tables.values_mut().next().unwrap()).segments = Segments::default();
    assert_eq!(
        refused(&empty, &update),
        "it tells nothing of a segment that is not known: partition 0, sequence 0"
    );
}
