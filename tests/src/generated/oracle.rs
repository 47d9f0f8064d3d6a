//! DuckDB in a child process, see `tests/oracle.py`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::answers::Rows;
use super::table::{Table, default_of};

#[derive(Debug)]
pub struct Oracle {
    _child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Oracle {
    /// `python` has the package `duckdb`.
    pub fn start(python: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let requests = child.stdin.take().context("the oracle has no stdin")?;
        let answers = child.stdout.take().context("the oracle has no stdout")?;
        Ok(Self {
            _child: child,
            requests,
            answers: BufReader::new(answers).lines(),
        })
    }

    async fn ask(&mut self, request: &Value) -> Result<Result<Rows, String>> {
        self.requests
            .write_all(format!("{request}\n").as_bytes())
            .await
            .context("the oracle is gone")?;
        let line = self.answers.next_line().await?;
        let line = line.context("the oracle stopped; does python have the package `duckdb`?")?;
        let answer: Value = serde_json::from_str(&line)?;
        if let Some(error) = answer["error"].as_str() {
            return Ok(Err(error.to_owned()));
        }
        Ok(Ok(serde_json::from_value(answer["rows"].clone())?))
    }

    /// Rows of the statement, or why DuckDB has none.
    pub async fn rows(&mut self, sql: &str) -> Result<Result<Rows, String>> {
        self.ask(&json!({ "sql": sql })).await
    }

    /// As `name`, and `name_defaults` and `name_pinot` for other rules about nulls.
    pub async fn load(&mut self, name: &str, table: &Table, file: &Path) -> Result<()> {
        let columns = table.columns.iter().map(|column| {
            let default = default_of(column);
            json!([column.name, column.pinot_type(), default, column.is_multi()])
        });
        let columns: Vec<Value> = columns.collect();
        let request = json!({ "load": file, "name": name, "columns": columns });
        let loaded = self.ask(&request).await?;
        loaded
            .map(drop)
            .map_err(|error| anyhow::anyhow!("DuckDB cannot load {}: {error}", file.display()))
    }
}
