//! `/health` (the process lives), `/ready` (it serves), `/metrics` (Prometheus), `/version`; and
//! `/health/liveness`, `/health/readiness`, which Pinot's deployments ask for.

use std::sync::Arc;

use access::Action;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::json;

use crate::Metrics;
use crate::api::{Api, get};

/// `Ok` when the role serves; otherwise what it waits for, in words.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Health {
    ready: Readiness,
    metrics: Metrics,
    /// What `/health` answers: Pinot's clients look for `OK`.
    version: &'static str,
}

/// The routes that every role has.
pub fn health_routes(version: &'static str, ready: Readiness, metrics: Metrics) -> Api {
    Api::default()
        .route(
            "/health",
            [get("OK: the process lives", || async { "OK" }).open()],
        )
        .route(
            "/health/liveness",
            [get("The same", || async { "OK" }).open()],
        )
        .route(
            "/health/readiness",
            [get("OK: it serves; else what it waits for", readiness).open()],
        )
        .route(
            "/ready",
            [get("READY: it serves; else what it waits for", ready_now).open()],
        )
        .route(
            "/metrics",
            [get("Metrics in the text form of Prometheus", metrics_text).cluster(Action::Read)],
        )
        .route("/version", [get("The version", version_json).known()])
        .with_state(Health {
            ready,
            metrics,
            version,
        })
        .with_version(version)
}

async fn ready_now(State(health): State<Health>) -> impl IntoResponse {
    match (health.ready)() {
        Ok(()) => (StatusCode::OK, "READY".to_owned()),
        Err(waiting_for) => (StatusCode::SERVICE_UNAVAILABLE, waiting_for),
    }
}

async fn readiness(State(health): State<Health>) -> impl IntoResponse {
    match (health.ready)() {
        Ok(()) => (StatusCode::OK, "OK".to_owned()),
        Err(waiting_for) => (StatusCode::SERVICE_UNAVAILABLE, waiting_for),
    }
}

async fn metrics_text(State(health): State<Health>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        health.metrics.text(),
    )
}

async fn version_json(State(health): State<Health>) -> impl IntoResponse {
    Json(json!({ "tannin": health.version }))
}
