//! Serving a router until the task group stops.

use std::net::{IpAddr, SocketAddr};

use access::Access;
use access::tls::{Connection, Incoming, Protocol};
use axum::extract::connect_info::Connected;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::serve::IncomingStream;
use runtime::{ComputePool, TaskGroup};
use schemas::Fault;
use tokio::net::TcpListener;

use crate::admitted::{Door, admitted};
use crate::caught::caught;
use crate::error::refusal;
use crate::guard::guard;
use crate::packed::pack;
use crate::{Api, ApiError, HostGuard};

/// Long answers.
const PACKED_AT_ONCE_MAX: usize = 4;

/// Who comes in, and by which names.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    pub hosts: HostGuard,
    pub access: Access,
}

/// Answers on `listener` until `tasks` is cancelled, then finishes what is under way.
///
/// Unknown paths get 404 in the shape of every other error, and so do other methods 405.
/// What there is, `/help` shows. Each request passes the entrance first.
pub fn serve(listener: TcpListener, api: Api, entrance: Entrance, name: &str, tasks: &TaskGroup) {
    let Entrance { hosts, access } = entrance;
    let door = Door::new(access.gate, api.open());
    let listening = Incoming::new(listener, access.tls.as_ref(), Protocol::Http);
    let app = api
        .into_router(name)
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn(caught))
        .layer(from_fn_with_state(door, admitted))
        .layer(from_fn_with_state(hosts, guard))
        .layer(from_fn_with_state(
            ComputePool::new(PACKED_AT_ONCE_MAX),
            pack,
        ));
    tasks.spawn(format!("{name} HTTP"), |stop| async move {
        let app = app.into_make_service_with_connect_info::<Ends>();
        let served =
            axum::serve(Listening(listening), app).with_graceful_shutdown(stop.cancelled_owned());
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

/// As axum takes connections.
struct Listening(Incoming);

impl axum::serve::Listener for Listening {
    type Io = Connection;
    type Addr = Option<SocketAddr>;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let connection = self.0.next().await;
        let peer = connection.peer;
        (connection, peer)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr().map(Some)
    }
}

/// Of a connection: the address of this node at which it arrived, and that from which it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: Option<IpAddr>,
    pub(crate) peer: Option<IpAddr>,
}

impl Connected<IncomingStream<'_, Listening>> for Ends {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        let ip = |address: Option<SocketAddr>| address.map(|at| at.ip().to_canonical());
        let connection = stream.io();
        Self {
            local: ip(connection.local),
            peer: ip(connection.peer),
        }
    }
}
