//! A node that wants to know who asks: TLS, principals, mutual proof between its roles.

use std::path::{Path, PathBuf};

use access::secrets::{hash_of_password, hash_of_token};
use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Method, StatusCode};
use runtime::settings::Layers;

use schemas::cluster::Role;
use serde_json::{Value, json};
use stream::{KafkaSource, StreamSource};
use tannin::node::{Node, Parts, Transport};

use crate::cluster::{produce, until};

/// Who may sign certificates.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Writes `node.pem`, `node.key` and `ca.pem`.
    pub fn issue(&self, folder: &Path) -> Result<()> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.0)?;
        std::fs::write(folder.join("node.pem"), certificate.pem())?;
        std::fs::write(folder.join("node.key"), key.serialize_pem())?;
        std::fs::write(folder.join("ca.pem"), self.0.pem())?;
        Ok(())
    }
}

/// Those of the tests: each has its name as password.
pub const PRINCIPALS: [(&str, &str); 4] = [
    ("root", "tables = { '*' = ['*'] }\ncluster = ['*']\n"),
    ("reader", "tables = { mine = ['read'] }\n"),
    ("writer", "tables = { mine = ['write'] }\n"),
    ("guest", ""),
];
pub const TOKEN: &str = "a-token-that-nobody-can-guess";
const CLUSTER_TOKEN: &str = "one-secret-of-all-nodes";

fn principals() -> Result<String> {
    let mut text = String::new();
    for (name, grants) in PRINCIPALS {
        let hash = hash_of_password(name).map_err(anyhow::Error::msg)?;
        text.push_str(&format!(
            "[principals.{name}]\npassword = '{hash}'\n{grants}"
        ));
    }
    let hash = hash_of_token(TOKEN);
    text.push_str(&format!(
        "[principals.robot]\ntoken = '{hash}'\ntables = {{ mine = ['read'] }}\n"
    ));
    Ok(text)
}

#[derive(Debug)]
pub struct Guarded {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
    pub node: Node,
    /// Beside that of `node`.
    servers: Vec<Node>,
    pub http: Client,
}

/// Rows of each table.
pub const ROWS: i64 = 200;
const NOW_MS: i64 = 1_767_323_045_678;

impl Guarded {
    /// All roles over gRPC, with the tables `mine` and `secret`.
    pub async fn start() -> Result<Self> {
        Self::start_of(1).await
    }

