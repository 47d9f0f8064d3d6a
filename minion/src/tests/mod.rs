//! A minion against a controller double, over deep stores in memory and in a folder.

mod double;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use batch::Workshop;
use bytes::Bytes;
use deepstore::DeepStore;
use rest::Entrance;
use rpc::InProcessNetwork;
use runtime::{ComputePool, ManualClock, OsFiles, SystemClock, TaskGroup};
use schemas::segment::SegmentRecord;
use schemas::task::TaskKind;
use schemas::{InstanceId, SegmentId, TableId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Config, Minion, Parts, start};
use double::FakeControl;

/// Far beyond what any object is old.
const FUTURE_MS: i64 = i64::MAX;
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    control: Arc<FakeControl>,
    deep: DeepStore,
    clock: Arc<ManualClock>,
    minion: Minion,
    http: std::net::SocketAddr,
}

impl World {
    async fn new(deep: DeepStore) -> Self {
        let control = Arc::new(FakeControl::default());
        let network = Arc::new(InProcessNetwork::default());
        network.register_controller(Arc::clone(&control) as Arc<dyn rpc::ControlApi>);
        let clock = ManualClock::at_ms(1_000_000);
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = http.local_addr().unwrap();
        let config = Config {
            instance: InstanceId("Minion_test".to_owned()),
            address: address.to_string(),
            version: "test",
            deep_store_of: String::new(),
            entrance: Entrance::default(),
            rewrites_max: 1,
        };
        let parts = Parts {
            network,
            membership: rpc::Membership::passing(Arc::clone(&clock) as Arc<dyn runtime::Clock>),
            deep: deep.clone(),
            clock: Arc::clone(&clock) as Arc<dyn runtime::Clock>,
            workshop: Workshop {
                clock: Arc::clone(&clock) as Arc<dyn runtime::Clock>,
                files: Arc::new(OsFiles),
                folder: std::env::temp_dir(),
                compute: ComputePool::new(1),
                expressions: Arc::new(ingest::NoExpressions),
                reach: runtime::Reach::default(),
                objects: deepstore::Config::default(),
            },
            exports: None,
            tasks: TaskGroup::new("minion"),
            http,
        };
        Self {
            control,
            deep,
            clock,
            minion: start(config, parts).await.unwrap(),
            http: address,
        }
    }

    async fn put(&self, key: &str) {
        let content = Bytes::from_static(b"rows");
        self.deep.upload(key, content).await.unwrap();
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.deep.list("").await.unwrap();
        let mut keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
        keys.sort();
        keys
    }

    /// Moves the clock until `done`, so that pauses pass at once.
    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..2000 {
            if done() {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}");
    }

