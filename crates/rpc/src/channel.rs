//! Another service on the lines between nodes: whoever brings it gets the same TLS, the same proof
//! of who calls, and the port that a server has already.
//!
//! Invariants:
//! - a channel says with every call what a node says about itself, and a door answers only those
//!   that it believes: nothing is reached here that is not reached by `client` and `serve`;
//! - what is asked at a door runs on the runtime that it was given, not where fragments are
//!   answered: heavy work there holds up no small query.

use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};

use access::NodeTrust;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemas::Fault;
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::line::{Believed, endpoint, line};

/// A line to a server, for a client that brings its own messages.
pub type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, tonic::transport::Error>;

/// Rows flow in both directions at once, more of them than HTTP/2 lets through by itself.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Connects on first use.
pub(crate) fn channel(address: &str, trust: &NodeTrust) -> Result<Channel, Fault> {
    let endpoint = endpoint(address)?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let line = line(&endpoint, address, trust);
    let line = line.map_response(|response: Response<_>| response.map(Body::new));
    Ok(BoxCloneSyncService::new(line))
}

/// A service that a server offers beside its own.
pub struct Door(Routes);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    pub fn new<S>(service: S, trust: &NodeTrust, on: Handle) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let service = Elsewhere { service, on };
        Self(Routes::new(InterceptedService::new(
            service,
            Believed(trust.clone()),
        )))
    }

    pub(crate) fn into_routes(self) -> Routes {
        self.0
    }
}

/// A service whose calls run on another runtime.
#[derive(Clone)]
struct Elsewhere<S> {
    service: S,
    on: Handle,
}

impl<S: NamedService> NamedService for Elsewhere<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Elsewhere<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let called = Called(self.on.spawn(self.service.call(request)));
        called.boxed()
    }
}

/// Ends with whoever waits for it.
struct Called(tokio::task::JoinHandle<Result<Response<Body>, Infallible>>);

impl Future for Called {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map(|done| {
            done.unwrap_or_else(|error| {
                let what = format!("the call did not end: {error}");
                Ok(tonic::Status::internal(what).into_http())
            })
        })
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        self.0.abort();
    }
}
