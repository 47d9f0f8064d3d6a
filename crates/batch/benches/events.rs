//! What an event costs on its way from the bytes of a message, or from a Parquet file, to a packed
//! segment, step by step, in time of one processor: `cargo bench -p batch --bench events`. Events
//! are those of `cargo xtask bench ingest`. It measures, it does not judge; with the name of a
//! part (`json`, `avro`, `parquet`) and a number of rounds it does that alone, for a profiler.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use ingest::files::{FileError, FileRows};
use ingest::{BATCH_ROWS_MAX, Decoder, NoExpressions, RawMessage};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use runtime::OsFiles;
use schemas::decoding::{DecoderSpec, FormatSpec};
use schemas::table::StreamSpec;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableSpec, TableType};
use segment::{SealExtra, SegmentBuilder, pack};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

const EVENTS: u64 = 500_000;
const DEVICES: [&str; 5] = ["mobile", "desktop", "tablet", "tv", "console"];
const STATUS: [u64; 8] = [200, 200, 200, 200, 304, 301, 404, 500];
const TEXTS: [&str; 8] = [
    "tenant", "country", "city", "device", "browser", "url", "referrer", "campaign",
];
const INVERTED: [&str; 3] = ["city", "url", "referrer"];

fn main() -> Outcome<()> {
    let mut only = None;
    let mut rounds = 3;
    for argument in std::env::args().skip(1).filter(|a| !a.starts_with("--")) {
        match argument.parse() {
            Ok(number) => rounds = number,
            Err(_) => only = Some(argument),
        }
    }
    let wants = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wants("json") {
        let payloads: Vec<_> = (0..EVENTS).map(|n| Event::new(n).json()).collect();
        messages("json", &spec(DecoderSpec::default()), &payloads, rounds)?;
    }
    if wants("avro") {
        let format = FormatSpec::Avro {
            schema: Some(avro_schema()),
        };
        let decoder = DecoderSpec {
            format,
            ..DecoderSpec::default()
        };
        let payloads: Vec<_> = (0..EVENTS).map(|n| Event::new(n).avro()).collect();
        messages("avro", &spec(decoder), &payloads, rounds)?;
    }
    if wants("parquet") {
        parquet(rounds)?;
    }
    Ok(())
}

/// Nanoseconds of each step for an event, the least of all rounds.
#[derive(Debug)]
struct Steps {
    read: f64,
    append: f64,
    seal: f64,
    pack: f64,
}

impl Steps {
    const MOST: Self = Self {
        read: f64::MAX,
        append: f64::MAX,
        seal: f64::MAX,
        pack: f64::MAX,
    };

    fn least(&mut self, other: &Self) {
        self.read = self.read.min(other.read);
        self.append = self.append.min(other.append);
        self.seal = self.seal.min(other.seal);
        self.pack = self.pack.min(other.pack);
    }

    fn print(&self, name: &str) {
        let all = self.read + self.append + self.seal + self.pack;
        println!(
            "{name}: read {:.0} ns, append {:.0} ns, seal {:.0} ns, pack {:.0} ns an event; all \
             {all:.0} ns = {:.0} events/s",
            self.read,
            self.append,
            self.seal,
            self.pack,
            1e9 / all
        );
    }
}

fn messages(name: &str, spec: &Arc<TableSpec>, payloads: &[Vec<u8>], rounds: usize) -> Outcome<()> {
    let mut decoder = Decoder::new(spec, &NoExpressions)?;
    let mut least = Steps::MOST;
    for _ in 0..rounds {
        let mut maker = Maker::new(spec)?;
        for chunk in payloads.chunks(BATCH_ROWS_MAX) {
            let messages = chunk.iter().zip(0..).map(|(payload, offset)| RawMessage {
                offset,
                payload: Some(payload),
                ..RawMessage::default()
            });
            let begun = processor_seconds();
            let decoded = decoder.decode(messages, 0);
            maker.read += processor_seconds() - begun;
            for batch in &decoded.batches {
                maker.append(batch)?;
            }
        }
        least.least(&maker.end()?);
    }
    least.print(name);
    Ok(())
}

