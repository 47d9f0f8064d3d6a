//! A bug in one request ends that request with an answer, and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use schemas::Fault;

use crate::ApiError;

/// A panic while the request is answered becomes an error of the kind Internal.
pub(crate) async fn caught(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|panic| {
        let message = format!("a bug ended the request to `{path}`: {}", said(&*panic));
        ApiError(Fault::internal(message)).into_response()
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it said nothing")
}
