//! The answer of `/query/sql` in Pinot's shape: every field, in Pinot's order.
//!
//! | measured | always the same here |
//! |---|---|
//! | numRowsResultSet, partialResult, timeUsedMs, requestId, numDocsScanned, totalDocs, | group and distinct limits (false: answers are exact), |
//! | numEntriesScannedInFilter, numEntriesScannedPostFilter, numServers*, | numSegmentsPrunedByBroker, -Invalid, -ByLimit, -ByValue (0), |
//! | numSegments*, numConsumingSegments*, minConsumingFreshnessTimeMs, | brokerReduceTimeMs (part of timeUsedMs), system, serialization and |
//! | numSegmentsPrunedByServer, realtimeThreadCpuTimeNs (all servers), | memory statistics (0), explainPlan* (0), traceInfo ({}), |
//! | tablesQueried, exceptions, warnings (ours) | pools ([]), rlsFiltersApplied, groupsTrimmed (false) |

use query::OutputColumn;
use schemas::Fault;
use schemas::fault::pinot_code;
use serde_json::{Map, Value, json};

use crate::query::{Outcome, Queries, Rows};
use crate::values::{type_name, value, value_as_double};

/// The body, and the code of the first error: -1 = none.
pub(crate) fn response(queries: &Queries, outcome: &Outcome) -> (Value, i64) {
    let mut body = Map::new();
    let (exceptions, code) = match &outcome.result {
        Ok(_) => (Vec::new(), -1),
        Err(fault) => (vec![exception(fault)], i64::from(fault.code)),
    };
    let mut rows_count = 0;
    if let Ok(rows) = &outcome.result {
        let output = outcome
            .statement
            .as_ref()
            .map(|s| s.output.as_slice())
            .unwrap_or_default();
        let (table, count) = result_table(rows, output);
        rows_count = count;
        body.insert("resultTable".to_owned(), table);
    }
    let scan = &outcome.stats.scan;
    let partial = !exceptions.is_empty();
    let used_ms = outcome.elapsed.as_millis() as u64;
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
        "clientRequestId": null,
        "brokerId": instance,
    });
    let measured = json!({
        "numDocsScanned": scan.docs_scanned,
        "totalDocs": scan.docs_total,
        "numEntriesScannedInFilter": scan.entries_scanned_in_filter,
        "numEntriesScannedPostFilter": scan.entries_scanned_post_filter,
        "numServersQueried": outcome.stats.servers_queried.len(),
        "numServersResponded": outcome.stats.servers_responded.len(),
        "numSegmentsQueried": scan.segments_queried,
        "numSegmentsProcessed": scan.segments_processed,
        "numSegmentsMatched": scan.segments_matched,
        "numConsumingSegmentsQueried": scan.consuming_queried,
        "numConsumingSegmentsProcessed": scan.consuming_processed,
        "numConsumingSegmentsMatched": scan.consuming_matched,
        "minConsumingFreshnessTimeMs": outcome.stats.newest_ingest_ms,
        "numSegmentsPrunedByBroker": 0,
        "numSegmentsPrunedByServer": scan.segments_pruned,
    });
    let constant = json!({
        "numSegmentsPrunedInvalid": 0,
        "numSegmentsPrunedByLimit": 0,
        "numSegmentsPrunedByValue": 0,
        "brokerReduceTimeMs": 0,
        "offlineThreadCpuTimeNs": 0,
        "realtimeThreadCpuTimeNs": scan.cpu_ns,
        "offlineSystemActivitiesCpuTimeNs": 0,
        "realtimeSystemActivitiesCpuTimeNs": 0,
        "offlineResponseSerializationCpuTimeNs": 0,
        "realtimeResponseSerializationCpuTimeNs": 0,
        "offlineTotalCpuTimeNs": 0,
        "realtimeTotalCpuTimeNs": scan.cpu_ns,
        "explainPlanNumEmptyFilterSegments": 0,
        "explainPlanNumMatchAllFilterSegments": 0,
        "traceInfo": {},
        "tablesQueried": [],
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
    });
    for part in [fields, measured, constant] {
        if let Value::Object(part) = part {
            body.extend(part);
        }
    }
    (Value::Object(body), code)
}

/// `"<DefaultName>: <detail>"`.
pub(crate) fn exception(fault: &Fault) -> Value {
    let message = format!("{}: {}", pinot_code::name(fault.code), fault.message);
    json!({ "errorCode": fault.code, "message": message })
}

fn result_table(rows: &Rows, output: &[OutputColumn]) -> (Value, usize) {
    let fields = rows.schema.fields();
    // The list may be of another shape than the plan: then the planner's names stand.
    let output = if output.len() == fields.len() {
        output
    } else {
        &[]
    };
    let as_double = |column: usize| {
        let numeric = fields[column].data_type().is_numeric();
        output.get(column).is_some_and(|o| o.as_double) && numeric
    };
    let names: Vec<&str> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            output
                .get(at)
                .and_then(|o| o.name.as_deref())
                .unwrap_or(field.name().as_str())
        })
        .collect();
    let types: Vec<&str> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            if as_double(at) {
                "DOUBLE"
            } else {
                type_name(field)
            }
        })
        .collect();
    let mut json_rows = Vec::new();
    for batch in &rows.batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().enumerate().map(|(at, column)| {
                if as_double(at) {
                    value_as_double(column, row)
                } else {
                    value(column, row)
                }
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
