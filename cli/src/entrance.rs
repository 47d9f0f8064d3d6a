//! Who is let in, from the settings; and the refusal to let in everybody.
//!
//! Invariant: no node listens beyond loopback for those who prove nothing, unless its settings say
//! so in so many words.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use access::{Access, AuditLevel, Config, TlsFiles};
use anyhow::Result;
use runtime::settings::{AuditKind, Settings};
use runtime::{Clock, Files};
use schemas::cluster::Role;

use crate::exit::Exit;

fn set(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

pub(crate) fn access(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    files: &dyn Files,
) -> Result<Access> {
    let security = &settings.security;
    let certificate = set(&security.certificate_file);
    let config = Config {
        principals: set(&security.principals_file),
        tls: certificate.map(|certificate| TlsFiles {
            certificate,
            key: security.key_file.clone(),
            ca: set(&security.ca_file),
        }),
        node_token: set(&security.cluster_token_file),
        audit: match security.audit {
            AuditKind::Denied => AuditLevel::Denied,
            AuditKind::Changes => AuditLevel::Changes,
            AuditKind::All => AuditLevel::All,
        },
        audit_file: set(&security.audit_file),
    };
    Access::load(&config, clock, files).map_err(|error| Exit::usage(error.to_string()))
}

/// Refuses to open a node to those who prove nothing.
pub(crate) fn refuse_open_doors(settings: &Settings, roles: &[Role]) -> Result<()> {
    let (host, security) = (&settings.node.host, &settings.security);
    if is_loopback(host) {
        return Ok(());
    }
    if security.listen_without_authentication {
        tracing::warn!(
            host,
            "everybody who reaches this node may do everything \
             (security.listen_without_authentication)"
        );
        return Ok(());
    }
    let speaks_grpc = roles
        .iter()
        .any(|role| matches!(role, Role::Controller | Role::Server));
    let nodes_prove_themselves =
        set(&security.ca_file).is_some() || set(&security.cluster_token_file).is_some();
    let missing = if set(&security.principals_file).is_none() {
        "its HTTP would answer everybody: set `security.principals_file`"
    } else if speaks_grpc && !nodes_prove_themselves {
        "its gRPC would answer everybody: set `security.ca_file` (nodes prove themselves by \
         certificates), `security.cluster_token_file`, or both"
    } else if settings.log.enabled && roles.contains(&Role::Controller) {
        "the built-in log answers everybody: set `log.enabled = false`, and take a Kafka"
    } else {
        if set(&security.certificate_file).is_none() {
            tracing::warn!(
                host,
                "passwords and tokens come in unencrypted: set `security.certificate_file`, or let \
                 TLS end in front of this node"
            );
        }
        return Ok(());
    };
    Err(Exit::usage(format!(
        "this node would listen on `{host}`, beyond loopback, and {missing}; or set \
         `security.listen_without_authentication = true` where nothing but trusted programs \
         reaches it (docs/operations/security.md)"
    )))
}

/// `quickstart` lets everybody in, and so nobody from elsewhere.
pub(crate) fn stay_at_home(settings: &Settings) -> Result<()> {
    if !is_loopback(&settings.node.host) {
        return Err(Exit::usage(format!(
            "`tannin quickstart` listens on loopback alone, not on `{}`: `tannin start` runs nodes \
             that others reach",
            settings.node.host
        )));
    }
    if set(&settings.security.principals_file).is_some()
        || set(&settings.security.certificate_file).is_some()
    {
        return Err(Exit::usage(
            "`tannin quickstart` lets in everybody of this machine: `tannin start` runs nodes with \
             principals and TLS",
        ));
    }
    Ok(())
}

/// All addresses of it. A name that has none fails when it is bound.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let addresses = (host, 0).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.all(|address| address.ip().to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::settings::Layers;

    fn refused(assignments: &[&str], roles: &[Role]) -> Option<String> {
        let mut layers = Layers::default();
        assignments.iter().for_each(|one| layers.assignment(one));
        let settings = layers.settings().unwrap();
        let refused = refuse_open_doors(&settings, roles).err()?;
        Some(refused.to_string())
    }

    #[test]
    fn nobody_listens_beyond_loopback_without_authentication() {
        let open = "node.host=0.0.0.0";
        let (http, token) = (
            "security.principals_file=p",
            "security.cluster_token_file=t",
        );
        let no_log = "log.enabled=false";
        let all = &Role::ALL;
        let broker = &[Role::Broker][..];
        for host in ["127.0.0.1", "::1", "localhost", "127.8.8.8"] {
            assert_eq!(
                refused(&[&format!("node.host={host}")], all),
                None,
                "{host}"
            );
        }
        assert!(
            refused(&[open], broker)
                .unwrap()
                .contains("HTTP would answer")
        );
        assert!(refused(&["node.host=::"], broker).unwrap().contains("`::`"));
        assert!(refused(&["node.host=10.0.0.7", token], broker).is_some());
        assert_eq!(refused(&[open, http], broker), None);
        assert!(
            refused(&[open, http, no_log], all)
                .unwrap()
                .contains("gRPC would answer")
        );
        assert!(
            refused(&[open, http, token], all)
                .unwrap()
                .contains("built-in log")
        );
        assert_eq!(refused(&[open, http, token, no_log], all), None);
        let unasked = "security.listen_without_authentication=true";
        assert_eq!(refused(&[open, unasked], all), None);
    }
}
