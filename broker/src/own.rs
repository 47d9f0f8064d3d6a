//! Our own API: `/v1/sql` in the standard dialect, `/v1/tables`, `/v1/examples`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::join_all;
use query::{Dialect, Options};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::place::Place;
use crate::query::{Outcome, Queries, Request};
use crate::values::{type_name, value};

pub(crate) fn routes() -> Router<Arc<Queries>> {
    Router::new()
        .route("/v1/sql", post(sql))
        .route("/v1/tables", get(tables))
        .route("/v1/examples", get(examples))
}

#[derive(Deserialize)]
struct SqlRequest {
    sql: String,
    #[serde(default)]
    options: std::collections::BTreeMap<String, Value>,
}

async fn sql(Shared(queries): Shared<Arc<Queries>>, body: Bytes) -> Response {
    let body: SqlRequest = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => {
            let message = format!("the body must be JSON with a field `sql`: {error}");
            let fault = Fault::new(FaultKind::Invalid, pinot_code::JSON_PARSING, message);
            return refused(&fault, "");
        }
    };
    let mut options = Options::default();
    for (name, value) in &body.options {
        options.set(
            name,
            &value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        );
    }
    let request = Request {
        sql: body.sql,
        dialect: Dialect::Standard,
        options,
    };
    let outcome = queries.run(request).await;
    match &outcome.result {
        Ok(_) => Json(answer(&queries, &outcome)).into_response(),
        Err(fault) => refused(fault, &outcome.sql),
    }
}

fn refused(fault: &Fault, sql: &str) -> Response {
    let status = StatusCode::from_u16(fault.kind.http_status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(refusal(fault, sql))).into_response()
}

fn answer(queries: &Queries, outcome: &Outcome) -> Value {
    let Ok(rows) = &outcome.result else {
        return Value::Null;
    };
    let columns: Vec<Value> = rows
        .schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": type_name(field) }))
        .collect();
    let mut json_rows = Vec::new();
    for batch in &rows.batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| value(column, row));
            json_rows.push(Value::Array(cells.collect()));
        }
    }
    let scan = &outcome.stats.scan;
    let pruned = outcome.stats.segments_pruned_by_broker;
    let newest_ms = outcome.stats.newest_ingest_ms;
    let age_ms = (newest_ms > 0).then(|| (queries.clock.now_ms() - newest_ms).max(0));
    json!({
        "columns": columns,
        "rows": json_rows,
        "stats": {
            "timeUsedMs": outcome.elapsed.as_secs_f64() * 1000.0,
            "segmentsTotal": scan.segments_queried + pruned,
            "segmentsQueried": scan.segments_queried,
            "segmentsProcessed": scan.segments_processed,
            "segmentsMatched": scan.segments_matched,
            "segmentsPruned": scan.segments_pruned + pruned,
            "indexes": scan.indexes,
            "docsScanned": scan.docs_scanned,
            "totalDocs": scan.docs_total + outcome.stats.docs_pruned_by_broker,
            "newestEventAgeMs": age_ms,
            "nativeOperators": scan.native_operators,
            "fallbackOperators": scan.fallback_operators,
            "servers": outcome.stats.servers_responded.len(),
        },
        "warnings": outcome.warnings,
    })
}

fn refusal(fault: &Fault, sql: &str) -> Value {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let Some(span) = fault.span {
        let Place { line, column } = Place::of(span, sql);
        error["line"] = json!(line);
        error["column"] = json!(column);
        error["span"] = json!({ "start": span.start, "end": span.end });
    }
    json!({ "error": error })
}

/// Names, columns and rows, for completion and for the row counter.
async fn tables(Shared(queries): Shared<Arc<Queries>>) -> Json<Value> {
    let cluster = queries.cluster();
    let mut tables: Vec<_> = cluster.tables.values().collect();
    tables.sort_by_key(|table| table.spec.physical_name());
    tables.dedup_by(|a, b| a.spec.name == b.spec.name);
    let counts = tables
        .iter()
        .map(|table| count(&queries, table.spec.name.as_str()));
    let counts = join_all(counts).await;
    let mut list = Vec::new();
    for (table, rows) in tables.into_iter().zip(counts) {
        let columns: Vec<Value> = table
            .spec
            .columns
            .iter()
            .map(|column| json!({ "name": column.name, "type": column.data_type.name() }))
            .collect();
        list.push(json!({ "name": table.spec.name, "rows": rows, "columns": columns }));
    }
    Json(json!({ "tables": list }))
}

async fn count(queries: &Queries, table: &str) -> Option<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let sql = format!("SELECT COUNT(*) FROM \"{table}\"");
    let request = Request {
        sql,
        dialect: Dialect::Standard,
        options: Options::default(),
    };
    let rows = queries.run(request).await.result.ok()?;
    let batch = rows.batches.first().filter(|batch| batch.num_rows() == 1)?;
    Some(batch.column(0).as_primitive_opt::<Int64Type>()?.value(0))
}

async fn examples(Shared(queries): Shared<Arc<Queries>>) -> Json<Value> {
    let list: Vec<Value> = queries
        .config
        .examples
        .iter()
        .map(|(title, sql)| json!({ "title": title, "sql": sql }))
        .collect();
    Json(json!({ "examples": list }))
}
