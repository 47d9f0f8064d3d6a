//! Pinot's doors for SQL, the page, and health.
//!
//! Invariant: `GET` reads. Every statement comes in here, by `POST` or `GET`, and goes out through
//! [`answer`].

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use query::{Dialect, Options};
use rest::api::{Operation, delete, get, post};
use rest::{Api, ApiError, By, Params, health_routes};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pinot::{Part, response};
use crate::place::message_with_place;
use crate::query::{Outcome, Queries, Request};
use crate::{cursors, debug, events, own};

pub(crate) type State = Shared<Arc<Queries>>;
pub(crate) type Door = Result<Response, ApiError>;

/// Statements with very many literals are long.
const BODY_BYTES_MAX: usize = 32 << 20;

pub(crate) fn routes(queries: &Arc<Queries>) -> Api {
    let ready = {
        let queries = Arc::clone(queries);
        Arc::new(move || queries.ready())
    };
    let health = health_routes(
        queries.config.version,
        ready,
        queries.metrics.registry.clone(),
    );
    let validate = post("Whether a statement can be parsed", validate);
    let cancel = delete("Cancels a query", cancel)
        .query("client", "true: the id is the client's `clientQueryId`")
        .inside();
    Api::default()
        .route(
            "/query/sql",
            [
                door(post("Runs a statement", post_sql))
                    .body(example())
                    .inside(),
                door(get("Runs a query", get_sql))
                    .query("sql", "the query")
                    .inside(),
            ],
        )
        .route(
            "/query",
            [
                door(post("Runs it as the multi-stage engine", post_multi))
                    .body(example())
                    .inside(),
                door(get("Runs it as the multi-stage engine", get_multi))
                    .query("sql", "the query")
                    .inside(),
            ],
        )
        .route(
            "/query/sql/validateSyntax",
            [validate.body(example()).known()],
        )
        .route(
            "/queries",
            [get("Ids and texts of running queries", running).inside()],
        )
        .route("/query/{id}", [cancel])
        .merge(cursors::routes())
        .merge(debug::routes())
        .merge(own::routes())
        .merge(events::routes())
        .merge(page_routes())
        .body_limit(BODY_BYTES_MAX)
        .with_state(Arc::clone(queries))
        .merge(health)
}

fn door<S>(operation: Operation<S>) -> Operation<S> {
    operation
        .query("queryOptions", "name=value;name=value")
        .query(
            "getCursor",
            "true: the answer is kept, to be read in pieces",
        )
        .query("numRows", "rows of the first piece")
        .header("Database", "database of unqualified tables")
        .header(
            "Pinot-Use-Http-Status-For-Errors",
            "true: an error has its status, not 200",
        )
}

fn example() -> Value {
    json!({ "sql": "SELECT 1", "queryOptions": "timeoutMs=1000" })
}

fn page_routes() -> Api<Arc<Queries>> {
    let html = get("The page", || page(INDEX, "text/html; charset=utf-8")).known();
    let script = get("Its script", || {
        page(SCRIPT, "text/javascript; charset=utf-8")
    })
    .known();
    let style = get("Its style", || page(STYLE, "text/css; charset=utf-8")).known();
    Api::default()
        .route("/", [html])
        .route("/assets/app.js", [script])
        .route("/assets/app.css", [style])
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
const DATABASE: HeaderName = HeaderName::from_static("database");
/// A query that was refused for want of a place takes longer to come again than one takes to run.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-pinot-error-code");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    sql: String,
    #[serde(default)]
    query_options: Option<String>,
}

/// Behind the `?`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    sql: Option<String>,
    query_options: Option<String>,
    #[serde(default)]
    get_cursor: bool,
    num_rows: Option<usize>,
}

/// A body that is no JSON, or has no `sql`: 400, as Pinot's broker says it.
fn parse_body(body: &[u8]) -> Result<Body, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        not_understood(format!("the body must be JSON with a field `sql`: {error}"))
    })
}

fn not_understood(message: String) -> Fault {
    Fault::new(FaultKind::Invalid, pinot_code::JSON_PARSING, message)
}

/// Which of Pinot's engines a door stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// The single-stage one, unless an option says otherwise.
    Asked,
    MultiStage,
}

type Url = Params<Parameters>;

async fn post_sql(state: State, by: By, headers: HeaderMap, url: Url, body: Bytes) -> Door {
    run(&state, by, &headers, url.0, Some(&body), Engine::Asked).await
}

