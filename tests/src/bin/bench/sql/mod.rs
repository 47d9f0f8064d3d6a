//! All of SQL: TPC-H beside DataFusion over Parquet, what planning takes, what writing an answer
//! takes.
//!
//! Both engines get all cores, are warm and must give the same answers. Times of planning and of
//! writing are the broker's own, as its answers tell them.

mod dashboard;

use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::process::free_port_offset;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::engine::measure::{Measured, TURNS};
use crate::engine::node::Tannin;
use crate::engine::peers::{Peer, Python};
use crate::engine::report::{self, Line};
use crate::engine::suite::Query;
use crate::figures::{Figures, Goal, Machine};
use crate::http::Connection;

const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem",
];
const DATAFUSION: &str = "datafusion";
/// DataFusion's means of decimals end after six digits.
const TOLERANCE: f64 = 5e-5;
/// A hit of a template, and planning without one.
const HIT_MS: Goal = Goal::AtMost(0.3);
const ANEW_MS: Goal = Goal::AtMost(3.0);
const ROWS: u64 = 1_000_000;
const WRITE_MS: Goal = Goal::AtMost(500.0);
const WRITES: usize = 7;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Of TPC-H: 1 is 6 million rows of `lineitem`
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only statements whose name this regular expression finds
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Load Tannin's tables again: for a changed format
    #[arg(long)]
    reimport: bool,
    /// Added to every port of the node; one that is free unless given
    #[arg(long)]
    port_offset: Option<u16>,
    /// Write no dated result into benchmarks/results
    #[arg(long)]
    dry: bool,
    /// Python with the peers' packages; `cargo xtask bench` makes it
    #[arg(long, hide = true)]
    python: PathBuf,
    /// benchmarks/ of the checkout
    #[arg(long, hide = true)]
    benchmarks: PathBuf,
    /// Where rows and tables are kept
    #[arg(long, hide = true)]
    cache: PathBuf,
}

