//! Requests to a controller that does not lead go to the one that does; Pinot's `/leader`.
//!
//! Invariant: a request is sent on at most once; the answer comes back as it is. When nobody
//! leads, or the leader is away, reads are answered from the catalog's copy here.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metastore::catalog::Group;
use rest::api::get;
use rest::{Api, ApiError, By};
use schemas::Fault;
use serde_json::{Value, json};

use super::{Answer, App};
use crate::leader::Leader;
use crate::state::State;

/// Names the controller that has sent a request on.
const SENT_ON: HeaderName = HeaderName::from_static("x-tannin-sent-on-by");
/// About one connection, not about the request: lengths are made anew, as the body is a stream from
/// here on, and whose page asks was judged at the door.
const OF_A_CONNECTION: [HeaderName; 5] =
    [HOST, ORIGIN, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];
/// What is asked of this very process.
const OWN: &str = "/pinot-controller/admin";

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/leader/tables",
            [get("Who decides about which tables", all).known()],
        )
        .route(
            "/leader/tables/{table}",
            [get("Who decides about a table", one).table(Action::Read)],
        )
}

pub(super) async fn to_the_leader(Shared(state): App, request: Request, next: Next) -> Response {
    let is_read = request.method().is_safe();
    let was_sent_on = request.headers().contains_key(&SENT_ON);
    if request.uri().path() == OWN {
        return next.run(request).await;
    }
    match state.leadership.now() {
        Leader::Here => next.run(request).await,
        Leader::There(other) if !was_sent_on => {
            let (head, body) = request.into_parts();
            let again = is_read.then(|| head.clone());
            let sent = send_on(&state, &other.record.http, Request::from_parts(head, body));
            match (sent.await, again) {
                (Ok(answer), _) => answer,
                // The leader is away: the copy of the catalog here is as good as any.
                (Err(_), Some(head)) => next.run(Request::from_parts(head, Body::empty())).await,
                (Err(fault), None) => ApiError(fault).into_response(),
            }
        }
        Leader::There(_) | Leader::Nobody if is_read => next.run(request).await,
        Leader::There(_) | Leader::Nobody => ApiError(state.no_leader()).into_response(),
    }
}

async fn send_on(state: &State, address: &str, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = without_connection(&head.headers);
    let is_read = head.method.is_safe();
    let scheme = state.forwarder.scheme();
    let mut sent = state
        .forwarder
        .client()?
        .request(head.method, format!("{scheme}://{address}{path}"))
        .headers(headers)
        .header(SENT_ON, &state.config.instance);
    if !is_read {
        sent = sent.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = sent.send().await.map_err(|error| {
        Fault::unavailable(format!(
            "the controller that leads, at {address}, does not answer: {error}"
        ))
    })?;
    let (status, headers) = (answer.status(), without_connection(answer.headers()));
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn without_connection(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in &OF_A_CONNECTION {
        kept.remove(name);
    }
    kept
}

/// In Pinot's form: leader of each group, with its tables.
fn leaders(state: &State, wanted: impl Fn(&str) -> bool) -> Value {
    let id = match state.leadership.now() {
        Leader::Here => Some(state.config.instance.clone()),
        Leader::There(other) => Some(other.record.instance.clone()),
        Leader::Nobody => None,
    };
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in state.tables() {
        let name = table.spec.physical_name();
        if wanted(&name) {
            let group = format!(
                "leadControllerResource_{}",
                Group::of(table.spec.id).number()
            );
            groups.entry(group).or_default().push(name);
        }
    }
    let entries = groups.into_iter().map(|(group, mut tables)| {
        tables.sort();
        (
            group,
            json!({ "leadControllerId": id, "tableNames": tables }),
        )
    });
    let entries: serde_json::Map<String, Value> = entries.collect();
    json!({ "leadControllerResourceEnabled": true, "leadControllerEntryMap": entries })
}

async fn all(Shared(state): App, By(caller): By) -> Json<Value> {
    Json(leaders(&state, |table| caller.may_any(table)))
}

async fn one(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let names: Vec<String> = tables
        .iter()
        .map(|table| table.spec.physical_name())
        .collect();
    Ok(Json(leaders(&state, |table| {
        names.iter().any(|name| name == table)
    })))
}
