//! How fast JSON like that of `flights` becomes batches, on one core: `cargo bench -p ingest`.
//! It measures, it does not judge; every event must become a row.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::sync::Arc;
use std::time::Instant;

use ingest::{BATCH_ROWS_MAX, JsonDecoder, RawMessage};
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
    let payloads: Vec<String> = (0..EVENTS).map(event).collect();
    let bytes: usize = payloads.iter().map(String::len).sum();
    let mut decoder = JsonDecoder::new(spec());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut rows = 0;
        for chunk in payloads.chunks(BATCH_ROWS_MAX) {
            let messages = chunk.iter().zip(0..).map(|(payload, offset)| RawMessage {
                offset,
                payload: Some(payload.as_bytes()),
            });
            let decoded = decoder.decode(messages, 0);
            rows += decoded
                .batches
                .iter()
                .map(|batch| batch.num_rows())
                .sum::<usize>();
        }
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(rows, payloads.len(), "every event is a row");
        let (rate, megabytes) = (rows as f64 / seconds, bytes as f64 / seconds / 1e6);
        println!("decode: {rate:.0} events/s, {megabytes:.0} MB/s");
    }
}

fn event(n: u64) -> String {
    let numbers = NUMBERS.iter().zip(0..);
    let numbers: String = numbers
        .map(|(name, at)| format!(r#""{name}":{},"#, (n * 31 + at * 7) % 2400))
        .collect();
    let tail = n % 4000;
    format!(
        r#"{{{numbers}"carrier":"UA","tailnum":"N{tail}","origin":"EWR","dest":"IAH","ts":{n}}}"#
    )
}

fn spec() -> Arc<TableSpec> {
    let column = |name: &str, data_type| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    let mut columns: Vec<ColumnSpec> = NUMBERS.map(|name| column(name, DataType::Int)).into();
    columns.extend(TEXTS.map(|name| column(name, DataType::String)));
    columns.push(column("ts", DataType::Timestamp));
    Arc::new(TableSpec {
        time_column: Some("ts".to_owned()),
        ..TableSpec::new(
            "flights".parse().expect("a name"),
            TableType::Realtime,
            columns,
        )
    })
}
