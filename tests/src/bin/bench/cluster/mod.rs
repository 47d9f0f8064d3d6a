//! One broker with a controller, and two servers, each a process; beside them the same roles in one
//! process. The difference is what scattering costs.
//!
//! A partition of the flights is on each server, so that every statement asks both. The senders run on
//! the same machine and share its cores.

mod roles;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::cluster::{produce, until};
use ::tests::flights;
use ::tests::process::Sql;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use stream::{KafkaSource, StreamSource};

use crate::figures::{Figures, Goal, Times};
use crate::http::Connection;
use crate::load::drive::{self, Plan};
use crate::load::statements::{PATH, Statement, checksum};
use roles::Roles;

const CLOSED_CONNECTIONS: [usize; 3] = [4, 8, 16];
const SEGMENT_ROWS: u64 = 50_000;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Flights that are loaded
    #[arg(long, default_value_t = 336_776)]
    rows: u64,
    /// Seconds of each part
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write no dated result into benchmarks/results
    #[arg(long)]
    dry: bool,
    /// benchmarks/ of the checkout
    #[arg(long, hide = true)]
    benchmarks: PathBuf,
    /// Where the data of the nodes lies while they run
    #[arg(long, hide = true)]
    cache: PathBuf,
}

/// What was measured of one way to run the roles.
struct Measured {
    p50: f64,
    p99: f64,
    /// A second, at most.
    rate: f64,
}

pub(crate) async fn run(options: &Options, tannin: &Path) -> Result<()> {
    let mut figures = Figures::default();
    let one = measure(options, tannin, "one process", 0, &mut figures).await?;
    let cluster = measure(options, tannin, "cluster", 2, &mut figures).await?;
    figures.add(
        "cluster: p50 of one user",
        cluster.p50,
        "ms",
        Some(Goal::AtMost(1.0)),
    );
    figures.add("cluster: p99 of one user", cluster.p99, "ms", None);
    figures.add("one process: p50 of one user", one.p50, "ms", None);
    figures.add("one process: p99 of one user", one.p99, "ms", None);
    let overhead = cluster.p50 - one.p50;
    figures.add("scattering costs", overhead, "ms", Some(Goal::AtMost(0.5)));
    figures.add(
        "cluster: greatest rate",
        cluster.rate,
        "/s",
        Some(Goal::AtLeast(3000.0)),
    );
    figures.add("one process: greatest rate", one.rate, "/s", None);
    figures.note("The goals are for a release build on an idle machine.");
    figures.print();
    if !options.dry {
        let file = figures.write(&options.benchmarks.join("results"), "cluster")?;
        println!("\nwrote {}", file.display());
    }
    Ok(())
}

/// `servers`: processes of their own; 0: all roles are in one.
async fn measure(
    options: &Options,
    tannin: &Path,
    what: &str,
    servers: usize,
    figures: &mut Figures,
) -> Result<Measured> {
    println!("{what}");
    let roles = Roles::start(tannin, &options.cache, servers).await?;
    load(&roles, options.rows).await?;
    let mut connection = Connection::open(&roles.broker)?;
    let statements = prepare(&mut connection)?;
    let seconds = Duration::from_secs(options.seconds);
    let ask = |connections: usize, within: Duration| -> Result<drive::Outcome> {
        let plan = Plan::Closed(within);
        let outcome = drive::run(&roles.broker, connections, &statements, &plan)?;
        ensure!(outcome.wrong == 0, "{} answers were wrong", outcome.wrong);
        let example = outcome.example.as_deref().unwrap_or_default();
        ensure!(outcome.failed == 0, "{} failed: {example}", outcome.failed);
        Ok(outcome)
    };
    ask(2, Duration::from_secs(3))?;
    let alone = ask(1, seconds)?;
    let mut times = Times::default();
    alone
        .right
        .iter()
        .for_each(|sample| times.add(sample.service));
    let (mut rate, mut best) = (0.0, String::new());
    for connections in CLOSED_CONNECTIONS {
        let before = roles.cpu_seconds()?;
        let outcome = ask(connections, seconds)?;
        let seconds = outcome.took.as_secs_f64();
        let found = outcome.right.len() as f64 / seconds;
        let cores = (roles.cpu_seconds()? - before) / seconds;
        println!("  {connections} connections: {found:.0} a second, {cores:.2} cores of the roles");
        if found > rate {
            rate = found;
            let micros = cores * 1e6 / found;
            best = format!(
                "{what}: {micros:.0} µs of processor time a query, {connections} connections"
            );
        }
    }
    figures.note(&best);
    Ok(Measured {
        p50: times.at(0.5),
        p99: times.at(0.99),
        rate,
    })
}

async fn load(roles: &Roles, rows: u64) -> Result<()> {
    let source = KafkaSource::new(&roles.log, &[], "bench")?;
    source.create_topic("flights", flights::PARTITIONS).await?;
    let mut table = flights::table(&roles.log, "flights", 1);
    let ingestion = &mut table["tableConfig"]["ingestionConfig"]["streamIngestionConfig"];
    let stream = &mut ingestion["streamConfigMaps"][0];
    stream["realtime.segment.flush.threshold.rows"] = json!(SEGMENT_ROWS.to_string());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{}/v1/tables", roles.controller);
    let created = http.post(url).json(&table).send().await?;
    let status = created.status();
    ensure!(status.is_success(), "{status}: {}", created.text().await?);
    produce(&roles.log, "flights", flights::events(rows)?).await?;
    let sql = Sql::new(&http, &roles.broker);
    until("all rows are there", || async {
        let found = sql.numbers("SELECT COUNT(*) FROM flights").await?;
        ensure!(found == [rows as i64], "{found:?} rows of {rows}");
        Ok(())
    })
    .await
}

/// What users of a page ask, each with the checksum of its answer at rest.
fn prepare(connection: &mut Connection) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    for month in 1..=12 {
        for origin in ["EWR", "JFK", "LGA"] {
            statements.push(format!(
                "SELECT carrier, COUNT(*), AVG(distance) FROM flights \
                 WHERE origin = '{origin}' AND month = {month} GROUP BY carrier \
                 ORDER BY carrier LIMIT 20"
            ));
        }
        for carrier in ["UA", "B6", "EV", "DL", "AA"] {
            statements.push(format!(
                "SELECT dest, COUNT(*) AS c FROM flights WHERE carrier = '{carrier}' \
                 AND month = {month} GROUP BY dest ORDER BY c DESC, dest LIMIT 10"
            ));
        }
        for dest in ["ORD", "ATL", "LAX", "BOS"] {
            statements.push(format!(
                "SELECT COUNT(*), SUM(distance), MAX(flight) FROM flights \
                 WHERE dest = '{dest}' AND day = {month}"
            ));
        }
    }
    let prepared = statements.into_iter().map(|sql| {
        let body = json!({ "sql": sql, "queryOptions": "timeoutMs=60000" });
        let body = body.to_string().into_bytes();
        let answer = connection.post(PATH, &body)?;
        ensure!(answer.status == 200, "{sql}: status {}", answer.status);
        let checksum = checksum(answer.body).context("an answer without a table")?;
        Ok(Statement { body, checksum })
    });
    prepared.collect()
}