/// The rows of the JSON events, out of a file as other programs write them.
fn parquet(rounds: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("events.parquet");
    write_parquet(&path)?;
    let spec = spec(DecoderSpec::default());
    let mut least = Steps::MOST;
    for _ in 0..rounds {
        let mut maker = Maker::new(&spec)?;
        let file = FileRows::open(&path)?;
        let begun = processor_seconds();
        for part in file.parts(u64::MAX)? {
            let table = (&spec, &NoExpressions as _);
            file.read::<FileError>(&part, table, 0, |batch| {
                maker.append(&batch).expect("a batch of the table");
                Ok(())
            })?;
        }
        maker.read = processor_seconds() - begun - maker.append;
        least.least(&maker.end()?);
    }
    least.print("parquet");
    Ok(())
}

fn write_parquet(path: &Path) -> Outcome<()> {
    let spec = spec(DecoderSpec::default());
    let mut decoder = Decoder::new(&spec, &NoExpressions)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let mut writer: Option<ArrowWriter<std::fs::File>> = None;
    let events: Vec<u64> = (0..EVENTS).collect();
    for chunk in events.chunks(BATCH_ROWS_MAX) {
        let payloads: Vec<_> = chunk.iter().map(|n| Event::new(*n).json()).collect();
        let messages = payloads.iter().map(|payload| RawMessage {
            payload: Some(payload),
            ..RawMessage::default()
        });
        for batch in decoder.decode(messages, 0).batches {
            let own: Vec<usize> = (0..spec.columns.len()).collect();
            let batch = batch.project(&own)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let file = std::fs::File::create(path)?;
                    let properties = Some(properties.clone().build());
                    writer.insert(ArrowWriter::try_new(file, batch.schema(), properties)?)
                }
            };
            writer.write(&batch)?;
        }
    }
    writer.ok_or("no events")?.close()?;
    Ok(())
}

/// Rows on their way to a packed segment.
struct Maker {
    builder: SegmentBuilder,
    read: f64,
    append: f64,
}

impl Maker {
    fn new(spec: &Arc<TableSpec>) -> Outcome<Self> {
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence: 0,
        };
        Ok(Self {
            builder: SegmentBuilder::new(spec, id, "bench".to_owned())?,
            read: 0.0,
            append: 0.0,
        })
    }

    fn append(&mut self, batch: &RecordBatch) -> Outcome<()> {
        let begun = processor_seconds();
        self.builder.append(batch)?;
        self.append += processor_seconds() - begun;
        Ok(())
    }

    fn end(self) -> Outcome<Steps> {
        assert_eq!(u64::from(self.builder.row_count()), EVENTS);
        let folder = tempfile::tempdir()?;
        let begun = processor_seconds();
        let sealed = self
            .builder
            .finish(&OsFiles, folder.path(), SealExtra::default())?;
        let seal = processor_seconds() - begun;
        let begun = processor_seconds();
        pack(&sealed.path, sealed.record.crc)?;
        let pack = processor_seconds() - begun;
        let each = |seconds: f64| seconds / EVENTS as f64 * 1e9;
        Ok(Steps {
            read: each(self.read),
            append: each(self.append),
            seal: each(seal),
            pack: each(pack),
        })
    }
}

/// Of this thread; the kernel tells it in nanoseconds.
fn processor_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    nanoseconds.expect("a Linux kernel") / 1e9
}

