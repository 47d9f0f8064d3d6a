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
mod task_orders;
mod tasks;

use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::State as Shared;
use rest::api::get;
use rest::{Api, ApiError, By, Params, health_routes};
use serde::Deserialize;
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
        .merge(tasks::routes())
        .merge(task_orders::routes())
        .merge(boundary::routes())
        .merge(brokers::routes())
        .merge(instances::routes())
        .merge(rebalance::routes())
        .merge(forward::routes())
        .merge(leader::routes())
        .merge(own::routes())
        .route(
            "/databases",
            [get("Names of databases", database::list).known()],
        )
        .route(
            "/pinot-controller/admin",
            [get("GOOD: the process lives", || async { "GOOD" }).open()],
        )
        .route("/cluster/info", [get("The cluster's name", info).known()])
        .route(
            "/auth/verify",
            [get("Whether the caller may do this", verify)
                .query("tableName", "of a table; else of the cluster")
                .query("accessType", "READ, CREATE, UPDATE or DELETE")
                .known()],
        )
        .pass(database::only_default)
        .pass_with(Arc::clone(state), leader::to_the_leader)
        .answer_header("pinot-controller-host", host)
        .answer_header("pinot-controller-version", state.config.version)
        .with_state(Arc::clone(state))
        .merge(health)
}

/// As Pinot's console asks before it shows a button.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Verified {
    table_name: Option<String>,
    access_type: Option<String>,
}

async fn verify(By(caller): By, Params(asked): Params<Verified>) -> Json<bool> {
    let access = asked.access_type.as_deref().unwrap_or("READ");
    let action = match access.eq_ignore_ascii_case("READ") {
        true => Action::Read,
        false => Action::Admin,
    };
    Json(match &asked.table_name {
        Some(table) => caller.may(action, table),
        None => action == Action::Read || caller.may_cluster(action),
    })
}
