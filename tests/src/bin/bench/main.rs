//! Measures the real binary as a user meets it and prints the figures beside their goals.
//!
//! Nothing here fails because of a figure: a figure is only worth something beside the machine that
//! it was measured on, which the result names.

#![allow(
    clippy::print_stdout,
    reason = "a command line tool prints its results"
)]

mod cluster;
mod engine;
mod figures;
mod freshness;
mod http;
mod ingest;
mod load;
mod sql;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use tests::process::{Launch, Node, Ports, Sql, free_port_offset};

use figures::{Figures, Goal, Times};
use freshness::Fresh;

/// Flights of 2013 out of New York: what quickstart begins with.
const FLIGHTS: i64 = 336_776;
const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(12);
const STARTS: usize = 5;
const QUERIES: usize = 3000;
const WARM_UP: usize = 300;
const POLL: Duration = Duration::from_millis(3);

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// The binary, a release build
    #[arg(long, hide = true)]
    tannin: PathBuf,
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Start, memory, ingestion, freshness, query: the figures of the first release
    Spine {
        /// Also write the figures into this folder, dated
        #[arg(long, hide = true)]
        results: Option<PathBuf>,
    },
    /// Statements over millions of rows, beside DuckDB, ClickHouse and DataFusion
    Engine(engine::Options),
    /// Many users at once: latency at a rate, the greatest rate, ten times that
    Load(load::Options),
    /// A broker and two servers as processes, beside all roles in one
    Cluster(cluster::Options),
    /// From Kafka into a table: rates, freshness, appends, imports
    Ingest(ingest::Options),
    /// TPC-H beside DataFusion, and the times of planning and of writing answers
    Sql(sql::Options),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new();
    let result = runtime
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(run(&options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("no figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    match &options.suite {
        Suite::Spine { results } => spine(&options.tannin, results.as_deref()).await,
        Suite::Engine(engine) => engine::run(engine, &options.tannin).await,
        Suite::Load(load) => load::run(load, &options.tannin).await,
        Suite::Cluster(cluster) => cluster::run(cluster, &options.tannin).await,
        Suite::Ingest(ingest) => ingest::run(ingest, &options.tannin).await,
        Suite::Sql(sql) => sql::run(sql, &options.tannin).await,
    }
}

async fn spine(tannin: &Path, results: Option<&Path>) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tannin-bench-{}", std::process::id()));
    let bench = Bench {
        launch: Launch {
            tannin: tannin.to_owned(),
            data: folder.join("data"),
            port_offset: free_port_offset()?,
            args: vec!["--events-per-second=0".to_owned()],
            failpoints: String::new(),
        },
        http: reqwest::Client::builder().no_proxy().build()?,
    };
    let mut figures = Figures::default();
    bench.spine(&mut figures).await?;
    std::fs::remove_dir_all(&folder)?;
    figures.print();
    if let Some(folder) = results {
        println!("\nwrote {}", figures.write(folder, "spine")?.display());
    }
    Ok(())
}

struct Bench {
    launch: Launch,
    http: reqwest::Client,
}

impl Bench {
    async fn spine(&self, figures: &mut Figures) -> Result<()> {
        let mut node = Node::start(&self.launch, &self.http)?;
        let ports = node.wait_ports(START_MAX).await?;
        self.ingest(&node, &ports, figures).await?;
        node.wait_ready(START_MAX).await?;
        println!("idle for {IDLE:?}");
        tokio::time::sleep(IDLE).await;
        memory(&node, figures)?;
        self.query(&ports, figures).await?;
        node.terminate(STOP_MAX).await?;
        self.restart(figures).await?;
        let mut node = Node::start(&self.launch, &self.http)?;
        let ports = node.wait_ready(START_MAX).await?;
        println!("producing one event a millisecond");
        let fresh = Fresh {
            name: "fresh",
            brokers: &ports.log,
            flush_rows: 5_000_000,
            rate: 1_000.0,
            warm_up: 3_000,
            events: 20_000,
            linger_ms: "0",
        };
        let times = fresh.measure(&self.http, &ports).await?;
        figures.add(
            "produce → queryable, 1,000/s, p50",
            times.at(0.50),
            "ms",
            Some(Goal::AtMost(4.0)),
        );
        figures.add(
            "produce → queryable, 1,000/s, p99",
            times.at(0.99),
            "ms",
            Some(Goal::AtMost(20.0)),
        );
        figures.add(
            "produce → queryable, 1,000/s, max",
            times.at(1.0),
            "ms",
            None,
        );
        node.terminate(STOP_MAX).await?;
        Ok(())
    }

