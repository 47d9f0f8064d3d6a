//! How fast events like those of `flights` become batches, in each format, on one core:
//! `cargo bench -p ingest`. Times are those of the processor, so that a busy machine does not
//! count. It measures, it does not judge; every event must become a row.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::sync::Arc;

use ingest::{BATCH_ROWS_MAX, Decoder, NoExpressions, RawMessage};
use schemas::decoding::{CsvSpec, DecoderSpec, Envelope, FormatSpec};
use schemas::table::StreamSpec;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec, TableType};

const EVENTS: u64 = 200_000;
const ROUNDS: usize = 5;
const NUMBERS: [&str; 14] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "flight",
    "air_time",
    "distance",
    "hour",
    "minute",
];
const TEXTS: [&str; 4] = ["carrier", "tailnum", "origin", "dest"];

fn main() {
    let json = |n| json(n).into_bytes();
    measure("json", DecoderSpec::default(), json);
    let debezium = DecoderSpec {
        envelope: Envelope::Debezium,
        ..DecoderSpec::default()
    };
    measure("debezium json", debezium, |n| {
        let after = self::json(n);
        format!(r#"{{"before":null,"after":{after},"op":"c","ts_ms":{n}}}"#).into_bytes()
    });
    let avro = FormatSpec::Avro {
        schema: Some(avro_schema()),
    };
    measure("avro", of(avro), avro_record);
    let csv = FormatSpec::Csv(CsvSpec {
        names: NUMBERS
            .iter()
            .chain(&TEXTS)
            .chain(&["ts"])
            .map(ToString::to_string)
            .collect(),
        ..CsvSpec::default()
    });
    measure("csv", of(csv), |n| {
        let numbers: Vec<String> = numbers(n).map(|(_, value)| value.to_string()).collect();
        let texts = texts(n).map(|(_, text)| text).join(",");
        format!("{},{texts},{n}", numbers.join(",")).into_bytes()
    });
}

fn of(format: FormatSpec) -> DecoderSpec {
    DecoderSpec {
        format,
        ..DecoderSpec::default()
    }
}

fn measure(name: &str, decoder: DecoderSpec, event: impl Fn(u64) -> Vec<u8>) {
    let payloads: Vec<Vec<u8>> = (0..EVENTS).map(event).collect();
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    let mut decoder = Decoder::new(&spec(decoder), &NoExpressions).expect("a table that is right");
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let started = processor_seconds();
        let mut rows = 0;
        for chunk in payloads.chunks(BATCH_ROWS_MAX) {
            let messages = chunk.iter().zip(0..).map(|(payload, offset)| RawMessage {
                offset,
                payload: Some(payload),
                ..RawMessage::default()
            });
            let decoded = decoder.decode(messages, 0);
            rows += decoded
                .batches
                .iter()
                .map(|batch| batch.num_rows())
                .sum::<usize>();
        }
        best = best.min(processor_seconds() - started);
        assert_eq!(rows, payloads.len(), "every event is a row");
    }
    let (rate, megabytes) = (EVENTS as f64 / best, bytes as f64 / best / 1e6);
    println!("{name}: {rate:.0} events/s, {megabytes:.0} MB/s");
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

fn numbers(n: u64) -> impl Iterator<Item = (&'static str, u64)> {
    NUMBERS
        .into_iter()
        .zip(0..)
        .map(move |(name, at)| (name, (n * 31 + at * 7) % 2400))
}

fn texts(n: u64) -> [(&'static str, String); 4] {
    let values = [
        "UA".to_owned(),
        format!("N{}", n % 4000),
        "EWR".to_owned(),
        "IAH".to_owned(),
    ];
    let mut values = values.into_iter();
    TEXTS.map(|name| (name, values.next().unwrap_or_default()))
}

fn json(n: u64) -> String {
    let numbers: String = numbers(n)
        .map(|(name, value)| format!(r#""{name}":{value},"#))
        .collect();
    let texts: String = texts(n)
        .map(|(name, text)| format!(r#""{name}":"{text}","#))
        .concat();
    format!(r#"{{{numbers}{texts}"ts":{n}}}"#)
}

fn avro_schema() -> String {
    let field = |name: &str, of: &str| format!(r#"{{"name":"{name}","type":{of}}}"#);
    let numbers = NUMBERS.map(|name| field(name, r#""int""#));
    let texts = TEXTS.map(|name| field(name, r#"["null","string"]"#));
    let ts = field("ts", r#"{"type":"long","logicalType":"timestamp-millis"}"#);
    let fields = [numbers.join(","), texts.join(","), ts].join(",");
    format!(r#"{{"type":"record","name":"Flight","fields":[{fields}]}}"#)
}

fn avro_record(n: u64) -> Vec<u8> {
    let mut record = Vec::new();
    let long = |value: u64, record: &mut Vec<u8>| {
        let mut rest = value << 1;
        while rest >= 0x80 {
            record.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        record.push(rest as u8);
    };
    for (_, value) in numbers(n) {
        long(value, &mut record);
    }
    for (_, text) in texts(n) {
        long(1, &mut record);
        long(text.len() as u64, &mut record);
        record.extend_from_slice(text.as_bytes());
    }
    long(n, &mut record);
    record
}

fn spec(decoder: DecoderSpec) -> Arc<TableSpec> {
    let column = |name: &str, data_type| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    let mut columns: Vec<ColumnSpec> = NUMBERS.map(|name| column(name, DataType::Int)).into();
    columns.extend(TEXTS.map(|name| column(name, DataType::String)));
    columns.push(column("ts", DataType::Timestamp));
    Arc::new(TableSpec {
        time_column: Some("ts".to_owned()),
        streams: vec![StreamSpec {
            decoder,
            ..StreamSpec::kafka("", "")
        }],
        ..TableSpec::new(
            "flights".parse().expect("a name"),
            TableType::Realtime,
            columns,
        )
    })
}
