//! Settings: plain data with documented defaults.
//!
//! `default.toml` is the reference and the type below is its shape: a key that the file lacks
//! cannot be set, and every key of the file is read. Precedence is default < file < environment <
//! flag. Only `cli` calls [`Layers`]; the roles get the values.

mod layers;

use serde::{Deserialize, Serialize};

pub use layers::{Layers, SettingsError};

/// The documented defaults, as `tannin config print` writes them.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub node: Node,
    pub controller: Controller,
    pub broker: Broker,
    pub server: Server,
    pub registry: Registry,
    pub minion: Minion,
    pub import: Import,
    pub export: Export,
    pub log: Log,
    pub metastore: Metastore,
    pub deepstore: Deepstore,
    pub http: Http,
    pub security: Security,
    pub compute: Compute,
    pub memory: Memory,
    pub telemetry: Telemetry,
}

/// One setting as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub name: String,
    pub value: String,
    pub default: String,
}

impl Settings {
    /// What no value alone tells: one sentence each.
    fn faults(&self) -> Vec<String> {
        let faults = [self.metastore.fault(), self.security.fault()];
        faults.into_iter().flatten().map(str::to_owned).collect()
    }

    /// All settings, in the order of their names.
    pub fn listed(&self) -> Vec<Setting> {
        let default: toml::Table = DEFAULT_TOML.parse().expect("the defaults are TOML");
        let set = toml::Table::try_from(self).expect("settings are plain values");
        let mut listed = Vec::new();
        for (section, keys) in &set {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let default = default.get(section).and_then(|keys| keys.get(key));
                listed.push(Setting {
                    name: format!("{section}.{key}"),
                    value: match (key.as_str(), value.as_str()) {
                        ("password", Some(password)) if !password.is_empty() => "…".to_owned(),
                        _ => shown(value),
                    },
                    default: default.map_or_else(String::new, shown),
                });
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }
}

fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => without_password(text),
        other => other.to_string(),
    }
}

/// Of `scheme://user:password@host`.
fn without_password(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.split_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{host}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub data_dir: std::path::PathBuf,
    pub host: String,
    pub advertised_host: String,
    pub port_offset: u16,
    pub stream_folders: Vec<std::path::PathBuf>,
    pub drain_seconds: u64,
}

impl Node {
    pub fn advertised(&self) -> &str {
        if self.advertised_host.is_empty() {
            &self.host
        } else {
            &self.advertised_host
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    pub http_port: u16,
    pub grpc_port: u16,
    pub address: String,
    pub lease_ms: u64,
    pub liveness_ms: u64,
    pub clock_skew_ms_max: u64,
    pub reconcile_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub http_port: u16,
    pub query_timeout_ms: u64,
    pub default_limit: u64,
    pub queries_running_max: u64,
    pub queries_waiting_max: u64,
    pub queries_wait_max_ms: u64,
    pub hedge_percent: u64,
    pub exchange_rows_min: u64,
    pub tenant_quotas: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub http_port: u16,
    pub grpc_port: u16,
    pub seal_wait_ms: u64,
    pub disk_free_bytes_min: u64,
    pub cache_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub credentials_file: std::path::PathBuf,
    pub credentials: Secret,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Minion {
    pub http_port: u16,
    pub rewrites_max: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    pub folders: Vec<std::path::PathBuf>,
    pub hosts: Vec<String>,
    pub objects: Vec<String>,
    pub endpoint: String,
    pub region: String,
    pub path_style: bool,
    pub allow_http: bool,
    pub credentials_file: String,
    pub ca_file: std::path::PathBuf,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub enabled: bool,
    pub port: u16,
    pub retention_bytes: u64,
    pub retention_ms: u64,
    pub sync: LogSync,
    pub sync_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSync {
    Ack,
    Interval,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metastore {
    pub kind: MetastoreKind,
    pub url: String,
    pub password_file: std::path::PathBuf,
    pub password: Secret,
    pub connections_max: u32,
    pub timeout_ms: u64,
}

impl Metastore {
    fn fault(&self) -> Option<&'static str> {
        match (self.kind, self.url.is_empty()) {
            (MetastoreKind::Postgres, true) => Some(
                "`metastore.kind` is \"postgres\", but `metastore.url` is empty: write \
                 postgres://user@host:5432/database",
            ),
            (MetastoreKind::Sqlite, false) => Some(
                "`metastore.url` is set, but `metastore.kind` is \"sqlite\": write \
                 kind = \"postgres\", or leave the URL out",
            ),
            _ if self.connections_max == 0 => Some("`metastore.connections_max` is at least 1"),
            _ if self.timeout_ms == 0 => Some("`metastore.timeout_ms` is at least 1"),
            _ => None,
        }
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetastoreKind {
    Sqlite,
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Deepstore {
    pub url: String,
    pub endpoint: String,
    pub region: String,
    pub path_style: bool,
    pub allow_http: bool,
    pub credentials_file: String,
    pub request_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub allowed_hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    pub principals_file: std::path::PathBuf,
    pub certificate_file: std::path::PathBuf,
    pub key_file: std::path::PathBuf,
    pub ca_file: std::path::PathBuf,
    pub cluster_token_file: std::path::PathBuf,
    pub audit: AuditKind,
    pub audit_file: std::path::PathBuf,
    pub listen_without_authentication: bool,
}

impl Security {
    fn fault(&self) -> Option<&'static str> {
        let is_set = |path: &std::path::Path| !path.as_os_str().is_empty();
        let has_certificate = is_set(&self.certificate_file);
        if has_certificate != is_set(&self.key_file) {
            return Some(
                "`security.certificate_file` and `security.key_file` go together: set both, or \
                 none",
            );
        }
        if is_set(&self.ca_file) && !has_certificate {
            return Some(
                "`security.ca_file` is set, but this node has no certificate of it: set \
                 `security.certificate_file` and `security.key_file`",
            );
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditKind {
    Denied,
    Changes,
    All,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    pub threads: usize,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub ingest_bytes: u64,
    pub query_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_level: String,
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
