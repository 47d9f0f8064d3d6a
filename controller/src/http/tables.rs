//! `/tables`: Pinot's table configs and the views of a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use rest::api::{Operation, delete, get, post, put};
use rest::{Api, By, Params};
use schemas::cluster::TableState;
use schemas::pinot::{
    Parsed, Table, UnknownKeys, parse_schema, parse_table, parse_table_config, table_name,
};
use schemas::{Fault, TableId, TableType};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::brokers::living;
use super::document::Document;
use super::{Answer, App};
use crate::state::State;

pub(super) fn routes() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tables",
            [
                of_type(get("Names of tables", list)).known(),
                post("Adds a table whose schema is there", create)
                    .body(json!({}))
                    .inside(),
            ],
        )
        .route(
            "/tables/{table}",
            [
                of_type(get("Configs of a table as they were posted", read)).table(Action::Read),
                put("Replaces a config", replace)
                    .body(json!({}))
                    .table(Action::Admin),
                of_type(delete("Removes a table and its rows", remove)).table(Action::Admin),
            ],
        )
        .route(
            "/tables/{table}/schema",
            [get("Its schema", schema).table(Action::Read)],
        )
        .route(
            "/tables/{table}/size",
            [get("Its bytes by segment", size).table(Action::Read)],
        )
        .route(
            "/tables/{table}/metadata",
            [get("Its bytes, segments and rows", metadata).table(Action::Read)],
        )
        .route(
            "/tables/{table}/state",
            [
                get("Whether it is enabled", state_of).table(Action::Read),
                put("Enables it", set_state)
                    .query("state", "enable")
                    .table(Action::Admin),
            ],
        )
        .merge(views())
}

fn views() -> Api<Arc<State>> {
    Api::default()
        .route(
            "/tables/{table}/externalview",
            [of_type(get("Who serves which segment", external_view)).table(Action::Read)],
        )
        .route(
            "/tables/{table}/idealstate",
            [of_type(get("Who shall serve which segment", ideal_state)).table(Action::Read)],
        )
        .route(
            "/tables/{table}/instances",
            [get("Its brokers and servers", instances).table(Action::Read)],
        )
}

/// An operation that takes [`OfType`].
pub(super) fn of_type<S>(operation: Operation<S>) -> Operation<S> {
    operation.query("type", "OFFLINE or REALTIME; both unless it is set")
}

/// Pinot has two names for the same.
#[derive(Deserialize, Default)]
pub(super) struct OfType {
    #[serde(rename = "type", alias = "tableType")]
    table_type: Option<String>,
}

impl OfType {
    fn fits(&self, table: &TableState) -> bool {
        let wanted = self.table_type.as_deref();
        wanted.is_none_or(|w| w.eq_ignore_ascii_case(&table.spec.table_type.to_string()))
    }

