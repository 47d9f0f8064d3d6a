//! Our own API: `/v1/sql` in the standard dialect, `/v1/tables`, `/v1/examples`.

use std::sync::Arc;
use std::time::Duration;

use access::Caller;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use query::{Dialect, Options};
use rest::api::{get, post};
use rest::{Api, By, Params};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::forms::{Form, encode};
use crate::http::RETRY_AFTER_SECONDS;
use crate::place::Place;
use crate::query::{Outcome, Queries, Request, Rows};
use crate::rows::write_rows;
use crate::values::{Cells, type_name};

pub(crate) fn routes() -> Api<Arc<Queries>> {
    let run = post("Runs a statement of the standard dialect", sql)
        .query("format", "json, ndjson, csv, arrow or parquet")
        .header("Accept", "the media type of one of these")
        .inside();
    Api::default()
        .route("/v1/sql", [run.body(json!({ "sql": "SELECT 1" }))])
        .route(
            "/v1/tables",
            [get("Tables, their columns and rows", tables).inside()],
        )
        .route(
            "/v1/examples",
            [get("Questions that the page offers", examples).known()],
        )
}

#[derive(Deserialize)]
struct SqlRequest {
    sql: String,
    #[serde(default)]
    options: std::collections::BTreeMap<String, Value>,
}

/// Behind the `?`.
#[derive(Deserialize)]
struct Parameters {
    format: Option<String>,
}

const STATS: HeaderName = HeaderName::from_static("tannin-stats");
const WARNINGS: HeaderName = HeaderName::from_static("tannin-warnings");
/// What is missing, of a query that allows it.
const LEFT_OUT: HeaderName = HeaderName::from_static("tannin-left-out");

async fn sql(
    Shared(queries): Shared<Arc<Queries>>,
    By(caller): By,
    headers: HeaderMap,
    Params(parameters): Params<Parameters>,
    body: Bytes,
) -> Response {
    let form = match Form::wanted(parameters.format.as_deref(), &headers) {
        Ok(form) => form,
        Err(fault) => {
            let refusal = Json(refusal(&fault, ""));
            return (StatusCode::NOT_ACCEPTABLE, refusal).into_response();
        }
    };
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
        may_write: true,
        caller,
    };
    let outcome = queries.run(request).await;
    let mut response = respond(&queries, form, &outcome).await;
    if outcome.is_partial() {
        let headers = response.headers_mut();
        headers.insert(LEFT_OUT, header(&left_out(&outcome)));
    }
    response
}

fn left_out(outcome: &Outcome) -> Vec<&str> {
    let faults = outcome.stats.left_out.iter();
    faults.map(|fault| fault.message.as_str()).collect()
}

async fn respond(queries: &Queries, form: Form, outcome: &Outcome) -> Response {
    match &outcome.result {
        Ok(rows) if form == Form::Json => {
            let body = answer(queries, outcome, rows).await;
            ([(CONTENT_TYPE, form.media_type())], body).into_response()
        }
        Ok(rows) => {
            let begun = queries.clock.monotonic();
            let body = encode(form, &rows.schema, &rows.batches).await;
            let writing = queries.clock.monotonic() - begun;
            in_form(form, body, outcome, &stats(queries, outcome, writing))
        }
        Err(fault) => refused(fault, &outcome.sql),
    }
}

/// Stats and warnings, which have no place in it, are headers.
fn in_form(
    form: Form,
    body: Result<Vec<u8>, Fault>,
    outcome: &Outcome,
    stats: &Stats<'_>,
) -> Response {
    match body {
        Ok(body) => {
            let content_type = HeaderValue::from_static(form.media_type());
            let headers = [
                (CONTENT_TYPE, content_type),
                (STATS, header(stats)),
                (WARNINGS, header(&outcome.warnings)),
            ];
            (headers, body).into_response()
        }
        Err(fault) => refused(&fault, &outcome.sql),
    }
}

/// JSON; what is not of ASCII comes as UTF-8.
fn header(value: &impl Serialize) -> HeaderValue {
    let json = serde_json::to_vec(value).unwrap_or_default();
    HeaderValue::from_bytes(&json).unwrap_or(HeaderValue::from_static("null"))
}

