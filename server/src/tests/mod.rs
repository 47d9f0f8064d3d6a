//! Whole servers on a log in memory and a controller in memory: whatever happens, each offset is
//! seen once, and what was seen stays seen.

mod cache;
mod columns;
mod fakes;
mod faults;
mod fragments;
mod kafka;
mod offline;
mod orders;
mod replicas;
mod upsert;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deepstore::DeepStore;
use parking_lot::Mutex;
use rest::Entrance;
use rpc::InProcessNetwork;
use runtime::{Clock, ComputePool, Files, MemoryBudget, OsFiles, SystemClock, TaskGroup};
use schemas::cluster::{SegmentState, TableState};
use schemas::segment::{Ledger, SegmentRecord};
use schemas::table::{FlushLimits, StreamSpec};
use schemas::{
    ColumnSpec, DataType, FieldRole, InstanceId, SegmentId, TableId, TableSpec, TableType,
};
use segment::view::{RawValues, Values};
use segment::{BLOCK_ROWS, SegmentView};
use stream::Streams;
use tokio::net::TcpListener;

use crate::{Config, Parts, Server};
use fakes::{Control, FakeControl, MemoryLog, MemoryStreams};

const ROWS_MAX: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(20);

/// A table, its log, a deep store, and servers that come and go.
struct World {
    folder: tempfile::TempDir,
    log: Arc<MemoryLog>,
    control: Arc<FakeControl>,
    deep: DeepStore,
    table: TableId,
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    files: Arc<dyn Files>,
    /// Of the HTTP listener of the last server.
    http: Mutex<Option<SocketAddr>>,
    ingest_memory_bytes: u64,
    cache_bytes: u64,
}

fn spec(id: TableId) -> TableSpec {
    TableSpec {
        id,
        streams: vec![StreamSpec::kafka("memory", "t")],
        flush: FlushLimits {
            rows_max: ROWS_MAX,
            ..FlushLimits::default()
        },
        ..TableSpec::new(
            "t".parse().unwrap(),
            TableType::Realtime,
            vec![
                ColumnSpec::new("n", DataType::Long, FieldRole::Dimension),
                ColumnSpec::new("s", DataType::String, FieldRole::Dimension),
            ],
        )
    }
}

impl World {
    fn new(servers: &[&str]) -> Self {
        Self::of(servers, spec)
    }

    fn of(servers: &[&str], spec: impl Fn(TableId) -> TableSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("deepstore");
        let files = Arc::new(OsFiles);
        let deep = DeepStore::local(&store, files, ComputePool::new(1)).unwrap();
        let table = TableId::random();
        let control = Arc::new(FakeControl::default());
        let spec = spec(table);
        let id = SegmentId {
            table,
            partition: 0,
            sequence: 0,
        };
        let head = SegmentState {
            record: SegmentRecord::consuming(id, &spec, 0, 0),
            assigned: servers
                .iter()
                .map(|s| InstanceId((*s).to_owned()))
                .collect(),
            online: Default::default(),
            hidden: false,
        };
        let state = TableState {
            spec,
            segments: vec![head].into(),
            paused: false,
            time_boundary_ms: None,
            reloads: Vec::new(),
            orders: Default::default(),
        };
        control.change(|tables| drop(tables.insert(table, state)));
        let log = Arc::<MemoryLog>::default();
        Self {
            folder,
            streams: Arc::new(MemoryStreams(Arc::clone(&log))),
            clock: SystemClock::shared(),
            files: Arc::new(OsFiles),
            http: Mutex::default(),
            log,
            control,
            deep,
            table,
            ingest_memory_bytes: 1 << 30,
            cache_bytes: 0,
        }
    }

    async fn start(&self, name: &str) -> Server {
        let network = Arc::new(InProcessNetwork::default());
        network.register_controller(Arc::new(Control(Arc::clone(&self.control))));
        let config = Config {
            instance: InstanceId(name.to_owned()),
            address: "127.0.0.1:1".to_owned(),
            version: "test",
            deep_store_of: String::new(),
            plan_format: crate::PLAN_FORMAT,
            data_dir: self.folder.path().join(name),
            entrance: Entrance::default(),
            ingest_memory_bytes: self.ingest_memory_bytes,
            key_memory_bytes: 1 << 30,
            seal_patience: Duration::from_secs(1),
            disk_free_bytes_min: 0,
            cache_bytes: self.cache_bytes,
            registries: Default::default(),
            query_memory_bytes: 1 << 30,
            fragment_memory_bytes: 1 << 28,
        };
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *self.http.lock() = http.local_addr().ok();
        let parts = Parts {
            network,
            membership: rpc::Membership::passing(Arc::clone(&self.clock)),
            deep: self.deep.clone(),
            streams: Arc::clone(&self.streams),
            clock: Arc::clone(&self.clock),
            files: Arc::clone(&self.files),
            compute: ComputePool::new(2),
            memory: MemoryBudget::root("process", 4 << 30),
            tasks: TaskGroup::new(name),
            http,
            grpc: None,
        };
        crate::start(config, parts).await.unwrap()
    }

