//! Settings: plain data with documented defaults.
//!
//! `default.toml` is the reference and the type below is its shape: a key that the file lacks
//! cannot be set, and every key of the file is read. Precedence is default < file < environment <
//! flag. Only `cli` calls [`Layers`]; the roles get the values.

mod layers;

use serde::Deserialize;

pub use layers::{Layers, SettingsError};

/// The documented defaults, as `tannin config print` writes them.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub node: Node,
    pub controller: Controller,
    pub broker: Broker,
    pub server: Server,
    pub minion: Minion,
    pub log: Log,
    pub metastore: Metastore,
    pub deepstore: Deepstore,
    pub http: Http,
    pub compute: Compute,
    pub memory: Memory,
    pub telemetry: Telemetry,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub data_dir: std::path::PathBuf,
    pub host: String,
    pub advertised_host: String,
    pub port_offset: u16,
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

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    pub http_port: u16,
    pub grpc_port: u16,
    pub address: String,
    pub liveness_ms: u64,
    pub reconcile_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub http_port: u16,
    pub query_timeout_ms: u64,
    pub default_limit: u64,
    pub queries_running_max: u64,
    pub queries_waiting_max: u64,
    pub queries_wait_max_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub http_port: u16,
    pub grpc_port: u16,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minion {
    pub http_port: u16,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub enabled: bool,
    pub port: u16,
    pub retention_bytes: u64,
    pub sync: LogSync,
    pub sync_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSync {
    Ack,
    Interval,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metastore {
    pub kind: MetastoreKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetastoreKind {
    Sqlite,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deepstore {
    pub kind: DeepstoreKind,
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeepstoreKind {
    Local,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub allowed_hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    pub threads: usize,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub query_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_level: String,
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
