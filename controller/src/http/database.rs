//! The `Database` header: there is one database, `default`, and others have no tables.

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rest::ApiError;
use schemas::Fault;
use serde_json::{Value, json};

const DEFAULT: &str = "default";

pub(super) async fn list() -> Json<Value> {
    Json(json!([DEFAULT]))
}

/// Tables and segments of another database are not there; whatever is not of a database is.
pub(super) async fn only_default(request: Request, next: Next) -> Response {
    let named = request.headers().get("database");
    let named = named.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let Some(other) = named.filter(|name| !name.is_empty() && name != DEFAULT) else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    if path == "/tables" && request.method().is_safe() {
        return Json(json!({ "tables": [] })).into_response();
    }
    let mut parts = path.split('/').skip(1);
    if !matches!(parts.next(), Some("tables" | "segments" | "schemas")) {
        return next.run(request).await;
    }
    let what = parts.next().unwrap_or_default();
    let message = format!("`{other}.{what}` does not exist; the only database is `{DEFAULT}`");
    ApiError(Fault::not_found(message)).into_response()
}
