//! Other databases, each in a Python process of its own (`benchmarks/peers/peer.py`), asked one at
//! a time. They time themselves: neither the pipe nor the making of comparable cells counts.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::measure::{Measured, Turns};

pub(crate) const ALL: [&str; 4] = ["duckdb", "duckdb-enum", "clickhouse", "datafusion"];

/// Where Python and its programs are.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    pub(crate) scripts: PathBuf,
}

impl Python {
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.scripts.join(name));
        command
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    folder: PathBuf,
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(python: &Python, name: &str, work: &Path, threads: usize) -> Result<Self> {
        let folder = work.join(name);
        let mut child = python
            .script("peer.py")
            .arg(name)
            .arg(&folder)
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let asked = child.stdin.take().context("a peer without stdin")?;
        let answers = child.stdout.take().context("a peer without stdout")?;
        Ok(Self {
            name: name.to_owned(),
            folder,
            child,
            asked,
            answers: BufReader::new(answers),
        })
    }

    /// Loads a table unless an earlier run did.
    pub(crate) fn load(&mut self, table: &str, files: &str) -> Result<()> {
        let stamp = self
            .folder
            .with_file_name(format!("{}-{table}.loaded", self.name));
        if stamp.exists() {
            return Ok(());
        }
        let answer = self.ask(&json!({ "load": table, "files": files }))?;
        let number = |name: &str| answer[name].as_f64().unwrap_or_default();
        let (seconds, cpu) = (number("seconds"), number("cpu"));
        println!(
            "  {}: {table} in {seconds:.1} s ({cpu:.1} s of CPU)",
            self.name
        );
        std::fs::write(&stamp, format!("{seconds:.1} {cpu:.1}"))?;
        Ok(())
    }

    pub(crate) fn size(&mut self, table: &str) -> Result<u64> {
        let answer = self.ask(&json!({ "size": table }))?;
        answer["bytes"].as_u64().context("a size that is no number")
    }

    pub(crate) fn measure(&mut self, sql: &str, turns: &Turns) -> Result<Measured> {
        let answer = self.ask(&json!({
            "run": sql,
            "warm": turns.warm,
            "runs": turns.runs_max,
            "budget_ms": turns.budget_ms,
            "runs_min": turns.runs_min,
            "slow_ms": turns.slow_ms,
            "slow_runs_min": turns.slow_runs_min,
        }))?;
        Ok(Measured {
            ms: serde_json::from_value(answer["ms"].clone())?,
            cpu_ms: answer["cpu_ms"].as_f64().unwrap_or(f64::NAN),
            rows: serde_json::from_value(answer["rows"].clone())?,
        })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.asked, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{} ended: {}", self.name, self.child.wait()?);
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
