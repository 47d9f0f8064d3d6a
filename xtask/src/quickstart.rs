//! The real binary with its sample, for tests that speak with it as users do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace;

const READY_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(20);
/// A free port for every listener: tests never meet a node of the developer.
const FREE_PORTS: &[&str] = &[
    "controller.http_port=0",
    "controller.grpc_port=0",
    "broker.http_port=0",
    "server.http_port=0",
    "server.grpc_port=0",
    "minion.http_port=0",
    "log.port=0",
];

/// `host:port` of its listeners.
pub(crate) struct Addresses {
    pub(crate) broker: String,
    pub(crate) controller: String,
    /// Of the built-in log.
    pub(crate) log: String,
}

/// The real binary, killed when dropped.
pub(crate) struct Quickstart {
    child: Child,
    data: PathBuf,
    log: PathBuf,
}

impl Quickstart {
    pub(crate) fn start(data: &Path, log: &Path, arguments: &[&str]) -> Result<Self> {
        let binary = workspace::target()?.join("debug/tannin");
        let out = fs::File::create(log)?;
        let settings = FREE_PORTS.iter().flat_map(|setting| ["--set", setting]);
        let child = Command::new(&binary)
            .args(["quickstart", "--data-dir"])
            .arg(data)
            .args(settings)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self {
            child,
            data: data.to_owned(),
            log: log.to_owned(),
        })
    }

    /// From `ports.json`; whoever asks waits for tables and rows.
    pub(crate) fn wait_ready(&mut self) -> Result<Addresses> {
        let start = Instant::now();
        loop {
            let ports = fs::read(self.data.join("ports.json")).unwrap_or_default();
            let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap_or_default();
            let address = |role: &str| Some(ports[role].as_str()?.to_owned());
            let asked = ["broker_http", "controller_http", "log"].map(address);
            if let [Some(broker), Some(controller), Some(log)] = asked {
                return Ok(Addresses {
                    broker,
                    controller,
                    log,
                });
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("quickstart ended with {status}; see {}", self.log.display());
            }
            if start.elapsed() > READY_MAX {
                bail!(
                    "no ports.json after {READY_MAX:?}; see {}",
                    self.log.display()
                );
            }
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()?;
        let start = Instant::now();
        while start.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(50));
        }
        bail!(
            "quickstart still runs {STOP_MAX:?} after SIGTERM; see {}",
            self.log.display()
        )
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
