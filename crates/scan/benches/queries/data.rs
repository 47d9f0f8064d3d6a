//! The table of events: a day of them, with users, urls and countries of very different weight.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use runtime::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentView, seal};

const SEGMENTS: usize = 8;
const FIRST_MS: i64 = 1_760_000_000_000;
const DAY_MS: f64 = 86_400_000.0;

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Vec<SegmentView>,
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `count`; half of all draws fall into the square root of it.
    fn skewed(&mut self, count: u64) -> u64 {
        ((count as f64).powf(self.share()) as u64 - 1).min(count - 1)
    }
}

fn spec() -> TableSpec {
    use DataType as T;
    use FieldRole::{DateTime, Dimension, Metric};
    let mut columns = vec![
        ColumnSpec::new("at", T::Timestamp, DateTime),
        ColumnSpec::new("country", T::String, Dimension),
        ColumnSpec::new("device", T::String, Dimension),
        ColumnSpec::new("browser", T::String, Dimension),
        ColumnSpec::new("user_id", T::Long, Dimension),
        ColumnSpec::new("url", T::String, Dimension),
        ColumnSpec::new("status", T::Int, Dimension),
        ColumnSpec::new("latency", T::Int, Metric),
        ColumnSpec::new("revenue", T::Double, Metric),
        ColumnSpec::new("campaign", T::Int, Dimension),
    ];
    columns[5].inverted_index = true;
    columns[9].inverted_index = true;
    TableSpec {
        id: TableId::from_bytes(&[5; 16]).unwrap(),
        time_column: Some("at".to_owned()),
        ..TableSpec::new("flights".parse().unwrap(), TableType::Realtime, columns)
    }
}

fn batch(spec: &TableSpec, first: i64, rows: usize, of: f64, random: &mut Random) -> RecordBatch {
    let texts = |each: &mut dyn FnMut() -> String| {
        Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| each()))) as ArrayRef
    };
    let at = |row: usize| FIRST_MS + ((first + row as i64) as f64 / of * DAY_MS) as i64;
    let times: Vec<i64> = (0..rows).map(at).collect();
    let devices = ["mobile", "desktop", "tablet", "tv", "console"];
    let mut r = Random(random.next());
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(times.clone())),
        texts(&mut || {
            let n = r.skewed(200) * 37 % 676;
            format!(
                "{}{}",
                (b'A' + (n / 26) as u8) as char,
                (b'A' + (n % 26) as u8) as char
            )
        }),
        texts(&mut || {
            let share = random.share();
            let at = [0.55, 0.9, 0.97, 0.99, 1.0]
                .iter()
                .position(|end| share < *end);
            devices[at.unwrap_or(0)].to_owned()
        }),
        texts(&mut || {
            let n = random.skewed(30);
            let names = ["Chrome", "Safari", "Firefox", "Edge", "Opera", "Samsung"];
            format!("{} {}", names[n as usize % 6], 90 + n)
        }),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| {
            let x = random.share();
            (mix((2_000_000.0 * x * x) as u64) >> 1) as i64
        }))),
        texts(&mut || {
            let n = random.skewed(200_000);
            let parts = ["product", "category", "blog", "search", "help", "account"];
            format!(
                "/{}/{}-{}",
                parts[(mix(n) % 6) as usize],
                mix(n) % 977,
                mix(n ^ 9) % 100_000_000
            )
        }),
        Arc::new(Int32Array::from_iter_values((0..rows).map(|_| {
            [200, 404, 500, 301, 302, 304, 403, 502, 503, 429][random.skewed(10) as usize]
        }))),
        Arc::new(Int32Array::from_iter_values((0..rows).map(|_| {
            (60_000f64.powf(random.share() * random.share() + 0.1) as i32).min(60_000)
        }))),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|_| {
            let n = random.next();
            if n % 100 < 3 {
                (n / 100 % 20_000) as f64 / 100.0 + 0.01
            } else {
                0.0
            }
        }))),
        Arc::new(Int32Array::from_iter_values(
            (0..rows).map(|_| random.skewed(1000) as i32 + 5000),
        )),
        Arc::new(Int64Array::from_iter_values(first..first + rows as i64)),
        Arc::new(TimestampMillisecondArray::from(times)),
    ];
    RecordBatch::try_new(ingest_schema(spec), arrays).unwrap()
}

fn filled(spec: &Arc<TableSpec>, number: usize, rows: usize, of: usize) -> Arc<MutableSegment> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence: number as u32,
    };
    let first = (number * rows) as i64;
    let name = format!("events__0__{number}");
    let mutable = MutableSegment::new(Arc::clone(spec), id, name, first).unwrap();
    let mut random = Random(mix(number as u64) << 20);
    let mut done = 0;
    while done < rows {
        let now = (rows - done).min(4096);
        let batch = batch(spec, first + done as i64, now, of as f64, &mut random);
        mutable.append(&batch).unwrap();
        done += now;
    }
    Arc::new(mutable)
}

impl Table {
    pub(crate) fn sealed(rows: usize) -> Self {
        let spec = Arc::new(spec());
        let folder: PathBuf = std::env::temp_dir().join(format!("tannin-bench-queries-{rows}"));
        std::fs::create_dir_all(&folder).unwrap();
        let list = folder.join("segments");
        let each = rows / SEGMENTS;
        if !list.exists() {
            let mut lines = String::new();
            for number in 0..SEGMENTS {
                let mutable = filled(&spec, number, each, rows);
                let extra = SealExtra {
                    start: (number * each) as i64,
                    end: ((number + 1) * each) as i64,
                    ..Default::default()
                };
                let sealed = seal(&mutable, &OsFiles, &folder, extra).unwrap();
                lines.push_str(&format!(
                    "{}\n{}\n",
                    sealed.path.display(),
                    sealed.record.crc
                ));
            }
            std::fs::write(&list, lines).unwrap();
        }
        let lines = std::fs::read_to_string(&list).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        let open = |pair: &[&str]| {
            let crc = pair[1].parse().unwrap();
            SealedSegment::open(pair[0].as_ref(), &spec, crc)
                .unwrap()
                .view()
        };
        Self {
            segments: lines.chunks(2).map(open).collect(),
            spec,
        }
    }

    pub(crate) fn consuming(rows: usize) -> Self {
        let spec = Arc::new(spec());
        let segments = vec![filled(&spec, 0, rows, rows).view()];
        Self { spec, segments }
    }
}
