//! Messages of every version can be read by this one, and what this one adds is passed over by the
//! ones before.
//!
//! `testdata` holds a sample of each message as each version wrote it, in hex. A sample is never
//! edited. When [`today`] writes other bytes than the newest sample, ask first whether a reader of
//! the version before understands them: fields are added, never changed or used again. Then raise
//! [`VERSION`], run this test with `UPDATE_EXPECT=1`, and say below what is made of the older ones.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::Arc;

use expect_test::expect_file;
use prost::Message;
use schemas::cluster::{
    ClusterState, InstanceState, Role, SegmentState, ServerLists, TableState, changed, whole_tables,
};
use schemas::proto::{
    ClusterUpdate, HeartbeatReply, HeartbeatRequest, HeldSegment, LetGo, SegmentRef, WatchRequest,
};
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::{
    ColumnSpec, DataType, FieldRole, InstanceId, SegmentId, TableId, TableSpec, TableType, Value,
};
use uuid::Uuid;

/// Of the messages that are sampled. 1: whole tables, whole heartbeats.
const VERSION: u32 = 2;

fn segment(spec: &TableSpec, sequence: u32) -> SegmentState {
    let id = SegmentId {
        table: spec.id,
        partition: 3,
        sequence,
    };
    let start = i64::from(sequence) * 10;
    let mut record = SegmentRecord::consuming(id, spec, start, 1_764_250_000_000);
    if sequence == 0 {
        record.status = SegmentStatus::Done;
        (record.end, record.crc) = (Some(10), 0xabcd);
        (record.bytes, record.stored_bytes) = (4096, 1024);
        record.uri = Some(SegmentRecord::object_key(id, record.crc));
        record.sealed_ms = Some(1_764_250_060_000);
        record.ledger = Ledger {
            rows: 9,
            rejected: 1,
            ..Ledger::default()
        };
        record.column_ranges = vec![("id".to_owned(), Value::Long(-1), Value::Long(9))];
    }
    let servers = ["Server_a_1", "Server_b_1"].map(|name| InstanceId(name.to_owned()));
    SegmentState {
        record,
        assigned: servers.to_vec().into(),
        online: servers[..1].to_vec().into(),
        hidden: false,
    }
}

fn table() -> TableState {
    let columns = vec![ColumnSpec::new("id", DataType::Long, FieldRole::Dimension)];
    let mut spec = TableSpec::new("events".parse().unwrap(), TableType::Realtime, columns);
    spec.id = TableId(Uuid::from_bytes([7; 16]));
    TableState {
        segments: vec![segment(&spec, 0), segment(&spec, 1)].into(),
        spec,
        paused: false,
        orders: Default::default(),
        time_boundary_ms: None,
        reloads: Vec::new(),
    }
}

fn state() -> ClusterState {
    let server = InstanceState {
        id: InstanceId("Server_a_1".to_owned()),
        role: Role::Server,
        address: "a:1".to_owned(),
        alive: true,
        plan_format: 2,
        exchange_format: 0,
        leads: false,
    };
    let table = table();
    ClusterState {
        version: 5,
        tables: HashMap::from([(table.spec.id, Arc::new(table))]),
        instances: HashMap::from([(server.id.clone(), server)]),
    }
}

/// As version 1 wrote it.
fn old_heartbeat() -> HeartbeatRequest {
    let table = TableId(Uuid::from_bytes([7; 16]));
    HeartbeatRequest {
        instance: "Server_a_1".to_owned(),
        role: "server".to_owned(),
        address: "a:1".to_owned(),
        started_ms: 1_764_250_000_000,
        held: vec![HeldSegment {
            table_id: table.to_bytes(),
            segment: Some(SegmentRef {
                partition: 3,
                sequence: 0,
                crc: 0xabcd,
            }),
            disk_bytes: 5000,
            index_list: 0,
            dead_rows: 0,
        }],
        plan_format: 2,
        deep_store_of: "c".to_owned(),
        ..HeartbeatRequest::default()
    }
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest {
        incarnation: vec![1; 16].into(),
        now_ms: 1_764_250_001_000,
        cluster: "c".to_owned(),
        held_revision: 8,
        held_base: 7,
        let_go: vec![LetGo {
            table_id: TableId(Uuid::from_bytes([7; 16])).to_bytes(),
            partition: 3,
            sequence: 1,
            crc: 0,
        }],
        ..old_heartbeat()
    }
}

fn reply() -> HeartbeatReply {
    HeartbeatReply {
        version: 5,
        held_revision: 8,
        cluster: "c".to_owned(),
        not_taken: "the clock".to_owned(),
        name_free_in_ms: 5000,
    }
}

