//! What a segment of a 13-column event table costs to build, in time of one processor and in memory
//! beside the rows, and how fast it opens: `cargo bench -p segment --bench events -- 1000000`. It
//! measures, it does not judge.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use runtime::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableSpec, TableType};
use segment::{SealExtra, SealedSegment, SegmentBuilder, pack};

/// Counts what is in use, and the most that ever was.
struct Counted;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(used, Ordering::Relaxed);
}

// SAFETY: everything is given on to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const BATCH_ROWS: u64 = 4096;
const OPENS: usize = 1000;
const ROUNDS: usize = 3;
/// Column, distinct values, what a value begins with.
const TEXTS: [(&str, u64, &str); 8] = [
    ("tenant", 1000, "tenant-"),
    ("country", 60, "c"),
    ("city", 2000, "city-"),
    ("device", 5, "device-"),
    ("browser", 12, "browser "),
    ("url", 60_000, "https://www.example.com/shop/products/"),
    ("referrer", 5000, "https://search.example.org/?q="),
    ("campaign", 200, "campaign-"),
];
const NUMBERS: [(&str, DataType); 5] = [
    ("status", DataType::Int),
    ("user_id", DataType::Long),
    ("latency_ms", DataType::Int),
    ("revenue", DataType::Double),
    ("ts", DataType::Timestamp),
];
const INVERTED: [&str; 3] = ["city", "url", "referrer"];

fn main() -> Result<(), Box<dyn Error>> {
    let rows = std::env::args().find_map(|argument| argument.parse().ok());
    let rows: u64 = rows.unwrap_or(1_000_000);
    let spec = spec()?;
    let mut random = Random(7);
    let batches: Result<Vec<_>, _> = (0..rows.div_ceil(BATCH_ROWS))
        .map(|at| batch(&spec, at * BATCH_ROWS, &mut random))
        .collect();
    let batches = batches?;
    for _ in 0..ROUNDS {
        measure(&spec, &batches)?;
    }
    Ok(())
}

/// Seconds that this thread was on a processor, which others that want it do not change much.
fn on_processor() -> Result<f64, Box<dyn Error>> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = told.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanos / 1e9)
}

fn measure(spec: &TableSpec, batches: &[RecordBatch]) -> Result<(), Box<dyn Error>> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence: 0,
    };
    let mut builder = SegmentBuilder::new(spec, id, "bench".to_owned())?;
    let began = on_processor()?;
    for batch in batches {
        builder.append(batch)?;
    }
    let appended = on_processor()? - began;
    let rows = f64::from(builder.row_count());
    let folder = tempfile::tempdir()?;
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let began = on_processor()?;
    let sealed = builder.finish(&OsFiles, folder.path(), SealExtra::default())?;
    let seconds = on_processor()? - began;
    let extra = MOST.load(Ordering::Relaxed) - before;
    let crc = sealed.record.crc;
    let open = |_| -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        drop(SealedSegment::open(&sealed.path, spec, crc)?);
        Ok(began.elapsed().as_secs_f64() * 1e6)
    };
    let mut opens = (0..OPENS).map(open).collect::<Result<Vec<_>, _>>()?;
    opens.sort_by(f64::total_cmp);
    let segment = SealedSegment::open(&sealed.path, spec, crc)?;
    let indexes: u64 = segment
        .view()
        .indexes()
        .iter()
        .map(|index| index.bytes())
        .sum();
    let began = on_processor()?;
    let packed = pack(&sealed.path, crc)?.len();
    let packing = on_processor()? - began;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let bytes = sealed.record.bytes;
    println!(
        "append {:.2} M rows/s; seal {:.2} M rows/s; both {:.2} M rows/s; file {:.1} MB, {:.1} of \
         it indexes; memory beside the rows {:.1} MB = {:.2} of the file; packed {:.1} MB at {:.0} \
         MB/s; open {:.1} us",
        rows / appended / 1e6,
        rows / seconds / 1e6,
        rows / (appended + seconds) / 1e6,
        mb(bytes),
        mb(indexes),
        mb(extra as u64),
        extra as f64 / bytes as f64,
        mb(packed as u64),
        mb(bytes) / packing,
        opens[OPENS / 2],
    );
    Ok(())
}

fn spec() -> Result<TableSpec, Box<dyn Error>> {
    let texts = TEXTS.iter().map(|(name, ..)| (*name, DataType::String));
    let columns = texts.chain(NUMBERS).map(|(name, data_type)| {
        let role = match name {
            "latency_ms" | "revenue" => FieldRole::Metric,
            "ts" => FieldRole::DateTime,
            _ => FieldRole::Dimension,
        };
        let mut column = ColumnSpec::new(name, data_type, role);
        column.inverted_index = INVERTED.contains(&name);
        column
    });
    Ok(TableSpec {
        time_column: Some("ts".to_owned()),
        sorted_column: Some("tenant".to_owned()),
        ..TableSpec::new("events".parse()?, TableType::Realtime, columns.collect())
    })
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Small numbers more often than great ones.
    fn skewed(&mut self, limit: u64) -> u64 {
        let limit = 1 + self.below(limit);
        self.below(limit)
    }
}

fn batch(spec: &TableSpec, first: u64, random: &mut Random) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = || first..first + BATCH_ROWS;
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (_, distinct, head) in TEXTS {
        let texts = rows().map(|_| format!("{head}{}", random.skewed(distinct)));
        arrays.push(Arc::new(StringViewArray::from_iter_values(texts)));
    }
    let statuses = rows().map(|_| 200 + random.skewed(12) as i32);
    arrays.push(Arc::new(Int32Array::from_iter_values(statuses)));
    let users = rows().map(|_| random.skewed(1_000_000) as i64);
    arrays.push(Arc::new(Int64Array::from_iter_values(users)));
    let latencies = rows().map(|_| random.skewed(5000) as i32);
    arrays.push(Arc::new(Int32Array::from_iter_values(latencies)));
    let revenues = rows().map(|_| match random.below(33) {
        0 => random.below(100_000) as f64 / 100.0,
        _ => 0.0,
    });
    arrays.push(Arc::new(Float64Array::from_iter_values(revenues)));
    let times = rows().map(|row| 1_700_000_000_000 + row as i64 * 3);
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
    let offsets = rows().map(|row| row as i64);
    arrays.push(Arc::new(Int64Array::from_iter_values(offsets)));
    let ingested = rows().map(|row| 1_700_000_000_500 + row as i64 / 1000);
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(
        ingested,
    )));
    Ok(RecordBatch::try_new(ingest_schema(spec), arrays)?)
}