    /// As that, with so many servers, each of which has a share of the rows.
    pub async fn start_of(servers: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        authority.issue(folder.path())?;
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("principals.toml"), principals()?)?;
        std::fs::write(file("cluster-token"), CLUSTER_TOKEN)?;
        let settings = |name: &str, controller: &str| settings(folder.path(), name, controller);
        let node = Node::start(&settings("data", "")?, &Role::ALL, parts()).await?;
        let mut others = Vec::new();
        for at in 1..servers {
            let settings = settings(&format!("server-{at}"), &node.addresses.controller_grpc)?;
            others.push(Node::start(&settings, &[Role::Server], parts()).await?);
        }
        let ca = Certificate::from_pem(&std::fs::read(file("ca.pem"))?)?;
        let http = Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .add_root_certificate(ca);
        let guarded = Self {
            http: http.build()?,
            folder,
            authority,
            node,
            servers: others,
        };
        until("the nodes serve", || async {
            for node in guarded.servers.iter().chain([&guarded.node]) {
                node.ready().map_err(anyhow::Error::msg)?;
            }
            Ok(())
        })
        .await?;
        for table in ["mine", "secret"] {
            guarded.create(table, servers).await?;
        }
        Ok(guarded)
    }

    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
        self.node.stop().await;
    }

    async fn create(&self, table: &str, partitions: u32) -> Result<()> {
        let log = &self.node.addresses.log;
        let source = KafkaSource::new(log, &[], "tests")?;
        source.create_topic(table, partitions).await?;
        let body = json!({
            "schema": {
                "schemaName": table,
                "dimensionFieldSpecs": [
                    { "name": "id", "dataType": "LONG" }, { "name": "word", "dataType": "STRING" },
                ],
                "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP",
                    "format": "TIMESTAMP", "granularity": "1:MILLISECONDS" }],
            },
            "tableConfig": {
                "tableName": table, "tableType": "REALTIME",
                "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
                "tenants": {}, "metadata": {},
                "tableIndexConfig": {},
                "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                    "streamType": "kafka",
                    "stream.kafka.topic.name": table,
                    "stream.kafka.broker.list": log,
                    "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                    "stream.kafka.decoder.class.name":
                        "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder",
                }] } },
            },
        });
        let (status, text) = self
            .call(
                "root",
                Role::Controller,
                Method::POST,
                "/v1/tables",
                Some(&body),
            )
            .await?;
        ensure!(status.is_success(), "{status}: {text}");
        let row = |id| json!({ "id": id, "word": format!("{table}-word"), "ts": NOW_MS + id });
        let rows = (0..ROWS).map(|id| (id as u32 % partitions, row(id).to_string()));
        produce(log, table, rows).await?;
        let count = format!("SELECT COUNT(*) FROM {table}");
        until(&count, || async {
            let (status, answer) = self.sql("root", &count).await?;
            ensure!(status.is_success(), "{answer}");
            ensure!(answer["rows"][0][0] == ROWS, "{answer}");
            Ok(())
        })
        .await
    }

    pub fn url(&self, role: Role, path: &str) -> String {
        let addresses = &self.node.addresses;
        let address = match role {
            Role::Controller => &addresses.controller_http,
            Role::Broker => &addresses.broker_http,
            Role::Server => &addresses.server_http,
            Role::Minion => &addresses.minion_http,
        };
        format!("https://{address}{path}")
    }

    /// As one of the principals.
    pub async fn call(
        &self,
        who: &str,
        role: Role,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String)> {
        let request = self.http.request(method, self.url(role, path));
        let request = request.basic_auth(who, Some(who));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    pub async fn get(&self, who: &str, role: Role, path: &str) -> Result<(StatusCode, String)> {
        self.call(who, role, Method::GET, path, None).await
    }

    /// In the standard dialect.
    pub async fn sql(&self, who: &str, sql: &str) -> Result<(StatusCode, Value)> {
        let body = json!({ "sql": sql });
        let called = self.call(who, Role::Broker, Method::POST, "/v1/sql", Some(&body));
        let (status, text) = called.await?;
        let answer = serde_json::from_str(&text).with_context(|| format!("{sql}: {text}"))?;
        Ok((status, answer))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn parts() -> Parts {
    Parts::real(Transport::Grpc)
}

fn settings(folder: &Path, name: &str, controller: &str) -> Result<runtime::settings::Settings> {
    let mut layers = Layers::default();
    let file = |name: &str| folder.join(name).display().to_string();
    for (name, value) in [
        ("node.data_dir", file(name)),
        ("deepstore.url", format!("file://{}", file("deepstore"))),
        ("controller.address", controller.to_owned()),
        ("security.principals_file", file("principals.toml")),
        ("security.certificate_file", file("node.pem")),
        ("security.key_file", file("node.key")),
        ("security.ca_file", file("ca.pem")),
        ("security.cluster_token_file", file("cluster-token")),
        ("security.audit", "all".to_owned()),
        ("security.audit_file", file("audit.jsonl")),
    ] {
        layers.assignment(&format!("{name}={value}"));
    }
    for port in [
        "controller.http_port",
        "controller.grpc_port",
        "broker.http_port",
        "server.http_port",
        "server.grpc_port",
        "minion.http_port",
        "log.port",
    ] {
        layers.assignment(&format!("{port}=0"));
    }
    layers.assignment("controller.reconcile_ms=100");
    Ok(layers.settings()?)
}
