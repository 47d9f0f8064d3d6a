//! From PEM to what rustls works with, or one sentence about what is wrong.

use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::TlsFiles;
use crate::AccessError;
use crate::der::validity_ms;
use crate::followed::read;

/// So long before its end a certificate is warned of.
const RENEWAL_MS: i64 = 7 * 24 * 3_600_000;

pub(super) struct Configs {
    pub(super) http: Arc<ServerConfig>,
    pub(super) grpc: Arc<ServerConfig>,
    pub(super) to_http: Arc<ClientConfig>,
    pub(super) to_grpc: Arc<ClientConfig>,
    pub(super) version: u64,
    /// Of the certificate, in epoch milliseconds.
    ends_ms: i64,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn wrong(what: &str, path: &Path, why: impl std::fmt::Display) -> AccessError {
    AccessError(format!("{what} `{}` {why}", path.display()))
}

impl Configs {
    pub(super) fn read(files: &TlsFiles, now_ms: i64, version: u64) -> Result<Self, AccessError> {
        let own = Own::read(files, now_ms)?;
        let roots = match &files.ca {
            Some(path) => authority(path)?,
            None => roots_of_system(),
        };
        let roots = Arc::new(roots);
        let trusted = files.ca.is_some().then(|| Arc::clone(&roots));
        Ok(Self {
            http: own.served(b"http/1.1", None)?,
            grpc: own.served(b"h2", trusted.clone())?,
            to_http: own.asking(&roots, trusted.is_some(), b"http/1.1")?,
            to_grpc: own.asking(&roots, trusted.is_some(), b"h2")?,
            version,
            ends_ms: own.ends_ms,
        })
    }

    pub(super) fn end(&self) -> String {
        let end = DateTime::from_timestamp_millis(self.ends_ms).unwrap_or_default();
        end.to_rfc3339()
    }

    pub(super) fn warn_of_end(&self, now_ms: i64) {
        if self.ends_ms - now_ms < RENEWAL_MS {
            tracing::warn!(ends = %self.end(), "the certificate ends soon: renew it");
        }
    }
}

/// What the node shows of itself.
struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ends_ms: i64,
}

impl Own {
    fn read(files: &TlsFiles, now_ms: i64) -> Result<Self, AccessError> {
        let path = &files.certificate;
        let chain = certificates("the certificate", path)?;
        let (from_ms, ends_ms) = validity_ms(&chain[0])
            .ok_or_else(|| wrong("the certificate", path, "has no dates that can be read"))?;
        let date = |ms| {
            DateTime::from_timestamp_millis(ms)
                .unwrap_or_default()
                .to_rfc3339()
        };
        if now_ms >= ends_ms {
            let why = format!("has expired on {}", date(ends_ms));
            return Err(wrong("the certificate", path, why));
        }
        if now_ms < from_ms {
            let why = format!("does not count before {}", date(from_ms));
            return Err(wrong("the certificate", path, why));
        }
        let bytes = read("the key", &files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|_| wrong("the key", &files.key, "holds no private key in PEM"))?;
        let own = Self {
            chain,
            key,
            ends_ms,
        };
        own.fits(files)?;
        Ok(own)
    }

    fn fits(&self, files: &TlsFiles) -> Result<(), AccessError> {
        let provider = provider();
        let key = provider.key_provider.load_private_key(self.key.clone_key());
        let key =
            key.map_err(|_| wrong("the key", &files.key, "is of a kind that is not known"))?;
        let fits = CertifiedKey::new(self.chain.clone(), key).keys_match();
        fits.map_err(|_| {
            let certificate = files.certificate.display();
            let why = format!("is not that of the certificate `{certificate}`");
            wrong("the key", &files.key, why)
        })
    }

    fn served(
        &self,
        protocol: &[u8],
        authority: Option<Arc<RootCertStore>>,
    ) -> Result<Arc<ServerConfig>, AccessError> {
        let cannot = |error: &dyn std::fmt::Display| {
            AccessError(format!("the certificate cannot be used: {error}"))
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot(&error))?;
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().map_err(|error| cannot(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| cannot(&error))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }

    fn asking(
        &self,
        roots: &Arc<RootCertStore>,
        proves_itself: bool,
        protocol: &[u8],
    ) -> Result<Arc<ClientConfig>, AccessError> {
        let cannot = |error: rustls::Error| {
            AccessError(format!(
                "the certificate cannot be used to ask others: {error}"
            ))
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(cannot)?
            .with_root_certificates(Arc::clone(roots));
        let mut config = match proves_itself {
            true => builder
                .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
                .map_err(cannot)?,
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let bytes = read(what, path)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(wrong(what, path, "holds no certificate in PEM")),
        Err(_) => Err(wrong(what, path, "is damaged")),
    }
}

fn authority(path: &Path) -> Result<RootCertStore, AccessError> {
    const WHAT: &str = "the authority's certificate";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, path)? {
        let added = roots.add(certificate);
        added.map_err(|error| wrong(WHAT, path, format!("cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn roots_of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// For a client that is no node: it trusts an authority, or those that the system trusts.
pub fn client_config(ca: Option<&Path>) -> Result<ClientConfig, AccessError> {
    let roots = match ca {
        Some(path) => authority(path)?,
        None => roots_of_system(),
    };
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| AccessError(format!("TLS cannot be used: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
