//! A cluster whose servers are processes, so that they can be killed, stopped and continued. The
//! other roles and the log are in this process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use runtime::settings::{Layers, Settings};
use schemas::cluster::Role;
use serde_json::Value;
use tannin::node::{Node, Parts, Transport};

use crate::cluster::{produce, until};
use crate::process::Sql;
use stream::{KafkaSource, StreamSource};

#[derive(Debug)]
pub struct Members {
    /// The program that is a server.
    program: PathBuf,
    folder: tempfile::TempDir,
    node: Node,
    servers: Vec<Option<Owned>>,
    pub http: reqwest::Client,
}

/// A process that does not outlive its owner.
#[derive(Debug)]
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Stop,
    Continue,
}

impl Members {
    /// `assignments`: `section.key=value` for the node with the other roles.
    pub async fn start(program: &Path, servers: usize, assignments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut layers = common(folder.path(), "node");
        for assignment in [
            "controller.http_port=0",
            "controller.grpc_port=0",
            "broker.http_port=0",
            "minion.http_port=0",
            "log.port=0",
            "controller.reconcile_ms=100",
        ] {
            layers.push(assignment.to_owned());
        }
        layers.extend(assignments.iter().map(|one| (*one).to_owned()));
        let roles = [Role::Controller, Role::Broker, Role::Minion];
        let parts = Parts::real(Transport::Grpc);
        let node = Node::start(&settings(&layers)?, &roles, parts).await?;
        let mut members = Self {
            program: program.to_owned(),
            folder,
            node,
            servers: Vec::new(),
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        for index in 0..servers {
            members.servers.push(None);
            members.start_server(index)?;
        }
        members.wait_alive(servers).await?;
        Ok(members)
    }

    pub fn start_server(&mut self, index: usize) -> Result<()> {
        let name = format!("server-{index}");
        // One that was killed leaves its own behind.
        let _ = std::fs::remove_file(self.folder.path().join(&name).join("ports.json"));
        let log = self.folder.path().join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        command.args(["start", "--role", "server"]);
        let mut assignments = common(self.folder.path(), &name);
        assignments.extend([
            format!("controller.address={}", self.node.addresses.controller_grpc),
            "server.http_port=0".to_owned(),
            "server.grpc_port=0".to_owned(),
        ]);
        for assignment in assignments {
            command.args(["--set", &assignment]);
        }
        let command = command.stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| self.program.display().to_string())?;
        self.servers[index] = Some(Owned(child));
        Ok(())
    }

    pub fn tell(&mut self, index: usize, signal: Signal) -> Result<()> {
        let server = &mut self.servers[index];
        let child = server.as_ref().context("the server does not run")?;
        let name = match signal {
            Signal::Kill => {
                *server = None;
                return Ok(());
            }
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let told = Command::new("kill")
            .args([name, &child.0.id().to_string()])
            .status()?;
        ensure!(told.success(), "kill {name} failed");
        Ok(())
    }

    /// Until the server says that it serves all that is assigned to it.
    pub async fn wait_ready(&self, index: usize) -> Result<()> {
        until("the server is ready", || async {
            let url = format!("http://{}/ready", self.server(index)?);
            let answer = self.http.get(url).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.text().await?);
            Ok(())
        })
        .await
    }

    /// The HTTP address of a server that listens.
    pub fn server(&self, index: usize) -> Result<String> {
        let folder = self.folder.path().join(format!("server-{index}"));
        let ports = std::fs::read(folder.join("ports.json"))?;
        let ports: Value = serde_json::from_slice(&ports)?;
        let address = ports["server_http"].as_str().context("no address")?;
        Ok(address.to_owned())
    }

    async fn wait_alive(&self, servers: usize) -> Result<()> {
        until("every server was heard", || async {
            let cluster = self.controller("/v1/cluster").await?;
            let instances = cluster["instances"].as_array().context("no instances")?;
            let lives = |one: &&Value| one["role"] == "server" && one["alive"] == true;
            let alive = instances.iter().filter(lives).count();
            ensure!(alive == servers, "{alive} of {servers} servers live");
            Ok(())
        })
        .await
    }

    pub async fn controller(&self, path: &str) -> Result<Value> {
        let url = format!("http://{}{path}", self.node.addresses.controller_http);
        Ok(self.http.get(url).send().await?.json().await?)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<()> {
        let url = format!("http://{}{path}", self.node.addresses.controller_http);
        let answer = self.http.post(url).json(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }

    pub fn controller_http(&self) -> String {
        self.node.addresses.controller_http.clone()
    }

    pub fn broker(&self) -> String {
        self.node.addresses.broker_http.clone()
    }

    pub fn log(&self) -> String {
        self.node.addresses.log.clone()
    }

    pub fn sql(&self) -> Sql {
        Sql::new(&self.http, &self.broker())
    }

    /// The values of a metric of the broker, over all its labels.
    pub async fn metric(&self, name: &str) -> Result<Vec<(String, f64)>> {
        let url = format!("http://{}/metrics", self.broker());
        let text = self.http.get(url).send().await?.text().await?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| Some((labels.to_owned(), value.parse().ok()?)))?
        });
        Ok(values.collect())
    }

    pub async fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let source = KafkaSource::new(&self.log(), &[], "tests")?;
        Ok(source.create_topic(topic, partitions).await?)
    }

    pub async fn produce(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = (u32, impl AsRef<[u8]>)>,
    ) -> Result<()> {
        produce(&self.log(), topic, messages).await
    }

    pub async fn stop(mut self) {
        for index in 0..self.servers.len() {
            if self.servers[index].is_some() {
                let _ = self.tell(index, Signal::Kill);
            }
        }
        self.node.stop().await;
    }
}

fn common(folder: &Path, name: &str) -> Vec<String> {
    vec![
        format!("node.data_dir={}", folder.join(name).display()),
        format!(
            "deepstore.url=file://{}",
            folder.join("deepstore").display()
        ),
    ]
}

fn settings(assignments: &[String]) -> Result<Settings> {
    let mut layers = Layers::default();
    for assignment in assignments {
        layers.assignment(assignment);
    }
    Ok(layers.settings()?)
}
