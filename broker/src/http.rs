//! Pinot's broker endpoints, the page, and health.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
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

use crate::place::message_with_place;
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
        .route("/query", post(post_multi_stage).get(get_multi_stage))
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
/// A query that was refused for want of a place takes longer to come again than one takes to run.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
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

/// Which of Pinot's engines a door stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// The single-stage one, unless an option says otherwise.
    Asked,
    MultiStage,
}

type Door = Result<Response, ApiError>;

async fn post_sql(state: Shared<Arc<Queries>>, headers: HeaderMap, body: Bytes) -> Door {
    Ok(answer(&state, &headers, parse_body(&body)?, Engine::Asked).await)
}

async fn post_multi_stage(state: Shared<Arc<Queries>>, headers: HeaderMap, body: Bytes) -> Door {
    Ok(answer(&state, &headers, parse_body(&body)?, Engine::MultiStage).await)
}

async fn get_sql(state: Shared<Arc<Queries>>, headers: HeaderMap, parameters: Parameters) -> Door {
    Ok(answer(&state, &headers, of_parameters(parameters)?, Engine::Asked).await)
}

async fn get_multi_stage(
    state: Shared<Arc<Queries>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Door {
    Ok(answer(
        &state,
        &headers,
        of_parameters(parameters)?,
        Engine::MultiStage,
    )
    .await)
}

type Parameters = Result<Query<SqlBody>, QueryRejection>;

fn of_parameters(parameters: Parameters) -> Result<SqlBody, Fault> {
    let Query(body) = parameters.map_err(|error| {
        let message = format!("the parameter `sql` is needed: {}", error.body_text());
        Fault::new(FaultKind::Invalid, pinot_code::JSON_PARSING, message)
    })?;
    Ok(body)
}

async fn answer(queries: &Queries, headers: &HeaderMap, body: SqlBody, engine: Engine) -> Response {
    let SqlBody { sql, query_options } = body;
    let mut options = Options::default();
    options.set_all(query_options.as_deref().unwrap_or_default());
    if engine == Engine::MultiStage {
        options.set("useMultistageEngine", "true");
    }
    let outcome = queries
        .run(Request {
            sql,
            dialect: Dialect::Pinot,
            options,
        })
        .await;
    let (body, code) = pinot::response(queries, &outcome).await;
    let wants_status = headers
        .get(WANTS_STATUS)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"));
    let is_refused = code == i64::from(pinot_code::TOO_MANY_REQUESTS);
    let status = match &outcome.result {
        Err(fault) if wants_status || is_refused => StatusCode::from_u16(fault.kind.http_status()),
        _ => Ok(StatusCode::OK),
    };
    let status = status.unwrap_or(StatusCode::OK);
    let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
    response
        .headers_mut()
        .insert(ERROR_CODE, HeaderValue::from(code));
    if is_refused {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

async fn validate(
    Shared(queries): Shared<Arc<Queries>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = parse_body(&body)?;
    let limit = queries.config.default_limit;
    let parsed = query::parse(&body.sql, Dialect::Pinot, Options::default(), limit);
    Ok(Json(match parsed {
        Ok(_) => json!({ "valid": true }),
        Err(fault) => {
            let message = message_with_place(&fault, &body.sql);
            json!({ "valid": false, "errorCode": fault.code, "errorMessage": message })
        }
    }))
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
    let cluster = queries.cluster();
    let mut body = Map::new();
    for table in tables {
        let servers = query::servers_of(&cluster, &table);
        body.insert(table.spec.physical_name(), json!(servers));
    }
    Ok(Json(Value::Object(body)))
}
