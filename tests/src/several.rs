//! A cluster of several controllers over one PostgreSQL, and one node with the other roles, in this
//! process.
//!
//! A controller that is stopped gives its lead back; one whose lease is taken away goes on as if
//! nothing had happened, as one does that wakes after its lease.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use metastore::{LeaseId, MetaStore, PostgresConfig, PostgresStore};
use reqwest::{Method, StatusCode};
use runtime::settings::{Layers, Settings};
use runtime::{SystemClock, TaskGroup, files};
use schemas::cluster::Role;
use serde_json::Value;
use stream::embedded::{EmbeddedLog, LogConfig};
use tannin::node::{Node, Parts, Transport};

use crate::cluster::until;
use crate::process::Sql;

/// More leases than any test takes.
const LEASES: u64 = 200;

#[derive(Debug)]
pub struct Several {
    url: String,
    folder: tempfile::TempDir,
    /// HTTP and gRPC of each controller, kept over restarts.
    ports: Vec<(u16, u16)>,
    controllers: Vec<Option<Node>>,
    others: Option<Node>,
    /// Controllers of a cluster bring none.
    log: String,
    log_tasks: TaskGroup,
    pub http: reqwest::Client,
}

impl Several {
    pub async fn start(url: &str, controllers: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let log = listener.local_addr()?.to_string();
        let log_tasks = TaskGroup::new("log");
        let config = LogConfig::new(folder.path().join("log"));
        EmbeddedLog::start(
            config,
            listener,
            files::shared(),
            SystemClock::shared(),
            &log_tasks,
        )?;
        let ports = (0..controllers).map(|_| Ok((free_port()?, free_port()?)));
        let mut several = Self {
            url: url.to_owned(),
            folder,
            log,
            log_tasks,
            ports: ports.collect::<Result<_>>()?,
            controllers: (0..controllers).map(|_| None).collect(),
            others: None,
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        for index in 0..controllers {
            several.start_controller(index).await?;
        }
        let settings = several.settings("others")?;
        let roles = [Role::Server, Role::Broker, Role::Minion];
        let parts = Parts::real(Transport::Grpc);
        several.others = Some(Node::start(&settings, &roles, parts).await?);
        until("one controller leads, and the server is heard", || async {
            let leader = several.leader().await?;
            let cluster: Value =
                serde_json::from_str(&several.get(leader, "/v1/cluster").await?.1)?;
            let instances = cluster["instances"].as_array().context("no instances")?;
            ensure!(
                instances.iter().any(|one| one["role"] == "server"),
                "{cluster}"
            );
            several.others().ready().map_err(anyhow::Error::msg)
        })
        .await?;
        Ok(several)
    }

    fn settings(&self, name: &str) -> Result<Settings> {
        let mut layers = Layers::default();
        let path = self.folder.path();
        let grpc: Vec<String> = self
            .ports
            .iter()
            .map(|(_, grpc)| format!("127.0.0.1:{grpc}"))
            .collect();
        for assignment in [
            format!("node.data_dir={}", path.join(name).display()),
            format!("deepstore.url=file://{}", path.join("deepstore").display()),
            format!("metastore={}", self.url),
            format!("controller.address={}", grpc.join(",")),
        ] {
            layers.assignment(&assignment);
        }
        for assignment in [
            "broker.http_port=0",
            "server.http_port=0",
            "server.grpc_port=0",
            "minion.http_port=0",
            "log.enabled=false",
            "controller.reconcile_ms=100",
            "controller.liveness_ms=3000",
            "controller.lease_ms=2000",
            "metastore.timeout_ms=3000",
            "server.seal_wait_ms=30000",
        ] {
            layers.assignment(assignment);
        }
        Ok(layers.settings()?)
    }

    pub async fn start_controller(&mut self, index: usize) -> Result<()> {
        let mut settings = self.settings(&format!("controller-{index}"))?;
        let (http, grpc) = self.ports[index];
        (settings.controller.http_port, settings.controller.grpc_port) = (http, grpc);
        let parts = Parts::real(Transport::Grpc);
        let node = Node::start(&settings, &[Role::Controller], parts).await?;
        self.controllers[index] = Some(node);
        Ok(())
    }

    pub async fn stop_controller(&mut self, index: usize) {
        if let Some(node) = self.controllers[index].take() {
            node.stop().await;
        }
    }

    fn others(&self) -> &Node {
        self.others.as_ref().expect("it runs")
    }

    /// `Controller_127.0.0.1_9000`.
    pub fn name(&self, index: usize) -> String {
        format!("Controller_127.0.0.1_{}", self.ports[index].0)
    }

    /// The one that says of itself that it leads.
    pub async fn leader(&self) -> Result<usize> {
        let mut leaders = Vec::new();
        for (index, controller) in self.controllers.iter().enumerate() {
            if controller.is_some() {
                let (_, metrics) = self.get(index, "/metrics").await?;
                if metrics
                    .lines()
                    .any(|line| line == "tannin_controller_leads 1")
                {
                    leaders.push(index);
                }
            }
        }
        ensure!(leaders.len() == 1, "{leaders:?} say that they lead");
        Ok(leaders[0])
    }

    pub async fn wait_for_leader(&self) -> Result<usize> {
        until("one controller leads", || self.leader()).await
    }

    /// Every lease ends now, and its holder does not know.
    pub async fn take_leases_away(&self) -> Result<()> {
        let config = PostgresConfig {
            url: self.url.clone(),
            password: None,
            connections_max: 1,
            deadline: Duration::from_secs(10),
        };
        let store = PostgresStore::open(&config).await?;
        for id in 1..LEASES {
            store.revoke(LeaseId(id)).await?;
        }
        Ok(())
    }

    /// All that is stored.
    pub async fn entries(&self) -> Result<Vec<metastore::Entry>> {
        let config = PostgresConfig {
            url: self.url.clone(),
            password: None,
            connections_max: 1,
            deadline: Duration::from_secs(10),
        };
        Ok(PostgresStore::open(&config).await?.range("/").await?.0)
    }

    pub async fn call(
        &self,
        index: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[index].0);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    pub async fn get(&self, index: usize, path: &str) -> Result<(StatusCode, String)> {
        self.call(index, Method::GET, path, None).await
    }

    pub fn log(&self) -> String {
        self.log.clone()
    }

    pub fn sql(&self) -> Sql {
        Sql::new(&self.http, &self.others().addresses.broker_http)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn stop(mut self) {
        if let Some(others) = self.others.take() {
            others.stop().await;
        }
        for index in 0..self.controllers.len() {
            self.stop_controller(index).await;
        }
        self.log_tasks.stop(Duration::from_secs(5)).await;
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
