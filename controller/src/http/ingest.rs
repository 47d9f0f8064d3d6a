//! `/ingestFromFile` and `/ingestFromURI`: files become rows of an OFFLINE table, as Pinot has it.
//! Both answer when the rows are seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use access::Action;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use rest::api::{Operation, post};
use rest::{Api, By, Params};
use schemas::Fault;
use schemas::task::StagedFile;
use serde::Deserialize;
use serde_json::{Value, json};

use super::document::{boundary, first_file};
use super::{Answer, App};
use crate::state::State;

/// It is held in memory on its way to the deep store.
const FILE_BYTES_MAX: usize = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn routes() -> Api<Arc<State>> {
    let from_file = into_table(post("Imports the file of a form", from_file));
    let from_uri = into_table(post("Imports a file that the node may read", from_uri))
        .query("sourceURIStr", "file:///path or http://host/path");
    let files = Api::default()
        .route("/ingestFromFile", [from_file])
        .body_limit(FILE_BYTES_MAX);
    Api::default()
        .route("/ingestFromURI", [from_uri])
        .merge(files)
}

fn into_table<S>(operation: Operation<S>) -> Operation<S> {
    operation
        .query("tableNameWithType", "trips_OFFLINE")
        .query("batchConfigMapStr", "{\"inputFormat\":\"csv\"}")
        .inside()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    table_name_with_type: String,
    #[serde(default)]
    batch_config_map_str: String,
    #[serde(rename = "sourceURIStr")]
    source_uri: Option<String>,
}

async fn from_file(
    Shared(state): App,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    caller.check(Action::Write, &wanted.table_name_with_type)?;
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let file = match kind.and_then(boundary) {
        Some(boundary) => first_file(&body, boundary),
        None => None,
    };
    let (name, content) = file.ok_or_else(|| {
        Fault::invalid("the body is no form with a file: curl -F file=@trips.csv sends one")
    })?;
    state.offline_part(&wanted.table_name_with_type)?;
    let staged = state.stage(name, content).await?;
    ingest(&state, &wanted, Vec::new(), vec![staged]).await
}

async fn from_uri(Shared(state): App, By(caller): By, Params(wanted): Params<Wanted>) -> Answer {
    caller.check(Action::Write, &wanted.table_name_with_type)?;
    let missing = || Fault::invalid("the parameter `sourceURIStr` is missing");
    let uri = wanted.source_uri.clone().ok_or_else(missing)?;
    ingest(&state, &wanted, vec![uri], Vec::new()).await
}

async fn ingest(
    state: &State,
    wanted: &Wanted,
    uris: Vec<String>,
    staged: Vec<StagedFile>,
) -> Answer {
    let options = options(&wanted.batch_config_map_str)?;
    let name = &wanted.table_name_with_type;
    let submitted = state.submit_import(name, uris, staged, &options).await?;
    let summary = state.task_result(submitted.task, PATIENCE).await?;
    let table = submitted.table;
    let mut body = json!({
        "status": format!("Successfully ingested file into table: {table}, {summary}"),
    });
    if !submitted.unknown.is_empty() {
        body["unrecognizedProperties"] = json!(submitted.unknown);
    }
    Ok(Json(body))
}

/// Of a JSON object in a parameter.
fn options(text: &str) -> Result<HashMap<String, String>, Fault> {
    if text.trim().is_empty() {
        return Ok(HashMap::new());
    }
    let object: HashMap<String, Value> = serde_json::from_str(text)
        .map_err(|error| Fault::invalid(format!("batchConfigMapStr is no JSON object: {error}")))?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let options = object.into_iter();
    Ok(options
        .map(|(key, value)| (key.to_lowercase(), text(value)))
        .collect())
}
