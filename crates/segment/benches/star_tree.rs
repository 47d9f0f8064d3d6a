//! Builds star-trees over a segment of a table of events and asks them: rows per second, bytes,
//! records, and the time of questions.
//!
//! `cargo bench -p segment --bench star_tree -- ROWS`

#![expect(clippy::print_stdout, reason = "it prints its results")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use index::star_tree::Question;
use runtime::files::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::table::{StarTreeAggregate, StarTreeFunction as Function, StarTreeSpec};
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableSpec, TableType};
use segment::view::{IndexKind, StarTree};
use segment::{Extent, SealExtra, SealedSegment, SegmentBuilder};

const ROWS: usize = 5_000_000;
const BATCH: usize = 100_000;
const DAY_MS: u64 = 86_400_000;
const REPEATS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let rows = std::env::args().find_map(|argument| argument.parse().ok());
    let rows = rows.unwrap_or(ROWS);
    let spec = spec();
    let folder = tempfile::tempdir()?;
    let segment = build(&spec, rows, folder.path())?;
    println!("{rows} rows, {} bytes without trees", segment.bytes());
    for (name, tree) in trees() {
        let mut wanted = spec.clone();
        wanted.star_trees = vec![tree];
        let path = folder.path().join("tree.idx");
        let began = Instant::now();
        segment.write_sidecar((&wanted, Extent::All), None, &OsFiles, &path)?;
        let built = began.elapsed().as_secs_f64();
        let with = segment.with_sidecar(&path, &wanted)?;
        let view = with.view();
        let index = view
            .indexes()
            .iter()
            .find(|i| i.key().kind == IndexKind::StarTree);
        let index = index.ok_or("the tree was declined")?;
        let began = Instant::now();
        let tree = view.open_index::<StarTree>(index)?;
        let opened = began.elapsed();
        println!(
            "{name}: built {:.2} M rows/s, {} bytes, {} records ({} of the root), opened in \
             {opened:?}",
            rows as f64 / built / 1e6,
            index.bytes(),
            tree.tree.records(),
            tree.tree.base_records(),
        );
        ask(&tree);
    }
    Ok(())
}

fn ask(tree: &StarTree) {
    let none: Vec<Option<Vec<u32>>> = vec![None; tree.dimensions.len()];
    let filtered = |at: usize, codes: Vec<u32>| {
        let mut filters = none.clone();
        filters[at] = Some(codes);
        filters
    };
    let grouped = |at: &[usize]| (0..none.len()).map(|d| at.contains(&d)).collect();
    for (name, filters, grouped) in [
        ("all rows", none.clone(), grouped(&[])),
        ("by country", none.clone(), grouped(&[1])),
        ("one tenant by device", filtered(0, vec![7]), grouped(&[2])),
        (
            "ten tenants by country",
            filtered(0, (0..10).collect()),
            grouped(&[1]),
        ),
        ("one country by day", filtered(1, vec![3]), grouped(&[4])),
    ] {
        let question = Question { filters, grouped };
        let mut best = Duration::MAX;
        let mut records = 0;
        for _ in 0..REPEATS {
            let began = Instant::now();
            let found = tree.tree.find(&question, usize::MAX).unwrap_or_default();
            records = found.records.len();
            let sum: i64 = found
                .records
                .iter()
                .map(|record| tree.tree.rows(*record))
                .sum();
            assert!(sum > 0, "{name}");
            best = best.min(began.elapsed());
        }
        println!("  {name}: {best:?}, {records} records");
    }
}

