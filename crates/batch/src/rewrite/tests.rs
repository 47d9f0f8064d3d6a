//! Segments rewritten into a target that keeps what comes in memory.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use async_trait::async_trait;
use parking_lot::Mutex;
use runtime::{ComputePool, OsFiles, SystemClock};
use schemas::arrow::{entry_field, ingest_schema};
use schemas::decoding::{RollUp, RollUpFunction};
use schemas::segment::{Ledger, SegmentRecord};
use schemas::task::{MergeType, TaskType};
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, Sequence, TableType};
use segment::arrays::StoredRows;
use segment::{SealExtra, SegmentBuilder, pack, unpack};
use uuid::Uuid;

use super::spans::{Span, spans};
use super::*;
use crate::{Begun, Mode};

const DAY: i64 = 86_400_000;

#[derive(Debug)]
struct Memory {
    spec: TableSpec,
    next: AtomicU32,
    come: Mutex<BTreeMap<String, (SegmentRecord, Bytes)>>,
    counted: Mutex<Option<BTreeSet<String>>>,
}

#[async_trait]
impl Target for Memory {
    async fn begin(&self, _: &str, _: Option<Mode>) -> Result<Begun, Fault> {
        Ok(Begun {
            id: Uuid::nil(),
            spec: self.spec.clone(),
            segments: Vec::new(),
            is_done: self.counted.lock().is_some(),
        })
    }

