//! Tannin itself: a node of its own process, loaded with `tannin import`, asked over HTTP.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::process::{Launch, Node, Ports};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::compare::Row;
use super::measure::{Measured, Turns};
use crate::http::Connection;

const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(30);
/// Nulls are nulls, as in every peer.
pub(crate) const OPTIONS: &str = "enableNullHandling=true;timeoutMs=120000";

#[derive(Debug)]
pub(crate) struct Tannin {
    launch: Launch,
    node: Node,
    ports: Ports,
    connection: Connection,
    http: reqwest::Client,
}

/// What an import took, of the importing process alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Imported {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Tannin {
    pub(crate) async fn start(tannin: &Path, data: PathBuf, port_offset: u16) -> Result<Self> {
        Self::start_with(tannin, data, port_offset, &[]).await
    }

    /// With more arguments.
    pub(crate) async fn start_with(
        tannin: &Path,
        data: PathBuf,
        port_offset: u16,
        more: &[&str],
    ) -> Result<Self> {
        let args = ["--empty", "--events-per-second=0"].iter().chain(more);
        let launch = Launch {
            tannin: tannin.to_owned(),
            data,
            port_offset,
            args: args.map(|arg| (*arg).to_owned()).collect(),
            failpoints: String::new(),
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut node = Node::start(&launch, &http)?;
        let ports = node.wait_ready(START_MAX).await?;
        let connection = Connection::open(&ports.broker)?;
        Ok(Self {
            launch,
            node,
            ports,
            connection,
            http,
        })
    }

    /// Killed and started on the same data; how long it took until it said that it serves.
    pub(crate) async fn start_again(&mut self) -> Result<Duration> {
        self.node.kill()?;
        self.node = Node::start(&self.launch, &self.http)?;
        self.ports = self.node.wait_ready(START_MAX).await?;
        self.connection = Connection::open(&self.ports.broker)?;
        Ok(self.node.started.elapsed())
    }

    /// Since the process began.
    pub(crate) fn age(&self) -> Duration {
        self.node.started.elapsed()
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.node.terminate(STOP_MAX).await?;
        Ok(())
    }

    pub(crate) fn broker(&self) -> &str {
        &self.ports.broker
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(crate) fn pid(&self) -> u32 {
        self.node.pid()
    }

    /// Creates the table of a config file and imports every Parquet file of `folder`; a table that
    /// is there with the same config is left alone.
    pub(crate) async fn load(&mut self, config: &Path, folder: &Path) -> Result<Imported> {
        let table = config.file_stem().and_then(|stem| stem.to_str());
        let table = table.context("a config file without a name")?;
        let config = std::fs::read_to_string(config)?;
        let stamp = self.launch.data.join(format!("{table}.loaded"));
        let mut imported = Imported::default();
        if std::fs::read_to_string(&stamp).is_ok_and(|of| of == config) {
            return Ok(imported);
        }
        self.create(table, serde_json::from_str(&config)?).await?;
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        ensure!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            let more = self.import(table, &file)?;
            imported.wall += more.wall;
            imported.cpu += more.cpu;
        }
        self.node.wait_ready(START_MAX).await?;
        let (wall, cpu) = (imported.wall.as_secs_f64(), imported.cpu.as_secs_f64());
        println!("  tannin: {table} in {wall:.1} s ({cpu:.1} s of the importer's CPU)");
        std::fs::write(stamp, config)?;
        Ok(imported)
    }

    /// Imports every Parquet file of `folder` into a table that the first one makes; one that is
    /// there is left alone.
    pub(crate) fn load_inferred(&mut self, table: &str, folder: &Path) -> Result<()> {
        let stamp = self.launch.data.join(format!("{table}.loaded"));
        if stamp.exists() {
            return Ok(());
        }
        let begin = Instant::now();
        for entry in std::fs::read_dir(folder)? {
            self.import(table, &entry?.path())?;
        }
        println!(
            "  tannin: {table} in {:.1} s",
            begin.elapsed().as_secs_f64()
        );
        std::fs::write(stamp, "")?;
        Ok(())
    }

    pub(crate) async fn wait_ready(&mut self) -> Result<()> {
        self.node.wait_ready(START_MAX).await?;
        Ok(())
    }

    async fn create(&self, table: &str, config: Value) -> Result<()> {
        let controller = &self.ports.controller;
        let known = self.http.get(format!("http://{controller}/tables/{table}"));
        let known: Value = known.send().await?.json().await?;
        if known["OFFLINE"].is_object() {
            let gone = self
                .http
                .delete(format!("http://{controller}/tables/{table}"));
            gone.send().await?.error_for_status()?;
        }
        let made = self.http.post(format!("http://{controller}/v1/tables"));
        let made = made.json(&config).send().await?;
        if !made.status().is_success() {
            bail!("creating {table}: {}", made.text().await?);
        }
        Ok(())
    }

    fn import(&self, table: &str, file: &Path) -> Result<Imported> {
        let (begin, cpu) = (Instant::now(), cpu_of_children()?);
        let output = Command::new(&self.launch.tannin)
            .arg("import")
            .arg(file)
            .args(["--table", table])
            .args(["--port-offset", &self.launch.port_offset.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("starting the import")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "importing {}: {said}{}",
                file.display(),
                self.node.last_words()
            );
        }
        Ok(Imported {
            wall: begin.elapsed(),
            cpu: cpu_of_children()? - cpu,
        })
    }

    pub(crate) fn measure(
        &mut self,
        sql: &str,
        star_tree: bool,
        turns: &Turns,
    ) -> Result<Measured> {
        let options = format!("{OPTIONS};useStarTree={star_tree}");
        let body = json!({ "sql": sql, "queryOptions": options }).to_string();
        for _ in 0..turns.warm {
            self.connection.post("/query/sql", body.as_bytes())?;
        }
        let mut measured = Measured::default();
        let mut last = Vec::new();
        let cpu = cpu_ns(self.pid())?;
        while !turns.enough(&measured.ms) {
            let begin = Instant::now();
            let answer = self.connection.post("/query/sql", body.as_bytes())?;
            measured.ms.push(begin.elapsed().as_secs_f64() * 1000.0);
            if answer.status != 200 {
                bail!("status {}: {}", answer.status, fault_of(answer.body));
            }
            last.clear();
            last.extend_from_slice(answer.body);
        }
        let cpu = cpu_ns(self.pid())? - cpu;
        measured.cpu_ms = cpu as f64 / 1e6 / measured.ms.len() as f64;
        measured.rows = rows_of(&last)?;
        Ok(measured)
    }

    /// Bytes of all files below a folder of the data directory.
    pub(crate) fn bytes_in(&self, folder: &str) -> Result<u64> {
        bytes_below(&self.launch.data.join(folder))
    }
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            bytes_below(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(sum)
}

/// Of the whole process, also of its threads that ended.
fn cpu_ns(process: u32) -> Result<i64> {
    let process = Pid::from_raw(process.cast_signed());
    let clock = clock_getcpuclockid(process).context("the node has no clock")?;
    Ok(clock.now()?.num_nanoseconds())
}

/// Of all children that ended; the kernel counts it in hundredths of a second.
fn cpu_of_children() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat
        .rsplit_once(')')
        .context("an unknown /proc/self/stat")?;
    let fields = after_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn fault_of(body: &[u8]) -> String {
    match rows_of(body) {
        Ok(_) => "without a fault".to_owned(),
        Err(fault) => fault.to_string(),
    }
}

/// Rows of an answer of `/query/sql`, times as epoch milliseconds.
pub(crate) fn rows_of(body: &[u8]) -> Result<Vec<Row>> {
    let mut answer: Value = serde_json::from_slice(body)?;
    if let Some(fault) = answer["exceptions"].get(0) {
        bail!(
            "{}",
            fault["message"]
                .as_str()
                .unwrap_or("a fault without a message")
        );
    }
    let table = &mut answer["resultTable"];
    let kinds: Vec<String> =
        serde_json::from_value(table["dataSchema"]["columnDataTypes"].clone())?;
    let mut rows: Vec<Row> = serde_json::from_value(table["rows"].take())?;
    for row in &mut rows {
        for (cell, kind) in row.iter_mut().zip(&kinds) {
            match cell {
                Value::String(text) if kind == "TIMESTAMP" => *cell = json!(epoch_ms(text)?),
                Value::String(text) if kind == "BIG_DECIMAL" => {
                    *cell = json!(text.parse::<f64>()?);
                }
                Value::Array(list) => list.sort_by_key(Value::to_string),
                _ => {}
            }
        }
    }
    Ok(rows)
}

/// Of `2026-09-01 00:00:00.123`.
fn epoch_ms(text: &str) -> Result<i64> {
    let unknown = || format!("`{text}` is no time");
    let number = |range: std::ops::Range<usize>| -> Result<i64> {
        let digits = text.get(range).with_context(unknown)?;
        digits.parse().with_context(unknown)
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let fraction = format!("{:0<3}", text.get(20..).unwrap_or("0"));
    let ms: i64 = fraction.get(..3).unwrap_or("0").parse()?;
    // Days since 1970 by years that begin in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + number(11..13)?) * 60 + number(14..16)?) * 60 + number(17..19)?;
    Ok(seconds * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_for_comparison() {
        assert_eq!(epoch_ms("1970-01-01 00:00:00.0").unwrap(), 0);
        assert_eq!(
            epoch_ms("2026-09-01 00:00:01.268").unwrap(),
            1_788_220_801_268
        );
        assert_eq!(
            epoch_ms("2024-02-29 23:59:59.5").unwrap(),
            1_709_251_199_500
        );
        assert!(epoch_ms("yesterday").is_err());
    }

    #[test]
    fn an_answer_with_a_fault_is_an_error() {
        let body = br#"{"exceptions":[{"errorCode":700,"message":"no"}]}"#;
        assert_eq!(rows_of(body).unwrap_err().to_string(), "no");
        let body = br#"{"exceptions":[],"resultTable":{"dataSchema":{"columnNames":["a"],
            "columnDataTypes":["TIMESTAMP"]},"rows":[["1970-01-01 00:00:01.0"]]}}"#;
        assert_eq!(rows_of(body).unwrap(), [[json!(1000)]]);
    }
}
