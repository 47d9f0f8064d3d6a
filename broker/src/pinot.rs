//! The answer of `/query/sql` in Pinot's shape: every field, in Pinot's order; then our `warnings`.
//!
//! Measured for each query:
//!
//! | field | what it is |
//! |---|---|
//! | numRowsResultSet | rows given |
//! | partialResult, exceptions | whether it failed, or rows are left out; why |
//! | timeUsedMs, requestId, clientRequestId, brokerId | at this broker; option `clientQueryId` |
//! | numDocsScanned, totalDocs | rows that passed the filter; rows of the tables, pruned or not |
//! | numEntriesScannedInFilter, -PostFilter | values looked at by filters; values read for the rest |
//! | numServersQueried, numServersResponded | servers asked; servers whose whole answer came |
//! | numSegmentsQueried, -Processed, -Matched | named to servers; not pruned there; with a match |
//! | numConsumingSegmentsQueried, -Processed, -Matched | the same, of those that still grow |
//! | minConsumingFreshnessTimeMs | ingest time of the newest row that was there to read; 0 = none |
//! | numSegmentsPrunedByBroker, -ByServer | by the ranges of their record; by the filter |
//! | realtimeThreadCpuTimeNs, realtimeTotalCpuTimeNs | compute time of all servers, of all tables |
//! | tablesQueried | as the statement names them |
//!
//! Always the same here:
//!
//! | field | why |
//! |---|---|
//! | numGroupsLimitReached, numGroupsWarningLimitReached, groupsTrimmed: false | groups are exact |
//! | maxRowsInDistinctReached, its two companions: false | so is DISTINCT |
//! | numSegmentsPrunedInvalid, -ByLimit, -ByValue: 0 | what servers prune is counted as one number |
//! | brokerReduceTimeMs: 0 | answers are merged while others come; it is in timeUsedMs |
//! | offlineThreadCpuTimeNs, offlineTotalCpuTimeNs: 0 | counted with the realtime ones |
//! | *SystemActivitiesCpuTimeNs, *SerializationCpuTimeNs: 0 | not measured |
//! | *MemAllocatedBytes: 0 | not measured |
//! | explainPlanNum*Segments: 0 | unless the statement is an EXPLAIN |
//! | traceInfo: {}, pools: [], rlsFiltersApplied: false | there is nothing of the kind |
//! | of the multi-stage engine: maxRowsInJoinReached, -InWindowReached: false | nothing is cut |
//! | its earlyTerminationReasons: [], stageStats: {} | nothing ends early; not measured |
//! | of a cursor: cursorResultWriteTimeMs, cursorFetchTimeMs: 0 | rows stay in memory |
//!
//! `materializedViewQueried` and `serverStats`, which Pinot leaves out when they are empty, are.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use query::{OutputColumn, QueryStats, Semantics, Shape};
use schemas::fault::pinot_code;
use schemas::{Fault, filter_outcome};
use serde::Serialize;

use crate::cursors::{Kept, Page};
use crate::place::message_with_place;
use crate::query::{Outcome, Queries, Rows};
use crate::rows::write_rows;
use crate::values::{Cells, type_name};

/// What is told of a query that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Whole,
    /// Rows of a kept answer.
    Page(&'a Kept, &'a Page),
    /// All but the rows.
    Nothing(&'a Kept),
}

/// The body, and the code of the first error: -1 = none.
pub(crate) async fn response(
    queries: &Queries,
    outcome: &Outcome,
    part: Part<'_>,
) -> (Vec<u8>, i64) {
    let mut body = Vec::with_capacity(4096);
    let (exceptions, code) = match &outcome.result {
        // Of a query that allows it.
        Ok(_) => {
            let left_out = &outcome.stats.left_out;
            let first = left_out.first().map_or(-1, |fault| i64::from(fault.code));
            let why = left_out.iter().map(|fault| exception(fault, &outcome.sql));
            (why.collect(), first)
        }
        Err(fault) => (vec![exception(fault, &outcome.sql)], i64::from(fault.code)),
    };
    body.push(b'{');
    let mut rows_count = 0;
    if let Ok(rows) = &outcome.result {
        rows_count = rows.count();
        let shown = match part {
            Part::Whole => Some(rows),
            Part::Page(_, page) => Some(&page.rows),
            Part::Nothing(_) => None,
        };
        if let Some(shown) = shown {
            result_table(outcome, shown, &mut body).await;
            body.push(b',');
        }
    }
    let statement = outcome.statement.as_deref();
    let client_id = statement.and_then(|s| s.options.0.get("clientqueryid"));
    let head = Head {
        num_rows_result_set: rows_count,
        partial_result: !exceptions.is_empty(),
        exceptions,
        time_used_ms: outcome.elapsed.as_millis() as u64,
        request_id: outcome.id.to_string(),
        client_request_id: client_id.map(String::as_str),
        broker_id: &queries.config.instance.0,
        ..Head::default()
    };
    fields(&head, &mut body);
    body.push(b',');
    fields(&Measured::of(&outcome.stats), &mut body);
    body.push(b',');
    let cpu_ns = outcome.stats.scan.cpu_ns;
    let explained = |what: &str| outcome.stats.segments_explained(what);
    let rest = Rest {
        realtime_thread_cpu_time_ns: cpu_ns,
        realtime_total_cpu_time_ns: cpu_ns,
        explain_plan_num_empty_filter_segments: explained(filter_outcome::NEVER),
        explain_plan_num_match_all_filter_segments: explained(filter_outcome::ALWAYS),
        tables_queried: Some(&outcome.stats.tables),
        warnings: &outcome.warnings,
        ..Rest::default()
    };
    fields(&rest, &mut body);
    if statement.is_some_and(|s| s.semantics == Semantics::MultiStage) {
        body.push(b',');
        fields(&MultiStage::default(), &mut body);
    }
    if let Some(cursor) = Cursor::of(queries, part) {
        body.push(b',');
        fields(&cursor, &mut body);
    }
    body.push(b'}');
    (body, code)
}