    async fn reserve(&self, _: Uuid) -> Result<Sequence, Fault> {
        Ok(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn add(&self, _: Uuid, record: SegmentRecord, packed: Bytes) -> Result<String, Fault> {
        let name = record.name.clone();
        self.come.lock().insert(name.clone(), (record, packed));
        Ok(name)
    }

    async fn end(&self, _: Uuid, segments: BTreeSet<String>) -> Result<(), Fault> {
        *self.counted.lock() = Some(segments);
        Ok(())
    }

    async fn revert(&self, _: Uuid) -> Result<(), Fault> {
        self.come.lock().clear();
        Ok(())
    }
}

/// A row: time, id, what is listed, metric.
type Row = (i64, Option<&'static str>, Vec<i64>, i64);

struct World {
    folder: tempfile::TempDir,
    spec: TableSpec,
    deep: DeepStore,
    target: Arc<Memory>,
    inputs: Vec<InputSegment>,
}

impl World {
    fn new() -> Self {
        let mut list = ColumnSpec::new("list", DataType::Long, FieldRole::Dimension);
        list.multi_value = true;
        let columns = vec![
            ColumnSpec::new("ts", DataType::Timestamp, FieldRole::DateTime),
            ColumnSpec::new("id", DataType::String, FieldRole::Dimension),
            list,
            ColumnSpec::new("n", DataType::Long, FieldRole::Metric),
        ];
        let mut spec = TableSpec::new("t".parse().unwrap(), TableType::Offline, columns);
        spec.time_column = Some("ts".to_owned());
        let target = Arc::new(Memory {
            spec: spec.clone(),
            next: AtomicU32::new(100),
            come: Mutex::default(),
            counted: Mutex::default(),
        });
        Self {
            folder: tempfile::tempdir().unwrap(),
            spec,
            deep: DeepStore::in_memory(),
            target,
            inputs: Vec::new(),
        }
    }

    fn batch(&self, rows: &[Row]) -> RecordBatch {
        let field = |array: ArrayRef| entry_field(array.data_type().clone());
        let entries = rows.iter().flat_map(|row| row.2.iter().copied());
        let entries: ArrayRef = Arc::new(Int64Array::from_iter_values(entries));
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.2.len()));
        let list = ListArray::new(field(Arc::clone(&entries)), offsets, entries, None);
        let times = || TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.0));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times()),
            Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()),
            Arc::new(list),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3))),
            Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
            Arc::new(times()),
        ];
        RecordBatch::try_new(ingest_schema(&self.spec), columns).unwrap()
    }

    async fn add(&mut self, rows: &[Row]) {
        let id = SegmentId {
            table: self.spec.id,
            partition: 0,
            sequence: self.inputs.len() as u32,
        };
        let mut builder =
            SegmentBuilder::new(&self.spec, id, format!("t_{}", id.sequence)).unwrap();
        builder.append(&self.batch(rows)).unwrap();
        let extra = SealExtra {
            end: rows.len() as i64,
            ledger: Ledger {
                rows: rows.len() as u64,
                ..Ledger::default()
            },
            ..SealExtra::default()
        };
        let sealed = builder.finish(&OsFiles, self.folder.path(), extra).unwrap();
        let mut record = sealed.record;
        let key = SegmentRecord::object_key(id, record.crc);
        let packed = pack(&sealed.path, record.crc).unwrap();
        self.deep.upload(&key, packed.into()).await.unwrap();
        record.uri = Some(key);
        self.inputs.push(InputSegment::of(&record).unwrap());
    }

    fn order(&self, task_type: TaskType) -> RewriteOrder {
        RewriteOrder {
            task_type,
            table_name: "t_OFFLINE".to_owned(),
            target: self.spec.id,
            inputs: self.inputs.clone(),
            window_ms: None,
            bucket_ms: None,
            round_ms: None,
            merge: MergeType::Concat,
            roll_up: Vec::new(),
            filter: None,
            rows_max: 1000,
            level: None,
            watermark: None,
        }
    }

    async fn rewrite(&self, order: &RewriteOrder) -> Done {
        let workshop = Workshop {
            clock: SystemClock::shared(),
            files: Arc::new(OsFiles),
            folder: self.folder.path().join("work"),
            compute: ComputePool::new(1),
            expressions: Arc::new(Never),
            reach: runtime::Reach::default(),
            objects: deepstore::Config::default(),
        };
        std::fs::create_dir_all(&workshop.folder).unwrap();
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let progress = Arc::default();
        let done = rewrite(order, "task", &target, &self.deep, (&workshop, &progress)).await;
        let done = done.unwrap();
        std::fs::remove_dir_all(&workshop.folder).unwrap();
        done
    }

    /// What counts: records, and their rows.
    fn counted(&self) -> Vec<(SegmentRecord, Vec<Row>)> {
        let counted = self.target.counted.lock().clone().unwrap();
        let come = self.target.come.lock();
        let segments = counted.iter().map(|name| {
            let (record, packed) = &come[name];
            let path = self.folder.path().join("read.seg");
            unpack(packed, &OsFiles, &path, record.crc).unwrap();
            let segment = SealedSegment::open(&path, &self.spec, record.crc).unwrap();
            segment.verify_all().unwrap();
            assert_eq!(
                (segment.start(), segment.end()),
                (0, record.ledger.rows as i64)
            );
            let view = segment.view();
            let stored = StoredRows::of(&view, &self.spec).unwrap();
            let batches = stored.blocks().map(|block| stored.batch(&block).unwrap());
            let rows = batches.flat_map(|batch| rows_of(&batch)).collect();
            std::fs::remove_file(&path).unwrap();
            (record.clone(), rows)
        });
        segments.collect()
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let known = ["a", "b", "c"];
    let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
    let ids = batch.column(1).as_string_view();
    let lists = batch.column(2).as_list::<i32>();
    let numbers = batch.column(3).as_primitive::<Int64Type>();
    let ingested = batch.column(5).as_primitive::<TimestampMillisecondType>();
    let rows = (0..batch.num_rows()).map(|at| {
        assert_eq!(
            ingested.value(at) / DAY,
            times.value(at) / DAY,
            "it is kept"
        );
        let id = ids.iter().nth(at).flatten();
        let id = id.map(|id| *known.iter().find(|known| **known == id).unwrap());
        let list = lists.value(at);
        let list = list.as_primitive::<Int64Type>().values().to_vec();
        (times.value(at), id, list, numbers.value(at))
    });
    rows.collect()
}

/// `n` is greater than 1.
#[derive(Debug)]
struct Never;

impl ingest::Expressions for Never {
    fn fields(&self, _: &str) -> Result<Vec<ingest::FieldUse>, String> {
        Ok(Vec::new())
    }

    fn compile(
        &self,
        text: &str,
        _: &arrow::datatypes::SchemaRef,
    ) -> Result<Box<dyn ingest::Expression>, String> {
        Ok(Box::new(Above(
            text.parse().map_err(|_| "no number".to_owned())?,
        )))
    }
}

#[derive(Debug)]
struct Above(i64);

