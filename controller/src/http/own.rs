//! Our own API under `/v1`: strict, and about what Pinot has no words for.

use std::sync::Arc;
use std::time::Duration;

use access::Action;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use rest::api::{get, post};
use rest::{Api, By, Params};
use schemas::pinot::{
    UnknownKeys, Violations, parse_schema_with, parse_table, parse_table_config_with,
};
use schemas::segment::SegmentRecord;
use schemas::{Fault, TableId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::document::Document;
use super::{Answer, App};
use crate::reconcile::move_boundary;
use crate::replacements::is_held;
use crate::state::State;

const SEGMENT_BYTES_MAX: usize = 2 << 30;
const RECORD_HEADER: &str = "x-tannin-segment";
/// How long an upload waits until its servers hold the segment and the brokers know.
const ONLINE_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Api<Arc<State>> {
    let create = post("Adds a schema and its table", create).inside();
    let upload = post("Takes one packed segment of an OFFLINE table", upload)
        .header(RECORD_HEADER, "the segment's record as JSON")
        .query(
            "import",
            "id of the import that it is of; it counts when that ends",
        )
        .table(Action::Write);
    let segments = Api::default()
        .route(
            "/v1/segments/{table}",
            [
                get("Records of segments", ledger).table(Action::Read),
                upload,
            ],
        )
        .body_limit(SEGMENT_BYTES_MAX);
    Api::default()
        .route(
            "/v1/tables",
            [create.body(json!({ "schema": {}, "tableConfig": {} }))],
        )
        .route(
            "/v1/tables/{table}/status",
            [
                get("What was consumed, and why nothing is", super::status::read)
                    .table(Action::Read),
            ],
        )
        .route(
            "/v1/tables/{table}/spec",
            [get("What the table is", spec).table(Action::Read)],
        )
        .route(
            "/v1/cluster",
            [get("Who lives", cluster).cluster(Action::Read)],
        )
        .merge(segments)
}

#[derive(Deserialize)]
struct CreateTable {
    schema: Value,
    #[serde(rename = "tableConfig")]
    table_config: Value,
}

/// Schema and table in one request; unknown keys are refused, and all faults of both come at once.
async fn create(Shared(state): App, By(caller): By, document: Document) -> Answer {
    let request: CreateTable = document.parse()?;
    let schema_json = request.schema.to_string();
    let config_json = request.table_config.to_string();
    let schema = parse_schema_with(&schema_json, UnknownKeys::Refuse);
    let table = match &schema {
        Ok(schema) => {
            let (schema, id) = (Some(&schema.value), TableId::random());
            parse_table(&config_json, schema, id, UnknownKeys::Refuse)
        }
        Err(_) => parse_table_config_with(&config_json, UnknownKeys::Refuse)
            .and(Err(Violations(Vec::new()))),
    };
    let (schema, table) = match (schema, table) {
        (Ok(schema), Ok(table)) => (schema, table),
        (schema, table) => {
            let of_schema = schema.err().map(|faults| faults.within("schema").0);
            let of_table = table.err().map(|faults| faults.within("tableConfig").0);
            let all = of_schema.into_iter().chain(of_table).flatten();
            return Err(Fault::from(Violations(all.collect())).into());
        }
    };
    let spec = table.value.spec;
    caller.check(Action::Admin, spec.name.as_str())?;
    let creating = state.create_table(schema_json, config_json, spec);
    let created = creating.await?;
    let warnings = [schema.warnings, table.warnings].concat();
    Ok(Json(json!({
        "table": created.spec.name,
        "id": created.spec.id,
        "warnings": warnings,
    })))
}

async fn spec(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.resolve(&name)?.remove(0);
    let next = state.catalog.next_sequence(table.spec.id).await;
    let next = next.map_err(Fault::from)?;
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

#[derive(Deserialize)]
struct OfImport {
    import: Option<Uuid>,
}

/// Takes one packed segment of an OFFLINE table; answers when its servers hold it, or at once when
/// it is one of an import.
async fn upload(
    Shared(state): App,
    Path(name): Path<String>,
    Params(of): Params<OfImport>,
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
    let table = state.offline_part(&name)?;
    if record.id.table != table.spec.id || !record.is_done() {
        let message = format!("the segment is not one of OFFLINE table `{name}`");
        return Err(Fault::invalid(message).into());
    }
    let key = SegmentRecord::object_key(record.id, record.crc);
    record.stored_bytes = body.len() as u64;
    state.deep.upload(&key, body).await.map_err(Fault::from)?;
    record.uri = Some(key);
    let record = match of.import {
        Some(import) => state.add_replacing_segment(import, record).await?,
        None => {
            let record = state.add_offline_segment(record).await?;
            wait_until_online(&state, &record).await?;
            record
        }
    };
    Ok(Json(
        json!({ "segment": record.name, "rows": record.ledger.rows }),
    ))
}

async fn wait_until_online(state: &State, record: &SegmentRecord) -> Result<(), Fault> {
    let deadline = state.clock.monotonic() + ONLINE_PATIENCE;
    loop {
        let table = state.table(record.id.table);
        let found = table.filter(|table| table.segments.find(record.id).is_some_and(is_held));
        if let Some(table) = found {
            move_boundary(state, &table).await?;
            return state.wait_until_seen(ONLINE_PATIENCE).await;
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
