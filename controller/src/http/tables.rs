//! `/tables`: Pinot's table configs and the views of a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::routing::{get, post};
use axum::{Json, Router};
use rest::ApiError;
use schemas::cluster::TableState;
use schemas::pinot::{Parsed, TableConfig, parse_table_config};
use schemas::{Fault, TableType};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, App, broker_addresses};
use crate::state::State;
use crate::tables::Consumption;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/tables", get(list).post(create))
        .route("/tables/{table}", get(read).put(replace).delete(remove))
        .route("/tables/{table}/schema", get(schema))
        .route("/tables/{table}/size", get(size))
        .route("/tables/{table}/metadata", get(metadata))
        .route("/tables/{table}/state", get(state_of).put(set_state))
        .route("/tables/{table}/externalview", get(external_view))
        .route("/tables/{table}/idealstate", get(ideal_state))
        .route("/tables/{table}/instances", get(instances))
        .route("/tables/{table}/pauseConsumption", post(pause))
        .route("/tables/{table}/resumeConsumption", post(resume))
        .route("/tables/{table}/pauseStatus", get(pause_status))
}

#[derive(Deserialize, Default)]
struct TypeFilter {
    #[serde(rename = "type")]
    table_type: Option<String>,
}

/// Tables behind a name, of one type when the request says so.
fn resolve(state: &State, name: &str, filter: &TypeFilter) -> Result<Vec<Arc<TableState>>, Fault> {
    let wanted = filter.table_type.as_deref().map(str::to_uppercase);
    let mut found = state.resolve(name)?;
    found.retain(|t| {
        wanted
            .as_ref()
            .is_none_or(|w| *w == t.spec.table_type.to_string())
    });
    if found.is_empty() {
        return Err(Fault::not_found(format!("table `{name}` does not exist")));
    }
    Ok(found)
}

fn accepted(parsed: &Parsed<TableConfig>, what: &str) -> Value {
    let name = parsed.value.name.with_type(parsed.value.table_type);
    let mut body = json!({
        "unrecognizedProperties": parsed.unrecognized,
        "status": format!("Table {name} {what}"),
    });
    if !parsed.warnings.is_empty() {
        body["warnings"] = json!(parsed.warnings);
    }
    body
}

async fn list(Shared(state): App, Query(filter): Query<TypeFilter>) -> Answer {
    let wanted = filter.table_type.as_deref().map(str::to_uppercase);
    let mut names: Vec<String> = state
        .tables()
        .iter()
        .filter(|t| {
            wanted
                .as_ref()
                .is_none_or(|w| *w == t.spec.table_type.to_string())
        })
        .map(|table| table.spec.name.to_string())
        .collect();
    names.sort();
    names.dedup();
    Ok(Json(json!({ "tables": names })))
}

async fn create(Shared(state): App, body: String) -> Answer {
    let parsed = parse_table_config(&body).map_err(Fault::from)?;
    let answer = accepted(&parsed, "successfully added");
    let name = parsed.value.name.as_str();
    let schema = state.catalog.schema(name).await.map_err(Fault::from)?;
    let schema = schema.ok_or_else(|| {
        Fault::invalid(format!(
            "schema `{name}` does not exist; POST it to /schemas first"
        ))
    })?;
    state.create_table(schema, body, parsed).await?;
    Ok(Json(answer))
}

async fn replace(Shared(state): App, Path(name): Path<String>, body: String) -> Answer {
    let parsed = parse_table_config(&body).map_err(Fault::from)?;
    let answer = accepted(&parsed, "successfully updated");
    let raw = state.resolve(&name)?.remove(0).spec.name.clone();
    if raw != parsed.value.name {
        let message = format!(
            "the config is of `{}`, the path says `{name}`",
            parsed.value.name
        );
        return Err(Fault::invalid(message).into());
    }
    state.change_table(body, parsed).await?;
    Ok(Json(answer))
}

/// Each part as it was posted.
async fn read(
    Shared(state): App,
    Path(name): Path<String>,
    Query(filter): Query<TypeFilter>,
) -> Answer {
    let mut parts = Map::new();
    for table in resolve(&state, &name, &filter)? {
        let stored = state
            .catalog
            .table(table.spec.id)
            .await
            .map_err(Fault::from)?;
        let json = stored
            .map(|stored| stored.value.config_json)
            .unwrap_or_default();
        let config = serde_json::from_str(&json).unwrap_or(Value::Null);
        parts.insert(table.spec.table_type.to_string(), config);
    }
    Ok(Json(Value::Object(parts)))
}

async fn remove(
    Shared(state): App,
    Path(name): Path<String>,
    Query(filter): Query<TypeFilter>,
) -> Answer {
    let tables = resolve(&state, &name, &filter)?;
    for table in &tables {
        state.drop_table(table).await?;
    }
    let names: Vec<String> = tables
        .iter()
        .map(|table| table.spec.physical_name())
        .collect();
    Ok(Json(
        json!({ "status": format!("Tables: [{}] deleted", names.join(", ")) }),
    ))
}

async fn schema(Shared(state): App, Path(name): Path<String>) -> Answer {
    let table = state.resolve(&name)?.remove(0);
    let stored = state
        .catalog
        .table(table.spec.id)
        .await
        .map_err(Fault::from)?;
    let json = stored
        .map(|stored| stored.value.schema_json)
        .unwrap_or_default();
    let parsed = serde_json::from_str(&json);
    Ok(Json(parsed.map_err(|error| {
        Fault::internal(format!("schema is damaged: {error}"))
    })?))
}

