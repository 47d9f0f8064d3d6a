//! Generated queries over generated tables: the native operator, the general operators over our
//! scan, and DataFusion over plain arrays must give the same rows.
//!
//! The table has sealed and consuming segments, nulls, every type, a sorted column, inverted
//! indexes, and a column that older segments lack. Floats that were summed may differ in the last
//! digits.

#![expect(clippy::unwrap_used, reason = "all of it is a test")]

mod accumulators;
mod data;
mod documents;
mod entries;
mod groups;
mod joins;
mod limits;
mod many;
mod questions;
mod ranked;
mod server;
mod trees;
mod wholes;

use std::cmp::Ordering;
use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use schemas::proto::{Explain, NullMode, ScanOptions, ScanStats};
use segment::SegmentView;
use segment::view::{RawValues, Values};

use data::{Random, Table};
use questions::Question;
use server::Server;

#[derive(Clone, Debug)]
enum Cell {
    Null,
    Text(String),
    Number(f64),
}

/// Rows in an order that does not depend on how sums came out: by their text, then by their floats.
fn rows_of(batches: &[RecordBatch]) -> Vec<Vec<Cell>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let from = rows.len();
        rows.resize_with(from + batch.num_rows(), || {
            (String::new(), Vec::with_capacity(batch.num_columns()))
        });
        for column in batch.columns() {
            let cells = cells_of(column, &options);
            for ((key, row), cell) in rows[from..].iter_mut().zip(cells) {
                match &cell {
                    Cell::Text(text) => key.push_str(text),
                    Cell::Null => key.push('\u{1}'),
                    Cell::Number(_) => {}
                }
                key.push('\0');
                row.push(cell);
            }
        }
    }
    let float = |cell: &Cell| match cell {
        Cell::Number(number) => *number,
        _ => f64::NEG_INFINITY,
    };
    rows.sort_by(|(key_a, a), (key_b, b)| {
        let floats = a.iter().zip(b).map(|(a, b)| float(a).total_cmp(&float(b)));
        let floats = || floats.fold(Ordering::Equal, Ordering::then);
        key_a.cmp(key_b).then_with(floats)
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

/// As they came.
fn rows_in_order(batches: &[RecordBatch]) -> Vec<Vec<Cell>> {
    let options = FormatOptions::default();
    let rows = batches.iter().flat_map(|batch| {
        let columns = batch.columns().iter();
        let columns: Vec<Vec<Cell>> = columns.map(|column| cells_of(column, &options)).collect();
        let row = move |row: usize| columns.iter().map(|column| column[row].clone()).collect();
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    });
    rows.collect()
}

fn cells_of(column: &ArrayRef, options: &FormatOptions<'_>) -> Vec<Cell> {
    let rows = 0..column.len();
    let cell = |row: usize, cell: Cell| {
        if column.is_null(row) {
            Cell::Null
        } else {
            cell
        }
    };
    if column.data_type().is_floating() {
        let wide = arrow::compute::cast(column, &DataType::Float64).unwrap();
        let wide = wide.as_primitive::<Float64Type>();
        return rows
            .map(|row| cell(row, Cell::Number(wide.value(row))))
            .collect();
    }
    let text = ArrayFormatter::try_new(column.as_ref(), options).unwrap();
    rows.map(|row| cell(row, Cell::Text(text.value(row).to_string())))
        .collect()
}

fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Null, Cell::Null) => true,
        (Cell::Text(a), Cell::Text(b)) => a == b,
        (Cell::Number(a), Cell::Number(b)) => {
            // What is left of distances that should cancel out is next to nothing.
            let near = 1e-9 * a.abs().max(b.abs()) + 1e-14;
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= near
        }
        _ => false,
    }
}

fn assert_same(sql: &str, which: &str, expected: &[Vec<Cell>], found: &[RecordBatch]) {
    assert_equal(sql, which, expected, rows_of(found));
}

