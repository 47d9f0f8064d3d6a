//! Every test of the project, each kind one step with its time. A step that cannot run here fails
//! and says what to install: nothing is skipped in silence.

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::drivers::{self, ChaosOptions, CrashOptions, FuzzOptions, GeneratedOptions};
use crate::node::Web;
use crate::steps::{self, Steps};
use crate::{clients, deploy, kafka, page, postgres, s3, superset, workspace};

/// Each kind of fault about once; `cargo xtask chaos` runs as long as wanted.
const CHAOS_MINUTES: f64 = 1.5;
const CHAOS_SEED: u64 = 1;
/// Kills in the tests; `cargo xtask crash` runs as many as wanted.
const CRASH_ROUNDS: u32 = 4;
const KAFKA_ROUNDS: u32 = 2;
/// Seconds for which Kafka is away.
const OUTAGE: u64 = 15;
/// Generated questions in the tests; `cargo xtask generated` asks as many as wanted.
const QUESTIONS: u64 = 1_000;
/// Of those of several tables, and their seed: others still find what docs/internals/progress.md
/// lists.
const STATEMENTS: u64 = 400;
const STATEMENTS_SEED: u64 = 20;
/// In the tests; `cargo xtask fuzz` takes as long as wanted, and finds what is listed there too.
const FUZZ_MINUTES: f64 = 0.2;
/// Where tests look for a real Kafka, see `stream::conformance`.
const KAFKA_VARIABLE: &str = "TEST_KAFKA";
/// Where tests look for an S3, see `deepstore::conformance`.
const S3_VARIABLE: &str = "TEST_S3";
/// Where tests look for a real PostgreSQL: the address of a superuser, see `metastore`.
const POSTGRES_VARIABLE: &str = "TEST_POSTGRES";
/// This program, for tests that stop and start a PostgreSQL of their own.
const XTASK_VARIABLE: &str = "TEST_XTASK";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only steps whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the names of the steps
    #[arg(long)]
    list: bool,
}

type Work = fn() -> Result<()>;

/// Done in this order: the cheap ones that fail most often come first.
const STEPS: &[(&str, Work)] = &[
    ("page: types and unit tests", page_units),
    ("page: dist is what web/ builds", page_dist),
    ("cargo test", cargo_tests),
    ("generated questions, against DuckDB", || {
        generated(QUESTIONS, false)
    }),
    ("generated statements, against DuckDB", || {
        generated(STATEMENTS, true)
    }),
    ("statements that nobody would write", fuzz),
    ("Pinot's Python client", pinot_client),
    ("Python package", python_package),
    ("Kafka's clients on the built-in log", kafka_clients),
    ("TPC-H and SSB, against DuckDB", tpch),
    ("page: in Chromium", page_browser),
    ("Superset: a dashboard in Chromium", superset_dashboard),
    ("deploy: image, units, alerts", deploy::files),
    ("deploy: chart", deploy_chart),
    ("deploy: compose, as processes", deploy_compose),
    ("chaos", chaos),
    ("crash: built-in log", || crash(|_| {})),
    ("crash: unsynced writes lost", || {
        crash(|own| own.lossy = true)
    }),
    ("crash: upserts", || crash(|own| own.upsert = true)),
    ("crash: Apache Kafka", crash_kafka),
    ("crash: Apache Kafka is away", || {
        crash(|own| own.outage = Some(OUTAGE))
    }),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |name: &str| options.only.as_ref().is_none_or(|text| name.contains(text));
    let chosen: Vec<_> = STEPS.iter().filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        bail!("no step is called so; `cargo xtask test --list` names them");
    }
    if options.list {
        for (name, _) in chosen {
            println!("{name}");
        }
        return Ok(());
    }
    let mut steps = Steps::default();
    for (name, work) in chosen {
        steps.run(name, work);
    }
    steps.finish()
}

