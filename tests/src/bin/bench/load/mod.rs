//! Many users at once: latency at a given rate, the greatest rate, and far more than that.
//!
//! The senders run on the same machine as the node and share its cores, so the CPU of both is told.
//! Every answer is compared with the one that the same statement got at rest.

pub(crate) mod drive;
pub(crate) mod statements;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tests::process::free_port_offset;

use drive::{Outcome, Plan, Sample};
use statements::Statement;

use crate::engine::node::Tannin;
use crate::figures::{Figures, Goal, Times};
use crate::http::Connection;

const STATEMENTS: usize = 1_200;
const SEED: u64 = 11;
const OPEN_CONNECTIONS: usize = 32;
const OVERLOAD_CONNECTIONS: usize = 768;
const OVERLOAD: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(2);
/// Loops that are tried for the greatest rate.
const CLOSED_CONNECTIONS: [usize; 4] = [2, 4, 8, 16];
/// A second is as before the overload when its p99 is below this.
const RECOVERED: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rows of the event table, which `bench engine --reuse` loaded
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// Requests a second of the open loop
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Seconds of each part
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[arg(long)]
    port_offset: Option<u16>,
    /// Write no dated result into benchmarks/results
    #[arg(long)]
    dry: bool,
    /// benchmarks/ of the checkout
    #[arg(long, hide = true)]
    benchmarks: PathBuf,
    /// Where rows and tables are kept
    #[arg(long, hide = true)]
    cache: PathBuf,
}

struct Load<'a> {
    options: &'a Options,
    host: String,
    node: u32,
    statements: Vec<Statement>,
    figures: Figures,
}

pub(crate) async fn run(options: &Options, tannin: &Path) -> Result<()> {
    let folder = options.cache.join(format!("events-{}", options.rows));
    let port_offset = match options.port_offset {
        Some(offset) => offset,
        None => free_port_offset()?,
    };
    let mut node = Tannin::start(tannin, folder.join("node"), port_offset).await?;
    let config = options.benchmarks.join("engine/tables/events.json");
    let rows = folder.join("rows/events");
    ensure!(
        rows.exists(),
        "there are no rows in {}; `cargo xtask bench engine --reuse` makes them",
        folder.display()
    );
    node.load(&config, &rows).await?;
    println!("asking {STATEMENTS} statements at rest");
    let mut connection = Connection::open(node.broker())?;
    let statements = statements::prepare(&mut connection, STATEMENTS, options.rows, SEED)?;
    let mut load = Load {
        options,
        host: node.broker().to_owned(),
        node: node.pid(),
        statements,
        figures: Figures::default(),
    };
    load.open()?;
    let greatest = load.closed()?;
    load.overload(greatest)?;
    load.recovery()?;
    load.figures.print();
    if !options.dry {
        let results = options.benchmarks.join("results");
        let file = load.figures.write(&results, "load")?;
        println!("\nwrote {}", file.display());
    }
    node.stop().await
}

