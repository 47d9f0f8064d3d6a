//! What else a node does while it consumes: answers statements, imports files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::figures::Times;
use crate::http::Connection;

const WARM_UP: usize = 100;
const AT_REST: usize = 1_000;
/// Between two looks at how far the other table is.
const TURN: usize = 20;
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The statement of a dashboard, of another tenant each time.
fn statement(turn: usize) -> String {
    let tenant = turn * 7919 % 500;
    format!(
        "SELECT country, COUNT(*) AS events, AVG(latency_ms) AS latency FROM json \
         WHERE tenant = 'tenant_{tenant:04}' GROUP BY country ORDER BY events DESC LIMIT 10"
    )
}

fn ask(connection: &mut Connection, sql: &str) -> Result<Value> {
    let body = json!({ "sql": sql }).to_string();
    let answer = connection.post("/v1/sql", body.as_bytes())?;
    let said = String::from_utf8_lossy(answer.body);
    ensure!(
        answer.status == 200,
        "{sql}: status {}: {said}",
        answer.status
    );
    Ok(serde_json::from_slice(answer.body)?)
}

fn timed(connection: &mut Connection, turn: usize, asked: &mut Times) -> Result<()> {
    let begin = Instant::now();
    ask(connection, &statement(turn))?;
    asked.add(begin.elapsed());
    Ok(())
}

pub(crate) fn at_rest(broker: &str) -> Result<Times> {
    let mut connection = Connection::open(broker)?;
    for turn in 0..WARM_UP {
        timed(&mut connection, turn, &mut Times::default())?;
    }
    let mut asked = Times::default();
    for turn in WARM_UP..WARM_UP + AT_REST {
        timed(&mut connection, turn, &mut asked)?;
    }
    Ok(asked)
}

/// Asks until `table` has all its rows.
pub(crate) fn until(broker: &str, table: &str, rows: u64) -> Result<Times> {
    let mut connection = Connection::open(broker)?;
    let (mut asked, begin, mut turn) = (Times::default(), Instant::now(), 0);
    loop {
        for _ in 0..TURN {
            timed(&mut connection, turn, &mut asked)?;
            turn += 1;
        }
        let count = ask(&mut connection, &format!("SELECT COUNT(*) FROM {table}"))?;
        if count["rows"][0][0].as_u64() == Some(rows) {
            return Ok(asked);
        }
        ensure!(
            begin.elapsed() < WAIT_MAX,
            "{count} of {rows} rows after {WAIT_MAX:?}"
        );
    }
}

/// A folder with one file of the rows that another benchmark has made, if there are some.
pub(crate) fn parquet(cache: &Path, folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return Ok(None);
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("rows/events")))
        .filter(|rows| rows.is_dir())
        .collect();
    folders.sort();
    let Some(rows) = folders.first() else {
        return Ok(None);
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(rows)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let first = files.first().context("a folder of rows without a file")?;
    let one = folder.join("rows");
    std::fs::create_dir_all(&one)?;
    std::os::unix::fs::symlink(first, one.join("part.parquet"))?;
    Ok(Some(one))
}

/// The most memory that a process ever had.
pub(crate) fn peak_mib(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<f64>().ok());
    Ok(kib.context("no VmHWM")? / 1024.0)
}