async fn size(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let mut body = json!({ "tableName": name });
    let (mut total, mut per_replica) = (0, 0);
    for (key, table_type) in [
        ("offlineSegments", TableType::Offline),
        ("realtimeSegments", TableType::Realtime),
    ] {
        let Some(table) = tables.iter().find(|t| t.spec.table_type == table_type) else {
            body[key] = Value::Null;
            continue;
        };
        let mut segments = Map::new();
        let mut reported = 0;
        for segment in &table.segments {
            let copies = segment.online.len() as u64;
            let bytes = segment.record.bytes;
            reported += bytes * copies;
            per_replica += bytes;
            let servers: Map<String, Value> = segment
                .online
                .iter()
                .map(|server| (server.0.clone(), json!({ "diskSizeInBytes": bytes })))
                .collect();
            segments.insert(
                segment.record.name.clone(),
                json!({
                    "reportedSizeInBytes": bytes * copies,
                    "estimatedSizeInBytes": bytes * copies,
                    "maxReportedSizePerReplicaInBytes": bytes,
                    "serverInfo": servers,
                }),
            );
        }
        total += reported;
        body[key] = json!({
            "reportedSizeInBytes": reported,
            "estimatedSizeInBytes": reported,
            "missingSegments": table.segments.iter().filter(|s| s.online.is_empty()).count(),
            "segments": segments,
        });
    }
    body["reportedSizeInBytes"] = json!(total);
    body["estimatedSizeInBytes"] = json!(total);
    body["reportedSizePerReplicaInBytes"] = json!(per_replica);
    Ok(Json(body))
}

async fn metadata(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let records = || {
        tables
            .iter()
            .flat_map(|table| table.segments.iter().map(|s| &s.record))
    };
    Ok(Json(json!({
        "tableName": name,
        "diskSizeInBytes": records().map(|record| record.bytes).sum::<u64>(),
        "numSegments": records().count(),
        "numRows": records().map(|record| record.ledger.rows).sum::<u64>(),
    })))
}

async fn state_of(Shared(state): App, Path(name): Path<String>) -> Answer {
    state.resolve(&name)?;
    Ok(Json(json!({ "state": "enabled" })))
}

#[derive(Deserialize)]
struct SetState {
    state: String,
}

async fn set_state(
    Shared(state): App,
    Path(name): Path<String>,
    Query(wanted): Query<SetState>,
) -> Answer {
    state.resolve(&name)?;
    match wanted.state.as_str() {
        "enable" => Ok(Json(
            json!({ "status": format!("Table {name} is enabled") }),
        )),
        "disable" => Err(Fault::invalid("disabling a table is not supported yet").into()),
        other => {
            let message = format!("`{other}` is no state: enable or disable");
            Err(Fault::invalid(message).into())
        }
    }
}

/// Segment → server → state, from `of`.
fn view(
    tables: &[Arc<TableState>],
    of: fn(&schemas::cluster::SegmentState) -> &Vec<schemas::InstanceId>,
) -> Value {
    let mut body = json!({ "OFFLINE": null, "REALTIME": null });
    for table in tables {
        let segments: BTreeMap<&str, BTreeMap<&str, &str>> = table
            .segments
            .iter()
            .map(|segment| {
                let state = if segment.record.is_done() {
                    "ONLINE"
                } else {
                    "CONSUMING"
                };
                let servers = of(segment).iter().map(|server| (server.0.as_str(), state));
                (segment.record.name.as_str(), servers.collect())
            })
            .collect();
        body[table.spec.table_type.to_string()] = json!(segments);
    }
    body
}

async fn external_view(Shared(state): App, Path(name): Path<String>) -> Answer {
    Ok(Json(view(&state.resolve(&name)?, |segment| {
        &segment.online
    })))
}

async fn ideal_state(Shared(state): App, Path(name): Path<String>) -> Answer {
    Ok(Json(view(&state.resolve(&name)?, |segment| {
        &segment.assigned
    })))
}

async fn instances(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let brokers: Vec<String> = broker_addresses(&state)
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    let parts = |names: &dyn Fn(&TableState) -> Vec<String>| -> Vec<Value> {
        tables
            .iter()
            .map(|table| {
                json!({ "tableType": table.spec.table_type.to_string(), "instances": names(table) })
            })
            .collect()
    };
    let servers = |table: &TableState| {
        let mut names: Vec<String> = table
            .segments
            .iter()
            .flat_map(|s| s.assigned.iter().map(|id| id.0.clone()))
            .collect();
        names.sort();
        names.dedup();
        names
    };
    Ok(Json(json!({
        "tableName": name,
        "brokers": parts(&|_| brokers.clone()),
        "server": parts(&servers),
    })))
}

async fn pause(Shared(state): App, Path(name): Path<String>) -> Answer {
    state.pause(&name, Consumption::Paused).await?;
    pause_body(&state, &name)
}

async fn resume(Shared(state): App, Path(name): Path<String>) -> Answer {
    state.pause(&name, Consumption::Running).await?;
    pause_body(&state, &name)
}

async fn pause_status(Shared(state): App, Path(name): Path<String>) -> Answer {
    pause_body(&state, &name)
}

fn pause_body(state: &State, name: &str) -> Result<Json<Value>, ApiError> {
    let tables = state.resolve(name)?;
    let consuming: Vec<&str> = tables
        .iter()
        .flat_map(|table| table.segments.iter().filter(|s| !s.record.is_done()))
        .map(|segment| segment.record.name.as_str())
        .collect();
    Ok(Json(json!({
        "pauseFlag": tables.iter().any(|table| table.paused),
        "consumingSegments": consuming,
        "reasonCode": "ADMINISTRATIVE",
    })))
}
