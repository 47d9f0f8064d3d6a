//! Tannin beside other databases: the same statements over the same rows, one engine at a time.
//!
//! Tannin is asked over HTTP as a user would; the others run in process, over tables of their own
//! that are sorted by tenant and time. Each gets all cores, is warm, and must give the same answer.
//! A statement goes through all engines before the next one begins, so that a busy machine does
//! not favour one of them.

mod compare;
pub(crate) mod measure;
pub(crate) mod node;
pub(crate) mod peers;
pub(crate) mod report;
mod sizes;
pub(crate) mod suite;

use std::path::{Path, PathBuf};

use ::tests::process::free_port_offset;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use measure::{Measured, TURNS};
use node::Tannin;
use peers::{Peer, Python};
use report::Line;
use suite::{Query, Suite};

use crate::figures::Machine;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Events,
    Clickbench,
    All,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rows of the event table and of the texts
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// Rows of ClickBench's table
    #[arg(long, default_value_t = 10_000_000)]
    hits: u64,
    #[arg(long, value_enum, default_value = "all")]
    suite: Which,
    /// Only statements whose name this regular expression finds
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Keep rows and loaded tables in the cache folder, and use those of an earlier run
    #[arg(long)]
    reuse: bool,
    /// Of tables that are kept, load Tannin's again: for a changed format or config
    #[arg(long)]
    reimport: bool,
    /// duckdb, duckdb-enum, clickhouse, datafusion; or none
    #[arg(long, value_delimiter = ',', default_values = peers::ALL)]
    peers: Vec<String>,
    /// Added to every port of the node; one that is free unless given
    #[arg(long)]
    port_offset: Option<u16>,
    /// Write no dated result into benchmarks/results
    #[arg(long)]
    dry: bool,
    /// Write the result here as well
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
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

/// What is measured of one suite: its statements, its rows, the engines that hold them.
struct Bench<'a> {
    options: &'a Options,
    tannin: Tannin,
    peers: Vec<Peer>,
}

