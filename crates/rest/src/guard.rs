//! Without authentication, a web page on another site must not reach us through the user's browser.
//!
//! A request is refused when its `Host` is not a name of this node (DNS rebinding) or when it
//! carries an `Origin` that is not this node's own (a foreign page). Programs send no `Origin` and
//! the host they connected to, so they never notice. There is no CORS.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};

use crate::ApiError;

/// Names under which this node may be addressed besides `localhost` and any IP address it listens
/// on.
#[derive(Clone, Debug, Default)]
pub struct HostGuard {
    allowed: Arc<Vec<String>>,
}

impl HostGuard {
    pub fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        let lower = allowed.into_iter().map(|name| name.to_ascii_lowercase());
        Self {
            allowed: Arc::new(lower.collect()),
        }
    }

    fn permits(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        host == "localhost" || is_loopback(&host) || self.allowed.contains(&host)
    }

    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Fault> {
        let named = text(headers, HOST).or_else(|| uri.authority().map(|a| a.as_str()));
        if let Some(authority) = named
            && !self.permits(authority)
        {
            return Err(refused(format!(
                "host `{authority}` is no name of this node; add it to `http.allowed_hosts` \
                 or use its address"
            )));
        }
        let Some(origin) = text(headers, ORIGIN) else {
            return Ok(());
        };
        let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        if named.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
            return Ok(());
        }
        Err(refused(format!(
            "requests from pages of `{origin}` are refused"
        )))
    }
}

fn refused(message: String) -> Fault {
    Fault::new(FaultKind::Denied, pinot_code::ACCESS_DENIED, message)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `[::1]:9000` → `::1`, `localhost:9000` → `localhost`.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

pub(crate) async fn guard(
    State(guard): State<HostGuard>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(fault) => ApiError(fault).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let guard = HostGuard::new(["olap.example".to_owned()]);
        guard.check(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        assert!(check("localhost:9000", None));
        assert!(check("127.0.0.1:9000", Some("http://127.0.0.1:9000")));
        assert!(check("[::1]:9000", None));
        assert!(check("OLAP.example", None));
        assert!(!check("evil.example:9000", None));
        assert!(!check("127.0.0.1:9000", Some("http://evil.example")));
        assert!(!check("127.0.0.1:9000", Some("null")));
    }
}