async fn post_multi(state: State, by: By, headers: HeaderMap, url: Url, body: Bytes) -> Door {
    let engine = Engine::MultiStage;
    run(&state, by, &headers, url.0, Some(&body), engine).await
}

async fn get_sql(state: State, by: By, headers: HeaderMap, url: Url) -> Door {
    run(&state, by, &headers, url.0, None, Engine::Asked).await
}

async fn get_multi(state: State, by: By, headers: HeaderMap, url: Url) -> Door {
    run(&state, by, &headers, url.0, None, Engine::MultiStage).await
}

/// `body`: of a `POST`.
async fn run(
    queries: &Queries,
    By(caller): By,
    headers: &HeaderMap,
    url: Parameters,
    body: Option<&[u8]>,
    engine: Engine,
) -> Door {
    let is_post = body.is_some();
    let body = match body {
        Some(body) => parse_body(body)?,
        None => Body {
            sql: url
                .sql
                .ok_or_else(|| not_understood("the parameter `sql` is needed".to_owned()))?,
            query_options: None,
        },
    };
    let mut options = Options::default();
    if let Some(database) = headers.get(DATABASE).and_then(|name| name.to_str().ok()) {
        options.set("database", database);
    }
    for list in [&url.query_options, &body.query_options] {
        options.set_all(list.as_deref().unwrap_or_default());
    }
    if engine == Engine::MultiStage {
        options.set("useMultistageEngine", "true");
    }
    let outcome = queries
        .run(Request {
            sql: body.sql,
            dialect: Dialect::Pinot,
            options,
            may_write: is_post,
            caller,
        })
        .await;
    let options = outcome.statement.as_deref().map(|s| &s.options);
    let asks_for_cursor = options.and_then(|options| options.flag("getCursor"));
    if (url.get_cursor || asks_for_cursor == Some(true)) && outcome.result.is_ok() {
        let rows = match options
            .map(|options| options.number("cursorNumRows"))
            .transpose()?
        {
            Some(Some(rows)) => Some(rows as usize),
            _ => url.num_rows,
        };
        let kept = queries.cursors.keep(outcome, queries.clock.now_ms())?;
        let page = kept.page(0, rows)?;
        return Ok(answer(queries, headers, &kept.outcome, Part::Page(&kept, &page)).await);
    }
    Ok(answer(queries, headers, &outcome, Part::Whole).await)
}

/// What a query came to, or a part of it, with the headers that clients look at.
pub(crate) async fn answer(
    queries: &Queries,
    headers: &HeaderMap,
    outcome: &Outcome,
    part: Part<'_>,
) -> Response {
    let (body, code) = response(queries, outcome, part).await;
    let wants_status = headers
        .get(WANTS_STATUS)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"));
    let is_refused = code == i64::from(pinot_code::TOO_MANY_REQUESTS);
    // As Pinot does, whether the client asks for statuses or not.
    let is_denied = code == i64::from(pinot_code::ACCESS_DENIED);
    let status = match &outcome.result {
        Err(fault) if wants_status || is_refused || is_denied => {
            StatusCode::from_u16(pinot_code::http_status(fault.code))
        }
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

async fn validate(Shared(queries): State, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = parse_body(&body)?;
    let limit = queries.config.default_limit;
    let options = Options::default();
    if let Some(Ok(_)) = query::file_import(&body.sql, &options) {
        return Ok(Json(json!({ "valid": true, "sqlType": "DML" })));
    }
    let parsed = query::parse(&body.sql, Dialect::Pinot, options, limit);
    Ok(Json(match parsed {
        Ok(_) => json!({ "valid": true, "sqlType": "DQL" }),
        Err(fault) => {
            let message = message_with_place(&fault, &body.sql);
            json!({ "valid": false, "errorCode": fault.code, "errorMessage": message })
        }
    }))
}

async fn running(Shared(queries): State, By(caller): By) -> Json<Value> {
    Json(json!(queries.log.running(&caller)))
}

#[derive(Deserialize)]
struct CancelParameters {
    #[serde(default)]
    client: bool,
}

async fn cancel(
    Shared(queries): State,
    By(caller): By,
    Path(id): Path<String>,
    Params(parameters): Params<CancelParameters>,
) -> Result<Json<Value>, ApiError> {
    queries.log.cancel(&id, parameters.client, &caller)?;
    Ok(Json(json!(format!("Cancelled query: {id}"))))
}
