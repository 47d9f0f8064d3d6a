//! What a change costs among very many segments. Measured by hand, never a test that is timed:
//! `cargo test --release -p controller --lib -- --ignored --nocapture a_million_segments`.
//! `SEGMENTS` of the environment takes another number.

use std::time::Instant;

use metastore::Txn;
use metastore::catalog::StoredSegment;
use schemas::InstanceId;
use schemas::cluster::UPDATE_FORMAT;
use schemas::proto::{HeartbeatRequest, HeldSegment, SegmentRef};
use schemas::segment::SegmentStatus;
use schemas::table::Retention;

use super::bare::{Bare, START_MS};
use super::deltas::Watcher;
use super::*;
use crate::reconcile;

const SERVERS: usize = 200;
const REPLICAS: usize = 2;
const EACH: u32 = 100;

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Says how long it took, and by how much the process has grown.
struct Lap(Instant, u64);

impl Lap {
    fn begin() -> Self {
        Self(Instant::now(), resident_mib())
    }

    fn end(self, what: &str) {
        let grown = resident_mib().saturating_sub(self.1);
        eprintln!("{what:<60} {:>10.3?} {grown:>6} MiB more", self.0.elapsed());
    }
}

fn server(at: usize) -> InstanceId {
    InstanceId(format!("Server_10.0.{}.{}_8098", at / 200, at % 200))
}

fn servers_of(partition: u32) -> Vec<InstanceId> {
    let of = (0..REPLICAS).map(|replica| server((partition as usize + replica * 7) % SERVERS));
    of.collect()
}

/// Partitions of a hundred sealed segments and one that consumes.
async fn fill(bare: &Bare, table: TableId, partitions: u32) {
    let spec = bare.published(table).spec.clone();
    for partition in 0..partitions {
        let mut txn = Txn::default();
        for sequence in 0..=EACH {
            let id = segment(table, partition, sequence);
            let start = i64::from(sequence) * 1_000;
            let mut record = SegmentRecord::consuming(id, &spec, start, START_MS);
            if sequence < EACH {
                let like = sealed(id, start, start + 1_000, 1 + sequence);
                record = SegmentRecord {
                    name: record.name,
                    uri: Some(SegmentRecord::object_key(id, like.crc)),
                    time_range: Some((START_MS, START_MS + 1)),
                    status: SegmentStatus::Done,
                    column_ranges: vec![
                        ("ts".to_owned(), 0.into_value(), 1.into_value()),
                        ("amount".to_owned(), 0.into_value(), 1.into_value()),
                    ],
                    ..like
                };
            }
            let stored = StoredSegment::new(record, servers_of(partition));
            let key = format!("/segments/{table}/{partition:010}/{sequence:010}");
            txn = txn.put(key, serde_json::to_vec(&stored).unwrap());
        }
        let start = i64::from(EACH) * 1_000;
        let head = json!({ "sequence": EACH, "start": start, "epoch": 0 });
        txn = txn.put(format!("/heads/{table}/{partition:010}"), head.to_string());
        bare.store().txn(txn).await.unwrap();
    }
}

trait IntoValue {
    fn into_value(self) -> schemas::Value;
}

impl IntoValue for i64 {
    fn into_value(self) -> schemas::Value {
        schemas::Value::Long(self)
    }
}

fn beat_of(bare: &Bare, table: TableId, at: usize) -> HeartbeatRequest {
    let name = server(at);
    let published = bare.published(table);
    let own = published
        .segments
        .iter()
        .filter(|one| one.assigned.contains(&name));
    let held = own.map(|one| HeldSegment {
        table_id: table.to_bytes(),
        segment: Some(SegmentRef {
            partition: one.record.id.partition,
            sequence: one.record.id.sequence,
            crc: one.record.crc,
        }),
        ..HeldSegment::default()
    });
    HeartbeatRequest {
        instance: name.0.clone(),
        role: "server".to_owned(),
        held: held.collect(),
        held_revision: 1,
        ..HeartbeatRequest::default()
    }
}

