//! The real binary as a child process: started, asked over HTTP, killed. It never outlives its
//! owner, and what it says is appended to a log file beside its data.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const POLL: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary.
    pub tannin: PathBuf,
    pub data: PathBuf,
    /// Added to every port; the same over restarts, so that producers find the log again.
    pub port_offset: u16,
    /// After `quickstart`.
    pub args: Vec<String>,
    /// `FAILPOINTS` of the process; empty = none.
    pub failpoints: String,
}

/// Listeners of a node, from `ports.json`.
#[derive(Clone, Debug)]
pub struct Ports {
    pub broker: String,
    pub controller: String,
    pub server: String,
    pub log: String,
}

/// A child process, killed when dropped. What it says is appended to its log file.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log_file: PathBuf,
}

impl Running {
    pub fn start(command: &mut Command, log_file: PathBuf) -> Result<Self> {
        let log = File::options().create(true).append(true).open(&log_file)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", Path::new(command.get_program()).display()))?;
        Ok(Self { child, log_file })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGKILL; whether it still ran.
    pub fn kill(&mut self) -> Result<bool> {
        let running = self.ended()?.is_none();
        self.child.kill()?;
        self.child.wait()?;
        Ok(running)
    }

    /// By its name, as `kill` knows it: STOP, CONT, TERM.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status()?;
        ensure!(sent.success(), "SIG{name} does not reach process {pid}");
        Ok(())
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(
                begin.elapsed() < within,
                "it still runs {within:?} after SIGTERM\n{}",
                self.last_words()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        format!("{}:\n{tail}", self.log_file.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Node {
    running: Running,
    ports_file: PathBuf,
    pub started: Instant,
    http: reqwest::Client,
}

/// The path where a node of `data` writes what it has to say.
pub fn log_file(data: &Path) -> PathBuf {
    data.with_extension("log")
}

/// An offset that leaves every port of a node free at this moment.
pub fn free_port_offset() -> Result<u16> {
    const PORTS: [u16; 7] = [9000, 9001, 8099, 8097, 8098, 9514, 9092];
    let free = |offset: u16| {
        PORTS
            .iter()
            .all(|port| TcpListener::bind(("127.0.0.1", port + offset)).is_ok())
    };
    let process = (std::process::id() % 97) as u16;
    (0..200)
        .map(|step| 10_000 + (process * 37 + step * 83) % 20_000)
        .find(|offset| free(*offset))
        .context("no port offset is free")
}

impl Node {
    pub fn start(launch: &Launch, http: &reqwest::Client) -> Result<Self> {
        fs::create_dir_all(&launch.data)?;
        let ports_file = launch.data.join("ports.json");
        // A killed node leaves its own behind.
        let _ = fs::remove_file(&ports_file);
        let mut command = Command::new(&launch.tannin);
        command
            .args([
                "quickstart",
                "--port-offset",
                &launch.port_offset.to_string(),
            ])
            .arg("--data-dir")
            .arg(&launch.data)
            .args(&launch.args)
            .env_remove("FAILPOINTS");
        if !launch.failpoints.is_empty() {
            command.env("FAILPOINTS", &launch.failpoints);
        }
        let started = Instant::now();
        let running = Running::start(&mut command, log_file(&launch.data))?;
        Ok(Self {
            running,
            ports_file,
            started,
            http: http.clone(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.running.ended()
    }

    /// The listeners, once all of them are up.
    pub fn ports(&self) -> Option<Ports> {
        let ports: Value = serde_json::from_slice(&fs::read(&self.ports_file).ok()?).ok()?;
        let port = |name: &str| ports[name].as_str().map(str::to_owned);
        Some(Ports {
            broker: port("broker_http")?,
            controller: port("controller_http")?,
            server: port("server_http")?,
            log: port("log").unwrap_or_default(),
        })
    }

    /// Waits for the listeners; an error when the node ends before.
    pub async fn wait_ports(&mut self, within: Duration) -> Result<Ports> {
        loop {
            if let Some(ports) = self.ports() {
                return Ok(ports);
            }
            self.must_live(within, "it listens").await?;
        }
    }

    /// Waits until broker and server say that they serve.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<Ports> {
        let ports = self.wait_ports(within).await?;
        for address in [&ports.broker, &ports.server] {
            while !self.is_ready(address).await {
                self.must_live(within, &format!("{address}/ready")).await?;
            }
        }
        Ok(ports)
    }

    async fn is_ready(&self, address: &str) -> bool {
        let answer = self
            .http
            .get(format!("http://{address}/ready"))
            .send()
            .await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn must_live(&mut self, within: Duration, what: &str) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!(
                "the node ended with {status} before {what}\n{}",
                self.last_words()
            );
        }
        ensure!(
            self.started.elapsed() < within,
            "the node runs for {within:?} without: {what}\n{}",
            self.last_words()
        );
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// SIGKILL; whether it still ran.
    pub fn kill(&mut self) -> Result<bool> {
        self.running.kill()
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.running.terminate(within).await
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        self.running.last_words()
    }
}

/// It died by SIGKILL, as fail points kill.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}

/// Statements to a broker in the standard dialect.
#[derive(Clone, Debug)]
pub struct Sql {
    http: reqwest::Client,
    url: String,
}

impl Sql {
    pub fn new(http: &reqwest::Client, broker: &str) -> Self {
        Self {
            http: http.clone(),
            url: format!("http://{broker}/v1/sql"),
        }
    }

    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let request = self.http.post(&self.url).json(&json!({ "sql": sql }));
        let answer = request.send().await.context("the broker does not answer")?;
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .context("the broker's answer is no JSON")?;
        ensure!(status.is_success(), "{sql}: {body}");
        let rows = serde_json::from_value(body["rows"].clone());
        rows.with_context(|| format!("{sql}: no rows in {body}"))
    }

    /// One row of whole numbers; null counts as 0.
    pub async fn numbers(&self, sql: &str) -> Result<Vec<i64>> {
        let rows = self.rows(sql).await?;
        let row = rows.first().with_context(|| format!("{sql}: no row"))?;
        Ok(row.iter().map(number).collect())
    }
}

/// A whole number of an answer; null counts as 0.
pub fn number(value: &Value) -> i64 {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    let real = || value.as_f64().map(|real| real as i64);
    value.as_i64().or_else(real).or_else(text).unwrap_or(0)
}
