//! A cluster in this process: one controller, one broker, one minion, two servers and a log, on
//! real ports and real files, through the same composition root as the binary.
//!
//! Both transports carry the same messages, so every test runs over both: [`both`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, RequestBuilder, StatusCode};
use runtime::settings::{Layers, Settings};
use runtime::{Clock, SystemClock};
use schemas::cluster::Role;
use serde_json::{Value, json};
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tannin::node::{Node, Parts, Transport};

use crate::process::Sql;

/// Whatever takes longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// The first node has everything; the others are servers.
pub const SERVERS: usize = 2;

/// How the roles speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    InProcess,
    Grpc,
}

/// As [`both`], with nodes that are minions and nothing else, and no other minion: they may be
/// stopped without any loss.
pub async fn both_with_minions<T>(minions: usize, test: impl Fn(Cluster) -> T) -> Result<()>
where
    T: Future<Output = Result<()>>,
{
    for over in [Over::InProcess, Over::Grpc] {
        let mut all = vec![BUT_MINION, SERVER];
        all.extend(std::iter::repeat_n(MINION, minions));
        let cluster = Cluster::start_with(over, SystemClock::shared(), all, Vec::new()).await?;
        test(cluster)
            .await
            .with_context(|| format!("over {over:?}"))?;
    }
    Ok(())
}

const EVERY: &[Role] = &Role::ALL;
const BUT_MINION: &[Role] = &[Role::Controller, Role::Broker, Role::Server];
const SERVER: &[Role] = &[Role::Server];
const MINION: &[Role] = &[Role::Minion];

/// The first node has everything; the others are servers.
fn servers(count: usize) -> Vec<&'static [Role]> {
    let others = std::iter::repeat_n(SERVER, count.saturating_sub(1));
    std::iter::once(EVERY).chain(others).collect()
}

/// Runs a test over both transports; an error names the one it happened on.
pub async fn both<T>(test: impl Fn(Cluster) -> T) -> Result<()>
where
    T: Future<Output = Result<()>>,
{
    for over in [Over::InProcess, Over::Grpc] {
        let cluster = Cluster::start(over).await?;
        test(cluster)
            .await
            .with_context(|| format!("over {over:?}"))?;
    }
    Ok(())
}

#[derive(Debug)]
pub struct Cluster {
    over: Over,
    clock: Arc<dyn Clock>,
    network: Transport,
    folder: tempfile::TempDir,
    nodes: Vec<Option<Node>>,
    /// Of each node.
    roles: Vec<&'static [Role]>,
    /// `section.key=value` of every node, beside what a test always needs.
    assignments: Vec<String>,
    /// Kept over restarts, as tables name the log's address.
    log_port: u16,
    pub http: reqwest::Client,
}

impl Cluster {
    pub async fn start(over: Over) -> Result<Self> {
        Self::start_at(over, SystemClock::shared()).await
    }

    pub async fn start_of(over: Over, servers: usize) -> Result<Self> {
        Self::start_with(
            over,
            SystemClock::shared(),
            self::servers(servers),
            Vec::new(),
        )
        .await
    }

    /// One node, with these settings.
    pub async fn start_set(over: Over, assignments: &[&str]) -> Result<Self> {
        Self::start_all_set(over, 1, assignments).await
    }

    /// Every node with these settings.
    pub async fn start_all_set(over: Over, servers: usize, assignments: &[&str]) -> Result<Self> {
        let assignments = assignments.iter().map(ToString::to_string).collect();
        Self::start_with(
            over,
            SystemClock::shared(),
            self::servers(servers),
            assignments,
        )
        .await
    }

    pub async fn start_at(over: Over, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::start_with(over, clock, servers(SERVERS), Vec::new()).await
    }

