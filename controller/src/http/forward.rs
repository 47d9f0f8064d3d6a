//! Requests that a broker answers: SQL sent to the controller, running queries, and their end.
//!
//! Invariant: nothing is read into a statement here; status, headers and body of the broker go to
//! the client as they are. Only a body that the broker refuses as no request becomes an answer of
//! the query API, as Pinot's controller gives it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use access::Tls;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use rest::api::{delete, get, post};
use rest::{Api, ApiError};
use schemas::Fault;
use schemas::fault::pinot_code;
use serde_json::{Value, json};

use super::brokers::{Broker, living};
use super::{Answer, App};
use crate::state::State;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-pinot-error-code");
/// Of a request, what means something to a broker.
const SENT: [HeaderName; 6] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("database"),
    HeaderName::from_static("pinot-use-http-status-for-errors"),
    HeaderName::from_static("x-correlation-id"),
];
const GIVEN_BACK: [HeaderName; 3] = [CONTENT_TYPE, RETRY_AFTER, ERROR_CODE];

pub(super) fn routes() -> Api<Arc<State>> {
    let example = || json!({ "sql": "SELECT 1", "queryOptions": "timeoutMs=1000" });
    Api::default()
        .route(
            "/sql",
            [
                post("Runs a statement on a broker", post_sql)
                    .body(example())
                    .known(),
                get("Runs a query on a broker", get_sql)
                    .query("sql", "the query")
                    .known(),
            ],
        )
        .route(
            "/queries",
            [get("Running queries by broker", running).known()],
        )
        .route(
            "/query/{broker}/{id}",
            [delete("Cancels a query", cancel).known()],
        )
        .route(
            "/clientQuery/{id}",
            [delete("Cancels a query by its `clientQueryId`", cancel_of_client).known()],
        )
}

/// The client of brokers and of the controller that leads, and whose turn it is. Who asks goes
/// along (`Authorization`): nodes of a cluster know the same principals, and each judges for
/// itself.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// With TLS where this node has it; all nodes of a cluster do as one does.
    tls: Option<Tls>,
    /// Made for a version of the certificate.
    http: Mutex<(u64, reqwest::Client)>,
    turn: AtomicUsize,
}

fn client(tls: Option<&Tls>) -> Result<(u64, reqwest::Client), Fault> {
    let builder = reqwest::Client::builder().no_proxy();
    let (version, builder) = match tls {
        None => (0, builder.tls_built_in_root_certs(false)),
        Some(tls) => {
            let (version, config) = tls.for_http();
            (version, builder.use_preconfigured_tls(config))
        }
    };
    let client = builder.build();
    let client = client.map_err(|error| Fault::internal(format!("no HTTP client: {error}")))?;
    Ok((version, client))
}

impl Forwarder {
    pub(crate) fn new(tls: Option<Tls>) -> Result<Self, Fault> {
        Ok(Self {
            http: Mutex::new(client(tls.as_ref())?),
            tls,
            turn: AtomicUsize::new(0),
        })
    }

    pub(super) fn client(&self) -> Result<reqwest::Client, Fault> {
        let mut made = self.http.lock();
        if let Some(tls) = &self.tls
            && tls.version() != made.0
        {
            *made = client(Some(tls))?;
        }
        Ok(made.1.clone())
    }

    pub(super) fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    fn next(&self, state: &State) -> Option<Broker> {
        let mut brokers = living(state);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(brokers.len())?;
        Some(brokers.swap_remove(at))
    }

    async fn ask(
        &self,
        broker: &Broker,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, Fault> {
        let Broker { name, host, port } = broker;
        let url = format!("{}://{host}:{port}{path}", self.scheme());
        let mut request = self.client()?.request(method, url).body(body);
        for name in &SENT {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let failed = |error| Fault::unavailable(format!("broker `{name}` did not answer: {error}"));
        request.send().await.map_err(failed)
    }
}

async fn post_sql(
    Shared(state): App,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    sql(&state, Method::POST, query, &headers, body).await
}

async fn get_sql(Shared(state): App, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    sql(&state, Method::GET, query, &headers, Bytes::new()).await
}

async fn sql(
    state: &State,
    method: Method,
    query: Option<String>,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let path = match query {
        Some(query) => format!("/query/sql?{query}"),
        None => "/query/sql".to_owned(),
    };
    let Some(broker) = state.forwarder.next(state) else {
        return refused(pinot_code::BROKER_RESOURCE_MISSING, "no broker lives");
    };
    match state
        .forwarder
        .ask(&broker, method, &path, headers, body)
        .await
    {
        Ok(answer) => given_back(answer).await,
        Err(fault) => refused(fault.code, &fault.message),
    }
}

async fn given_back(answer: reqwest::Response) -> Response {
    let status = answer.status();
    let headers = answer.headers().clone();
    let is_answer = headers.contains_key(ERROR_CODE);
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => {
            let message = format!("the broker's answer broke off: {error}");
            return refused(pinot_code::SERVER_NOT_RESPONDING, &message);
        }
    };
    if status == StatusCode::BAD_REQUEST && !is_answer {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = said["error"]
            .as_str()
            .unwrap_or("the request is not understood");
        return refused(pinot_code::JSON_PARSING, message);
    }
    let mut response = (status, body).into_response();
    for name in GIVEN_BACK {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// No broker was asked: an answer of the query API all the same.
fn refused(code: u32, message: &str) -> Response {
    let message = format!("{}: {message}", pinot_code::name(code));
    let body = json!({
        "numRowsResultSet": 0,
        "partialResult": true,
        "exceptions": [{ "errorCode": code, "message": message }],
        "numGroupsLimitReached": false,
        "timeUsedMs": 0,
        "numServersQueried": 0,
        "numServersResponded": 0,
    });
    ([(ERROR_CODE, code.to_string())], Json(body)).into_response()
}

/// Broker → id → statement.
async fn running(Shared(state): App, headers: HeaderMap) -> Answer {
    let mut all = BTreeMap::new();
    for broker in living(&state) {
        let forwarder = &state.forwarder;
        let asked = forwarder.ask(&broker, Method::GET, "/queries", &headers, Bytes::new());
        let queries: Value = asked.await?.json().await.unwrap_or_default();
        all.insert(broker.name, queries);
    }
    Ok(Json(json!(all)))
}

async fn cancel(
    Shared(state): App,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut brokers = living(&state).into_iter();
    let broker = brokers.find(|broker| broker.name == name);
    let broker = broker.ok_or_else(|| Fault::not_found(format!("no broker `{name}` lives")))?;
    let path = format!("/query/{id}");
    let forwarder = &state.forwarder;
    let asked = forwarder.ask(&broker, Method::DELETE, &path, &headers, Bytes::new());
    Ok(given_back(asked.await?).await)
}

/// Which broker runs it, only they know.
async fn cancel_of_client(
    Shared(state): App,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("/query/{id}?client=true");
    for broker in living(&state) {
        let forwarder = &state.forwarder;
        let asked = forwarder.ask(&broker, Method::DELETE, &path, &headers, Bytes::new());
        let answer = asked.await?;
        if answer.status().is_success() {
            return Ok(given_back(answer).await);
        }
    }
    Err(Fault::not_found(format!("no broker runs query `{id}`")).into())
}
