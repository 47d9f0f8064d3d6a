//! Imports into a target that keeps what comes in memory, and fails when it is told to.

mod joined;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use deepstore::conformance::{s3_config, test_s3};
use ingest::NoExpressions;
use parking_lot::Mutex;
use runtime::{OsFiles, SystemClock};
use schemas::{ColumnSpec, DataType, FieldRole, TableName, TableType};

use super::*;
use crate::join::Joining;

/// Each file on its own.
const ALONE: Joining = Joining {
    bytes_min: 0,
    bytes_max: 0,
    files_max: 0,
};

#[derive(Debug)]
struct Memory {
    spec: TableSpec,
    next: AtomicUsize,
    import: Mutex<Option<(String, Uuid)>>,
    come: Mutex<BTreeMap<String, (SegmentRecord, Bytes)>>,
    counted: Mutex<BTreeSet<String>>,
    /// So many segments come, then the way is broken.
    breaks_after: AtomicUsize,
}

impl Memory {
    fn of(spec: TableSpec) -> Arc<Self> {
        Arc::new(Self {
            spec,
            next: AtomicUsize::new(0),
            import: Mutex::default(),
            come: Mutex::default(),
            counted: Mutex::default(),
            breaks_after: AtomicUsize::new(usize::MAX),
        })
    }

    fn records(&self) -> Vec<SegmentRecord> {
        let come = self.come.lock();
        come.values().map(|(record, _)| record.clone()).collect()
    }

    fn rows_counted(&self) -> u64 {
        let (come, counted) = (self.come.lock(), self.counted.lock());
        let rows = |name| come.get(name).map_or(0, |(record, _)| record.ledger.rows);
        counted.iter().map(rows).sum()
    }
}

#[async_trait]
impl Target for Memory {
    async fn begin(&self, key: &str, _: Option<Mode>) -> Result<Begun, Fault> {
        let mut import = self.import.lock();
        let (_, id) = match import.take() {
            Some((known, id)) if known == key => import.insert((known, id)),
            _ => import.insert((key.to_owned(), Uuid::new_v4())),
        };
        Ok(Begun {
            id: *id,
            spec: self.spec.clone(),
            segments: self.records(),
            is_done: false,
        })
    }

    async fn reserve(&self, _: Uuid) -> Result<Sequence, Fault> {
        Ok(self.next.fetch_add(1, Ordering::Relaxed) as u32)
    }

    async fn add(
        &self,
        _: Uuid,
        mut record: SegmentRecord,
        packed: Bytes,
    ) -> Result<String, Fault> {
        assert!(!packed.is_empty());
        if self.come.lock().len() >= self.breaks_after.load(Ordering::Relaxed) {
            return Err(Fault::unavailable("the way is broken"));
        }
        record.name = format!("t_{}", record.id.sequence);
        let name = record.name.clone();
        self.come.lock().insert(name.clone(), (record, packed));
        Ok(name)
    }

    async fn end(&self, _: Uuid, segments: BTreeSet<String>) -> Result<(), Fault> {
        *self.counted.lock() = segments;
        *self.import.lock() = None;
        Ok(())
    }

    async fn revert(&self, _: Uuid) -> Result<(), Fault> {
        self.come.lock().clear();
        *self.import.lock() = None;
        Ok(())
    }
}

struct World {
    folder: tempfile::TempDir,
    memory: Arc<Memory>,
    workshop: Workshop,
}

impl World {
    fn new() -> Self {
        let column = ColumnSpec::new("n", DataType::Long, FieldRole::Dimension);
        Self::with(vec![column], |_| ())
    }

