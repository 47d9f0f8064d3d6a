//! How long it takes to find out who reads what, in a cluster of a million segments, 10,000
//! partitions and 200 servers that is made up in memory.
//!
//! `cargo bench -p query --bench routing -- [segments] [tables]`; the segments are spread over the
//! tables, a hundredth of them are partitions. Each line is the median and the 99th percentile of
//! many runs on one thread, with the segments that are read; and what the state of the cluster
//! takes of the memory. Then what it costs to be told all of it, and a change of it: a segment is
//! sealed and the next begins; and the segments of a server that dies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a developer's tool"
)]

mod changes;
mod cluster;

use std::sync::Arc;
use std::time::Instant;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::scalar::ScalarValue;
use query::scan_exec::ScanDescription;
use query::{TableIndexes, who_reads};
use schemas::arrow::full_schema;
use schemas::proto::NullMode;

use cluster::{HOUR_MS, Simulated};

const RUNS: usize = 300;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let segments: usize = arguments.next().unwrap_or(1_000_000);
    let tables: usize = arguments.next().unwrap_or(100);
    let before = resident_mib();
    let begun = Instant::now();
    let simulated = Simulated::new(segments, tables, 200);
    let made = begun.elapsed();
    println!(
        "{segments} segments of {tables} tables, {} partitions, 200 servers: made in {made:.1?}, \
         {} MiB",
        segments / 100,
        resident_mib().saturating_sub(before)
    );
    let indexes = Arc::new(TableIndexes::default());
    let before = resident_mib();
    let begun = Instant::now();
    for at in 0..tables {
        ask(&simulated, &indexes, at, Asked::Hours(1));
    }
    println!(
        "indexes of all tables: {:.1?}, {} MiB",
        begun.elapsed(),
        resident_mib().saturating_sub(before)
    );
    for asked in [
        Asked::Hours(1),
        Asked::Hours(24),
        Asked::Key,
        Asked::KeyAndHours(24),
        Asked::All,
    ] {
        let mut times = Vec::new();
        let mut read = 0;
        for run in 0..RUNS.min(if asked == Asked::All { 20 } else { RUNS }) {
            let begun = Instant::now();
            read = ask(&simulated, &indexes, run % tables, asked);
            times.push(begun.elapsed());
        }
        times.sort();
        println!(
            "{asked:?}: p50 {:.3?}, p99 {:.3?}, {read} segments and runs are read",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
    changes::measure(&simulated, &indexes);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    /// The newest hours.
    Hours(i64),
    /// One value of the key by which rows are partitioned.
    Key,
    KeyAndHours(i64),
    All,
}

pub(crate) fn ask(
    simulated: &Simulated,
    indexes: &Arc<TableIndexes>,
    table: usize,
    asked: Asked,
) -> usize {
    let state = &simulated.tables[table];
    let schema = full_schema(&state.spec, NullMode::Defaults);
    let compare = |column: &str, op, value| -> Arc<dyn PhysicalExpr> {
        binary(col(column, &schema).unwrap(), op, lit(value), &schema).unwrap()
    };
    let since = |hours: i64| {
        let from = simulated.now_ms - hours * HOUR_MS;
        let from = ScalarValue::TimestampMillisecond(Some(from), None);
        compare("ts", Operator::GtEq, from)
    };
    let key = || {
        compare(
            "id",
            Operator::Eq,
            ScalarValue::Int64(Some(table as i64 * 31)),
        )
    };
    let filters = match asked {
        Asked::All => Vec::new(),
        Asked::Hours(hours) => vec![since(hours)],
        Asked::Key => vec![key()],
        Asked::KeyAndHours(hours) => vec![key(), since(hours)],
    };
    let description = ScanDescription {
        table: state.spec.id,
        table_name: state.spec.physical_name(),
        table_schema: Arc::clone(&schema),
        projection: vec![0],
        filters,
        sent_filters: None,
        fetch: None,
        null_mode: NullMode::Defaults,
        is_dimension_table: false,
    };
    let context = simulated.context(indexes);
    let parts = who_reads(&description, &context).unwrap();
    let read =
        |part: &query::scan_exec::ScanPart| part.scan.sealed.len() + part.scan.consuming.len();
    parts.iter().map(read).sum()
}

/// Of this process.
pub(crate) fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kib.unwrap_or(0) / 1024
}