pub(crate) async fn run(options: &Options, tannin: &Path) -> Result<()> {
    let mut text = String::new();
    let suites: &[(Which, &str, &str, u64)] = &[
        (Which::Events, "events", "events.py", options.rows),
        (Which::Clickbench, "clickbench", "hits.py", options.hits),
    ];
    for (which, name, generator, rows) in suites {
        if options.suite == *which || options.suite == Which::All {
            text.push_str(&run_suite(options, tannin, name, generator, *rows).await?);
        }
    }
    let machine = Machine::look()?;
    let text = format!(
        "# engine, {}\n\n{}\n\n{text}",
        machine.date,
        machine.described()
    );
    if let Some(file) = &options.output {
        std::fs::write(file, &text)?;
    }
    if !options.dry {
        let file = format!("results/{}-engine.md", machine.date);
        let file = options.benchmarks.join(file);
        std::fs::write(&file, &text)?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

async fn run_suite(
    options: &Options,
    tannin: &Path,
    name: &str,
    generator: &str,
    rows: u64,
) -> Result<String> {
    let file = options.benchmarks.join(format!("engine/{name}.toml"));
    let suite = Suite::read(&file)?;
    let chosen = chosen(&suite, options.only.as_deref())?;
    if chosen.is_empty() {
        return Ok(String::new());
    }
    let python = Python {
        program: options.python.clone(),
        scripts: options.benchmarks.join("peers"),
    };
    let folder = options.cache.join(format!("{name}-{rows}"));
    // Other programs make other rows: what was loaded of the old ones is of no use.
    let made_by = made_by(&python.scripts, generator)?;
    let stamp = folder.join("made-by");
    let is_known = std::fs::read_to_string(&stamp).is_ok_and(|found| found == made_by);
    if !options.reuse || !is_known {
        let _ = std::fs::remove_dir_all(&folder);
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(&stamp, made_by)?;
    let data = folder.join("rows");
    println!("making {rows} rows of {name}");
    let mut command = python.script(generator);
    let status = command.arg(rows.to_string()).arg(&data).status()?;
    ensure!(status.success(), "{generator} ended with {status}");

    let mut bench = Bench::start(options, tannin, &python, &folder).await?;
    let tables = suite.tables_of(&chosen)?;
    let imported = bench.load(&tables, &data).await?;
    let lines = bench.measure(&suite, &chosen)?;
    let names: Vec<String> = bench.peers.iter().map(|peer| peer.name.clone()).collect();
    let mut text = format!("## {name}, {rows} rows\n\nMilliseconds: median (minimum).\n\n");
    text.push_str(&report::table(&lines, &names));
    text.push('\n');
    let summary = report::summary(&lines);
    println!("\n{summary}");
    text.push_str(&summary);
    text.push_str(&sizes::report(&mut bench, &tables, &data, &imported)?);
    bench.tannin.stop().await?;
    if !options.reuse {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(text)
}

/// The text of the programs that make rows.
fn made_by(scripts: &Path, generator: &str) -> Result<String> {
    let read = |name| std::fs::read_to_string(scripts.join(name));
    Ok(read(generator)? + &read("draw.py")? + &read("layout.py")?)
}

fn chosen<'a>(suite: &'a Suite, only: Option<&str>) -> Result<Vec<&'a Query>> {
    let only = only.map(regex::Regex::new).transpose().context("--only")?;
    let is_chosen = |query: &&Query| only.as_ref().is_none_or(|only| only.is_match(&query.name));
    Ok(suite.queries.iter().filter(is_chosen).collect())
}

impl<'a> Bench<'a> {
    async fn start(
        options: &'a Options,
        tannin: &Path,
        python: &Python,
        folder: &Path,
    ) -> Result<Self> {
        let node = folder.join("node");
        if options.reimport {
            let _ = std::fs::remove_dir_all(&node);
        }
        let port_offset = match options.port_offset {
            Some(offset) => offset,
            None => free_port_offset()?,
        };
        let threads = std::thread::available_parallelism()?.get();
        let names = options.peers.iter().filter(|name| *name != "none");
        let peers = names.map(|name| Peer::start(python, name, folder, threads));
        Ok(Self {
            options,
            peers: peers.collect::<Result<_>>()?,
            tannin: Tannin::start(tannin, node, port_offset).await?,
        })
    }

    async fn load(&mut self, tables: &[String], data: &Path) -> Result<Vec<node::Imported>> {
        println!("loading");
        let mut imported = Vec::new();
        for table in tables {
            let config = format!("engine/tables/{table}.json");
            let config = self.options.benchmarks.join(config);
            imported.push(self.tannin.load(&config, &data.join(table)).await?);
            let files = data.join(table).join("*.parquet");
            for peer in &mut self.peers {
                peer.load(table, &files.to_string_lossy())?;
            }
        }
        Ok(imported)
    }

    fn measure(&mut self, suite: &Suite, queries: &[&Query]) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for query in queries {
            let sql = suite.statement(query, "tannin")?;
            let tannin = self.tannin.measure(&sql, query.star_tree, &TURNS);
            let mut line = Line {
                name: query.name.clone(),
                group: query.group.clone(),
                tannin: tannin.map_err(|error| format!("{error:#}")),
                peers: Vec::new(),
                differences: Vec::new(),
            };
            for peer in &mut self.peers {
                let sql = suite.statement(query, &peer.name)?;
                let measured = peer.measure(&sql, &TURNS);
                let measured = measured.map_err(|error| format!("{error:#}"));
                line.peers.push((peer.name.clone(), measured));
            }
            line.differences = differences(query, &line);
            println!("{}", line.cells().join("  "));
            let faults = line.tannin.as_ref().err().into_iter();
            for fault in faults.chain(&line.differences) {
                println!("    {fault}");
            }
            lines.push(line);
        }
        Ok(lines)
    }
}

/// Every answer against the first peer's.
pub(crate) fn differences(query: &Query, line: &Line) -> Vec<String> {
    let own = std::iter::once(("tannin", line.tannin.as_ref().ok()));
    let peers = line.peers.iter();
    let peers = peers.map(|(name, measured)| (name.as_str(), measured.as_ref().ok()));
    let mut answered = peers
        .chain(own)
        .filter_map(|(name, measured)| Some((name, measured?)));
    let Some((first, expected)) = answered.next() else {
        return Vec::new();
    };
    answered
        .filter_map(|(name, measured): (&str, &Measured)| {
            let difference = compare::difference(query, &measured.rows, &expected.rows)?;
            Some(format!("{name} gives {difference} of {first}"))
        })
        .collect()
}