#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "whoever measures says how much")]
async fn a_million_segments() {
    let wanted = std::env::var("SEGMENTS")
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    let partitions = wanted.unwrap_or(1_000_000) / EACH;
    let bare = Bare::new().await;
    let keep = |spec: &mut schemas::TableSpec| {
        spec.replication = REPLICAS as u32;
        spec.retention = Retention {
            age_max_ms: Some(7 * 86_400_000),
            rows_max: None,
        };
    };
    let table = bare.table(REALTIME, keep).await;
    let lap = Lap::begin();
    fill(&bare, table, partitions).await;
    lap.end("stored, in a store that has all in memory");
    let lap = Lap::begin();
    bare.state.publish(table).await.unwrap();
    lap.end("the table is read and published");
    let beats: Vec<HeartbeatRequest> = (0..SERVERS).map(|at| beat_of(&bare, table, at)).collect();
    let lap = Lap::begin();
    for beat in &beats {
        bare.state.heartbeat(beat.clone()).unwrap();
    }
    lap.end("all servers say that they hold everything");
    let same = |beat: &HeartbeatRequest| HeartbeatRequest {
        held: Vec::new(),
        held_base: 1,
        ..beat.clone()
    };
    let sames: Vec<HeartbeatRequest> = beats.iter().map(same).collect();
    drop(beats);
    let beat_all = || {
        for beat in &sames {
            assert_eq!(bare.state.heartbeat(beat.clone()).unwrap().held_revision, 1);
        }
    };
    let lap = Lap::begin();
    beat_all();
    lap.end("all servers say that nothing has changed");
    let lap = Lap::begin();
    let mut watcher = Watcher::new(&bare, UPDATE_FORMAT).await;
    lap.end("a watcher is told everything, and takes it");
    changes(&bare, table, partitions, &mut watcher).await;
    let lap = Lap::begin();
    bare.clock.advance(Duration::from_secs(4));
    sames[1..]
        .iter()
        .for_each(|beat| drop(bare.state.heartbeat(beat.clone())));
    bare.clock.advance(Duration::from_secs(2));
    bare.state.judge_liveness();
    lap.end("a server dies");
    let lap = Lap::begin();
    watcher.catch_up_quickly(&bare).await;
    lap.end("the watcher has it");
    for round in ["first", "next"] {
        beat_all();
        let lap = Lap::begin();
        reconcile::assignment(&bare.state).await.unwrap();
        lap.end(&format!("assignment, {round} pass"));
        let lap = Lap::begin();
        reconcile::moves(&bare.state).await.unwrap();
        lap.end(&format!("moves, {round} pass"));
        let lap = Lap::begin();
        reconcile::retention(&bare.state).await.unwrap();
        lap.end(&format!("retention, {round} pass"));
        let lap = Lap::begin();
        reconcile::figures(&bare.state).await.unwrap();
        lap.end(&format!("figures, {round} pass"));
    }
}

/// Commits, until the watcher knows of them.
async fn changes(bare: &Bare, table: TableId, partitions: u32, watcher: &mut Watcher) {
    let mut times = Vec::new();
    for at in 0..50 {
        let id = segment(table, at * 97 % partitions, EACH);
        let catalog = &bare.state.catalog;
        let head = catalog
            .head(table, id.partition)
            .await
            .unwrap()
            .unwrap()
            .value;
        let epoch = catalog.elect(id).await.unwrap().unwrap();
        let mut record = sealed(id, head.start, head.start + 1_000, 9_000 + at);
        bare.store_object(&mut record).await;
        let begun = Instant::now();
        assert!(
            bare.end(&servers_of(id.partition)[0].0, &record, epoch)
                .await
        );
        watcher.catch_up_quickly(bare).await;
        times.push(begun.elapsed());
    }
    times.sort();
    let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{:<60} {half:>10.3?} at most {most:.3?}",
        "a commit, until a watcher has it"
    );
}