pub(crate) async fn run(options: &Options, tannin: &Path) -> Result<()> {
    let machine = Machine::look()?;
    let folder = options.cache.join(format!("tpch-{}", options.scale));
    std::fs::create_dir_all(&folder)?;
    let rows = folder.join("rows");
    make_rows(options, &rows)?;
    let mut node = start(options, tannin, &folder).await?;
    let python = Python {
        program: options.python.clone(),
        scripts: options.benchmarks.join("peers"),
    };
    let threads = std::thread::available_parallelism()?.get();
    let mut peer = Peer::start(&python, DATAFUSION, &folder, threads)?;
    println!("loading");
    for table in TABLES {
        let files = rows.join(table);
        node.load_inferred(table, &files)?;
        peer.load(table, &files.join("*.parquet").to_string_lossy())?;
    }
    node.wait_ready().await?;
    let lines = tpch(options, &mut node, &mut peer)?;
    drop(peer);
    let mut figures = Figures::default();
    let mut connection = Connection::open(node.broker())?;
    planning(&mut connection, &mut figures)?;
    writing(&mut connection, &mut figures)?;
    figures.print();
    node.stop().await?;
    let summary = report::summary(&lines);
    println!("\n{summary}");
    if !options.dry {
        let text = format!(
            "# sql, {}\n\n{}\n\n## TPC-H, scale {}\n\nMilliseconds: median (minimum).\n\n{}\n{summary}\n\
             ## Planning and writing\n\n{}",
            machine.date,
            machine.described(),
            options.scale,
            report::table(&lines, &[DATAFUSION.to_owned()]),
            figures.table()
        );
        let file = format!("results/{}-sql.md", machine.date);
        let file = options.benchmarks.join(file);
        std::fs::write(&file, text)?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

async fn start(options: &Options, tannin: &Path, folder: &Path) -> Result<Tannin> {
    let data = folder.join("node");
    if options.reimport {
        let _ = std::fs::remove_dir_all(&data);
    }
    let port_offset = match options.port_offset {
        Some(offset) => offset,
        None => free_port_offset()?,
    };
    Tannin::start(tannin, data, port_offset).await
}

/// By the program that TPC-H's tables are made with, each into a folder of its own.
fn make_rows(options: &Options, rows: &Path) -> Result<()> {
    if TABLES.iter().all(|table| rows.join(table).exists()) {
        return Ok(());
    }
    println!("making rows of scale {}", options.scale);
    let programs = options.python.parent().context("python has no folder")?;
    let made = rows.with_extension("making");
    let status = Command::new(programs.join("tpchgen-cli"))
        .arg("parquet")
        .args(["-s", &options.scale.to_string()])
        .arg("--output-dir")
        .arg(&made)
        .status()
        .context("starting tpchgen-cli")?;
    ensure!(status.success(), "tpchgen-cli ended with {status}");
    for table in TABLES {
        std::fs::create_dir_all(rows.join(table))?;
        let file = format!("{table}.parquet");
        std::fs::rename(made.join(&file), rows.join(table).join(&file))?;
    }
    std::fs::remove_dir_all(made)?;
    Ok(())
}

fn tpch(options: &Options, node: &mut Tannin, peer: &mut Peer) -> Result<Vec<Line>> {
    let file = options.benchmarks.join("../tests/tpch/tpch.sql");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let only = options.only.as_deref().map(regex::Regex::new).transpose()?;
    let mut lines = Vec::new();
    for (name, sql) in statements(&text) {
        if only.as_ref().is_some_and(|only| !only.is_match(name)) {
            continue;
        }
        let query = Query::plain(name, "TPC-H", sql, TOLERANCE);
        let own = format!("SET useMultistageEngine = true; {sql}");
        let shown = |measured: Result<Measured>| measured.map_err(|error| format!("{error:#}"));
        let mut line = Line {
            name: name.to_owned(),
            group: query.group.clone(),
            tannin: shown(node.measure(&own, false, &TURNS)),
            peers: vec![(DATAFUSION.to_owned(), shown(peer.measure(sql, &TURNS)))],
            differences: Vec::new(),
        };
        line.differences = crate::engine::differences(&query, &line);
        println!("{}", line.cells().join("  "));
        for fault in line
            .tannin
            .as_ref()
            .err()
            .into_iter()
            .chain(&line.differences)
        {
            println!("    {fault}");
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Name and text of each, which stand behind lines such as `-- Q1`.
fn statements(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("\n-- ").skip(1);
    let named = blocks.filter_map(|block| block.split_once('\n'));
    let named = named.map(|(name, sql)| (name.trim(), sql.trim().trim_end_matches(';')));
    named.filter(|(_, sql)| !sql.is_empty()).collect()
}

/// The number of the answer's `stats` that is called so, in milliseconds.
fn told(connection: &mut Connection, sql: &str, name: &str, templates: bool) -> Result<f64> {
    let options = json!({ "timeoutMs": "120000", "planTemplates": templates.to_string() });
    let body = json!({ "sql": sql, "options": options }).to_string();
    let answer = connection.post("/v1/sql", body.as_bytes())?;
    let status = answer.status;
    let parsed: Value = serde_json::from_slice(answer.body)?;
    if status != 200 {
        bail!("{sql}: {}", parsed["error"]["message"]);
    }
    if templates && name == "planMs" {
        let used = parsed["stats"]["planTemplate"] == true;
        ensure!(used, "no plan was kept for {sql}");
    }
    parsed["stats"][name]
        .as_f64()
        .with_context(|| format!("no `{name}` in {}", parsed["stats"]))
}

/// The slowest statement counts: each is asked for with other literals again and again.
fn planning(connection: &mut Connection, figures: &mut Figures) -> Result<()> {
    for (what, templates, goal) in [
        ("planning with a template", true, HIT_MS),
        ("planning anew", false, ANEW_MS),
    ] {
        let mut medians = Vec::new();
        for form in dashboard::STATEMENTS {
            let mut measured = Measured::default();
            // The first ones make the template, and warm what planning reads.
            for turn in 0..dashboard::TURNS {
                let sql = dashboard::with_literals(form, turn);
                if turn < dashboard::WARM {
                    connection.post("/v1/sql", json!({ "sql": sql }).to_string().as_bytes())?;
                    continue;
                }
                measured
                    .ms
                    .push(told(connection, &sql, "planMs", templates)?);
            }
            medians.push(measured.median());
        }
        let slowest = medians.iter().copied().fold(0.0, f64::max);
        let mean = medians.iter().sum::<f64>() / medians.len() as f64;
        figures.add(&format!("{what}: mean of statements"), mean, "ms", None);
        figures.add(&format!("{what}: slowest"), slowest, "ms", Some(goal));
    }
    Ok(())
}

/// Rows of five columns as JSON.
fn writing(connection: &mut Connection, figures: &mut Figures) -> Result<()> {
    let sql = format!(
        "SELECT l_orderkey, CAST(l_extendedprice AS DOUBLE) AS price, l_shipdate, l_returnflag, \
         l_comment FROM lineitem LIMIT {ROWS}"
    );
    let count = format!("SELECT COUNT(*) FROM ({sql}) AS rows");
    let body = json!({ "sql": count }).to_string();
    let answer: Value = serde_json::from_slice(connection.post("/v1/sql", body.as_bytes())?.body)?;
    let rows = answer["rows"][0][0].as_f64().context("a count")?;
    let mut measured = Measured::default();
    for _ in 0..WRITES {
        measured.ms.push(told(connection, &sql, "writeMs", true)?);
    }
    let million = measured.median() / rows * ROWS as f64;
    figures.add(
        "writing 1 M rows of 5 columns",
        million,
        "ms",
        Some(WRITE_MS),
    );
    let rate = rows / measured.median() / 1000.0;
    figures.add("rows written a second", rate, "M", None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_names() {
        let text = "-- All.\n\n-- Q1\nSELECT 1;\n\n-- Q2\nSELECT\n2;\n";
        assert_eq!(statements(text), [("Q1", "SELECT 1"), ("Q2", "SELECT\n2")]);
    }
}