fn watch() -> WatchRequest {
    WatchRequest {
        instance: "Broker_a_2".to_owned(),
        format: 1,
    }
}

/// Name and bytes of each message as this version writes it. Those of updates hold tables as JSON,
/// which get fields that readers pass over: they are read, and not compared.
fn today() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("heartbeat", heartbeat().encode_to_vec()),
        ("heartbeat_reply", reply().encode_to_vec()),
        ("watch", watch().encode_to_vec()),
    ]
}

fn path(name: &str, version: u32) -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    format!("{folder}/testdata/{name}.{version}.hex")
}

fn sample(name: &str, version: u32) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name, version)).unwrap();
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    let bytes = pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap());
    bytes.collect()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| -> String {
        let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    };
    bytes.chunks(32).map(line).collect()
}

/// With a field that no version has.
fn from_the_future(mut bytes: Vec<u8>) -> Vec<u8> {
    let field_1000_of_three_bytes = [0xc2, 0x3e, 3, 1, 2, 3];
    bytes.extend(field_1000_of_three_bytes);
    bytes
}

fn updated(bytes: &[u8]) -> ClusterState {
    let update = ClusterUpdate::decode(bytes).unwrap();
    let mut lists = ServerLists::default();
    let nothing = ClusterState::default();
    nothing.updated(&update, &mut lists).unwrap()
}

#[test]
fn this_version_writes_the_newest_samples() {
    for (name, bytes) in today() {
        expect_file![path(name, VERSION)].assert_eq(&hex(&bytes));
    }
    // What a server of version 1 tells.
    expect_file![path("heartbeat", 1)].assert_eq(&hex(&old_heartbeat().encode_to_vec()));
}

#[test]
fn every_version_is_read() {
    for version in 1..=VERSION {
        let bytes = sample("cluster_update", version);
        for bytes in [bytes.clone(), from_the_future(bytes)] {
            let read = updated(&bytes);
            assert_eq!(
                (read.tables, read.version),
                (state().tables, 5),
                "{version}"
            );
            assert_eq!(read.instances, state().instances, "{version}");
        }
    }
    // Watchers of version 1 are told whole tables, others what changes.
    let whole = whole_tables(None, &state()).encode_to_vec();
    assert_eq!(updated(&whole).tables, state().tables);
    let mut updates = changed(None, &state());
    let update = updates.next().unwrap().encode_to_vec();
    assert_eq!(updated(&update).tables, state().tables);
    let old = HeartbeatRequest::decode(&sample("heartbeat", 1)[..]).unwrap();
    assert_eq!(old, old_heartbeat());
    // It tells everything each time, and is not judged by its clock.
    assert_eq!((old.held_base, old.held_revision, old.now_ms), (0, 0, 0));
    let new = from_the_future(sample("heartbeat", 2));
    assert_eq!(HeartbeatRequest::decode(&new[..]).unwrap(), heartbeat());
    let new = from_the_future(sample("heartbeat_reply", 2));
    assert_eq!(HeartbeatReply::decode(&new[..]).unwrap(), reply());
    let new = from_the_future(sample("watch", 2));
    assert_eq!(WatchRequest::decode(&new[..]).unwrap(), watch());
    // A controller of version 1 answers with a version alone.
    let old = HeartbeatReply::decode(&[8, 5][..]).unwrap();
    let told = (old.version, old.held_revision, old.not_taken.as_str());
    assert_eq!(told, (5, 0, ""));
}

/// What is stored, and told as JSON, may have fields that this version does not know.
#[test]
fn fields_that_are_not_known_are_passed_over() {
    fn grown(value: serde_json::Value) -> serde_json::Value {
        let serde_json::Value::Object(fields) = value else {
            return value;
        };
        let fields = fields.into_iter().map(|(name, value)| (name, grown(value)));
        let mut fields: serde_json::Map<_, _> = fields.collect();
        // An enum has one key, which is its variant.
        if fields.len() > 1 {
            fields.insert("of_a_later_version".to_owned(), serde_json::json!([1]));
        }
        serde_json::Value::Object(fields)
    }
    let table = table();
    let json = serde_json::to_value(&table).unwrap();
    let read: TableState = serde_json::from_value(grown(json)).unwrap();
    assert_eq!(read, table);
    let record = table.segments[0].record.clone();
    let json = serde_json::to_value(&record).unwrap();
    let read: SegmentRecord = serde_json::from_value(grown(json)).unwrap();
    assert_eq!(read, record);
}