fn refused(fault: &Fault, sql: &str) -> Response {
    let status = StatusCode::from_u16(fault.kind.http_status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(refusal(fault, sql))).into_response();
    if fault.code == pinot_code::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

async fn answer(queries: &Queries, outcome: &Outcome, rows: &Rows) -> Vec<u8> {
    let fields = rows.schema.fields().iter();
    let columns = fields.map(|field| Column {
        name: field.name(),
        data_type: type_name(field),
    });
    let columns: Vec<Column<'_>> = columns.collect();
    let mut body = Vec::with_capacity(4096);
    // Writing to memory does not fail.
    body.extend_from_slice(b"{\"columns\":");
    let _written = serde_json::to_writer(&mut body, &columns);
    body.extend_from_slice(b",\"rows\":");
    let begun = queries.clock.monotonic();
    write_rows(
        &rows.batches,
        |batch, at| Cells::new(batch.column(at)),
        &mut body,
    )
    .await;
    let writing = queries.clock.monotonic() - begun;
    let stats = stats(queries, outcome, writing);
    body.extend_from_slice(b",\"stats\":");
    let _written = serde_json::to_writer(&mut body, &stats);
    body.extend_from_slice(b",\"warnings\":");
    let _written = serde_json::to_writer(&mut body, &outcome.warnings);
    if outcome.is_partial() {
        body.extend_from_slice(b",\"leftOut\":");
        let _written = serde_json::to_writer(&mut body, &left_out(outcome));
    }
    body.push(b'}');
    body
}

/// `writing`: the rows took so long.
fn stats<'a>(queries: &Queries, outcome: &'a Outcome, writing: Duration) -> Stats<'a> {
    let newest_ms = outcome.stats.newest_ingest_ms;
    let age_ms = (newest_ms > 0).then(|| (queries.clock.now_ms() - newest_ms).max(0));
    Stats::of(outcome, age_ms, writing)
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    data_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    time_used_ms: f64,
    /// Of this, parsing and planning.
    plan_ms: f64,
    /// Afterwards: the text of the rows.
    write_ms: f64,
    segments_total: u64,
    segments_queried: u64,
    segments_processed: u64,
    segments_matched: u64,
    segments_pruned: u64,
    indexes: &'a [String],
    docs_scanned: u64,
    total_docs: u64,
    newest_event_age_ms: Option<i64>,
    native_operators: u64,
    fallback_operators: u64,
    threads: u32,
    servers: usize,
    /// The plan of an earlier statement of the shape was used.
    plan_template: bool,
}

impl<'a> Stats<'a> {
    fn of(outcome: &'a Outcome, newest_event_age_ms: Option<i64>, writing: Duration) -> Self {
        let scan = &outcome.stats.scan;
        let pruned = outcome.stats.segments_pruned_by_broker;
        Self {
            time_used_ms: ms(outcome.elapsed),
            plan_ms: ms(outcome.parsing + outcome.stats.planning),
            write_ms: ms(writing),
            segments_total: scan.segments_queried + pruned,
            segments_queried: scan.segments_queried,
            segments_processed: scan.segments_processed,
            segments_matched: scan.segments_matched,
            segments_pruned: scan.segments_pruned + pruned,
            indexes: &scan.indexes,
            docs_scanned: scan.docs_scanned,
            total_docs: scan.docs_total + outcome.stats.docs_pruned_by_broker,
            newest_event_age_ms,
            native_operators: scan.native_operators,
            fallback_operators: scan.fallback_operators,
            threads: scan.threads,
            servers: outcome.stats.servers_responded.len(),
            plan_template: outcome.stats.template_used,
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
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
async fn tables(Shared(queries): Shared<Arc<Queries>>, By(caller): By) -> Json<Value> {
    let cluster = caller.visible(&queries.cluster());
    let mut tables: Vec<_> = cluster.tables.values().collect();
    tables.sort_by_key(|table| table.spec.physical_name());
    tables.dedup_by(|a, b| a.spec.name == b.spec.name);
    let counts = tables
        .iter()
        .map(|table| count(&queries, &caller, table.spec.name.as_str()));
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

async fn count(queries: &Queries, caller: &Caller, table: &str) -> Option<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let sql = format!("SELECT COUNT(*) FROM \"{table}\"");
    let request = Request {
        sql,
        dialect: Dialect::Standard,
        options: Options::default(),
        may_write: false,
        caller: caller.clone(),
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
