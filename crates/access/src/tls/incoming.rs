//! Connections as a listener gets them, with TLS or without.
//!
//! Invariants: a peer that does not end its handshake holds up nobody, and is let go after a while;
//! at most [`HANDSHAKES_MAX`] are under way.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::{Protocol, Tls};

const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Out of file descriptors, for one: it does not help to ask again at once.
const AFTER_AN_ERROR: Duration = Duration::from_millis(200);

/// A connection that has shaken hands.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a listener gives.
pub struct Incoming {
    listener: TcpListener,
    tls: Option<(Tls, Protocol)>,
    shaking: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Incoming");
        shown.field("listener", &self.listener);
        shown.field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Incoming {
    pub fn new(listener: TcpListener, tls: Option<&Tls>, protocol: Protocol) -> Self {
        Self {
            listener,
            tls: tls.map(|tls| (tls.clone(), protocol)),
            shaking: FuturesUnordered::new(),
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Loses nothing when it is dropped before its end.
    pub async fn next(&mut self) -> Connection {
        loop {
            let has_room = self.shaking.len() < HANDSHAKES_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(connection) = self.accepted(stream, peer) {
                            return connection;
                        }
                    }
                    Err(error) if is_of_the_peer(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "a connection was not accepted");
                        tokio::time::sleep(AFTER_AN_ERROR).await;
                    }
                },
                Some(done) = self.shaking.next() => {
                    if let Some(connection) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        // Small answers leave at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection without TCP_NODELAY");
        }
        let local = stream.local_addr().ok();
        let peer = Some(peer);
        let Some((tls, protocol)) = &self.tls else {
            let stream = Stream::Plain(stream);
            return Some(Connection {
                stream,
                local,
                peer,
            });
        };
        let shaking = tls.acceptor(*protocol).accept(stream);
        let shaking = tokio::time::timeout(HANDSHAKE_PATIENCE, shaking);
        self.shaking.push(
            shaking
                .map(move |shaken| match shaken {
                    Ok(Ok(stream)) => Some(Connection {
                        stream: Stream::Tls(Box::new(stream)),
                        local,
                        peer,
                    }),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, ?peer, "no TLS with a peer");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(?peer, "a peer did not end its handshake");
                        None
                    }
                })
                .boxed(),
        );
        None
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

macro_rules! with_stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().stream {
            Stream::Plain(inner) => {
                let $stream = Pin::new(inner);
                $call
            }
            Stream::Tls(inner) => {
                let $stream = Pin::new(&mut **inner);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_shutdown(context))
    }
}