fn trees() -> [(&'static str, StarTreeSpec); 2] {
    let pair = |function, column: Option<&str>| StarTreeAggregate {
        function,
        column: column.map(str::to_owned),
    };
    let dimensions = ["tenant", "country", "device", "os", "$ts$DAY"];
    let sums = StarTreeSpec {
        dimensions: dimensions.map(str::to_owned).into(),
        by_cardinality: false,
        no_star: Vec::new(),
        aggregates: vec![
            pair(Function::Count, None),
            pair(Function::Sum, Some("clicks")),
            pair(Function::Max, Some("clicks")),
            pair(Function::Avg, Some("latency")),
        ],
        leaf_rows_max: 1_000,
    };
    let mut sketches = sums.clone();
    sketches.dimensions = ["country", "device", "os"].map(str::to_owned).into();
    sketches.dimensions.insert(0, "app".to_owned());
    sketches.dimensions.push("$ts$DAY".to_owned());
    sketches
        .aggregates
        .push(pair(Function::DistinctCountHll, Some("user")));
    [("sums", sums), ("sums and distinct users", sketches)]
}

fn spec() -> TableSpec {
    use FieldRole::{Dimension, Metric};
    TableSpec {
        time_column: Some("ts".to_owned()),
        ..TableSpec::new(
            "events".parse().expect("a name"),
            TableType::Offline,
            vec![
                ColumnSpec::new("tenant", DataType::String, Dimension),
                ColumnSpec::new("country", DataType::String, Dimension),
                ColumnSpec::new("device", DataType::String, Dimension),
                ColumnSpec::new("os", DataType::String, Dimension),
                ColumnSpec::new("app", DataType::String, Dimension),
                ColumnSpec::new("user", DataType::Long, Dimension),
                ColumnSpec::new("clicks", DataType::Long, Metric),
                ColumnSpec::new("latency", DataType::Double, Metric),
                ColumnSpec::new("ts", DataType::Timestamp, FieldRole::DateTime),
            ],
        )
    }
}

fn build(
    spec: &TableSpec,
    rows: usize,
    folder: &std::path::Path,
) -> Result<Arc<SealedSegment>, Box<dyn Error>> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence: 0,
    };
    let mut builder = SegmentBuilder::new(spec, id, "events_0".to_owned())?;
    let mut state = 88_172_645_463_325_252_u64;
    let mut first = 0;
    while first < rows {
        let count = BATCH.min(rows - first);
        builder.append(&batch(spec, first, count, &mut state)?)?;
        first += count;
    }
    let extra = SealExtra {
        end: rows as i64,
        ..SealExtra::default()
    };
    let sealed = builder.finish(&OsFiles, folder, extra)?;
    Ok(SealedSegment::open(&sealed.path, spec, sealed.record.crc)?)
}

fn batch(
    spec: &TableSpec,
    first: usize,
    count: usize,
    state: &mut u64,
) -> Result<RecordBatch, Box<dyn Error>> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    };
    // The first numbers come most often.
    let mut skewed = |limit: f64| {
        let unit = (next() >> 11) as f64 / (1_u64 << 53) as f64;
        (limit.powf(unit) - 1.0) as u64
    };
    let mut texts = |prefix: &str, limit: f64| -> ArrayRef {
        let texts = (0..count).map(|_| format!("{prefix}{}", skewed(limit)));
        Arc::new(StringViewArray::from_iter_values(texts))
    };
    let mut arrays = vec![
        texts("tenant-", 2_000.0),
        texts("c", 120.0),
        texts("d", 5.0),
        texts("os", 8.0),
        texts("app", 20.0),
    ];
    let mut longs = |limit: u64| {
        (0..count)
            .map(|_| (next() % limit) as i64)
            .collect::<Vec<_>>()
    };
    arrays.push(Arc::new(Int64Array::from(longs(1_000_000))));
    arrays.push(Arc::new(Int64Array::from(longs(50))));
    let latency = longs(100_000)
        .into_iter()
        .map(|micros| micros as f64 / 1000.0);
    arrays.push(Arc::new(Float64Array::from_iter_values(latency)));
    let times = longs(30 * DAY_MS)
        .into_iter()
        .map(|ms| 1_700_000_000_000 + ms);
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
    let offsets = first as i64..(first + count) as i64;
    arrays.push(Arc::new(Int64Array::from_iter_values(offsets.clone())));
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(
        offsets,
    )));
    Ok(RecordBatch::try_new(ingest_schema(spec), arrays)?)
}
