//! The only place where a fault becomes an HTTP response.
//!
//! | kind         | status | what the caller should do                   |
//! |--------------|--------|---------------------------------------------|
//! | Invalid      | 400    | fix the request                             |
//! | Denied       | 403    | ask for permission                          |
//! | NotFound     | 404    | check the name                              |
//! | Conflict     | 409    | read the current state, then decide         |
//! | Overloaded   | 429    | retry later, with back-off                  |
//! | Internal     | 500    | report it: a bug, details are in our log    |
//! | Unavailable  | 503    | retry                                       |
//! | Timeout      | 504    | retry with a longer deadline or less data   |
//!
//! The body has Pinot's shape: `{"code":404,"error":"table `x` does not exist"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemas::{Fault, FaultKind};
use serde::Serialize;
use tracing::{debug, error};

#[derive(Debug)]
pub struct ApiError(pub Fault);

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    error: &'a str,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(fault) = self;
        if fault.kind == FaultKind::Internal {
            error!(cause = fault.message, "request failed on a bug");
        } else {
            debug!(
                kind = fault.kind.name(),
                cause = fault.message,
                "request refused"
            );
        }
        let status = StatusCode::from_u16(fault.kind.http_status());
        refusal(
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            &fault.message,
        )
    }
}

pub(crate) fn refusal(status: StatusCode, error: &str) -> Response {
    let code = status.as_u16();
    (status, Json(Body { code, error })).into_response()
}
