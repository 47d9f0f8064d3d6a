//! TLS of HTTP and gRPC: one certificate of the node, taken from files, for what it serves and, to
//! other nodes, for what it asks.
//!
//! Invariants:
//! - a connection takes what the files said last, when it is made; those that are open stay;
//! - a certificate that is expired, or a key that is not its own, is never taken;
//! - with an authority (`ca`) gRPC is mutual: who has no certificate of it gets no answer.

mod configs;
mod incoming;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use configs::Configs;
pub use configs::client_config;
pub use incoming::{Connection, Incoming};

use crate::AccessError;
use crate::followed::Followed;

/// PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Certificates of the cluster's authority.
    pub ca: Option<PathBuf>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let own = [self.certificate.clone(), self.key.clone()];
        own.into_iter().chain(self.ca.clone())
    }
}

#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    followed: Followed,
    configs: ArcSwap<Configs>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles, now_ms: i64) -> Result<Self, AccessError> {
        let followed = Followed::new(files.all());
        let configs = Configs::read(&files, now_ms, 1)?;
        configs.warn_of_end(now_ms);
        Ok(Self(Arc::new(Inner {
            files,
            followed,
            configs: ArcSwap::from_pointee(configs),
        })))
    }

    /// Nodes prove themselves to each other.
    pub(crate) fn is_mutual(&self) -> bool {
        self.0.files.ca.is_some()
    }

    pub(crate) fn look(&self, now_ms: i64) {
        if !self.0.followed.changed() {
            return;
        }
        let version = self.0.configs.load().version + 1;
        match Configs::read(&self.0.files, now_ms, version) {
            Ok(configs) => {
                tracing::info!(
                    ends = %configs.end(),
                    "the certificate was read again: new connections have it"
                );
                self.0.configs.store(Arc::new(configs));
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is wrong: the one before stays");
            }
        }
    }

    fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let configs = self.0.configs.load();
        let config = match protocol {
            Protocol::Http => &configs.http,
            Protocol::Grpc => &configs.grpc,
        };
        TlsAcceptor::from(Arc::clone(config))
    }

    /// To another node; `authority` is `host:port`.
    pub async fn connect(
        &self,
        authority: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| std::io::Error::other(format!("`{host}`: {error}")))?;
        let config = Arc::clone(&self.0.configs.load().to_grpc);
        TlsConnector::from(config).connect(name, stream).await
    }

    /// For clients of HTTP to other nodes, and a number that changes with it.
    pub fn for_http(&self) -> (u64, rustls::ClientConfig) {
        let configs = self.0.configs.load();
        (
            configs.version,
            rustls::ClientConfig::clone(&configs.to_http),
        )
    }

    /// Changes whenever [`Self::for_http`] does.
    pub fn version(&self) -> u64 {
        self.0.configs.load().version
    }
}

#[cfg(test)]
mod tests;