    fn with(columns: Vec<ColumnSpec>, change: impl FnOnce(&mut TableSpec)) -> Self {
        let name: TableName = "t".parse().unwrap();
        let mut spec = TableSpec::new(name, TableType::Offline, columns);
        change(&mut spec);
        let folder = tempfile::tempdir().unwrap();
        let segments = folder.path().join("segments");
        std::fs::create_dir(&segments).unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        Self {
            workshop: Workshop {
                clock: SystemClock::shared(),
                files: Arc::new(OsFiles),
                folder: segments,
                compute: ComputePool::new(2),
                expressions: Arc::new(NoExpressions),
                reach: Reach::default(),
                objects: deepstore::Config::default(),
            },
            memory: Memory::of(spec),
            folder,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder
            .path()
            .join("in")
            .join(name)
            .display()
            .to_string()
    }

    fn write(&self, name: &str, numbers: std::ops::Range<i64>) {
        let lines: String = numbers.map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(path, lines).unwrap();
    }

    async fn import(&self, joining: Joining, start_over: bool) -> Result<Done, ImportError> {
        let job = Job {
            key: "k".to_owned(),
            mode: None,
            sources: local_sources(&[self.path("")], None)?,
            format: None,
            csv: None,
            start_over,
        };
        let target = Arc::clone(&self.memory) as Arc<dyn Target>;
        job::run_joining(&job, &target, (&self.workshop, &Arc::default()), joining).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_count_together() {
    let world = World::new();
    for file in 0..20 {
        world.write(&format!("{}/{file}.json", file % 3), file..file + 10);
    }
    std::fs::write(world.path("_SUCCESS"), "").unwrap();
    std::fs::write(world.path("notes.txt"), "no rows").unwrap();
    std::fs::write(world.path("empty.json"), "\n").unwrap();
    let done = world.import(ALONE, false).await.unwrap();
    assert_eq!((done.rows, done.segments, done.kept), (200, 20, 0));
    assert_eq!(done.files, 21, "the empty one is one of them");
    assert_eq!(world.memory.rows_counted(), 200);
    let left = std::fs::read_dir(&world.workshop.folder).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_goes_on_with_what_is_whole() {
    let world = World::new();
    for file in 0..6 {
        world.write(&format!("{file}.json"), 0..10);
    }
    world.memory.breaks_after.store(4, Ordering::Relaxed);
    let broken = world.import(ALONE, false).await.unwrap_err();
    assert_eq!(broken.kind(), FaultKind::Unavailable);
    assert_eq!(world.memory.rows_counted(), 0, "nothing counts");
    // One of those that are done has other rows now.
    let done = world.memory.records();
    assert_eq!(done.len(), 4);
    let changed = done[0].source.as_ref().unwrap().uri.clone();
    std::fs::write(&changed, "{\"n\": 1}\n").unwrap();
    world
        .memory
        .breaks_after
        .store(usize::MAX, Ordering::Relaxed);
    let done = world.import(ALONE, false).await.unwrap();
    assert_eq!((done.rows, done.segments, done.kept), (51, 6, 3));
    assert_eq!(world.memory.rows_counted(), 51);
    let again = world.import(ALONE, true).await.unwrap();
    assert_eq!(
        (again.rows, again.kept),
        (51, 0),
        "nothing of before is taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_names_its_place_and_nothing_counts() {
    let world = World::new();
    world.write("a.json", 0..10);
    std::fs::write(world.path("b.json"), "{\"n\": 1}\n{\"n\": \"x\"}\n").unwrap();
    let error = world
        .import(Joining::default(), false)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("b.json` row 2: "), "{error}");
    assert_eq!(world.memory.rows_counted(), 0);
    std::fs::write(world.path("b.json"), "{\"n\": 1, \"colour\": 2}\n").unwrap();
    let error = world
        .import(Joining::default(), false)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no column colour"), "{error}");
    std::fs::write(world.path("b.json"), "{\"n\": 1}\n").unwrap();
    assert_eq!(
        world.import(Joining::default(), false).await.unwrap().rows,
        11
    );
}

#[tokio::test]
async fn files_are_found_by_path_folder_and_pattern() {
    let world = World::new();
    for name in ["2026-01/a.json", "2026-01/b.csv", "2026-02/a.json", "x.bin"] {
        world.write(name, 0..1);
    }
    let found = |input: &str, format| {
        let sources = local_sources(&[world.path(input)], format);
        let names = sources.map(|sources| {
            let names = sources.iter().map(|source| {
                let path = source.uri.rsplit_once("/in/").unwrap();
                path.1.to_owned()
            });
            names.collect::<Vec<_>>()
        });
        names.unwrap_or_default()
    };
    assert_eq!(
        found("", None),
        ["2026-01/a.json", "2026-01/b.csv", "2026-02/a.json"]
    );
    assert_eq!(
        found("2026-0?/*.json", None),
        ["2026-01/a.json", "2026-02/a.json"]
    );
    assert_eq!(found("x.bin", None), ["x.bin"], "whoever names it means it");
    assert_eq!(found("*.bin", Some(FileFormat::Json)), ["x.bin"]);
    assert!(found("nothing", None).is_empty());
    let error = local_sources(&[world.path("nothing")], None).unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_bucket_are_found_and_fetched() {
    let Some((endpoint, bucket)) = test_s3("objects_of_a_bucket") else {
        return;
    };
    let lines = |numbers: std::ops::Range<i64>| -> Bytes {
        let lines: String = numbers.map(|n| format!("{{\"n\": {n}}}\n")).collect();
        lines.into()
    };
    let mut world = World::new();
    let config = s3_config(&endpoint, &bucket, world.folder.path()).unwrap();
    world.workshop.objects = config.clone();
    let files: Arc<dyn Files> = Arc::new(OsFiles);
    let store = deepstore::DeepStore::open(&config, files, ComputePool::new(1)).unwrap();
    for (key, content) in [
        ("day/a.json", lines(0..10)),
        ("day/_SUCCESS", Bytes::new()),
        ("day/b + c.json", lines(10..15)),
        ("other/c.json", lines(0..1)),
    ] {
        store.upload(key, content).await.unwrap();
    }
    let base = config.url.as_str();
    let found = async |wanted: &str| {
        let uri = format!("{base}/{wanted}");
        let sources = object_sources(&uri, None, &world.workshop).await;
        let names = sources.map(|all| {
            let names = all
                .into_iter()
                .map(|one| one.uri[base.len() + 1..].to_owned());
            names.collect::<Vec<_>>()
        });
        names.unwrap_or_default()
    };
    assert_eq!(found("day").await, ["day/a.json", "day/b + c.json"]);
    assert_eq!(found("*/c.json").await, ["other/c.json"]);
    assert_eq!(found("da?/a*").await, ["day/a.json"]);
    assert_eq!(found("day/_SUCCESS").await, ["day/_SUCCESS"]);
    assert!(found("da").await.is_empty());

    let uri = format!("{base}/day/");
    let mut job = Job {
        key: "k".to_owned(),
        mode: None,
        sources: object_sources(&uri, None, &world.workshop).await.unwrap(),
        format: None,
        csv: None,
        start_over: false,
    };
    let target = Arc::clone(&world.memory) as Arc<dyn Target>;
    let done = run(&job, &target, &world.workshop, &Arc::default()).await;
    assert_eq!(done.unwrap().rows, 15);
    let left = std::fs::read_dir(&world.workshop.folder).unwrap().count();
    assert_eq!(left, 0, "what was fetched is removed");

    store.replace("day/a.json", lines(0..11)).await.unwrap();
    job.key = "another".to_owned();
    // Else what was read before is kept, and nothing is fetched.
    job.start_over = true;
    let changed = run(&job, &target, &world.workshop, &Arc::default()).await;
    let told = changed.unwrap_err().to_string();
    assert!(told.contains("it has changed since"), "{told}");
    let missing = object_sources("s3://there-is-no-such-bucket/x", None, &world.workshop).await;
    let told = missing.unwrap_err().to_string();
    assert!(told.contains("NoSuchBucket"), "{told}");
}

#[tokio::test]
async fn hosts_are_judged_before_they_are_asked() {
    let reach = Reach {
        hosts: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        ..Reach::default()
    };
    for (uri, reason) in [
        ("http://127.0.0.1:1/x.csv", "this machine"),
        ("http://localhost:1/x.csv", "this machine"),
        ("http://[::1]:1/x.csv", "import.hosts"),
        ("http://files.example/x.csv", "import.hosts"),
        ("https://127.0.0.1/x.csv", "this machine"),
        ("https://files.example/x.csv", "import.hosts"),
        ("ftp://127.0.0.1/x.csv", "only https:// and http://"),
        (
            "https://ann:secret@localhost/x.csv",
            "with a name or a password",
        ),
        ("http://", "x"),
    ] {
        let error = remote_source(uri, &reach).await.unwrap_err().to_string();
        assert!(reason == "x" || error.contains(reason), "{uri}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