/// The fields of a struct without its braces.
fn fields(part: &impl Serialize, to: &mut Vec<u8>) {
    let open = to.len();
    // Writing to memory does not fail.
    let _written = serde_json::to_writer(&mut *to, part);
    to.pop();
    to.remove(open);
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    num_rows_result_set: usize,
    partial_result: bool,
    exceptions: Vec<Exception>,
    num_groups_limit_reached: bool,
    num_groups_warning_limit_reached: bool,
    max_rows_in_distinct_reached: bool,
    max_rows_without_change_in_distinct_reached: bool,
    max_execution_time_in_distinct_reached: bool,
    time_used_ms: u64,
    request_id: String,
    client_request_id: Option<&'a str>,
    broker_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exception {
    error_code: u32,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    num_docs_scanned: u64,
    total_docs: u64,
    num_entries_scanned_in_filter: u64,
    num_entries_scanned_post_filter: u64,
    num_servers_queried: usize,
    num_servers_responded: usize,
    num_segments_queried: u64,
    num_segments_processed: u64,
    num_segments_matched: u64,
    num_consuming_segments_queried: u64,
    num_consuming_segments_processed: u64,
    num_consuming_segments_matched: u64,
    min_consuming_freshness_time_ms: i64,
    num_segments_pruned_by_broker: u64,
    num_segments_pruned_by_server: u64,
}

impl Measured {
    fn of(stats: &QueryStats) -> Self {
        let scan = &stats.scan;
        Self {
            num_docs_scanned: scan.docs_scanned,
            total_docs: scan.docs_total + stats.docs_pruned_by_broker,
            num_entries_scanned_in_filter: scan.entries_scanned_in_filter,
            num_entries_scanned_post_filter: scan.entries_scanned_post_filter,
            num_servers_queried: stats.servers_queried.len(),
            num_servers_responded: stats.servers_responded.len(),
            num_segments_queried: scan.segments_queried,
            num_segments_processed: scan.segments_processed,
            num_segments_matched: scan.segments_matched,
            num_consuming_segments_queried: scan.consuming_queried,
            num_consuming_segments_processed: scan.consuming_processed,
            num_consuming_segments_matched: scan.consuming_matched,
            min_consuming_freshness_time_ms: stats.newest_ingest_ms,
            num_segments_pruned_by_broker: stats.segments_pruned_by_broker,
            num_segments_pruned_by_server: scan.segments_pruned,
        }
    }
}

/// The rest, most of it constant.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    num_segments_pruned_invalid: u64,
    num_segments_pruned_by_limit: u64,
    num_segments_pruned_by_value: u64,
    broker_reduce_time_ms: u64,
    offline_thread_cpu_time_ns: u64,
    realtime_thread_cpu_time_ns: u64,
    offline_system_activities_cpu_time_ns: u64,
    realtime_system_activities_cpu_time_ns: u64,
    offline_response_serialization_cpu_time_ns: u64,
    realtime_response_serialization_cpu_time_ns: u64,
    offline_total_cpu_time_ns: u64,
    realtime_total_cpu_time_ns: u64,
    explain_plan_num_empty_filter_segments: u64,
    explain_plan_num_match_all_filter_segments: u64,
    trace_info: Nothing,
    tables_queried: Option<&'a BTreeSet<String>>,
    offline_thread_mem_allocated_bytes: u64,
    realtime_thread_mem_allocated_bytes: u64,
    offline_response_ser_mem_allocated_bytes: u64,
    realtime_response_ser_mem_allocated_bytes: u64,
    offline_total_mem_allocated_bytes: u64,
    realtime_total_mem_allocated_bytes: u64,
    pools: [u64; 0],
    rls_filters_applied: bool,
    groups_trimmed: bool,
    warnings: &'a [String],
}

/// What the multi-stage engine has besides: nothing of it happens here.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MultiStage {
    early_termination_reasons: [&'static str; 0],
    max_rows_in_join_reached: bool,
    max_rows_in_window_reached: bool,
    stage_stats: Nothing,
}