    async fn start_with(
        over: Over,
        clock: Arc<dyn Clock>,
        roles: Vec<&'static [Role]>,
        assignments: Vec<String>,
    ) -> Result<Self> {
        show_logs();
        let network = match over {
            Over::InProcess => Transport::InProcess(Arc::default()),
            Over::Grpc => Transport::Grpc,
        };
        let mut cluster = Self {
            over,
            clock,
            network,
            folder: tempfile::tempdir()?,
            nodes: Vec::new(),
            roles,
            assignments,
            log_port: 0,
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        for index in 0..cluster.roles.len() {
            cluster.nodes.push(None);
            cluster.start_node(index).await?;
        }
        let address = cluster.log();
        let port = address.rsplit_once(':').map(|(_, port)| port.parse());
        cluster.log_port = port.context("the log has no port")??;
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    pub fn over(&self) -> Over {
        self.over
    }

    /// Starts a node that is stopped, on the files it left.
    pub async fn start_node(&mut self, index: usize) -> Result<()> {
        self.start_node_with(index, &[]).await
    }

    /// With these settings beside those of every node.
    pub async fn start_node_with(&mut self, index: usize, assignments: &[&str]) -> Result<()> {
        let settings = self.settings(index, assignments)?;
        let parts = self.parts();
        self.start_node_of(index, &settings, parts).await
    }

    /// Its server is one of a version with other plans.
    pub async fn start_node_of_plan_format(&mut self, index: usize, format: u32) -> Result<()> {
        let settings = self.settings(index, &[])?;
        let parts = Parts {
            plan_format: format,
            ..self.parts()
        };
        self.start_node_of(index, &settings, parts).await
    }

    /// With a clock of its own.
    pub async fn start_node_at(&mut self, index: usize, clock: Arc<dyn Clock>) -> Result<()> {
        let settings = self.settings(index, &[])?;
        let parts = Parts {
            clock,
            ..self.parts()
        };
        self.start_node_of(index, &settings, parts).await
    }

    /// A server on a data dir that somebody else has made; it is none of the cluster's nodes.
    pub async fn start_stranger(&self, data_dir: &Path) -> Result<Node> {
        let data_dir = format!("node.data_dir={}", data_dir.display());
        let settings = self.settings(self.nodes.len(), &[&data_dir])?;
        Node::start(&settings, SERVER, self.parts()).await
    }

    fn parts(&self) -> Parts {
        Parts {
            clock: Arc::clone(&self.clock),
            ..Parts::real(self.network.clone())
        }
    }

    async fn start_node_of(
        &mut self,
        index: usize,
        settings: &Settings,
        parts: Parts,
    ) -> Result<()> {
        let node = Node::start(settings, self.roles[index], parts).await?;
        self.nodes[index] = Some(node);
        Ok(())
    }

    /// Of every node that is started from now on.
    pub fn set(&mut self, assignment: &str) {
        self.assignments.push(assignment.to_owned());
    }

    /// One more server.
    pub async fn add_server(&mut self) -> Result<usize> {
        self.nodes.push(None);
        self.roles.push(&[Role::Server]);
        let index = self.nodes.len() - 1;
        self.start_node(index).await?;
        self.wait_ready().await?;
        Ok(index)
    }

    /// Names of the servers that live.
    pub async fn servers(&self) -> Result<Vec<String>> {
        let cluster = self.get("/v1/cluster").await?;
        let all = cluster["instances"].as_array().context("no instances")?;
        let lives = |one: &&Value| one["role"] == "server" && one["alive"] == true;
        let names = all.iter().filter(lives);
        let names = names.filter_map(|one| one["instance"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn settings(&self, index: usize, assignments: &[&str]) -> Result<Settings> {
        let mut layers = Layers::default();
        let folder = self.data_dir(index);
        layers.assignment(&format!("node.data_dir={}", folder.display()));
        let deep = self.deepstore();
        layers.assignment(&format!("deepstore.url=file://{}", deep.display()));
        for port in [
            "controller.http_port",
            "controller.grpc_port",
            "broker.http_port",
            "server.http_port",
            "server.grpc_port",
            "minion.http_port",
        ] {
            layers.assignment(&format!("{port}=0"));
        }
        layers.assignment(&format!("log.port={}", self.log_port));
        layers.assignment("controller.reconcile_ms=100");
        layers.assignment("controller.liveness_ms=2000");
        // Tests count segments: on a busy machine none may grow past its limit.
        layers.assignment("server.seal_wait_ms=30000");
        if let Some(Some(first)) = self.nodes.first().filter(|_| index > 0) {
            let address = &first.addresses.controller_grpc;
            layers.assignment(&format!("controller.address={address}"));
        }
        let own = self.assignments.iter().map(String::as_str);
        for assignment in own.chain(assignments.iter().copied()) {
            layers.assignment(assignment);
        }
        Ok(layers.settings()?)
    }

    pub fn deepstore(&self) -> PathBuf {
        self.folder.path().join("deepstore")
    }

    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("node-{index}"))
    }

    pub fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("the node runs")
    }

    pub fn log(&self) -> String {
        self.node(0).addresses.log.clone()
    }

    /// Drains a node and lets go of its files.
    pub async fn stop_node(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            node.stop().await;
        }
    }

    pub async fn stop(mut self) {
        for index in (0..self.nodes.len()).rev() {
            self.stop_node(index).await;
        }
    }

    /// Until every running node serves and the controller has heard of every server.
    pub async fn wait_ready(&self) -> Result<()> {
        let running = self.nodes.iter().zip(&self.roles);
        let running =
            running.filter(|(node, roles)| node.is_some() && roles.contains(&Role::Server));
        let running = running.count();
        until("the cluster is ready", || async {
            for node in self.nodes.iter().flatten() {
                if let Err(reason) = node.ready() {
                    bail!(reason);
                }
            }
            let cluster = self.get("/v1/cluster").await?;
            let instances = cluster["instances"].as_array().context("no instances")?;
            let lives = |one: &&Value| one["role"] == "server" && one["alive"] == true;
            let alive = instances.iter().filter(lives).count();
            ensure!(alive == running, "{alive} of {running} servers live");
            Ok(())
        })
        .await
    }

    /// Status and body of a request to the controller, or to the broker for its paths.
    pub async fn call(
        &self,
        role: Role,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, String)> {
        let answer = self.request(role, method, path, body).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// A request that is not sent yet.
    pub fn request(
        &self,
        role: Role,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> RequestBuilder {
        let addresses = &self.node(0).addresses;
        let address = match role {
            Role::Controller => &addresses.controller_http,
            Role::Broker => &addresses.broker_http,
            Role::Server => &addresses.server_http,
            Role::Minion => &addresses.minion_http,
        };
        let request = self.http.request(method, format!("http://{address}{path}"));
        match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.controller(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.controller(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str) -> Result<Value> {
        self.controller(Method::PUT, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.controller(Method::DELETE, path, None).await
    }

    async fn controller(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string);
        let asked = format!("{method} {path}");
        let (status, text) = self.call(Role::Controller, method, path, body).await?;
        ensure!(status.is_success(), "{asked}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{asked}: no JSON: {text}"))
    }

    /// Answers in the standard dialect.
    pub fn sql(&self) -> Sql {
        Sql::new(&self.http, &self.node(0).addresses.broker_http)
    }

    /// The whole answer in Pinot's dialect.
    pub async fn pinot(&self, sql: &str) -> Result<Value> {
        let body = json!({ "sql": sql }).to_string();
        let (status, text) = self
            .call(Role::Broker, Method::POST, "/query/sql", Some(body))
            .await?;
        ensure!(status.is_success(), "{sql}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Until a statement answers one number that is `wanted`.
    pub async fn wait_for(&self, sql: &str, wanted: i64) -> Result<()> {
        let asked = self.sql();
        until(&format!("{sql} = {wanted}"), || async {
            let found = asked.numbers(sql).await?;
            ensure!(found == [wanted], "it is {found:?}");
            Ok(())
        })
        .await
    }

    /// As [`Self::wait_for`], of each replica: they take turns.
    pub async fn wait_for_each(&self, sql: &str, wanted: i64) -> Result<()> {
        let asked = self.sql();
        until(&format!("{sql} = {wanted} on each replica"), || async {
            for _ in 0..2 * SERVERS {
                let found = asked.numbers(sql).await?;
                ensure!(found == [wanted], "it is {found:?}");
            }
            Ok(())
        })
        .await
    }

    /// Adds the rows of a file to a table that exists.
    pub async fn import(&self, table: &str, file: &Path) -> Result<()> {
        let addresses = &self.node(0).addresses;
        let (broker, controller) = (&addresses.broker_http, &addresses.controller_http);
        tannin::load::load_file(broker, controller, table, file).await
    }

    pub async fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let source = KafkaSource::new(&self.log(), &[], "tests")?;
        Ok(source.create_topic(topic, partitions).await?)
    }

    /// Produces to the built-in log and waits for the acknowledgements.
    pub async fn produce(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = (u32, impl AsRef<[u8]>)>,
    ) -> Result<()> {
        produce(&self.log(), topic, messages).await
    }
}

/// `TEST_LOG=info,minion=debug` shows what the roles log; without it they are silent.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says what is shown"
)]
fn show_logs() {
    if let Ok(filter) = std::env::var("TEST_LOG") {
        // Another test of this process may have done so already.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
    }
}

/// Produces to any Kafka and waits for the acknowledgements.
pub async fn produce(
    brokers: &str,
    topic: &str,
    messages: impl IntoIterator<Item = (u32, impl AsRef<[u8]>)>,
) -> Result<()> {
    let producer = KafkaProducer::new(brokers)?;
    for (partition, payload) in messages {
        producer
            .send(topic, Some(partition as i32), None, payload.as_ref())
            .await?;
    }
    producer.flush(PATIENCE).await?;
    let acks = producer.acks();
    ensure!(
        acks.failed == 0 && acks.acked == acks.queued,
        "the log did not take everything: {acks:?}"
    );
    Ok(())
}

/// Tries until it succeeds; the last failure when the patience is over.
pub async fn until<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(error.context(format!("waited {PATIENCE:?} in vain: {what}")));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
