//! Roles as processes, in a folder that goes with them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ::tests::cluster::until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Roles {
    folder: tempfile::TempDir,
    processes: Vec<Owned>,
    pub(crate) broker: String,
    pub(crate) controller: String,
    pub(crate) log: String,
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

impl Roles {
    /// The controller, the broker and the log in one process, and servers in others; 0: a server is
    /// there too.
    pub(crate) async fn start(tannin: &Path, folder: &Path, servers: usize) -> Result<Self> {
        let mut roles = Self {
            folder: tempfile::tempdir_in(folder)?,
            processes: Vec::new(),
            broker: String::new(),
            controller: String::new(),
            log: String::new(),
        };
        let first = match servers {
            0 => "controller,broker,minion,server",
            _ => "controller,broker,minion",
        };
        let ports = roles.spawn(tannin, "first", first, &[]).await?;
        let port = |name: &str| {
            let address = ports[name].as_str();
            address
                .map(str::to_owned)
                .with_context(|| format!("no {name} in {ports}"))
        };
        (roles.broker, roles.controller) = (port("broker_http")?, port("controller_http")?);
        roles.log = port("log")?;
        let controller = format!("controller.address={}", port("controller_grpc")?);
        for at in 0..servers {
            let name = format!("server-{at}");
            roles
                .spawn(tannin, &name, "server", &[controller.as_str()])
                .await?;
        }
        roles.wait_alive(servers.max(1)).await?;
        Ok(roles)
    }

    async fn spawn(
        &mut self,
        tannin: &Path,
        name: &str,
        roles: &str,
        more: &[&str],
    ) -> Result<Value> {
        let folder = self.folder.path();
        let log = File::create(folder.join(format!("{name}.log")))?;
        let mut command = Command::new(tannin);
        command.args(["start", "--role", roles]);
        let deep = folder.join("deepstore");
        let mut set = |assignment: &str| {
            command.args(["--set", assignment]);
        };
        set(&format!("node.data_dir={}", folder.join(name).display()));
        set(&format!("deepstore.url=file://{}", deep.display()));
        for port in [
            "controller.http_port",
            "controller.grpc_port",
            "broker.http_port",
            "server.http_port",
            "server.grpc_port",
            "minion.http_port",
            "log.port",
        ] {
            set(&format!("{port}=0"));
        }
        more.iter().for_each(|assignment| set(assignment));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.processes.push(Owned(command.spawn()?));
        let file = folder.join(name).join("ports.json");
        until("the process listens", || async {
            Ok(serde_json::from_slice(&std::fs::read(&file)?)?)
        })
        .await
    }

    async fn wait_alive(&self, servers: usize) -> Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{}/v1/cluster", self.controller);
        until("every server was heard", || async {
            let cluster: Value = http.get(&url).send().await?.json().await?;
            let instances = cluster["instances"].as_array().context("no instances")?;
            let lives = |one: &&Value| one["role"] == "server" && one["alive"] == true;
            let alive = instances.iter().filter(lives).count();
            ensure!(alive == servers, "{alive} of {servers} servers live");
            Ok(())
        })
        .await
    }

    /// Of all processes.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let each = self.processes.iter();
        let each = each.map(|process| crate::load::cpu_seconds(&process.0.id().to_string()));
        each.sum()
    }
}
