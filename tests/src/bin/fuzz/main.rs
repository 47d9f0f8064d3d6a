//! Statements and bodies that nobody would send, sent to a broker with everything behind it.
//!
//! Each input is made from a seed and a number, out of the statements of `slt/` and `tpch/`. What
//! is wanted: an answer of JSON within the time limit, and if it is an error, one with a code, a
//! message and a place that is in the statement. A panic, an internal error, a late answer or
//! memory that is not given back is told with the numbers that repeat it. The broker runs in a
//! child process, so that a stack that overflows is told as well.

#![expect(clippy::print_stdout, reason = "what it finds is its output")]

mod ask;
mod corpus;
mod mutate;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tests::cluster::{Cluster, Over};
use tests::{flights, memory};

use ask::Asker;
use corpus::Corpus;
use mutate::Input;
use watch::Found;

/// Of the statements; what is asked runs no longer.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1_000);
const FLIGHTS: u64 = 60;

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this input
    #[arg(long)]
    only: Option<u64>,
    /// Inputs that are asked at once
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// Where each worker writes what it asks
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    match &args.inside {
        None => watched(),
        Some(folder) => {
            watch::hook();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .thread_stack_size(tannin::STACK_BYTES)
                .enable_all()
                .build()?;
            runtime.block_on(Box::pin(run(&args, folder)))
        }
    }
}

/// Runs itself again, and tells what was asked when that process died.
fn watched() -> Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let mut inside = Command::new(std::env::current_exe()?);
    inside.args(std::env::args().skip(1));
    let status = inside.arg("--inside").arg(folder.path()).status()?;
    if status.code().is_some() {
        return Ok(match status.success() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        });
    }
    for entry in std::fs::read_dir(folder.path())? {
        let asked = std::fs::read(entry?.path())?;
        let asked = String::from_utf8_lossy(&asked);
        println!("asked: {}\n", watch::cut(&asked, 4_000));
    }
    bail!("the broker's process ended: {status}");
}

async fn run(args: &Args, folder: &Path) -> Result<ExitCode> {
    let corpus = Arc::new(Corpus::read()?);
    println!("{} statements to begin with", corpus.statements.len());
    let timeout = format!("broker.query_timeout_ms={}", TIMEOUT.as_millis());
    let cluster = Cluster::start_set(Over::InProcess, &[&timeout]).await?;
    load(&cluster).await?;
    let found = Arc::new(Found::default());
    let numbers = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let memory_before = memory::resident_mib();
    let mut workers = Vec::new();
    for worker in 0..args.workers {
        let asker = Asker::new(&cluster, folder.join(worker.to_string()))?;
        let (corpus, found) = (Arc::clone(&corpus), Arc::clone(&found));
        let (numbers, seed, only) = (Arc::clone(&numbers), args.seed, args.only);
        let within = Duration::from_secs_f64(args.minutes * 60.0);
        workers.push(async move {
            while begin.elapsed() < within {
                let number = only.unwrap_or_else(|| numbers.fetch_add(1, Ordering::Relaxed));
                let mut random = SmallRng::seed_from_u64(seed * 1_000_000_007 + number);
                let input = Input::make(&corpus, &mut random);
                if only.is_some() {
                    println!("{input:?}");
                }
                asker.ask(number, &input, &found).await?;
                if only.is_some() {
                    break;
                }
            }
            anyhow::Ok(())
        });
    }
    futures::future::try_join_all(workers).await?;
    let asked = numbers.load(Ordering::Relaxed);
    println!(
        "{asked} inputs of seed {} in {:.0?}",
        args.seed,
        begin.elapsed()
    );
    println!(
        "MiB resident: {memory_before} before, {} after, {} at most",
        memory::resident_mib(),
        memory::peak_mib()
    );
    found.tell();
    cluster.stop().await;
    Ok(match found.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The tables of the statements; few flights, so that most of them end at once.
async fn load(cluster: &Cluster) -> Result<()> {
    let addresses = &cluster.node(0).addresses;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let body = flights::table(&cluster.log(), "flights", 1);
    cluster.post("/v1/tables", &body).await?;
    cluster
        .produce("flights", flights::events(FLIGHTS)?)
        .await?;
    tannin::sample::load_offline(&addresses.broker_http, &addresses.controller_http)
        .await
        .context("loading the small tables")?;
    let rows = i64::try_from(FLIGHTS)?;
    cluster.wait_for("SELECT COUNT(*) FROM flights", rows).await
}
