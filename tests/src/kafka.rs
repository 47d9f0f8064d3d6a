//! A real Kafka that is killed and comes back.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const ENDED_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// How to kill the Kafka that `cargo xtask kafka up` has started, and to start it again.
#[derive(Debug)]
pub struct Kafka {
    /// host:port
    pub address: String,
    /// Where it keeps its data.
    pub folder: PathBuf,
    /// The program that has started it.
    pub xtask: PathBuf,
}

impl Kafka {
    /// SIGKILL, and waits for its end.
    pub fn kill(&self) -> Result<()> {
        let pid = std::fs::read_to_string(self.folder.join("pid"));
        let pid = pid.context("Kafka's folder names no process")?;
        let pid = pid.trim();
        let killed = Command::new("kill").args(["-KILL", pid]).status()?;
        ensure!(killed.success(), "Kafka's process {pid} cannot be killed");
        // A process that is not waited for yet has no command line.
        let begin = Instant::now();
        while std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            ensure!(
                begin.elapsed() < ENDED_MAX,
                "Kafka's process {pid} lives on"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// On the data that it has.
    pub fn start(&self) -> Result<()> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let mut up = Command::new(&self.xtask);
        let up = up.args(["kafka", "up", port]).arg(&self.folder);
        let started = up.stdin(Stdio::null()).status()?;
        ensure!(started.success(), "Kafka did not start again: {started}");
        Ok(())
    }
}