    fn state(&self) -> TableState {
        self.control.table(self.table)
    }

    fn sealed(&self) -> Vec<SegmentRecord> {
        let segments = self.state().segments.into_iter();
        segments.map(|s| s.record).filter(|r| r.is_done()).collect()
    }

    /// Segments meet without a gap and their ledgers account for every offset.
    fn check_ledgers(&self) {
        let mut next = 0;
        for record in self.sealed() {
            assert_eq!(record.start, next);
            next = record.end.unwrap();
            assert_eq!(record.ledger.total() as i64, next - record.start);
        }
    }
}

/// Offsets of all rows that a query would see now, in the order of the segments.
fn offsets(world: &World, server: &Server) -> Vec<i64> {
    let Some(table) = server.core.tables.get(world.table) else {
        return Vec::new();
    };
    let view = table.view();
    let Some(views) = view.consuming_from(0, 0, 0) else {
        return Vec::new();
    };
    views.iter().flat_map(offsets_of).collect()
}

fn offsets_of(view: &SegmentView) -> Vec<i64> {
    let column = view.column("$offset").unwrap().unwrap();
    let Values::Raw(raw) = column.values() else {
        panic!("offsets are raw")
    };
    let mut all = Vec::new();
    let mut start = 0;
    while start < view.row_count() {
        let end = view.row_count().min(start + BLOCK_ROWS);
        match raw.values(start..end) {
            RawValues::U8 { base, values } => all.extend(values.iter().map(|v| base + *v as i64)),
            RawValues::U16 { base, values } => all.extend(values.iter().map(|v| base + *v as i64)),
            RawValues::U32 { base, values } => all.extend(values.iter().map(|v| base + *v as i64)),
            RawValues::I64(values) => all.extend(values),
            RawValues::Sequence { first, count } => all.extend((first..).take(count)),
            other => panic!("{other:?}"),
        }
        start = end;
    }
    all
}