impl Load<'_> {
    fn seconds(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn at_rate(&self, rate: f64, within: Duration) -> Plan {
        Plan::Open {
            due: drive::arrivals(rate, within, SEED),
            patience: PATIENCE,
        }
    }

    /// Runs a plan; its outcome, and the cores that the node and the senders used.
    fn drive(&self, connections: usize, plan: &Plan) -> Result<(Outcome, f64, f64)> {
        let own = || cpu_seconds("self");
        let node = || cpu_seconds(&self.node.to_string());
        let before = (node()?, own()?);
        let outcome = drive::run(&self.host, connections, &self.statements, plan)?;
        let seconds = outcome.took.as_secs_f64();
        let after = (node()?, own()?);
        if let Some(example) = &outcome.example {
            println!("  {} failed, one of them: {example}", outcome.failed);
        }
        ensure!(outcome.wrong == 0, "{} answers were wrong", outcome.wrong);
        Ok((
            outcome,
            (after.0 - before.0) / seconds,
            (after.1 - before.1) / seconds,
        ))
    }

    fn cores(&mut self, what: &str, node: f64, own: f64) {
        self.figures
            .add(&format!("{what}: cores of the node"), node, "", None);
        self.figures
            .add(&format!("{what}: cores of the senders"), own, "", None);
    }

    fn open(&mut self) -> Result<()> {
        let rate = self.options.rate;
        println!("open loop, {rate} a second");
        let warm = self.at_rate(rate, Duration::from_secs(3));
        self.drive(OPEN_CONNECTIONS, &warm)?;
        let plan = self.at_rate(rate, self.seconds());
        let (outcome, node, own) = self.drive(OPEN_CONNECTIONS, &plan)?;
        let times = latencies(&outcome.right, |sample| sample.latency);
        let goals = [
            (0.5, "p50", Some(Goal::AtMost(1.0))),
            (0.99, "p99", Some(Goal::AtMost(5.0))),
            (0.999, "p99.9", None),
            (1.0, "max", None),
        ];
        for (quantile, name, goal) in goals {
            let what = format!("open loop, {rate}/s, {name}");
            self.figures.add(&what, times.at(quantile), "ms", goal);
        }
        let other = outcome.failed + outcome.given_up + outcome.refused.len() as u64;
        let what = "open loop: not answered";
        self.figures
            .add(what, other as f64, "", Some(Goal::AtMost(0.0)));
        self.cores("open loop", node, own);
        Ok(())
    }

    /// The greatest rate of a few loops that always have one request each under way.
    fn closed(&mut self) -> Result<f64> {
        let mut best: Option<(f64, usize, Outcome, f64, f64)> = None;
        for connections in CLOSED_CONNECTIONS {
            println!("closed loop, {connections} connections");
            let plan = Plan::Closed(self.seconds() / 4);
            let (outcome, node, own) = self.drive(connections, &plan)?;
            let rate = outcome.right.len() as f64 / outcome.took.as_secs_f64();
            println!("  {rate:.0} a second");
            if best.as_ref().is_none_or(|(greatest, ..)| rate > *greatest) {
                best = Some((rate, connections, outcome, node, own));
            }
        }
        let (rate, connections, outcome, node, own) = best.context("no loop was run")?;
        let what = format!("closed loop, {connections} connections");
        self.figures
            .add(&what, rate, "/s", Some(Goal::AtLeast(4000.0)));
        let times = latencies(&outcome.right, |sample| sample.service);
        self.figures
            .add("closed loop: p99", times.at(0.99), "ms", None);
        self.cores("closed loop", node, own);
        Ok(rate)
    }

    fn overload(&mut self, greatest: f64) -> Result<()> {
        let rate = greatest * OVERLOAD;
        println!("overload, {rate:.0} a second");
        let plan = self.at_rate(rate, self.seconds() / 2);
        let (outcome, node, own) = self.drive(OVERLOAD_CONNECTIONS, &plan)?;
        let seconds = outcome.took.as_secs_f64();
        let answered = latencies(&outcome.right, |sample| sample.service);
        let refused = latencies(&outcome.refused, |sample| sample.service);
        let figures = &mut self.figures;
        let right = outcome.right.len() as f64;
        figures.add("10× overload: right answers", right / seconds, "/s", None);
        figures.add(
            "10× overload: wait for one, p99",
            answered.at(0.99),
            "ms",
            None,
        );
        let what = "10× overload: wait for one, max";
        figures.add(what, answered.at(1.0), "ms", Some(Goal::AtMost(2000.0)));
        let count = outcome.refused.len() as f64;
        figures.add("10× overload: 429", count / seconds, "/s", None);
        figures.add(
            "10× overload: wait for a 429, p99",
            refused.at(0.99),
            "ms",
            None,
        );
        let count = outcome.failed as f64;
        figures.add("10× overload: failed", count, "", Some(Goal::AtMost(0.0)));
        let count = outcome.given_up as f64;
        figures.add(
            "10× overload: not sent, overdue",
            count / seconds,
            "/s",
            None,
        );
        self.cores("10× overload", node, own);
        Ok(())
    }

    /// The rate of before at once after the overload: which second is as good as before it.
    fn recovery(&mut self) -> Result<()> {
        println!("after the overload");
        let within = Duration::from_secs(10);
        let plan = self.at_rate(self.options.rate, within);
        let (outcome, ..) = self.drive(OPEN_CONNECTIONS, &plan)?;
        let mut recovered = 0;
        for second in 0..within.as_secs() {
            let of_second = |sample: &&Sample| sample.due.as_secs() == second;
            let samples: Vec<Sample> = outcome.right.iter().filter(of_second).copied().collect();
            let p99 = latencies(&samples, |sample| sample.latency).at(0.99);
            if samples.is_empty() || p99 > RECOVERED.as_secs_f64() * 1000.0 {
                recovered = second + 1;
            }
        }
        let goal = Some(Goal::AtMost(5.0));
        self.figures.add(
            "after it: seconds until p99 ≤ 10 ms",
            recovered as f64,
            "s",
            goal,
        );
        let lost = outcome.failed + outcome.given_up;
        self.figures
            .add("after it: not answered", lost as f64, "", None);
        Ok(())
    }
}

fn latencies(samples: &[Sample], of: impl Fn(&Sample) -> Duration) -> Times {
    let mut times = Times::default();
    for sample in samples {
        times.add(of(sample));
    }
    times
}

/// User and system time of a process; the kernel counts it in hundredths of a second.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("an unknown stat file")?;
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}
