//! Serving a router until the task group stops.

use std::net::IpAddr;

use axum::extract::connect_info::Connected;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::serve::IncomingStream;
use runtime::{ComputePool, TaskGroup};
use schemas::Fault;
use tokio::net::TcpListener;

use crate::caught::caught;
use crate::error::refusal;
use crate::guard::guard;
use crate::packed::pack;
use crate::{Api, ApiError, HostGuard};

/// Long answers.
const PACKED_AT_ONCE_MAX: usize = 4;

/// Answers on `listener` until `tasks` is cancelled, then finishes what is under way.
///
/// Unknown paths get 404 in the shape of every other error, and so do other methods 405.
/// What there is, `/help` shows. Each request passes `hosts` first.
pub fn serve(listener: TcpListener, api: Api, hosts: HostGuard, name: &str, tasks: &TaskGroup) {
    let app = api
        .into_router(name)
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn(caught))
        .layer(from_fn_with_state(hosts, guard))
        .layer(from_fn_with_state(
            ComputePool::new(PACKED_AT_ONCE_MAX),
            pack,
        ));
    tasks.spawn(format!("{name} HTTP"), |stop| async move {
        let listener = Nodelay(listener);
        let app = app.into_make_service_with_connect_info::<LocalAddress>();
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "HTTP listener ended");
        }
    });
}

async fn other_method(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!("`{}` does not take {method}; see /help", uri.path());
    refusal(StatusCode::METHOD_NOT_ALLOWED, &message)
}

async fn unknown_path(uri: Uri) -> impl IntoResponse {
    ApiError(Fault::not_found(format!(
        "there is no endpoint `{}`",
        uri.path()
    )))
}

/// Small answers leave at once.
struct Nodelay(TcpListener);

impl axum::serve::Listener for Nodelay {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection without TCP_NODELAY");
        }
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// The address of this node at which a connection arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalAddress(pub(crate) Option<IpAddr>);

impl Connected<IncomingStream<'_, Nodelay>> for LocalAddress {
    fn connect_info(stream: IncomingStream<'_, Nodelay>) -> Self {
        let address = stream.io().local_addr();
        Self(address.ok().map(|address| address.ip().to_canonical()))
    }
}
