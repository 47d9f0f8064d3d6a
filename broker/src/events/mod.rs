//! `POST /v1/tables/{table}/events`: rows over HTTP into the table's stream.
//!
//! Invariants:
//! - rows are acknowledged when the log has them on disk as it promises (`acks=all`);
//! - a request is checked whole before its first row is sent: rows that the table would reject are
//!   named, and nothing is appended;
//! - a request with an `Idempotency-Key` that was used before appends only what is not there yet.

mod body;
mod key;
mod log;
mod seen;
mod tables;

use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::header::{CONTENT_ENCODING, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use query::after::Token;
use rest::Api;
use rest::api::post;
use schemas::cluster::{Role, TableState};
use schemas::fault::pinot_code;
use schemas::table::{StreamKind, StreamSpec};
use schemas::{Fault, FaultKind, TableSpec, TableType};
use serde_json::json;

use crate::http::RETRY_AFTER_SECONDS;
use crate::query::Queries;
pub(crate) use log::Logs;
use log::Once;

/// Of a request, as it comes and unpacked.
const BODY_BYTES_MAX: usize = 64 << 20;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How often a client has sent the request: when it says `1`, nothing is looked for in the log.
const ATTEMPT: HeaderName = HeaderName::from_static("tannin-attempt");
/// Longer ones are read where they hold up nobody, so many at once.
const HERE_BYTES_MAX: usize = 64 << 10;
const READ_ASIDE_AT_ONCE_MAX: usize = 4;

pub(crate) fn routes() -> Api<Arc<Queries>> {
    let append = post("Appends rows; answers when they are durable", append)
        .body(json!([{ "column": "value" }]))
        .header(
            "Content-Type",
            "application/json, application/x-ndjson, text/csv or \
             application/vnd.apache.arrow.stream",
        )
        .header("Content-Encoding", "gzip or zstd")
        .header(
            "Idempotency-Key",
            "a request that is sent again with the same key appends nothing twice",
        )
        .table(Action::Write);
    Api::default()
        .route("/v1/tables/{table}/events", [append])
        .body_limit(BODY_BYTES_MAX)
}

async fn append(
    Shared(queries): Shared<Arc<Queries>>,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match append_all(&queries, &table, &headers, body).await {
        Ok((rows, token)) => Json(json!({ "rows": rows, "token": token })).into_response(),
        Err(fault) => refused(&fault),
    }
}

fn refused(fault: &Fault) -> Response {
    let status = match fault.code {
        pinot_code::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::from_u16(fault.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let body = Json(json!({ "error": { "code": fault.code, "message": fault.message } }));
    let mut response = (status, body).into_response();
    if fault.retryable {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

async fn append_all(
    queries: &Queries,
    table: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(usize, String), Fault> {
    let cluster = queries.cluster();
    let part = part_of(cluster.resolve(table), table)?;
    let table = queries.logs.tables.get(&cluster, &part);
    let mut room = queries.logs.room(body.len())?;
    let sent_bytes = body.len();
    let events = match sent_bytes > HERE_BYTES_MAX || headers.contains_key(CONTENT_ENCODING) {
        false => body::events(&table, headers, body)?,
        true => {
            let (table, headers) = (Arc::clone(&table), headers.clone());
            let read = move || body::events(&table, &headers, body);
            let read = queries.logs.aside.run(read).await;
            read.map_err(|error| Fault::internal(error.to_string()))??
        }
    };
    let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    room.merge(queries.logs.room(bytes.saturating_sub(sent_bytes))?);
    let key = headers.get(IDEMPOTENCY_KEY);
    let key = key.map(|key| key.to_str().map(str::to_owned)).transpose();
    let key = key.map_err(|_| Fault::invalid("an Idempotency-Key is of printable ASCII"))?;
    let once = key.map(|key| Once {
        key,
        is_first: headers.get(ATTEMPT).is_some_and(|attempt| attempt == "1"),
    });
    let brokers = cluster.instances.values();
    let brokers = brokers.filter(|instance| instance.alive && instance.role == Role::Broker);
    let alone = brokers.count() <= 1;
    let rows = events.len();
    let spec = Arc::clone(&table.spec);
    let physical_table = spec.physical_name();
    let appended = queries.logs.append(spec, events, once, alone, room);
    let ends = appended.await?;
    let token = Token {
        physical_table,
        ends,
    };
    Ok((rows, token.to_string()))
}

/// The part of the table that consumes.
fn part_of(parts: Vec<Arc<TableState>>, table: &str) -> Result<Arc<TableState>, Fault> {
    if parts.is_empty() {
        let message = format!("there is no table `{table}`");
        return Err(Fault::new(
            FaultKind::NotFound,
            pinot_code::TABLE_DOES_NOT_EXIST,
            message,
        ));
    }
    let part = parts
        .into_iter()
        .find(|part| part.spec.table_type == TableType::Realtime && topic_of(&part.spec).is_some());
    part.ok_or_else(|| {
        Fault::invalid(format!(
            "`{table}` has no stream to append to: load files with `tannin import`, or create a \
             REALTIME table"
        ))
    })
}

/// The topic that rows are appended to, and its place among those of the table: the first of Kafka
/// of which all partitions are read.
fn topic_of(spec: &TableSpec) -> Option<(usize, &StreamSpec)> {
    let mut streams = spec.streams.iter().enumerate();
    streams.find(|(_, stream)| stream.kind == StreamKind::Kafka && stream.partitions.is_none())
}
