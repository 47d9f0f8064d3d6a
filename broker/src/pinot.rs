//! The answer of `/query/sql` in Pinot's shape: every field, in Pinot's order; then our `warnings`.
//!
//! Measured for each query:
//!
//! | field | what it is |
//! |---|---|
//! | numRowsResultSet, partialResult, exceptions | rows given; whether it failed; why |
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
//!
//! `materializedViewQueried` and `serverStats`, which Pinot leaves out when they are empty, are.

use arrow::datatypes::DataType;
use query::{OutputColumn, QueryStats, Shape};
use schemas::fault::pinot_code;
use schemas::{Fault, filter_outcome};
use serde_json::{Map, Value, json};

use crate::place::message_with_place;
use crate::query::{Outcome, Queries, Rows};
use crate::values::{double, type_name, value, value_as_double};

/// The body, and the code of the first error: -1 = none.
pub(crate) fn response(queries: &Queries, outcome: &Outcome) -> (Value, i64) {
    let mut body = Map::new();
    let (exceptions, code) = match &outcome.result {
        Ok(_) => (Vec::new(), -1),
        Err(fault) => (vec![exception(fault, &outcome.sql)], i64::from(fault.code)),
    };
    let mut rows_count = 0;
    if let Ok(rows) = &outcome.result {
        let output = outcome
            .statement
            .as_ref()
            .map(|s| s.output.as_slice())
            .unwrap_or_default();
        let handled = outcome
            .statement
            .as_ref()
            .and_then(|s| s.options.flag("enableNullHandling"));
        let nulls = match handled {
            Some(true) => Nulls::Stay,
            _ => Nulls::AreDefaults,
        };
        let (table, count) = result_table(rows, output, nulls);
        rows_count = count;
        body.insert("resultTable".to_owned(), table);
    }
    let partial = !exceptions.is_empty();
    let used_ms = outcome.elapsed.as_millis() as u64;
    let options = outcome.statement.as_ref().map(|s| &s.options.0);
    let client_id = options.and_then(|options| options.get("clientqueryid"));
    let instance = &queries.config.instance.0;
    let fields = json!({
        "numRowsResultSet": rows_count,
        "partialResult": partial,
        "exceptions": exceptions,
        "numGroupsLimitReached": false,
        "numGroupsWarningLimitReached": false,
        "maxRowsInDistinctReached": false,
        "maxRowsWithoutChangeInDistinctReached": false,
        "maxExecutionTimeInDistinctReached": false,
        "timeUsedMs": used_ms,
        "requestId": outcome.id.to_string(),
        "clientRequestId": client_id,
        "brokerId": instance,
    });
    for part in [fields, measured(&outcome.stats), after_pruning(outcome)] {
        if let Value::Object(part) = part {
            body.extend(part);
        }
    }
    (Value::Object(body), code)
}

fn measured(stats: &QueryStats) -> Value {
    let scan = &stats.scan;
    json!({
        "numDocsScanned": scan.docs_scanned,
        "totalDocs": scan.docs_total + stats.docs_pruned_by_broker,
        "numEntriesScannedInFilter": scan.entries_scanned_in_filter,
        "numEntriesScannedPostFilter": scan.entries_scanned_post_filter,
        "numServersQueried": stats.servers_queried.len(),
        "numServersResponded": stats.servers_responded.len(),
        "numSegmentsQueried": scan.segments_queried,
        "numSegmentsProcessed": scan.segments_processed,
        "numSegmentsMatched": scan.segments_matched,
        "numConsumingSegmentsQueried": scan.consuming_queried,
        "numConsumingSegmentsProcessed": scan.consuming_processed,
        "numConsumingSegmentsMatched": scan.consuming_matched,
        "minConsumingFreshnessTimeMs": stats.newest_ingest_ms,
        "numSegmentsPrunedByBroker": stats.segments_pruned_by_broker,
        "numSegmentsPrunedByServer": scan.segments_pruned,
    })
}