/// Waits until `until` holds; meanwhile every look at the rows finds the offsets 0.. each once,
/// and never fewer than before.
async fn watch(world: &World, server: &Server, until: impl Fn(&[i64]) -> bool) {
    let started = std::time::Instant::now();
    let mut seen = 0;
    loop {
        let offsets = offsets(world, server);
        assert!(
            offsets.iter().copied().eq(0..offsets.len() as i64),
            "a row is missing or doubled"
        );
        assert!(offsets.len() >= seen, "{} after {seen}", offsets.len());
        seen = offsets.len();
        if until(&offsets) {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{seen} rows, {:?}",
            world.state()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_is_never_seen() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    for at in 0..23 {
        world.log.push_rows(at * 100..(at + 1) * 100);
        watch(&world, &server, |seen| seen.len() as i64 >= at * 100).await;
    }
    watch(&world, &server, |seen| {
        seen.len() == 2300 && world.sealed().len() == 4
    })
    .await;
    world.check_ledgers();
    let ends: Vec<_> = world.sealed().iter().map(|r| r.end.unwrap()).collect();
    assert_eq!(ends, [500, 1000, 1500, 2000]);
    // The sealed form is what queries read, and the controller knows it by its checksum.
    let (first, last) = (world.sealed()[0].clone(), world.sealed()[3].clone());
    eventually("the sealed segments are held", || {
        let held = world.control.held("a");
        held.contains(&(0, first.crc)) && held.contains(&(3, last.crc)) && held.contains(&(4, 0))
    })
    .await;
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_loses_no_row() {
    let world = World::new(&["a"]);
    world.log.push_rows(0..1200);
    let first = world.start("a").await;
    watch(&world, &first, |seen| seen.len() >= 700).await;
    first.stop(GRACE).await;

    world.log.push_rows(1200..1800);
    let second = world.start("a").await;
    eventually("ready", || second.ready().is_ok()).await;
    let all = offsets(&world, &second);
    assert!(
        all.iter().copied().eq(0..1800),
        "{} rows when ready",
        all.len()
    );
    watch(&world, &second, |_| world.sealed().len() == 3).await;
    world.check_ledgers();
    second.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_offset_has_a_place() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    let messages = (0..1200_i64).map(|n| match n % 10 {
        3 => Some(format!(r#"{{"n": "no number {n}"}}"#)),
        7 => None,
        _ => Some(format!(r#"{{"n": {n}}}"#)),
    });
    world.log.push(messages);
    eventually("two segments are sealed", || {
        world.sealed().len() == 1 && world.control.consumers("a")[0].next_offset == 1200
    })
    .await;
    world.check_ledgers();
    let record = world.sealed().remove(0);
    let Ledger {
        rows,
        rejected,
        absent,
        ..
    } = record.ledger;
    assert_eq!((rows, rejected, absent), (ROWS_MAX, 63, 62));
    let consumer = world.control.consumers("a").remove(0);
    assert_eq!((consumer.rejected, consumer.log_end_offset), (120, 1200));
    assert!(
        consumer.last_rejection.contains("`n` is LONG"),
        "{consumer:?}"
    );
    let rejected =
        crate::system::rejected_rows(&server.core.tables.all(), server.core.clock.now_ms())
            .unwrap();
    assert_eq!(
        rejected.num_rows(),
        120,
        "in the sealed and the consuming segment"
    );
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_controller_consumption_goes_on() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..100);
    watch(&world, &server, |seen| seen.len() == 100).await;
    world.control.away.store(true, Ordering::Relaxed);
    // Up to twice the limit in the segment behind the one that is not committed.
    world.log.push_rows(100..1700);
    watch(&world, &server, |seen| seen.len() == 1500).await;
    assert!(world.sealed().is_empty());
    world.control.away.store(false, Ordering::Relaxed);
    watch(&world, &server, |seen| {
        seen.len() == 1700 && world.sealed().len() == 2
    })
    .await;
    let ends: Vec<_> = world.sealed().iter().map(|r| r.end).collect();
    assert_eq!(ends, [Some(500), Some(1500)]);
    world.check_ledgers();
    server.stop(GRACE).await;
}

/// The controller takes its time to say who commits: rows are taken meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_taken_while_the_end_is_reported() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.start("a").await, world.start("b").await);
    world.control.ponders.send_replace(true);
    world.log.push_rows(0..499);
    watch(&world, &a, |seen| seen.len() == 499).await;
    watch(&world, &b, |seen| seen.len() == 499).await;
    // Offsets behind the last row are not in the log: replicas end the segment before them.
    world
        .log
        .push([Some(r#"{"n": 499}"#.to_owned()), None, None]);
    eventually("both have begun the next segment", || {
        [&a, &b].iter().all(|server| {
            let view = server.core.tables.get(world.table).unwrap().view();
            view.run(0).len() == 2
        })
    })
    .await;
    world.log.push_rows(502..700);
    eventually("all rows are seen", || {
        [&a, &b]
            .iter()
            .all(|server| offsets(&world, server).last() == Some(&699))
    })
    .await;
    assert!(world.sealed().is_empty());
    world.control.ponders.send_replace(false);
    eventually("the segment is sealed, on both", || {
        let sealed = world.sealed();
        let held = |name| world.control.held(name).contains(&(0, sealed[0].crc));
        sealed.len() == 1 && held("a") && held("b")
    })
    .await;
    assert_eq!(world.sealed()[0].end, Some(500));
    world.check_ledgers();
    let readers = world.log.opened.load(Ordering::Relaxed);
    assert_eq!(readers, 2, "nobody had to read a row again");
    a.stop(GRACE).await;
    b.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_told_and_waited_for() {
    let world = World::new(&["a"]);
    world.log.missing.store(true, Ordering::Relaxed);
    let server = world.start("a").await;
    eventually("the error is told", || {
        let consumers = world.control.consumers("a");
        let told = |c: &schemas::proto::ConsumerState| {
            c.state == "ERROR" && c.detail.contains("topic `t` does not exist")
        };
        consumers.iter().any(told)
    })
    .await;
    eventually("other tables do not wait for it", || server.ready().is_ok()).await;
    world.log.missing.store(false, Ordering::Relaxed);
    world.log.push_rows(0..10);
    watch(&world, &server, |seen| seen.len() == 10).await;
    eventually("the error is over", || {
        world.control.consumers("a")[0].state == "CONSUMING"
    })
    .await;
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_table_takes_nothing() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..10);
    watch(&world, &server, |seen| seen.len() == 10).await;
    let pause = |paused| {
        world.control.change(|tables| {
            tables.get_mut(&world.table).unwrap().paused = paused;
        });
    };
    pause(true);
    eventually("paused", || {
        world.control.consumers("a")[0].state == "PAUSED"
    })
    .await;
    world.log.push_rows(10..20);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(offsets(&world, &server).len(), 10);
    pause(false);
    watch(&world, &server, |seen| seen.len() == 20).await;
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_leaves_nothing() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..600);
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    let folder = world
        .folder
        .path()
        .join("a/segments")
        .join(world.table.to_string());
    assert!(folder.join("0").is_dir());
    world.control.change(|tables| tables.clear());
    eventually("the files are gone", || !folder.exists()).await;
    eventually("nothing is held", || world.control.held("a").is_empty()).await;
    server.stop(GRACE).await;
}
