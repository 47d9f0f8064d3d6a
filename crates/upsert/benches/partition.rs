//! What upserts cost a partition: `cargo bench -p upsert --bench partition -- [keys] [rows a key]`.
//! Processor time of the rows of a consuming segment with and without keys; then all is sealed, and
//! the keys are read as after a start.

#![expect(clippy::print_stdout, reason = "prints what it measured")]
#![expect(clippy::unwrap_used, reason = "nobody looks at it but who measures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use runtime::{MemoryBudget, OsFiles};
use schemas::keyed::{KeyedSpec, UpsertSpec};
use schemas::{ColumnSpec, DataType, FieldRole, Offset, SegmentId, TableSpec, TableType};
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentError, SegmentView, seal};
use upsert::{PartitionKeys, Spill, Stage, StoredRows};

const BATCH: usize = 10_000;
const SEGMENT_ROWS: usize = 1_000_000;

/// Nothing is merged.
#[derive(Debug)]
struct Nobody;

impl StoredRows for Nobody {
    fn read(
        &self,
        _: &SegmentView,
        _: &TableSpec,
        _: &[usize],
        _: &[u32],
    ) -> Result<Vec<ArrayRef>, SegmentError> {
        unreachable!("nothing is merged")
    }
}

fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9e37_79b9) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

/// Seconds, which others that want the processor do not change much.
fn on_processor() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = times.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}

fn spec(key: &str) -> Arc<TableSpec> {
    let column = |name, data_type| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    Arc::new(TableSpec {
        primary_key: vec![key.to_owned()],
        keyed: Some(KeyedSpec::Upsert(UpsertSpec {
            comparison: vec!["ts".to_owned()],
            ..UpsertSpec::default()
        })),
        ..TableSpec::new(
            "t".parse().unwrap(),
            TableType::Realtime,
            vec![
                column("number", DataType::Long),
                column("text", DataType::String),
                column("ts", DataType::Long),
            ],
        )
    })
}

/// Of row `at` the key is `at` in the first round, and then in no order.
fn batch(spec: &TableSpec, first: usize, rows: usize, keys: usize) -> RecordBatch {
    let of = |at: usize| match at < keys {
        true => at as u64,
        false => mix(at as u64) % keys as u64,
    };
    let numbers: Vec<u64> = (first..first + rows).map(of).collect();
    let is_text = spec.primary_key == ["text"];
    let text = |number: &u64| {
        if is_text {
            format!("user-{number:012}")
        } else {
            String::new()
        }
    };
    let places = (first..first + rows).map(|at| at as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            numbers
                .iter()
                .map(|number| if is_text { 0 } else { *number as i64 }),
        )),
        Arc::new(StringViewArray::from_iter_values(numbers.iter().map(text))),
        Arc::new(Int64Array::from_iter_values(places.clone())),
        Arc::new(Int64Array::from_iter_values(places)),
        Arc::new(TimestampMillisecondArray::from(vec![7; rows])),
    ];
    RecordBatch::try_new(schemas::arrow::ingest_schema(spec), columns).unwrap()
}

fn open(spec: &Arc<TableSpec>, sequence: u32, start: Offset) -> Arc<MutableSegment> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence,
    };
    let segment = MutableSegment::new(Arc::clone(spec), id, "t".to_owned(), start);
    Arc::new(segment.unwrap())
}

fn keys_of(spec: &Arc<TableSpec>, folder: &Path) -> PartitionKeys {
    let budget = MemoryBudget::root("keys", u64::MAX);
    let spill = Spill::new(budget, folder.to_owned());
    PartitionKeys::new(spec, &spill, Arc::new(Nobody))
        .unwrap()
        .unwrap()
}

fn sealed(keys: &PartitionKeys, segment: &MutableSegment, folder: &Path) -> Arc<SealedSegment> {
    let extra = SealExtra {
        start: segment.start_offset(),
        end: segment.next_offset(),
        keys: Some(keys.at_end(segment)),
        ..SealExtra::default()
    };
    let sealed = seal(segment, &OsFiles, folder, extra).unwrap();
    SealedSegment::open(&sealed.path, segment.spec(), sealed.record.crc).unwrap()
}

/// Consumes and seals all; tells what rows cost.
fn consume(
    spec: &Arc<TableSpec>,
    rows: usize,
    keys: usize,
    folder: &Path,
) -> Vec<Arc<SealedSegment>> {
    let known = keys_of(spec, folder);
    let (mut with, mut without, mut all) = (0.0, 0.0, Vec::new());
    for (sequence, first) in (0..rows).step_by(SEGMENT_ROWS).enumerate() {
        let segment = open(spec, sequence as u32, first as i64);
        let plain = open(spec, sequence as u32, first as i64);
        known.open(&segment);
        for first in (first..rows.min(first + SEGMENT_ROWS)).step_by(BATCH) {
            let batch = batch(spec, first, BATCH.min(rows - first), keys);
            let began = on_processor();
            plain.append(&batch).unwrap();
            let between = on_processor();
            known.append(&segment, &batch).unwrap();
            with += on_processor() - between;
            without += between - began;
        }
        let sealed = sealed(&known, &segment, folder);
        known.seat(&sealed).unwrap();
        all.push(sealed);
    }
    let each = |seconds: f64| seconds * 1e9 / rows as f64;
    println!(
        "a row: {:.0} ns without keys, {:.0} ns with them",
        each(without),
        each(with)
    );
    all
}

fn start(spec: &Arc<TableSpec>, sealed: &[Arc<SealedSegment>], folder: &Path, threads: usize) {
    let began = Instant::now();
    let keys = keys_of(spec, folder);
    let load = keys.plan(sealed.to_vec()).unwrap();
    for stage in Stage::ALL {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| keys.work(&load, stage, &|| false).unwrap());
            }
        });
    }
    keys.loaded(&load);
    let (took, figures) = (began.elapsed(), keys.figures());
    println!(
        "start, {threads} threads: {:.2} s for {} keys of {} rows, {:.1} bytes a key",
        took.as_secs_f64(),
        figures.keys,
        figures.rows,
        figures.bytes as f64 / figures.keys as f64
    );
}

fn main() {
    let arguments = std::env::args().skip(1);
    let mut numbers = arguments.filter_map(|argument| argument.parse::<usize>().ok());
    let keys = numbers.next().unwrap_or(5_000_000);
    let rows = keys * numbers.next().unwrap_or(2);
    for key in ["number", "text"] {
        println!("{keys} keys that are a {key}, {rows} rows");
        let (spec, folder) = (spec(key), tempfile::tempdir().unwrap());
        let sealed = consume(&spec, rows, keys, folder.path());
        for threads in [1, 2] {
            start(&spec, &sealed, folder.path(), threads);
        }
    }
}
