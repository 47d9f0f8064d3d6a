//! Our own API under `/v1`: strict, and about what Pinot has no words for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use schemas::Fault;
use schemas::pinot::{parse_schema, parse_table_config};
use schemas::segment::SegmentRecord;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, App};
use crate::state::State;

const SEGMENT_BYTES_MAX: usize = 2 << 30;
const RECORD_HEADER: &str = "x-tannin-segment";
/// How long an upload waits until its servers hold the segment.
const ONLINE_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/tables", post(create))
        .route("/v1/tables/{table}/status", get(super::status::read))
        .route("/v1/tables/{table}/spec", get(spec))
        .route(
            "/v1/segments/{table}",
            get(ledger)
                .post(upload)
                .layer(DefaultBodyLimit::max(SEGMENT_BYTES_MAX)),
        )
        .route("/v1/cluster", get(cluster))
}

#[derive(Deserialize)]
struct CreateTable {
    schema: Value,
    #[serde(rename = "tableConfig")]
    table_config: Value,
}

/// Schema and table in one request; unknown keys are refused.
async fn create(Shared(state): App, Json(request): Json<CreateTable>) -> Answer {
    let schema_json = request.schema.to_string();
    let config_json = request.table_config.to_string();
    let strict_schema = parse_schema(&schema_json).and_then(|parsed| parsed.strict());
    let schema = strict_schema.map_err(Fault::from)?;
    let strict_config = parse_table_config(&config_json).and_then(|parsed| parsed.strict());
    let config = strict_config.map_err(Fault::from)?;
    let warnings = config.warnings.clone();
    let table = state
        .create_table(schema_json.clone(), config_json, config)
        .await?;
    let name = schema.value.name.as_str();
    state
        .catalog
        .put_schema(name, schema_json)
        .await
        .map_err(Fault::from)?;
    Ok(Json(
        json!({ "table": table.spec.name, "id": table.spec.id, "warnings": warnings }),
    ))
}

async fn spec(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.resolve(&name)?.remove(0);
    let next = table
        .segments
        .iter()
        .map(|s| s.record.id.sequence + 1)
        .max()
        .unwrap_or(0);
    Ok(Json(json!({ "spec": table.spec, "nextSequence": next })))
}

async fn ledger(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let records: Vec<&SegmentRecord> = tables
        .iter()
        .flat_map(|table| table.segments.iter().map(|s| &s.record))
        .collect();
    Ok(Json(json!({ "segments": records })))
}

/// Takes one packed segment of an OFFLINE table; answers when its servers hold it.
async fn upload(
    Shared(state): App,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let header = headers
        .get(RECORD_HEADER)
        .and_then(|value| value.to_str().ok());
    let header = header.ok_or_else(|| {
        Fault::invalid(format!(
            "the header {RECORD_HEADER} with the segment's record is missing"
        ))
    })?;
    let mut record: SegmentRecord = serde_json::from_str(header)
        .map_err(|error| Fault::invalid(format!("{RECORD_HEADER} is not understood: {error}")))?;
    let table = state.resolve(&name)?.remove(0);
    if record.id.table != table.spec.id || !record.is_done() {
        return Err(Fault::invalid(format!("the segment is not one of table `{name}`")).into());
    }
    let key = SegmentRecord::object_key(record.id, record.crc);
    record.stored_bytes = body.len() as u64;
    state.deep.upload(&key, body).await.map_err(Fault::from)?;
    record.uri = Some(key);
    let record = state.add_offline_segment(record).await?;
    wait_until_online(&state, &record).await?;
    Ok(Json(
        json!({ "segment": record.name, "rows": record.ledger.rows }),
    ))
}

async fn wait_until_online(state: &State, record: &SegmentRecord) -> Result<(), Fault> {
    let deadline = state.clock.monotonic() + ONLINE_PATIENCE;
    loop {
        let table = state.table(record.id.table);
        let online = table.is_some_and(|table| {
            let found = table.segments.iter().find(|s| s.record.id == record.id);
            found.is_some_and(|s| s.assigned.iter().all(|server| s.online.contains(server)))
        });
        if online {
            return Ok(());
        }
        if state.clock.monotonic() >= deadline {
            return Err(Fault::timeout(format!(
                "segment `{}` is stored, but its servers have not loaded it yet",
                record.name
            )));
        }
        state.clock.sleep(Duration::from_millis(10)).await;
    }
}

async fn cluster(Shared(state): App) -> Json<Value> {
    let instances: Vec<Value> = state
        .instances()
        .into_iter()
        .map(|(id, instance)| {
            json!({
                "instance": id, "role": instance.role, "address": instance.address,
                "alive": instance.alive, "segments": instance.held.len(),
            })
        })
        .collect();
    Json(json!({ "instances": instances }))
}
