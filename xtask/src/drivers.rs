//! `crash`, `chaos` and `bench` drive the real binary. Their drivers need the engine's own clients,
//! so they are binaries of `tests`; this only builds both and hands the arguments over.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{kafka, postgres, python, s3, steps, workspace};

#[derive(Debug, Args)]
pub(crate) struct CrashOptions {
    /// Kills, each at another instant or fail point
    #[arg(long, default_value_t = 20)]
    pub(crate) rounds: u32,
    /// Repeats a run
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A real Kafka instead of the built-in log
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
    /// Lose every write that was not synced
    #[arg(long)]
    pub(crate) lossy: bool,
    /// A table that keeps the newest row of each key
    #[arg(long)]
    pub(crate) upsert: bool,
    /// Kill a real Kafka for so many seconds, and the node not at all
    #[arg(long, value_name = "SECONDS")]
    pub(crate) outage: Option<u64>,
    /// Where the Kafka of `--kafka` keeps its data, as `cargo xtask kafka up` was told
    #[arg(long, value_name = "DIR", requires_all = ["kafka", "outage"])]
    pub(crate) kafka_folder: Option<PathBuf>,
    /// Build without optimisation: the rounds are slower, the build is faster
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// Histories, each of another seed
    #[arg(long, default_value_t = 10_000)]
    pub(crate) seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct GeneratedOptions {
    /// Statements over several tables instead of questions about one
    #[arg(long)]
    pub(crate) statements: bool,
    /// Questions in all
    #[arg(long, default_value_t = 2_000)]
    pub(crate) questions: u64,
    /// Of the first table; the next tables have the next seeds
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only this question of the first table
    #[arg(long)]
    pub(crate) only: Option<u64>,
    /// Build without optimisation: the questions are slower, the build is faster
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FuzzOptions {
    #[arg(long, default_value_t = 30.0)]
    pub(crate) minutes: f64,
    /// Repeats a run
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only this input
    #[arg(long)]
    pub(crate) only: Option<u64>,
    /// Build without optimisation: fewer inputs a minute, the build is faster
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosOptions {
    /// A table that keeps the newest row of each key
    #[arg(long)]
    pub(crate) upsert: bool,
    /// No fault begins later
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// Repeats a run, as far as the machine's timing lets it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Build without optimisation: everything is slower, the build is faster
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Suite {
    /// Start, memory, ingestion, freshness, query: the figures of the first release
    Spine {
        /// Write no dated result into benchmarks/results
        #[arg(long)]
        dry: bool,
    },
    /// Statements over millions of rows, beside DuckDB, ClickHouse and DataFusion; `--help` lists
    /// its options
    #[command(disable_help_flag = true)]
    Engine {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// TPC-H beside DataFusion, planning, writing of answers; `--help` lists its options
    #[command(disable_help_flag = true)]
    Sql {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// From a real Kafka into a table: events a second of a core, how soon they are seen, appends,
    /// imports; `--help` lists its options
    #[command(disable_help_flag = true)]
    Ingest {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// A broker and two servers as processes, beside all roles in one; `--help` lists its options
    #[command(disable_help_flag = true)]
    Cluster {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Many users at once: latency at a rate, the greatest rate, ten times that; `--help` lists
    /// its options
    #[command(disable_help_flag = true)]
    Load {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

pub(crate) fn crash(options: &CrashOptions) -> Result<()> {
    let profile = if options.debug { "debug" } else { "release" };
    let folder = build(profile, &["--features", "tannin/failpoints"])?;
    let mut command = driver(&folder, "crash");
    command.args(["--rounds", &options.rounds.to_string()]);
    command.args(["--seed", &options.seed.to_string()]);
    if let Some(address) = &options.kafka {
        command.args(["--kafka", address]);
    }
    if options.lossy {
        command.arg("--lossy");
    }
    if options.upsert {
        command.arg("--upsert");
    }
    let Some(seconds) = options.outage else {
        return steps::exec(&mut command);
    };
    command.args(["--outage", &seconds.to_string(), "--xtask"]);
    command.arg(std::env::current_exe()?).arg("--kafka-folder");
    match &options.kafka_folder {
        Some(folder) => steps::exec(command.arg(folder)),
        None => {
            command.arg(kafka::folder()?);
            kafka::with_fresh(|brokers| steps::exec(command.args(["--kafka", brokers])))
        }
    }
}

/// The simulation is of parts that only the controller's own tests see.
pub(crate) fn simulate(options: &SimulateOptions) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--quiet", "--release", "-p", "controller", "--lib"]);
    cargo.args(["--", "simulation", "--nocapture"]);
    cargo.env("SEEDS", options.seeds.to_string());
    cargo.env("SEED", options.seed.to_string());
    cargo.current_dir(workspace::root());
    steps::exec(&mut cargo)
}

/// A cluster beside a Kafka, a PostgreSQL and an S3 that are there for it alone.
pub(crate) fn chaos(options: &ChaosOptions) -> Result<()> {
    let profile = if options.debug { "debug" } else { "release" };
    let folder = build(profile, &[])?;
    let run = |kafka: &str, postgres: &str, s3: &str| {
        let mut command = driver(&folder, "chaos");
        command.args(["--minutes", &options.minutes.to_string()]);
        command.args(["--seed", &options.seed.to_string()]);
        command.args(["--kafka", kafka, "--postgres", postgres, "--s3", s3]);
        command.arg("--kafka-folder").arg(kafka::folder()?);
        command.arg("--xtask").arg(std::env::current_exe()?);
        if options.upsert {
            command.arg("--upsert");
        }
        steps::exec(&mut command)
    };
    kafka::with_fresh(|kafka| {
        postgres::with_fresh(|postgres| s3::with_fresh(|s3| run(kafka, postgres, s3)))
    })
}

pub(crate) fn generated(options: &GeneratedOptions) -> Result<()> {
    let profile = if options.debug { "debug" } else { "release" };
    let folder = build(profile, &[])?;
    let requirements = workspace::root().join("tests/requirements.txt");
    let mut command = Command::new(folder.join("generated"));
    command
        .arg("--python")
        .arg(python::with("oracle", &requirements)?);
    command.args(["--questions", &options.questions.to_string()]);
    command.args(["--seed", &options.seed.to_string()]);
    if options.statements {
        command.arg("--statements");
    }
    if let Some(only) = options.only {
        command.args(["--only", &only.to_string()]);
    }
    steps::exec(&mut command)
}

pub(crate) fn fuzz(options: &FuzzOptions) -> Result<()> {
    let profile = if options.debug { "debug" } else { "release" };
    let folder = build(profile, &[])?;
    let mut command = Command::new(folder.join("fuzz"));
    command.args(["--minutes", &options.minutes.to_string()]);
    command.args(["--seed", &options.seed.to_string()]);
    if let Some(only) = options.only {
        command.args(["--only", &only.to_string()]);
    }
    steps::exec(&mut command)
}

pub(crate) fn bench(suite: &Suite) -> Result<()> {
    let folder = build("release", &[])?;
    let mut command = driver(&folder, "bench");
    let benchmarks = workspace::root().join("benchmarks");
    match suite {
        Suite::Spine { dry } => {
            command.arg("spine");
            if !dry {
                command.arg("--results").arg(benchmarks.join("results"));
            }
        }
        Suite::Engine { options } => {
            let python = python::with("peers", &benchmarks.join("peers/requirements.txt"))?;
            command.arg("engine").arg("--python").arg(python);
            over_rows(&mut command, options)?;
        }
        Suite::Sql { options } => {
            let python = python::with("peers", &benchmarks.join("peers/requirements.txt"))?;
            command.arg("sql").arg("--python").arg(python);
            over_rows(&mut command, options)?;
        }
        Suite::Load { options } => {
            command.arg("load");
            over_rows(&mut command, options)?;
        }
        Suite::Cluster { options } => {
            command.arg("cluster");
            over_rows(&mut command, options)?;
        }
        Suite::Ingest { options } => {
            command.arg("ingest");
            over_rows(&mut command, options)?;
            let runs_alone = |option: &String| option.starts_with("--kafka") || option == "--help";
            if !options.iter().any(runs_alone) {
                return kafka::with_fresh(|brokers| {
                    steps::exec(command.args(["--kafka", brokers]))
                });
            }
        }
    }
    steps::exec(&mut command)
}

/// Where statements and configs lie and where rows are kept; then what the user asked for.
fn over_rows(command: &mut Command, options: &[String]) -> Result<()> {
    command
        .arg("--benchmarks")
        .arg(workspace::root().join("benchmarks"));
    command
        .arg("--cache")
        .arg(workspace::cache("bench")?)
        .args(options);
    Ok(())
}

/// Builds the binary and the drivers; the folder they are in.
fn build(profile: &str, features: &[&str]) -> Result<PathBuf> {
    let target = workspace::target()?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "-p", "tannin", "-p", "tests", "--bins"]);
    if profile == "release" {
        cargo.arg("--release");
    }
    cargo.args(features).arg("--target-dir").arg(&target);
    cargo.current_dir(workspace::root());
    steps::exec(&mut cargo)?;
    Ok(target.join(profile))
}

fn driver(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join(name));
    command.arg("--tannin").arg(folder.join("tannin"));
    command
}