/// Where rows of a kept answer are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cursor<'a> {
    offset: usize,
    num_rows: usize,
    cursor_result_write_time_ms: u64,
    cursor_fetch_time_ms: u64,
    submission_time_ms: i64,
    expiration_time_ms: i64,
    broker_host: &'a str,
    broker_port: u16,
    bytes_written: usize,
}

impl<'a> Cursor<'a> {
    fn of(queries: &'a Queries, part: Part<'_>) -> Option<Self> {
        let (kept, offset, num_rows) = match part {
            Part::Whole => return None,
            Part::Page(kept, page) => (kept, page.offset, page.rows.count()),
            Part::Nothing(kept) => (kept, 0, kept.rows),
        };
        let address = queries.config.address.as_str();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        Some(Self {
            offset,
            num_rows,
            cursor_result_write_time_ms: 0,
            cursor_fetch_time_ms: 0,
            submission_time_ms: kept.submitted_ms,
            expiration_time_ms: kept.expires_ms,
            broker_host: host,
            broker_port: port.parse().unwrap_or_default(),
            bytes_written: kept.bytes,
        })
    }
}

/// `{}`.
#[derive(Default, Serialize)]
struct Nothing {}

/// `"<DefaultName>: <detail>"`.
fn exception(fault: &Fault, sql: &str) -> Exception {
    let detail = message_with_place(fault, sql);
    Exception {
        error_code: fault.code,
        message: format!("{}: {detail}", pinot_code::name(fault.code)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataSchema<'a> {
    column_names: Vec<&'a str>,
    column_data_types: Vec<&'static str>,
}

async fn result_table(outcome: &Outcome, rows: &Rows, to: &mut Vec<u8>) {
    let statement = outcome.statement.as_deref();
    let output = statement
        .map(|s| s.parsed.output.as_slice())
        .unwrap_or_default();
    let handled = statement.and_then(|s| s.options.flag("enableNullHandling"));
    let nulls = match handled {
        Some(true) => Nulls::Stay,
        // Whoever asks for system tables wants to see what is missing.
        _ if outcome.stats.tables.is_empty() => Nulls::AreDefaults,
        _ if statement.is_some_and(|s| !s.parsed.shows_nulls) => Nulls::AreNever,
        _ => Nulls::AreDefaults,
    };
    let fields = rows.schema.fields();
    // The list may be of another shape than the plan: then the planner's names stand.
    let output: &[OutputColumn] = match output.len() == fields.len() {
        true => output,
        false => &[],
    };
    let shape = |column: usize| {
        let shape = output.get(column).map_or(Shape::AsPlanned, |o| o.shape);
        match (shape, fields[column].data_type()) {
            (Shape::Double(_), data_type) if !becomes_double(data_type) => Shape::AsPlanned,
            (shape, _) => shape,
        }
    };
    let shapes: Vec<Shape> = (0..fields.len()).map(shape).collect();
    let names = fields.iter().enumerate().map(|(at, field)| {
        let given = output.get(at).and_then(|o| o.name.as_deref());
        given.unwrap_or(field.name().as_str())
    });
    let types = fields
        .iter()
        .zip(&shapes)
        .map(|(field, shape)| match shape {
            Shape::AsPlanned | Shape::End(_) => type_name(field),
            Shape::Double(_) => "DOUBLE",
            Shape::Int => "INT",
        });
    let schema = DataSchema {
        column_names: names.collect(),
        column_data_types: types.collect(),
    };
    to.extend_from_slice(b"\"resultTable\":{\"dataSchema\":");
    let _written = serde_json::to_writer(&mut *to, &schema);
    to.extend_from_slice(b",\"rows\":");
    let shapes = &shapes;
    write_rows(
        &rows.batches,
        |batch, at| cells(batch, at, shapes[at], nulls),
        to,
    )
    .await;
    to.push(b'}');
}

fn cells(batch: &RecordBatch, column: usize, shape: Shape, nulls: Nulls) -> Cells<'_> {
    let array = batch.column(column);
    match shape {
        Shape::Double(aggregate) => {
            let of_nothing = (nulls != Nulls::Stay).then(|| aggregate.of_nothing());
            Cells::doubles(array, of_nothing)
        }
        Shape::End(end) if nulls != Nulls::Stay => Cells::with_end(array, end),
        _ if nulls == Nulls::AreNever => Cells::without_nulls(array),
        _ => Cells::new(array),
    }
}

/// What MIN and MAX leave as it is, Pinot's single-stage engine would refuse.
fn becomes_double(data_type: &DataType) -> bool {
    let decimal = matches!(
        data_type,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _)
    );
    (data_type.is_numeric() && !decimal)
        || matches!(data_type, DataType::Timestamp(_, _) | DataType::Boolean)
}

/// What becomes of a null in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// Of an aggregate over no rows: a number.
    AreDefaults,
    /// As that, and of anything else the single-stage engine's value for nothing: clients of it
    /// expect no null.
    AreNever,
    Stay,
}