    /// From the first flight that answers to the last, while the feeder produces them.
    async fn ingest(&self, node: &Node, ports: &Ports, figures: &mut Figures) -> Result<()> {
        println!("loading {FLIGHTS} flights");
        let sql = Sql::new(&self.http, &ports.broker);
        let mut first = None;
        loop {
            let count = count(&sql).await.unwrap_or(0);
            let now = node.started.elapsed();
            if count > 0 && first.is_none() {
                first = Some(now);
            }
            if count == FLIGHTS {
                let took = now - first.unwrap_or(now);
                figures.add(
                    "flights consumed, first to last",
                    seconds(took),
                    "s",
                    Some(Goal::AtMost(3.0)),
                );
                figures.add("first start to last flight", seconds(now), "s", None);
                return Ok(());
            }
            ensure!(count < FLIGHTS, "{count} flights are more than there are");
            ensure!(
                now < START_MAX,
                "{count} flights after {now:?}\n{}",
                node.last_words()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    async fn query(&self, ports: &Ports, figures: &mut Figures) -> Result<()> {
        println!("asking {QUERIES} times");
        let sql = Sql::new(&self.http, &ports.broker);
        let mut times = Times::default();
        for turn in 0..WARM_UP + QUERIES {
            let origin = ["JFK", "LGA", "EWR"][turn % 3];
            let statement = format!(
                "SELECT carrier, COUNT(*) AS flights, AVG(dep_delay) AS delay FROM flights \
                 WHERE origin = '{origin}' GROUP BY carrier ORDER BY flights DESC"
            );
            let begin = Instant::now();
            let rows = sql.rows(&statement).await?;
            let took = begin.elapsed();
            ensure!(rows.len() > 5, "{} carriers leave {origin}", rows.len());
            if turn >= WARM_UP {
                times.add(took);
            }
        }
        figures.add(
            "filtered group-by over HTTP, p50",
            times.at(0.50),
            "ms",
            Some(Goal::AtMost(2.0)),
        );
        figures.add(
            "filtered group-by over HTTP, p99",
            times.at(0.99),
            "ms",
            None,
        );
        Ok(())
    }

    /// Warm starts: from the start of the process to the first answer that has every row.
    async fn restart(&self, figures: &mut Figures) -> Result<()> {
        println!("starting {STARTS} times on the same data");
        let mut times = Times::default();
        for _ in 0..STARTS {
            let mut node = Node::start(&self.launch, &self.http)?;
            let ports = node.wait_ready(START_MAX).await?;
            let sql = Sql::new(&self.http, &ports.broker);
            let found = count(&sql).await?;
            times.add(node.started.elapsed());
            ensure!(found == FLIGHTS, "ready with {found} of {FLIGHTS} flights");
            node.terminate(STOP_MAX).await?;
        }
        let seconds = |at: f64| times.at(at) / 1000.0;
        figures.add(
            "start to first correct answer, median",
            seconds(0.5),
            "s",
            Some(Goal::AtMost(1.0)),
        );
        figures.add(
            "start to first correct answer, max",
            seconds(1.0),
            "s",
            None,
        );
        Ok(())
    }
}

async fn count(sql: &Sql) -> Result<i64> {
    let row = sql.numbers("SELECT COUNT(*) FROM flights").await?;
    row.first().copied().context("COUNT(*) gave nothing")
}

fn memory(node: &Node, figures: &mut Figures) -> Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid()))?;
    let mib = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line
            .trim_start_matches(':')
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()?;
        Some(kib / 1024.0)
    };
    let resident = mib("VmRSS").context("no VmRSS")?;
    figures.add(
        "memory of an idle quickstart (RSS)",
        resident,
        "MiB",
        Some(Goal::AtMost(150.0)),
    );
    if let Some(own) = mib("RssAnon") {
        figures.add("  of it not backed by files", own, "MiB", None);
    }
    Ok(())
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
