//! The HTTP API: Pinot's controller endpoints, and our own under `/v1`.
//!
//! Handlers only translate. Rules live in [`crate::tables`] and [`crate::state`]; the mapping from
//! fault to status in [`rest::ApiError`].

mod boundary;
mod brokers;
mod consumption;
mod database;
mod document;
pub(crate) mod forward;
mod ingest;
mod instances;
mod leader;
mod own;
mod rebalance;
mod reload;
mod replacements;
mod schemas;
mod segments;
mod status;
mod tables;

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use rest::api::get;
use rest::{Api, ApiError, health_routes};
use serde_json::{Value, json};

use crate::state::State;

pub(crate) type App = Shared<Arc<State>>;
type Answer = Result<Json<Value>, ApiError>;

pub(crate) fn routes(state: &Arc<State>) -> Api {
    let of_readiness = Arc::clone(state);
    let ready = Arc::new(move || of_readiness.ready());
    let health = health_routes(state.config.version, ready, state.metrics.registry.clone());
    // `Controller_127.0.0.1_9000`.
    let host = state.config.instance.split('_').nth(1).unwrap_or_default();
    let info = || async { Json(json!({ "clusterName": "tannin" })) };
    Api::default()
        .merge(schemas::routes())
        .merge(tables::routes())
        .merge(consumption::routes())
        .merge(segments::routes())
        .merge(replacements::routes())
        .merge(ingest::routes())
        .merge(reload::routes())
        .merge(boundary::routes())
        .merge(brokers::routes())
        .merge(instances::routes())
        .merge(rebalance::routes())
        .merge(forward::routes())
        .merge(leader::routes())
        .merge(own::routes())
        .route("/databases", [get("Names of databases", database::list)])
        .route(
            "/pinot-controller/admin",
            [get("GOOD: the process lives", || async { "GOOD" })],
        )
        .route("/cluster/info", [get("The cluster's name", info)])
        .route(
            "/auth/verify",
            [get("Whether the caller may do this", || async {
                Json(true)
            })],
        )
        .pass(database::only_default)
        .pass_with(Arc::clone(state), leader::to_the_leader)
        .answer_header("pinot-controller-host", host)
        .answer_header("pinot-controller-version", state.config.version)
        .with_state(Arc::clone(state))
        .merge(health)
}
