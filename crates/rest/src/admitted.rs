//! Who asks: the credentials of a request become its caller, or 401.
//!
//! Invariant: nothing behind this runs for somebody of whom nothing is known, but for what says
//! that it is open to everybody. Unknown paths are no exception.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use access::{Caller, Gate, Refused};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::Fault;

use crate::ApiError;
use crate::serve::Ends;

/// A browser asks its user for a name and a password.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"tannin\", charset=\"UTF-8\"");

#[derive(Clone, Debug)]
pub(crate) struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gate: Gate,
    open: HashSet<(&'static str, String)>,
    everybody: Caller,
}

impl Door {
    pub(crate) fn new(gate: Gate, open: HashSet<(&'static str, String)>) -> Self {
        Self(Arc::new(Inner {
            gate,
            open,
            everybody: Caller::anyone(),
        }))
    }

    fn is_open(&self, request: &Request) -> bool {
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.uri().path().to_owned();
        is_read && self.0.open.contains(&("get", path))
    }

    async fn caller(
        &self,
        credentials: Option<HeaderValue>,
        from: Option<IpAddr>,
        what: String,
    ) -> Result<Caller, Refused> {
        let gate = &self.0.gate;
        let credentials = credentials.as_ref().map(HeaderValue::as_bytes);
        match gate.admit(credentials).await {
            Ok(principal) => Ok(gate.caller(principal, from, what.into())),
            Err(refused) => {
                gate.tell_refused(&refused, from, &what);
                Err(refused)
            }
        }
    }
}

fn from(request: &Request) -> Option<IpAddr> {
    let ends = request.extensions().get::<ConnectInfo<Ends>>();
    ends.and_then(|ends| ends.0.peer)
}

/// In words alone: Pinot's clients show a text, and look for numbers of servers in JSON.
fn answer(refused: &Refused) -> Response {
    let mut response = match refused {
        Refused::Missing => {
            let message = "who are you? Send `Authorization: Basic` with name and password, or \
                           `Authorization: Bearer` with a token";
            (StatusCode::UNAUTHORIZED, message).into_response()
        }
        Refused::Wrong(why) => (StatusCode::UNAUTHORIZED, why.clone()).into_response(),
        Refused::Busy => {
            let message = "too many passwords are being verified; try again";
            let mut response = (StatusCode::TOO_MANY_REQUESTS, message).into_response();
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, soon);
            return response;
        }
    };
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, CHALLENGE);
    response
}

pub(crate) async fn admitted(
    State(door): State<Door>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = if door.0.gate.is_open() {
        Ok(door.0.everybody.clone())
    } else if door.is_open(&request) {
        Ok(Caller::nobody())
    } else {
        let credentials = request.headers().get(AUTHORIZATION).cloned();
        let what = format!("{} {}", request.method(), request.uri().path());
        let from = from(&request);
        door.caller(credentials, from, what).await
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => answer(&refused),
    }
}

/// Who sent a request, for handlers.
#[derive(Clone, Debug)]
pub struct By(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let missing = || Fault::internal("a request that passed no entrance");
        Ok(Self(caller.ok_or_else(missing)?))
    }
}