fn assert_equal(sql: &str, which: &str, expected: &[Vec<Cell>], found: Vec<Vec<Cell>>) {
    assert_eq!(expected.len(), found.len(), "rows of {which}: {sql}");
    for (expected, found) in expected.iter().zip(&found) {
        let equal =
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| same(a, b));
        assert!(
            equal,
            "{which}: {sql}\nexpected {expected:?}\n   found {found:?}"
        );
    }
}

/// What the questions used in all.
#[derive(Debug, Default)]
struct Used {
    native: u64,
    fallback: u64,
    indexes: HashSet<String>,
    pruned: u64,
}

impl Used {
    fn add(&mut self, stats: &ScanStats) {
        self.native += stats.native_operators;
        self.fallback += stats.fallback_operators;
        self.pruned += stats.segments_pruned;
        let kinds = stats
            .indexes
            .iter()
            .filter_map(|name| name.split('(').next());
        self.indexes.extend(kinds.map(str::to_owned));
    }
}

/// Without native operators.
fn general() -> ScanOptions {
    ScanOptions {
        without_native_operators: true,
        ..ScanOptions::default()
    }
}

/// As many threads as there are, for as few rows as there are.
fn on_threads() -> ScanOptions {
    ScanOptions {
        thread_rows: 1,
        ..ScanOptions::default()
    }
}

/// On one thread, and planned anew.
fn on_one_thread() -> ScanOptions {
    ScanOptions {
        threads_max: 1,
        thread_rows: 1,
        without_plan_templates: true,
        ..ScanOptions::default()
    }
}

/// Without an index that is drawn, and its name.
fn skipping(random: &mut Random) -> (ScanOptions, &'static str) {
    let index = random.pick(&[
        "dictionary",
        "sorted",
        "inverted",
        "range",
        "bloom",
        "zone",
        "null",
        "timestamp",
    ]);
    let mut options = ScanOptions::default();
    options.skip_indexes(&format!("*={index}")).unwrap();
    (options, index)
}

async fn ask(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = context
        .sql(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    frame
        .collect()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Each is used by some question.
const INDEXES: [&str; 8] = [
    "sorted",
    "inverted",
    "range",
    "bloom",
    "dictionary",
    "zone",
    "scan",
    "timestamp",
];

/// Ways beside the usual one, which must give the same rows.
struct Beside<'a> {
    rows: fn(&[RecordBatch]) -> Vec<Vec<Cell>>,
    expected: &'a [Vec<Cell>],
}

impl Beside<'_> {
    async fn way(&self, server: &Server, sql: &str, way: (&str, &ScanOptions)) -> ScanStats {
        let (found, stats) = server.ask(sql, way.1).await;
        assert_equal(sql, way.0, self.expected, (self.rows)(&found));
        stats
    }

    /// What the general operators did, and whether several threads had work.
    async fn ask(&self, server: &Server, sql: &str, random: &mut Random) -> (ScanStats, bool) {
        let without = self.way(server, sql, ("general", &general())).await;
        assert_eq!(without.native_operators, 0, "{sql}");
        let (options, skipped) = skipping(random);
        let way = format!("without {skipped}");
        let stats = self.way(server, sql, (&way, &options)).await;
        let is_skipped = |name: &String| name.split('(').next() == Some(skipped);
        assert!(!stats.indexes.iter().any(is_skipped), "{stats:?}: {sql}");
        let one = self
            .way(server, sql, ("one thread", &on_one_thread()))
            .await;
        assert!(one.threads <= 1, "{sql}");
        let all = self.way(server, sql, ("threads", &on_threads())).await;
        (without, all.threads > 1)
    }
}

