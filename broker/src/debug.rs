//! What Pinot's tools and connectors ask a broker about itself: where a table is read, where a
//! hybrid table is divided, since when it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::{Path, State as Shared};
use chrono::DateTime;
use query::{Dialect, Options};
use rest::api::get;
use rest::{Api, ApiError, By, Params};
use schemas::boundary::time_unit_ms;
use schemas::{Fault, InstanceId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::State;
use crate::query::Queries;

type Answer = Result<Json<Value>, ApiError>;

pub(crate) fn routes() -> Api<Arc<Queries>> {
    let of_query = get("Servers and segments of a query's table", routing_of_query)
        .query("query", "a SELECT of one table")
        .inside();
    Api::default()
        .route(
            "/debug/timeBoundary/{table}",
            [get("Where a hybrid table is divided", time_boundary).table(Action::Read)],
        )
        .route(
            "/debug/routingTable/{table}",
            [get("Servers and segments of a table", routing_table).table(Action::Read)],
        )
        .route("/debug/routingTable/sql", [of_query])
        .route("/uptime", [get("Seconds since the start", uptime).known()])
        .route("/start-time", [get("When it started", start_time).known()])
        .route("/instance/tags", [get("Tags of this broker", tags).known()])
}

async fn time_boundary(Shared(queries): State, Path(name): Path<String>) -> Answer {
    let tables = queries.cluster().resolve(&name);
    let found = tables
        .iter()
        .filter(|_| tables.len() > 1)
        .find_map(|table| {
            let column = table.spec.column(table.spec.time_column.as_deref()?)?;
            Some((column, table.time_boundary_ms?))
        });
    let (column, boundary_ms) =
        found.ok_or_else(|| Fault::not_found(format!("table `{name}` has no time boundary")))?;
    // In the unit of the column, as it stands in a condition.
    let value = boundary_ms.div_euclid(time_unit_ms(column).unwrap_or(1));
    Ok(Json(
        json!({ "timeColumn": column.name, "timeValue": value.to_string() }),
    ))
}

async fn routing_table(Shared(queries): State, Path(name): Path<String>) -> Answer {
    let cluster = queries.cluster();
    let tables = cluster.resolve(&name);
    if tables.is_empty() {
        return Err(Fault::not_found(format!("table `{name}` does not exist")).into());
    }
    let mut body = Map::new();
    for table in tables {
        let servers = query::servers_of(&cluster, &table);
        body.insert(table.spec.physical_name(), json!(servers));
    }
    Ok(Json(Value::Object(body)))
}

#[derive(Deserialize)]
struct OfQuery {
    query: String,
}

async fn routing_of_query(
    Shared(queries): State,
    By(caller): By,
    Params(asked): Params<OfQuery>,
) -> Answer {
    let options = Options::default();
    let parsed = query::parse(&asked.query, Dialect::Pinot, options, 1)?;
    let cluster = queries.cluster();
    let mut servers: BTreeMap<InstanceId, Vec<String>> = BTreeMap::new();
    for name in parsed.parsed.tables() {
        caller.check(Action::Read, &name)?;
        let tables = cluster.resolve(&name);
        if tables.is_empty() {
            return Err(Fault::not_found(format!("table `{name}` does not exist")).into());
        }
        for table in tables {
            for (server, segments) in query::servers_of(&cluster, &table) {
                servers.entry(server).or_default().extend(segments);
            }
        }
    }
    Ok(Json(json!(servers)))
}

async fn uptime(Shared(queries): State) -> String {
    let since_ms = queries.clock.now_ms() - queries.started_ms;
    (since_ms.max(0) / 1000).to_string()
}

async fn start_time(Shared(queries): State) -> String {
    let started = DateTime::from_timestamp_millis(queries.started_ms).unwrap_or_default();
    started.to_rfc3339()
}

async fn tags() -> Json<Value> {
    Json(json!(["DefaultTenant_BROKER"]))
}