fn spec(decoder: DecoderSpec) -> Arc<TableSpec> {
    let column = |name: &str, data_type, role| {
        let mut column = ColumnSpec::new(name, data_type, role);
        column.inverted_index = INVERTED.contains(&name);
        column
    };
    let dimension = |name: &str, of| column(name, of, FieldRole::Dimension);
    let mut columns: Vec<ColumnSpec> = TEXTS.map(|name| dimension(name, DataType::String)).into();
    columns.push(dimension("status", DataType::Int));
    columns.push(dimension("user_id", DataType::Long));
    columns.push(column("latency_ms", DataType::Int, FieldRole::Metric));
    columns.push(column("revenue", DataType::Double, FieldRole::Metric));
    columns.push(column("ts", DataType::Timestamp, FieldRole::DateTime));
    Arc::new(TableSpec {
        time_column: Some("ts".to_owned()),
        streams: vec![StreamSpec {
            decoder,
            ..StreamSpec::kafka("", "")
        }],
        ..TableSpec::new(
            "events".parse().expect("a name"),
            TableType::Realtime,
            columns,
        )
    })
}

/// SplitMix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Below `of`; small ones are much more frequent.
fn skewed(draw: u64, of: u64) -> u64 {
    let share = (draw >> 40) as f64 / (1_u64 << 24) as f64;
    (share * share * share * of as f64) as u64
}

struct Event {
    ts: u64,
    texts: [String; 8],
    status: u64,
    user: u64,
    latency_ms: u64,
    cents: u64,
}

impl Event {
    fn new(n: u64) -> Self {
        let draws: [u64; 8] = std::array::from_fn(|at| mix(n * 8 + at as u64));
        let [tenant, place, device, page, referrer, user, latency, cents] = draws;
        let product = skewed(page, 60_000);
        Self {
            ts: 1_788_220_800_000 + n,
            texts: [
                format!("tenant_{:04}", skewed(tenant, 1_000)),
                format!("c{:02}", skewed(place, 60)),
                format!("city_{:04}", skewed(place, 2_000)),
                DEVICES[skewed(device, DEVICES.len() as u64) as usize].to_owned(),
                format!("Chrome {}", 120 - device % 12),
                format!(
                    "https://www.shop.example/department-{}/product-{product:06}?sort=price&view=list",
                    product % 40
                ),
                format!(
                    "https://search.example/?q=word{:05}&lang=en",
                    skewed(referrer, 5_000)
                ),
                format!("campaign-{}", referrer % 200),
            ],
            status: STATUS[(page % STATUS.len() as u64) as usize],
            user: user % 200_000,
            latency_ms: skewed(latency, 3_000),
            cents: cents % 1_000_000,
        }
    }

    fn json(&self) -> Vec<u8> {
        let texts = TEXTS.iter().zip(&self.texts);
        let texts: String = texts
            .map(|(name, value)| format!(r#","{name}":"{value}""#))
            .collect();
        let (whole, part) = (self.cents / 100, self.cents % 100);
        let (ts, status, user, latency) = (self.ts, self.status, self.user, self.latency_ms);
        format!(
            r#"{{"ts":{ts}{texts},"status":{status},"user_id":{user},"latency_ms":{latency},"revenue":{whole}.{part:02}}}"#
        )
        .into_bytes()
    }

    fn avro(&self) -> Vec<u8> {
        let mut record = Vec::new();
        long(self.ts, &mut record);
        for text in &self.texts {
            long(text.len() as u64, &mut record);
            record.extend_from_slice(text.as_bytes());
        }
        long(self.status, &mut record);
        long(self.user, &mut record);
        long(self.latency_ms, &mut record);
        record.extend_from_slice(&(self.cents as f64 / 100.0).to_le_bytes());
        record
    }
}

/// A number as Avro writes it.
fn long(value: u64, to: &mut Vec<u8>) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn avro_schema() -> String {
    let field = |name: &str, of: &str| format!(r#"{{"name":"{name}","type":{of}}}"#);
    let mut fields = vec![field(
        "ts",
        r#"{"type":"long","logicalType":"timestamp-millis"}"#,
    )];
    fields.extend(TEXTS.map(|name| field(name, r#""string""#)));
    fields.push(field("status", r#""int""#));
    fields.push(field("user_id", r#""long""#));
    fields.push(field("latency_ms", r#""int""#));
    fields.push(field("revenue", r#""double""#));
    let fields = fields.join(",");
    format!(r#"{{"type":"record","name":"Event","fields":[{fields}]}}"#)
}
