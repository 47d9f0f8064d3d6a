//! A web page on another site must not reach us through the user's browser, which may be let in
//! where the page is not.
//!
//! A request is refused when its `Host` is not a name of this node (DNS rebinding) or when it
//! carries an `Origin` that is not this node's own (a foreign page). Programs send no `Origin` and
//! the host they connected to, so they never notice. There is no CORS.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};

use crate::ApiError;
use crate::serve::Ends;

/// Names under which this node may be addressed besides `localhost` and the IP address at which the
/// request arrived.
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

    fn permits(&self, authority: &str, local: Option<IpAddr>) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        if host == "localhost" || self.allowed.contains(&host) {
            return true;
        }
        let address = host.parse::<IpAddr>().ok();
        address.is_some_and(|address| address.is_loopback() || Some(address) == local)
    }

    fn check(&self, headers: &HeaderMap, uri: &Uri, local: Option<IpAddr>) -> Result<(), Fault> {
        let named = text(headers, HOST)?.or_else(|| uri.authority().map(|a| a.as_str()));
        if let Some(authority) = named
            && !self.permits(authority, local)
        {
            return Err(refused(format!(
                "host `{authority}` is no name of this node; add it to `http.allowed_hosts` \
                 or use its address"
            )));
        }
        let Some(origin) = text(headers, ORIGIN)? else {
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

/// A header that comes twice, or is no text, is nobody's own.
fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(&name).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if second.is_none() => Ok(Some(text)),
        _ => Err(refused(format!("the header `{name}` is not understood"))),
    }
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

pub(crate) async fn guard(
    State(guard): State<HostGuard>,
    request: Request,
    next: Next,
) -> Response {
    let arrived = request.extensions().get::<ConnectInfo<Ends>>();
    let local = arrived.and_then(|info| info.0.local);
    match guard.check(request.headers(), request.uri(), local) {
        Ok(()) => next.run(request).await,
        Err(fault) => ApiError(fault).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let guard = HostGuard::new(["olap.example".to_owned()]);
        let local = "10.0.0.5".parse().ok();
        guard.check(&headers, &Uri::from_static("/"), local).is_ok()
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        assert!(check("localhost:9000", None));
        assert!(check("127.0.0.1:9000", Some("http://127.0.0.1:9000")));
        assert!(check("[::1]:9000", None));
        assert!(check("OLAP.example", None));
        assert!(check("10.0.0.5:9000", None));
        assert!(!check("10.0.0.6:9000", None));
        assert!(!check("evil.example:9000", None));
        assert!(!check("localhost.evil.example", None));
        assert!(!check("127.0.0.1.evil.example", None));
        assert!(!check("127.0.0.1:9000", Some("http://evil.example")));
        assert!(!check("127.0.0.1:9000", Some("http://127.0.0.1:9001")));
        assert!(!check("127.0.0.1:9000", Some("null")));
    }

    #[test]
    fn headers_that_come_twice_or_are_no_text_are_refused() {
        let guard = HostGuard::default();
        let uri = Uri::from_static("/");
        let mut headers = HeaderMap::new();
        headers.append(HOST, "localhost".parse().unwrap());
        assert!(guard.check(&headers, &uri, None).is_ok());
        headers.append(HOST, "localhost".parse().unwrap());
        assert!(guard.check(&headers, &uri, None).is_err());
        let opaque = HeaderValue::from_bytes(b"localhost\xff").unwrap();
        headers.insert(HOST, opaque);
        assert!(guard.check(&headers, &uri, None).is_err());
    }
}