impl ingest::Expression for Above {
    fn data_type(&self) -> &arrow::datatypes::DataType {
        &arrow::datatypes::DataType::Boolean
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let numbers = batch.column(3).as_primitive::<Int64Type>();
        let above = numbers.iter().map(|n| n.map(|n| n > self.0));
        Ok(Arc::new(above.collect::<arrow::array::BooleanArray>()))
    }
}

#[tokio::test]
async fn rows_go_into_segments_of_their_buckets_as_they_were() {
    let mut world = World::new();
    let (a, b) = (Some("a"), Some("b"));
    world
        .add(&[(DAY, a, vec![1, 2], 1), (2 * DAY, None, vec![3], 2)])
        .await;
    world
        .add(&[(DAY + 1, b, vec![4], 3), (3 * DAY, a, vec![1, 2], 4)])
        .await;
    let mut order = world.order(TaskType::MergeRollupTask);
    order.window_ms = Some((DAY, 2 * DAY));
    order.bucket_ms = Some(DAY);
    order.level = Some("1day".to_owned());
    let done = world.rewrite(&order).await;
    assert_eq!((done.rows, done.segments), (4, 3));
    let counted = world.counted();
    let rows: Vec<_> = counted.iter().map(|(_, rows)| rows.clone()).collect();
    let wanted = [
        vec![(DAY, a, vec![1, 2], 1), (DAY + 1, b, vec![4], 3)],
        vec![(2 * DAY, None, vec![3], 2)],
        vec![(3 * DAY, a, vec![1, 2], 4)],
    ];
    assert_eq!(rows, wanted);
    let levels = counted
        .iter()
        .map(|(record, _)| record.marks.merge_level.as_deref());
    assert_eq!(levels.collect::<Vec<_>>(), [Some("1day"), None, None]);
    // Whoever gets the task next has nothing to do.
    assert!(world.rewrite(&order).await.was_done);
}

#[tokio::test]
async fn rows_that_agree_become_one_with_their_times_cut() {
    let mut world = World::new();
    let row = |ms: i64, id, n| (DAY + ms, id, vec![1], n);
    world
        .add(&[
            row(5, Some("a"), 1),
            row(6, Some("b"), 2),
            row(7, Some("a"), 4),
        ])
        .await;
    world
        .add(&[row(8, Some("a"), 8), row(9, None, 16), row(10, None, 32)])
        .await;
    let mut order = world.order(TaskType::MergeRollupTask);
    order.window_ms = Some((DAY, 2 * DAY));
    order.bucket_ms = Some(DAY);
    order.round_ms = Some(DAY);
    order.merge = MergeType::Rollup;
    order.roll_up = vec![RollUp {
        column: "n".to_owned(),
        function: RollUpFunction::Sum,
        source: None,
    }];
    assert_eq!(world.rewrite(&order).await.rows, 3);
    let [(record, rows)] = &world.counted()[..] else {
        panic!("one segment");
    };
    let mut rows = rows.clone();
    rows.sort();
    let wanted = [
        (DAY, None, vec![1], 48),
        (DAY, Some("a"), vec![1], 13),
        (DAY, Some("b"), vec![1], 2),
    ];
    assert_eq!(rows, wanted);
    assert_eq!(record.marks.round_ms, Some(DAY));

    let mut world = World::new();
    for _ in 0..3 {
        world
            .add(&[row(5, Some("a"), 1), row(5, Some("a"), 2), row(5, None, 1)])
            .await;
    }
    let mut order = world.order(TaskType::MergeRollupTask);
    order.merge = MergeType::Dedup;
    assert_eq!(
        world.rewrite(&order).await.rows,
        3,
        "n tells rows apart too"
    );
}

#[tokio::test]
async fn a_window_takes_its_rows_alone_and_a_segment_so_many() {
    let mut world = World::new();
    let rows: Vec<Row> = (0..10)
        .map(|at| (at * DAY / 2, Some("a"), vec![at], at))
        .collect();
    world.add(&rows).await;
    let mut order = world.order(TaskType::RealtimeToOfflineSegmentsTask);
    order.window_ms = Some((DAY, 3 * DAY));
    order.rows_max = 3;
    let done = world.rewrite(&order).await;
    assert_eq!((done.rows, done.segments), (4, 2));
    let counted: Vec<Row> = world
        .counted()
        .into_iter()
        .flat_map(|(_, rows)| rows)
        .collect();
    assert_eq!(counted, rows[2..6]);
    // An empty window ends as well.
    let mut world = World::new();
    world.add(&rows).await;
    order.inputs = world.inputs.clone();
    order.window_ms = Some((30 * DAY, 31 * DAY));
    let done = world.rewrite(&order).await;
    assert_eq!((done.rows, done.segments), (0, 0));
    assert!(world.counted().is_empty());
}