    async fn get(&self, path: &str) -> String {
        let mut connection = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let host = self.http;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn key(table: TableId, sequence: u32) -> String {
    let id = SegmentId {
        table,
        partition: 0,
        sequence,
    };
    SegmentRecord::object_key(id, 7)
}

fn folder(path: &Path) -> DeepStore {
    DeepStore::local(path, Arc::new(OsFiles), ComputePool::new(1)).unwrap()
}

fn remove(keys: &[&str]) -> TaskKind {
    TaskKind::RemoveObjects {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        segments: Vec::new(),
    }
}

#[tokio::test]
async fn objects_are_removed_and_removing_them_again_is_fine() {
    let world = World::new(DeepStore::in_memory()).await;
    let table = TableId::random();
    let keys: Vec<String> = (0..40).map(|sequence| key(table, sequence)).collect();
    for key in &keys {
        world.put(key).await;
    }
    let gone: Vec<&str> = keys[..39].iter().map(String::as_str).collect();
    let task = world.control.add(remove(&gone));
    world.until("done", || world.control.is_done(task)).await;
    assert_eq!(world.keys().await, [keys[39].clone()]);
    assert_eq!(world.control.summaries(), ["removed 39 objects"]);

    let again = world.control.add(remove(&gone));
    world
        .until("done again", || world.control.is_done(again))
        .await;
    assert_eq!(world.keys().await, [keys[39].clone()]);
}

#[tokio::test]
async fn orphans_go_and_what_is_known_or_not_ours_stays() {
    let world = World::new(DeepStore::in_memory()).await;
    let table = TableId::random();
    let (known, orphan) = (key(table, 0), key(table, 1));
    let cut_off = format!("{}.tmp", key(table, 2));
    let not_ours = "photos/2024/1.jpg".to_owned();
    for key in [&known, &orphan, &cut_off, &not_ours] {
        world.put(key).await;
    }
    let young = world.control.add(TaskKind::RemoveOrphans {
        known: vec![known.clone()],
        older_than_ms: 0,
    });
    world
        .until("nothing is that old", || world.control.is_done(young))
        .await;
    assert_eq!(world.keys().await.len(), 4);

    let old = world.control.add(TaskKind::RemoveOrphans {
        known: vec![known.clone()],
        older_than_ms: FUTURE_MS,
    });
    world.until("done", || world.control.is_done(old)).await;
    let mut kept = vec![known, not_ours];
    kept.sort();
    assert_eq!(world.keys().await, kept);
    assert_eq!(
        world.control.summaries(),
        ["removed 0 objects", "removed 2 objects"]
    );
}

#[tokio::test]
async fn young_orphans_are_spared_beside_old_ones() {
    let place = tempfile::tempdir().unwrap();
    let world = World::new(folder(place.path())).await;
    let table = TableId::random();
    let (old, young) = (key(table, 0), key(table, 1));
    world.put(&old).await;
    world.put(&young).await;
    let now_ms = SystemClock::shared().now_ms();
    let file = std::fs::File::options()
        .write(true)
        .open(place.path().join(&old))
        .unwrap();
    let two_hours_ago = file.metadata().unwrap().modified().unwrap() - 2 * HOUR;
    file.set_modified(two_hours_ago).unwrap();
    let task = world.control.add(TaskKind::RemoveOrphans {
        known: vec![],
        older_than_ms: now_ms - HOUR.as_millis() as i64,
    });
    world.until("done", || world.control.is_done(task)).await;
    assert_eq!(world.keys().await, [young]);
}

#[tokio::test]
async fn a_task_that_failed_is_reported_and_tried_again() {
    let place = tempfile::tempdir().unwrap();
    let world = World::new(folder(place.path())).await;
    let table = TableId::random();
    let (stuck, other) = (key(table, 0), key(table, 1));
    // A folder in the place of the object cannot be removed as one.
    std::fs::create_dir_all(place.path().join(&stuck)).unwrap();
    world.put(&other).await;
    let task = world.control.add(remove(&[&stuck, &other]));
    world
        .until("a report of the fault", || {
            !world.control.faults().is_empty()
        })
        .await;
    let fault = world.control.faults().remove(0);
    assert!(
        fault.starts_with("1 objects are left: ") && fault.contains(&stuck),
        "{fault}"
    );
    assert!(!world.control.is_done(task));
    assert!(world.keys().await.is_empty(), "the other one is gone");

    std::fs::remove_dir(place.path().join(&stuck)).unwrap();
    world
        .until("done at last", || world.control.is_done(task))
        .await;
    let metrics = world.get("/metrics").await;
    assert!(metrics.contains("tannin_minion_tasks_total{kind=\"remove_objects\"} 1"));
    assert!(metrics.contains("tannin_minion_task_failures_total{kind=\"remove_objects\"}"));
}

#[tokio::test]
async fn health_and_heartbeats() {
    let world = World::new(DeepStore::in_memory()).await;
    world.until("ready", || world.minion.ready().is_ok()).await;
    let beat = world.control.last_heartbeat().unwrap();
    assert_eq!((&*beat.instance, &*beat.role), ("Minion_test", "minion"));
    assert_eq!(beat.address, world.http.to_string());
    assert_eq!(beat.started_ms, 1_000_000);
    assert!(world.get("/health").await.ends_with("OK"));
    assert!(world.get("/ready").await.starts_with("HTTP/1.1 200"));
    assert!(world.get("/version").await.contains(r#""tannin":"test""#));

    world.control.away.store(true, Ordering::Relaxed);
    world
        .until("not ready", || world.minion.ready().is_err())
        .await;
    let answer = world.get("/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("waiting for the controller"), "{answer}");

    world.control.away.store(false, Ordering::Relaxed);
    let task = world.control.add(remove(&[]));
    world
        .until("it goes on", || world.control.is_done(task))
        .await;
    world.minion.stop(Duration::from_secs(5)).await;
}
