//! The HTTP API: Pinot's controller endpoints, and our own under `/v1`.
//!
//! Handlers only translate. Rules live in [`crate::tables`] and [`crate::state`]; the mapping from
//! fault to status in [`rest::ApiError`].

mod document;
mod own;
mod reload;
mod schemas;
mod segments;
mod status;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::routing::get;
use axum::{Json, Router};
use rest::{ApiError, health_routes};
use serde_json::{Value, json};

use crate::state::State;

pub(crate) type App = Shared<Arc<State>>;
type Answer = Result<Json<Value>, ApiError>;

pub(crate) fn router(state: &Arc<State>) -> Router {
    let ready = Arc::new(|| Ok(()));
    let health = health_routes(state.config.version, ready, state.metrics.registry.clone());
    Router::new()
        .merge(schemas::routes())
        .merge(tables::routes())
        .merge(segments::routes())
        .merge(reload::routes())
        .merge(own::routes())
        .route("/pinot-controller/admin", get(|| async { "GOOD" }))
        .route(
            "/cluster/info",
            get(|| async { Json(json!({ "clusterName": "tannin" })) }),
        )
        .route("/instances", get(instances))
        .route("/brokers", get(brokers))
        .route("/v2/brokers/tenants/{tenant}", get(tenant_brokers))
        .with_state(Arc::clone(state))
        .merge(health)
}

async fn instances(Shared(state): App) -> Json<Value> {
    let names: Vec<String> = state.instances().into_keys().map(|id| id.0).collect();
    Json(json!({ "instances": names }))
}

fn broker_addresses(state: &State) -> Vec<(String, String, u16)> {
    let is_broker =
        |instance: &crate::state::Instance| instance.role == ::schemas::cluster::Role::Broker;
    let alive = state
        .instances()
        .into_iter()
        .filter(|(_, i)| i.alive && is_broker(i));
    let split = |(id, instance): (::schemas::InstanceId, crate::state::Instance)| {
        let (host, port) = instance.address.rsplit_once(':')?;
        Some((id.0, host.to_owned(), port.parse().ok()?))
    };
    alive.filter_map(split).collect()
}

async fn brokers(Shared(state): App) -> Json<Value> {
    let names: Vec<String> = broker_addresses(&state)
        .into_iter()
        .map(|(name, _, _)| name)
        .collect();
    let tables: BTreeMap<String, &Vec<String>> = state
        .tables()
        .iter()
        .map(|table| (table.spec.physical_name(), &names))
        .collect();
    Json(json!({ "tenants": { "DefaultTenant": names }, "tables": tables }))
}

async fn tenant_brokers(Shared(state): App) -> Json<Value> {
    let list: Vec<Value> = broker_addresses(&state)
        .into_iter()
        .map(|(name, host, port)| json!({ "instanceName": name, "host": host, "port": port }))
        .collect();
    Json(json!(list))
}