#[tokio::test]
async fn purged_rows_are_left_out_and_other_segments_stay() {
    let mut world = World::new();
    let rows: Vec<Row> = (0..5).map(|at| (DAY, Some("a"), vec![at], at)).collect();
    world.add(&rows).await;
    let mut order = world.order(TaskType::PurgeTask);
    order.inputs[0].merge_level = Some("1day".to_owned());
    order.filter = Some("9".to_owned());
    let done = world.rewrite(&order).await;
    assert_eq!((done.rows, done.filtered, done.segments), (5, 0, 0));
    assert!(world.target.counted.lock().is_none(), "it is taken back");
    order.filter = Some("2".to_owned());
    let done = world.rewrite(&order).await;
    assert_eq!((done.rows, done.filtered, done.segments), (3, 2, 1));
    let [(record, left)] = &world.counted()[..] else {
        panic!("one segment");
    };
    assert_eq!(*left, rows[..3]);
    assert_eq!(record.marks.merge_level.as_deref(), Some("1day"));
    assert!(record.marks.purged_ms.is_some());
}

#[tokio::test]
async fn a_damaged_or_foreign_file_changes_nothing() {
    let mut world = World::new();
    world.add(&[(DAY, None, vec![], 1)]).await;
    let mut order = world.order(TaskType::RefreshSegmentTask);
    order.inputs[0].id.sequence = 7;
    let workshop_folder = world.folder.path().join("w");
    std::fs::create_dir_all(&workshop_folder).unwrap();
    let workshop = Workshop {
        clock: SystemClock::shared(),
        files: Arc::new(OsFiles),
        folder: workshop_folder,
        compute: ComputePool::new(1),
        expressions: Arc::new(Never),
        reach: runtime::Reach::default(),
        objects: deepstore::Config::default(),
    };
    let target = Arc::clone(&world.target) as Arc<dyn Target>;
    let progress = Arc::default();
    let failed = rewrite(&order, "task", &target, &world.deep, (&workshop, &progress)).await;
    assert!(failed.unwrap_err().to_string().contains("holds segment"));
    order.inputs[0].id.sequence = 0;
    order.inputs[0].crc ^= 1;
    let failed = rewrite(&order, "task", &target, &world.deep, (&workshop, &progress)).await;
    assert!(matches!(failed, Err(ImportError::Segment(_))), "{failed:?}");
    assert!(world.target.counted.lock().is_none());
}

#[test]
fn every_row_is_in_one_span() {
    let world = World::new();
    let mut order = world.order(TaskType::MergeRollupTask);
    let input = |range| InputSegment {
        id: SegmentId {
            table: world.spec.id,
            partition: 0,
            sequence: 0,
        },
        name: String::new(),
        crc: 0,
        key: String::new(),
        rows: 0,
        time_range: Some(range),
        purged_ms: None,
        merge_level: None,
        round_ms: None,
        earlier: Vec::new(),
    };
    order.inputs = vec![input((-DAY - 1, 2 * DAY))];
    order.window_ms = Some((0, DAY));
    order.bucket_ms = Some(DAY);
    let found = spans(&order);
    let within: Vec<_> = found.iter().filter_map(|span| span.within).collect();
    assert_eq!(within.first(), Some(&(-2 * DAY, -DAY)));
    assert_eq!(within.last(), Some(&(2 * DAY, 3 * DAY)));
    assert!(within.windows(2).all(|pair| pair[0].1 == pair[1].0));
    assert_eq!(found.iter().filter(|span| span.is_window).count(), 1);
    // Of very many buckets the window alone is a span.
    order.inputs = vec![input((0, 1000 * DAY))];
    let span = |from, to, is_window| Span {
        within: Some((from, to)),
        is_window,
    };
    let wanted = [
        span(i64::MIN, 0, false),
        span(0, DAY, true),
        span(DAY, i64::MAX, false),
    ];
    assert_eq!(spans(&order), wanted);
}
