//! `/health` (the process lives), `/ready` (it serves), `/metrics` (Prometheus), `/version`; and
//! `/health/liveness`, `/health/readiness`, which Pinot's deployments ask for.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use crate::Metrics;

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
pub fn health_routes(version: &'static str, ready: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .route("/health/liveness", get(|| async { "OK" }))
        .route("/health/readiness", get(readiness))
        .route("/ready", get(ready_now))
        .route("/metrics", get(metrics_text))
        .route("/version", get(version_json))
        .with_state(Health {
            ready,
            metrics,
            version,
        })
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