fn page_units() -> Result<()> {
    let web = Web::prepare()?;
    web.npm(&["run", "--silent", "check"])?;
    web.npm(&["test", "--silent"])
}

fn page_dist() -> Result<()> {
    page::check_dist(&Web::prepare()?)
}

/// The same tests run on the built-in log and on Apache Kafka, on SQLite and on PostgreSQL, on
/// folders and on S3.
fn cargo_tests() -> Result<()> {
    let kafka = kafka::prepare().context("the tests on Apache Kafka did not run");
    let postgres = postgres::prepare().context("the tests on PostgreSQL did not run");
    let s3 = s3::prepare().context("the tests on S3 did not run");
    // The compiler gets the memory that Kafka takes afterwards.
    cargo(&["test", "--workspace", "--no-run"], &[])?;
    let xtask = std::env::current_exe()?.display().to_string();
    let all = ["test", "--workspace", "--no-fail-fast"];
    let run = |found: &[(&str, &str)]| cargo(&all, found);
    let on_s3 = |found: &[(&str, &str)]| match &s3 {
        Err(_) => run(found),
        Ok(_) => s3::with_fresh(|address| run(&[found, &[(S3_VARIABLE, address)]].concat())),
    };
    let on_postgres = |found: &[(&str, &str)]| match &postgres {
        Err(_) => on_s3(found),
        Ok(_) => postgres::with_fresh(|url| {
            let own = [(POSTGRES_VARIABLE, url), (XTASK_VARIABLE, &xtask)];
            on_s3(&[found, &own[..]].concat())
        }),
    };
    match &kafka {
        Err(_) => on_postgres(&[])?,
        Ok(()) => kafka::with_fresh(|brokers| on_postgres(&[(KAFKA_VARIABLE, brokers)]))?,
    }
    kafka?;
    postgres?;
    s3?;
    Ok(())
}

fn generated(questions: u64, statements: bool) -> Result<()> {
    drivers::generated(&GeneratedOptions {
        statements,
        questions,
        seed: if statements { STATEMENTS_SEED } else { 1 },
        only: None,
        debug: true,
    })
}

fn fuzz() -> Result<()> {
    drivers::fuzz(&FuzzOptions {
        minutes: FUZZ_MINUTES,
        seed: 1,
        only: None,
        debug: true,
    })
}

fn pinot_client() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    clients::pinotdb()
}

fn python_package() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    clients::package()
}

fn kafka_clients() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    clients::kafka_clients()
}

fn tpch() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    clients::tpch()
}

fn page_browser() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    page::browse(&Web::prepare()?)
}

fn superset_dashboard() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    superset::dashboard()
}

fn deploy_chart() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    deploy::chart()
}

fn deploy_compose() -> Result<()> {
    cargo(&["build", "-p", "tannin"], &[])?;
    deploy::compose()
}

fn crash(change: impl FnOnce(&mut CrashOptions)) -> Result<()> {
    let mut options = CrashOptions {
        rounds: CRASH_ROUNDS,
        seed: 1,
        kafka: None,
        lossy: false,
        upsert: false,
        outage: None,
        kafka_folder: None,
        debug: true,
    };
    change(&mut options);
    drivers::crash(&options)
}

fn chaos() -> Result<()> {
    drivers::chaos(&ChaosOptions {
        upsert: false,
        minutes: CHAOS_MINUTES,
        seed: CHAOS_SEED,
        debug: true,
    })
}

fn crash_kafka() -> Result<()> {
    kafka::with_fresh(|brokers| {
        crash(|own| {
            own.rounds = KAFKA_ROUNDS;
            own.kafka = Some(brokers.to_owned());
        })
    })
}

/// `variables` name the real engines, for the tests that need them.
fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let mut command = workspace::cargo();
    command
        .args(args)
        .arg("--target-dir")
        .arg(workspace::target()?)
        .envs(variables.iter().copied());
    steps::exec(command.current_dir(workspace::root()))
}