    /// Tables behind a name, of one type when the request says so.
    pub(super) fn resolve(&self, state: &State, name: &str) -> Result<Vec<Arc<TableState>>, Fault> {
        let mut found = state.resolve(name)?;
        found.retain(|table| self.fits(table));
        if found.is_empty() {
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        Ok(found)
    }
}

fn accepted(parsed: &Parsed<Table>, what: &str) -> Value {
    let name = parsed.value.spec.physical_name();
    let mut body = json!({
        "unrecognizedProperties": parsed.unrecognized,
        "status": format!("Table {name} {what}"),
    });
    if !parsed.warnings.is_empty() {
        body["warnings"] = json!(parsed.warnings);
    }
    body
}

async fn list(Shared(state): App, By(caller): By, Params(wanted): Params<OfType>) -> Answer {
    let tables = state.tables();
    let mut names: Vec<String> = tables
        .iter()
        .filter(|table| wanted.fits(table) && caller.may_any(table.spec.name.as_str()))
        .map(|table| table.spec.name.to_string())
        .collect();
    names.sort();
    names.dedup();
    Ok(Json(json!({ "tables": names })))
}

async fn create(Shared(state): App, By(caller): By, Document(config): Document) -> Answer {
    let mut schema_json = None;
    // A config without a name is refused below, whoever has sent it.
    if let Some(name) = table_name(&config) {
        caller.check(Action::Admin, name.as_str())?;
        schema_json = state
            .catalog
            .schema(name.as_str())
            .await
            .map_err(Fault::from)?;
    }
    let schema = schema_json.as_deref().map(parse_schema).transpose();
    let schema = schema.map_err(Fault::from)?.map(|parsed| parsed.value);
    let id = TableId::random();
    let parsed = parse_table(&config, schema.as_ref(), id, UnknownKeys::Collect);
    let parsed = parsed.map_err(Fault::from)?;
    let answer = accepted(&parsed, "successfully added");
    let schema_json = schema_json.unwrap_or_default();
    let spec = parsed.value.spec;
    caller.check(Action::Admin, spec.name.as_str())?;
    state.create_table(schema_json, config, spec).await?;
    Ok(Json(answer))
}

async fn replace(
    Shared(state): App,
    Path(name): Path<String>,
    Document(config): Document,
) -> Answer {
    let mut parts = state.resolve(&name)?;
    // The path may name both parts; the config says which one it is.
    if parts.len() > 1 {
        let says = parse_table_config(&config).map_err(Fault::from)?.value;
        parts.retain(|table| table.spec.table_type == says.table_type);
    }
    let table = &parts[0];
    let parsed = state.change_table(table, config).await?;
    Ok(Json(accepted(&parsed, "successfully updated")))
}

/// Each part as it was posted.
async fn read(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let mut parts = Map::new();
    for table in wanted.resolve(&state, &name)? {
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
    Params(wanted): Params<OfType>,
) -> Answer {
    let tables = wanted.resolve(&state, &name)?;
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
    let part = |table_type| {
        let table = tables.iter().find(|t| t.spec.table_type == table_type);
        table.map(|table| PartSize::of(table))
    };
    let (offline, realtime) = (part(TableType::Offline), part(TableType::Realtime));
    let both = || [&offline, &realtime].into_iter().flatten();
    let reported: u64 = both().map(|part| part.reported).sum();
    Ok(Json(json!({
        "tableName": name,
        "reportedSizeInBytes": reported,
        "estimatedSizeInBytes": reported,
        "reportedSizePerReplicaInBytes": both().map(|part| part.per_replica).sum::<u64>(),
        "offlineSegments": offline.map(|part| part.body),
        "realtimeSegments": realtime.map(|part| part.body),
    })))
}

struct PartSize {
    reported: u64,
    per_replica: u64,
    body: Value,
}

impl PartSize {
    fn of(table: &TableState) -> Self {
        let (mut reported, mut per_replica) = (0, 0);
        let mut segments = Map::new();
        for segment in &table.segments {
            let (name, bytes) = (&segment.record.name, segment.record.bytes);
            let copies = bytes * segment.online.len() as u64;
            reported += copies;
            per_replica += bytes;
            let of_server = json!({ "segmentName": name, "diskSizeInBytes": bytes });
            let servers = segment.online.iter();
            let servers: Map<String, Value> = servers
                .map(|server| (server.0.clone(), of_server.clone()))
                .collect();
            let body = json!({
                "reportedSizeInBytes": copies,
                "estimatedSizeInBytes": copies,
                "maxReportedSizePerReplicaInBytes": bytes,
                "serverInfo": servers,
            });
            segments.insert(name.clone(), body);
        }
        let missing = table.segments.iter().filter(|s| s.online.is_empty());
        let body = json!({
            "reportedSizeInBytes": reported,
            "estimatedSizeInBytes": reported,
            "missingSegments": missing.count(),
            "reportedSizePerReplicaInBytes": per_replica,
            "segments": segments,
        });
        Self {
            reported,
            per_replica,
            body,
        }
    }
}

async fn metadata(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let records = || {
        tables
            .iter()
            .flat_map(|table| table.seen().map(|s| &s.record))
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
    Params(wanted): Params<SetState>,
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
    of: fn(&schemas::cluster::SegmentState) -> &schemas::cluster::Servers,
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

async fn external_view(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let tables = wanted.resolve(&state, &name)?;
    Ok(Json(view(&tables, |segment| &segment.online)))
}

async fn ideal_state(
    Shared(state): App,
    Path(name): Path<String>,
    Params(wanted): Params<OfType>,
) -> Answer {
    let tables = wanted.resolve(&state, &name)?;
    Ok(Json(view(&tables, |segment| &segment.assigned)))
}

async fn instances(Shared(state): App, Path(name): Path<String>) -> Answer {
    let tables = state.resolve(&name)?;
    let brokers: Vec<String> = living(&state).into_iter().map(|one| one.name).collect();
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
