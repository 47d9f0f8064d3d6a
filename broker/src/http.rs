//! Pinot's broker endpoints, the page, and health.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use query::{Dialect, Options};
use rest::{ApiError, health_routes};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::query::{Queries, Request};
use crate::{own, pinot};

pub(crate) fn router(queries: &Arc<Queries>) -> Router {
    let ready = {
        let queries = Arc::clone(queries);
        Arc::new(move || queries.ready())
    };
    let health = health_routes(
        queries.config.version,
        ready,
        queries.metrics.registry.clone(),
    );
    Router::new()
        .route("/query/sql", post(post_sql).get(get_sql))
        .route("/query", post(post_sql).get(get_sql))
        .route("/query/sql/validateSyntax", post(validate))
        .route("/queries", get(running))
        .route("/query/{id}", delete(cancel))
        .route("/debug/timeBoundary/{table}", get(time_boundary))
        .route("/debug/routingTable/{table}", get(routing_table))
        .merge(own::routes())
        .route("/", get(|| page(INDEX, "text/html; charset=utf-8")))
        .route(
            "/assets/app.js",
            get(|| page(SCRIPT, "text/javascript; charset=utf-8")),
        )
        .route(
            "/assets/app.css",
            get(|| page(STYLE, "text/css; charset=utf-8")),
        )
        .with_state(Arc::clone(queries))
        .merge(health)
}

const INDEX: &[u8] = include_bytes!("../../web/dist/index.html");
const SCRIPT: &[u8] = include_bytes!("../../web/dist/assets/app.js");
const STYLE: &[u8] = include_bytes!("../../web/dist/assets/app.css");

async fn page(content: &'static [u8], content_type: &'static str) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")],
        content,
    )
}

const WANTS_STATUS: HeaderName = HeaderName::from_static("pinot-use-http-status-for-errors");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-pinot-error-code");

#[derive(Deserialize)]
struct SqlBody {
    sql: String,
    #[serde(rename = "queryOptions", default)]
    query_options: Option<String>,
}

/// A body that is no JSON, or has no `sql`: 400, as Pinot's broker says it.
fn parse_body(body: &[u8]) -> Result<SqlBody, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body must be JSON with a field `sql`: {error}");
        Fault::new(FaultKind::Invalid, pinot_code::JSON_PARSING, message)
    })
}

async fn post_sql(
    Shared(queries): Shared<Arc<Queries>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body = parse_body(&body)?;
    Ok(answer(&queries, &headers, body.sql, body.query_options.as_deref()).await)
}

#[derive(Deserialize)]
struct SqlParameters {
    sql: String,
    #[serde(rename = "queryOptions", default)]
    query_options: Option<String>,
}

async fn get_sql(
    Shared(queries): Shared<Arc<Queries>>,
    headers: HeaderMap,
    Query(parameters): Query<SqlParameters>,
) -> Response {
    answer(
        &queries,
        &headers,
        parameters.sql,
        parameters.query_options.as_deref(),
    )
    .await
}

async fn answer(
    queries: &Queries,
    headers: &HeaderMap,
    sql: String,
    query_options: Option<&str>,
) -> Response {
    let mut options = Options::default();
    options.set_all(query_options.unwrap_or_default());
    let outcome = queries
        .run(Request {
            sql,
            dialect: Dialect::Pinot,
            options,
        })
        .await;
    let (body, code) = pinot::response(queries, &outcome);
    let wants_status = headers
        .get(WANTS_STATUS)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"));
    let status = match &outcome.result {
        Err(fault) if wants_status => StatusCode::from_u16(fault.kind.http_status()),
        _ => Ok(StatusCode::OK),
    };
    let mut response = (status.unwrap_or(StatusCode::OK), Json(body)).into_response();
    response
        .headers_mut()
        .insert(ERROR_CODE, HeaderValue::from(code));
    response
}

async fn validate(
    Shared(queries): Shared<Arc<Queries>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = parse_body(&body)?;
    let limit = queries.config.default_limit;
    Ok(Json(
        match query::parse(&body.sql, Dialect::Pinot, Options::default(), limit) {
            Ok(_) => json!({ "valid": true }),
            Err(fault) => json!({
                "valid": false, "errorCode": fault.code, "errorMessage": fault.message,
            }),
        },
    ))
}

async fn running(Shared(queries): Shared<Arc<Queries>>) -> Json<Value> {
    Json(json!(queries.running()))
}

#[derive(Deserialize)]
struct CancelParameters {
    #[serde(default)]
    client: bool,
}

async fn cancel(
    Shared(queries): Shared<Arc<Queries>>,
    Path(id): Path<String>,
    Query(parameters): Query<CancelParameters>,
) -> Result<Json<Value>, ApiError> {
    queries.cancel(&id, parameters.client)?;
    Ok(Json(json!(format!("Cancelled query: {id}"))))
}

async fn time_boundary(
    Shared(queries): Shared<Arc<Queries>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tables = queries.cluster().resolve(&name);
    let found = tables
        .iter()
        .find_map(|table| Some((table.spec.time_column.clone()?, table.time_boundary_ms?)));
    let (column, boundary_ms) =
        found.ok_or_else(|| Fault::not_found(format!("table `{name}` has no time boundary")))?;
    Ok(Json(
        json!({ "timeColumn": column, "timeValue": boundary_ms.to_string() }),
    ))
}

async fn routing_table(
    Shared(queries): Shared<Arc<Queries>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tables = queries.cluster().resolve(&name);
    if tables.is_empty() {
        return Err(Fault::not_found(format!("table `{name}` does not exist")).into());
    }
    let mut body = Map::new();
    for table in tables {
        let mut servers: Map<String, Value> = Map::new();
        for segment in &table.segments {
            for server in segment.online.iter().take(1) {
                let list = servers.entry(server.0.clone()).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(json!(segment.record.name));
                }
            }
        }
        body.insert(table.spec.physical_name(), Value::Object(servers));
    }
    Ok(Json(Value::Object(body)))
}