/// The rest, most of it constant.
fn after_pruning(outcome: &Outcome) -> Value {
    let explained = |what: &str| outcome.stats.segments_explained(what);
    let cpu_ns = outcome.stats.scan.cpu_ns;
    json!({
        "numSegmentsPrunedInvalid": 0,
        "numSegmentsPrunedByLimit": 0,
        "numSegmentsPrunedByValue": 0,
        "brokerReduceTimeMs": 0,
        "offlineThreadCpuTimeNs": 0,
        "realtimeThreadCpuTimeNs": cpu_ns,
        "offlineSystemActivitiesCpuTimeNs": 0,
        "realtimeSystemActivitiesCpuTimeNs": 0,
        "offlineResponseSerializationCpuTimeNs": 0,
        "realtimeResponseSerializationCpuTimeNs": 0,
        "offlineTotalCpuTimeNs": 0,
        "realtimeTotalCpuTimeNs": cpu_ns,
        "explainPlanNumEmptyFilterSegments": explained(filter_outcome::NEVER),
        "explainPlanNumMatchAllFilterSegments": explained(filter_outcome::ALWAYS),
        "traceInfo": {},
        "tablesQueried": outcome.stats.tables,
        "offlineThreadMemAllocatedBytes": 0,
        "realtimeThreadMemAllocatedBytes": 0,
        "offlineResponseSerMemAllocatedBytes": 0,
        "realtimeResponseSerMemAllocatedBytes": 0,
        "offlineTotalMemAllocatedBytes": 0,
        "realtimeTotalMemAllocatedBytes": 0,
        "pools": [],
        "rlsFiltersApplied": false,
        "groupsTrimmed": false,
        "warnings": outcome.warnings,
    })
}

/// `"<DefaultName>: <detail>"`.
fn exception(fault: &Fault, sql: &str) -> Value {
    let detail = message_with_place(fault, sql);
    let message = format!("{}: {detail}", pinot_code::name(fault.code));
    json!({ "errorCode": fault.code, "message": message })
}

/// The rows, and how many they are.
fn result_table(rows: &Rows, output: &[OutputColumn], nulls: Nulls) -> (Value, usize) {
    let fields = rows.schema.fields();
    // The list may be of another shape than the plan: then the planner's names stand.
    let output = if output.len() == fields.len() {
        output
    } else {
        &[]
    };
    let shape = |column: usize| {
        let shape = output.get(column).map_or(Shape::AsPlanned, |o| o.shape);
        match (shape, fields[column].data_type()) {
            (Shape::Double(_), data_type) if !becomes_double(data_type) => Shape::AsPlanned,
            (shape, _) => shape,
        }
    };
    let shapes: Vec<Shape> = (0..fields.len()).map(shape).collect();
    let names: Vec<&str> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let given = output.get(at).and_then(|o| o.name.as_deref());
            given.unwrap_or(field.name().as_str())
        })
        .collect();
    let types = fields
        .iter()
        .zip(&shapes)
        .map(|(field, shape)| match shape {
            Shape::AsPlanned => type_name(field),
            Shape::Double(_) => "DOUBLE",
            Shape::Int => "INT",
        });
    let types: Vec<&str> = types.collect();
    let mut json_rows = Vec::new();
    for batch in &rows.batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().zip(&shapes);
            let cells = cells.map(|(column, shape)| match shape {
                Shape::Double(aggregate) => match value_as_double(column, row) {
                    Value::Null if nulls == Nulls::AreDefaults => double(aggregate.of_nothing()),
                    value => value,
                },
                _ => value(column, row),
            });
            json_rows.push(Value::Array(cells.collect()));
        }
    }
    let count = json_rows.len();
    let table = json!({
        "dataSchema": { "columnNames": names, "columnDataTypes": types },
        "rows": json_rows,
    });
    (table, count)
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

/// Whether an aggregate over no rows is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    AreDefaults,
    Stay,
}