async fn compare(table: Table, null_mode: NullMode, seed: u64, count: usize) {
    let oracle = table.oracle(null_mode);
    let server = Server::new(&table, null_mode);
    let mut random = Random(seed);
    let (mut with, mut without) = (Used::default(), Used::default());
    let (mut aggregates, mut ordered, mut answered, mut threads) = (0, 0, 0, 0);
    for _ in 0..count {
        let question = Question::draw(&mut random, null_mode);
        let sql = question.sql.as_str();
        let rows = match question.is_ordered {
            true => rows_in_order,
            false => rows_of,
        };
        let expected = rows(&ask(&oracle, sql).await);
        let (native, stats) = server.ask(sql, &ScanOptions::default()).await;
        assert_equal(sql, "native", &expected, rows(&native));
        let used = (stats.native_operators, stats.fallback_operators);
        // A condition that is never true leaves no scan.
        let scans = stats.segments_queried > 0;
        if question.is_aggregate && !scans && used == (0, 0) {
            continue;
        }
        match (question.is_aggregate, question.is_native) {
            (false, is_native) => {
                assert_eq!(used, (u64::from(is_native && scans), 0), "{sql}")
            }
            (true, _) => assert_eq!(used, (1, 0), "{sql}"),
        }
        let (whole, alone) = server.ask_one(sql, &ScanOptions::default()).await;
        assert_equal(sql, "whole", &expected, rows(&whole));
        if question.is_aggregate {
            let used = (alone.native_operators, alone.fallback_operators);
            assert_eq!(used, (1, 0), "whole: {sql}");
        }
        with.add(&stats);
        let beside = Beside {
            rows,
            expected: &expected,
        };
        let (general, shared) = beside.ask(&server, sql, &mut random).await;
        without.add(&general);
        threads += u64::from(shared);
        aggregates += u64::from(question.is_aggregate);
        ordered += u64::from(question.is_ordered && scans);
        answered += u64::from(!expected.is_empty());
    }
    let count = count as u64;
    // Five runs a question with plans that may be kept, each again; few cannot be kept.
    let again = server.plans_used_again();
    assert!(again * 10 > count * 5 * 9, "{again} of {}", count * 5);
    assert!(threads * 2 > count, "{threads} of {count} on threads");
    assert!(answered * 2 > count, "{answered} of {count} have rows");
    assert!(ordered * 6 > count, "{ordered} of {count}");
    let used = (with.native, with.fallback);
    assert_eq!(used, (aggregates + ordered, 0), "{with:?}");
    assert_eq!(without.fallback, aggregates, "{without:?}");
    assert!(with.pruned > 0, "{with:?}");
    for index in INDEXES {
        assert!(with.indexes.contains(index), "{index} of {with:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_defaults_in_the_place_of_nulls() {
    compare(Table::new(11), NullMode::Defaults, 11, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sql_nulls() {
    compare(Table::new(12), NullMode::ThreeValued, 12, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_newer_ones_have_replaced_are_not_there() {
    for (null_mode, seed) in [(NullMode::Defaults, 71), (NullMode::ThreeValued, 72)] {
        compare(Table::new(seed).half_replaced(seed), null_mode, seed, 90).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_without_an_order_takes_any_rows_that_match_and_reads_no_more() {
    let table = Table::new(14);
    let server = Server::new(&table, NullMode::Defaults);
    let numbered = |batches: &[RecordBatch]| -> Vec<i64> {
        let column = |batch: &RecordBatch| {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            numbers.values().to_vec()
        };
        batches.iter().flat_map(column).collect()
    };
    let conditions = [
        "",
        " WHERE delay > 50",
        " WHERE carrier = 'AA' OR delay + code > 100",
    ];
    for condition in conditions {
        let all = format!("SELECT \"$offset\" FROM flights{condition}");
        let (all, _) = server.ask(&all, &ScanOptions::default()).await;
        let all: HashSet<i64> = numbered(&all).into_iter().collect();
        for limit in [1, 7, 5000, 1_000_000] {
            let sql = format!("SELECT \"$offset\", city FROM flights{condition} LIMIT {limit}");
            let (found, stats) = server.ask(&sql, &ScanOptions::default()).await;
            let found = numbered(&found);
            assert_eq!(found.len(), all.len().min(limit), "{sql}");
            let distinct: HashSet<i64> = found.iter().copied().collect();
            assert_eq!(distinct.len(), found.len(), "{sql}");
            assert!(distinct.is_subset(&all), "{sql}");
            assert_eq!(stats.docs_scanned, found.len() as u64, "{sql}");
            if limit == 1 && condition.is_empty() {
                assert_eq!(stats.segments_matched, 1, "{sql}");
            }
        }
    }
}

#[test]
fn prices_are_stored_in_each_way() {
    let table = Table::new(1);
    let forms = table.segments.iter().filter(|view| view.row_count > 0);
    let forms = forms.map(|view| {
        let column = view.column("price").unwrap().unwrap();
        let Values::Raw(raw) = column.values() else {
            panic!("prices have codes");
        };
        let is_scaled = matches!(raw.values(0..1), RawValues::Scaled { .. });
        (view.is_consuming(), is_scaled)
    });
    let forms: std::collections::BTreeSet<_> = forms.collect();
    let wanted = [(false, false), (false, true), (true, false)];
    assert_eq!(forms, wanted.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_columns_tell_where_a_row_is() {
    let table = Table::new(13);
    let server = Server::new(&table, NullMode::Defaults);
    let sql = "SELECT \"$segmentName\", COUNT(*), COUNT(DISTINCT \"$docId\"), MIN(\"$docId\"), \
               MAX(\"$docId\") FROM flights GROUP BY 1";
    let expected = table.segments.iter().filter(|view| view.row_count() > 0);
    let expected = expected.map(|view| {
        let rows = view.row_count();
        let numbers = [rows, rows, 0, rows - 1].map(|number| Cell::Text(number.to_string()));
        let name = Cell::Text(view.name().to_owned());
        std::iter::once(name).chain(numbers).collect::<Vec<_>>()
    });
    let mut expected: Vec<Vec<Cell>> = expected.collect();
    expected.sort_by_key(|row| format!("{:?}", row[0]));
    let between = "SELECT COUNT(*) FROM flights WHERE \"$docId\" BETWEEN 100 AND 300 \
                   AND NOT \"$docId\" = 200";
    let is_meant = |row: &u32| (100..=300).contains(row) && *row != 200;
    let rows = table.segments.iter().map(SegmentView::row_count);
    let rows = rows.map(|rows| (0..rows).filter(is_meant).count());
    let counted = [vec![Cell::Text(rows.sum::<usize>().to_string())]];
    // Numbers of offsets and times are compared with what was written.
    let written = "SELECT \"$partition\", \"$partitionId\", COUNT(*), COUNT(DISTINCT \"$offset\"), \
                   MIN(\"$offset\"), MAX(\"$offset\"), MIN(\"$ingestTime\"), MAX(\"$ingestTime\") \
                   FROM flights GROUP BY 1, 2";
    let oracle = table.oracle(NullMode::Defaults);
    let of_oracle = rows_of(&ask(&oracle, written).await);
    assert_eq!(of_oracle.len(), 2);
    for options in [ScanOptions::default(), general()] {
        let (found, _) = server.ask(sql, &options).await;
        assert_same(sql, "segments", &expected, &found);
        let (found, _) = server.ask(between, &options).await;
        assert_same(between, "document numbers", &counted, &found);
        let (found, _) = server.ask(written, &options).await;
        assert_same(written, "offsets", &of_oracle, &found);
    }
}

/// The one number of an answer.
fn ask_count(rows: &[Vec<Cell>]) -> usize {
    match rows {
        [row] => match &row[..] {
            [Cell::Text(count)] => count.parse().unwrap(),
            other => panic!("{other:?} is no count"),
        },
        other => panic!("{} rows", other.len()),
    }
}

#[tokio::test]
async fn each_predicate_tells_what_answers_it() {
    let table = Table::new(14);
    let server = Server::new(&table, NullMode::Defaults);
    let sql = "SELECT count(*) FROM flights WHERE city < 'the city with number 2' \
               AND (delay > 50 OR \"$partition\" = 1 AND code = 42)";
    let mut options = ScanOptions::default();
    options.set_explain(Explain::Analyze);
    let (analyzed, stats) = server.ask(sql, &options).await;
    let (wanted, plain) = server.ask(sql, &ScanOptions::default()).await;
    assert_eq!(rows_of(&analyzed).len(), rows_of(&wanted).len());
    assert!(plain.explained.is_empty() && plain.plan.is_empty());
    assert!(
        stats.plan.starts_with("NativeAggregateExec"),
        "{}",
        stats.plan
    );
    let classes = &stats.explained;
    let segments: u64 = classes.iter().map(|class| class.segments).sum();
    let rows: u64 = classes.iter().map(|class| class.rows).sum();
    assert_eq!((segments, rows), (stats.segments_queried, stats.docs_total));
    let passed = classes.iter().filter_map(|class| {
        let last = class.steps.iter().rfind(|step| step.depth == 0);
        last.map(|step| step.kept)
    });
    assert_eq!(passed.sum::<u64>(), stats.docs_scanned, "{classes:#?}");
    let steps = || classes.iter().flat_map(|class| &class.steps);
    assert!(
        steps().any(|step| step.predicate == "city < the city with number 2"),
        "{classes:#?}"
    );
    assert!(
        steps().any(|step| step.depth == 1 && step.access == "scan(delay)"),
        "{classes:#?}"
    );
    options.set_explain(Explain::Plan);
    let (_, planned) = server.ask(sql, &options).await;
    assert_eq!(planned.docs_scanned, 0);
    assert_eq!(planned.explained.len(), classes.len());
    assert!(
        planned
            .explained
            .iter()
            .flat_map(|class| &class.steps)
            .all(|step| step.given == 0)
    );
}

/// Of values that are 300 apart at most.
fn assert_near(sql: &str, wanted: &[Vec<Cell>], found: &[Vec<Cell>]) {
    let near = 300.0 * 0.02;
    assert_eq!(found.len(), wanted.len(), "{sql}");
    for (row, wanted) in found.iter().zip(wanted) {
        assert!(same(&row[0], &wanted[0]), "{sql}");
        for (cell, wanted) in row.iter().zip(wanted).skip(1) {
            let (Cell::Number(cell), Cell::Number(wanted)) = (cell, wanted) else {
                panic!("{cell:?} for {wanted:?}: {sql}");
            };
            assert!((cell - wanted).abs() <= near, "{cell} for {wanted}: {sql}");
        }
    }
}

/// Digests depend on how rows come together: their percentiles are near, not equal.
#[tokio::test(flavor = "multi_thread")]
async fn percentiles_of_digests_are_near() {
    for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
        let table = Table::new(17);
        let (oracle, server) = (table.oracle(null_mode), Server::new(&table, null_mode));
        for share in ["0.0", "0.1", "0.5", "0.93", "1.0"] {
            let exact = format!(
                "SELECT carrier, percentile_cont(delay, {share}), percentile_cont(price, {share}) \
                 FROM flights WHERE code < 600 GROUP BY carrier"
            );
            let wanted = rows_of(&ask(&oracle, &exact).await);
            assert!(wanted.len() >= 8, "{wanted:?}");
            let sql = exact.replace("percentile_cont", "approx_percentile_cont");
            let (parts, stats) = server.ask(&sql, &ScanOptions::default()).await;
            let (whole, alone) = server.ask_one(&sql, &ScanOptions::default()).await;
            assert_eq!((stats.native_operators, alone.native_operators), (1, 1));
            assert_near(&sql, &wanted, &rows_of(&parts));
            assert_near(&sql, &wanted, &rows_of(&whole));
        }
    }
}
