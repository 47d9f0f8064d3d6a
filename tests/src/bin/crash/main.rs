//! Kills the real binary, at random instants and at every fail point of seal and commit, restarts
//! it, and compares every row with what a producer was told that the log has taken.
//!
//! A run is repeated by its seed as far as the machine's timing lets it.

#![allow(
    clippy::print_stdout,
    reason = "a command line tool prints its results"
)]

mod outage;
mod plan;
mod produce;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use stream::{KafkaSource, StreamSource};
use tests::exactly_once::model::{Model, PARTITIONS, TABLE};
use tests::exactly_once::tables;
use tests::exactly_once::verify::{self, Verified};
use tests::kafka::Kafka;
use tests::process::{Launch, Node, Ports, Sql, free_port_offset, log_file, was_killed};

use plan::{Kill, Plan};
use produce::Death;

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);
/// Every so many rounds all rows are compared again.
const COMPARE_ALL_EVERY: u32 = 25;

#[derive(Debug, Parser)]
struct Options {
    /// The binary, built with `--features failpoints`
    #[arg(long)]
    tannin: PathBuf,
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A real Kafka instead of the built-in log
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Lose every write that was not synced
    #[arg(long)]
    lossy: bool,
    /// A table that keeps the newest row of each key
    #[arg(long)]
    upsert: bool,
    /// Kills Kafka for so many seconds, and the node not at all
    #[arg(long, value_name = "SECONDS", requires_all = ["kafka", "kafka_folder", "xtask"])]
    outage: Option<u64>,
    /// Where that Kafka keeps its data
    #[arg(long)]
    kafka_folder: Option<PathBuf>,
    /// The program that has started it
    #[arg(long)]
    xtask: Option<PathBuf>,
    /// Where the node keeps its data; removed after a run without a fault
    #[arg(long)]
    data: Option<PathBuf>,
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
            println!("FAILED with --seed {}: {error:#}", options.seed);
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let data = match &options.data {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("tannin-crash-{}", std::process::id())),
    };
    println!(
        "{} rounds, seed {}, {}{}{}, data in {}",
        options.rounds,
        options.seed,
        options.kafka.as_deref().unwrap_or("built-in log"),
        if options.lossy {
            ", unsynced writes lost"
        } else {
            ""
        },
        if options.upsert { ", upserts" } else { "" },
        data.display()
    );
    let mut harness = Harness::new(options, data.join("data"))?;
    harness.create_table().await?;
    if let (Some(seconds), Some(address), Some(folder), Some(xtask)) = (
        options.outage,
        options.kafka.clone(),
        options.kafka_folder.clone(),
        options.xtask.clone(),
    ) {
        let kafka = Kafka {
            address,
            folder,
            xtask,
        };
        harness.outage(&kafka, Duration::from_secs(seconds)).await?;
        std::fs::remove_dir_all(&data)?;
        return Ok(());
    }
    for round in 1..=options.rounds {
        harness
            .round(round)
            .await
            .with_context(|| format!("round {round}"))?;
    }
    harness.report()?;
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

struct Harness<'a> {
    options: &'a Options,
    launch: Launch,
    http: reqwest::Client,
    random: SmallRng,
    plan: Plan,
    model: Model,
    /// By fail point: how often it was armed, how often the node died there.
    reached: BTreeMap<&'static str, (u32, u32)>,
    began: Instant,
}

impl<'a> Harness<'a> {
    fn new(options: &'a Options, data: PathBuf) -> Result<Self> {
        ensure!(
            !data.exists(),
            "{} is there already; remove it",
            data.display()
        );
        let mut args = vec!["--empty".to_owned(), "--events-per-second=0".to_owned()];
        if options.lossy {
            // Otherwise the log may forget what it acknowledged, and says so.
            args.extend(["--set".to_owned(), "log.sync=ack".to_owned()]);
        }
        Ok(Self {
            options,
            launch: Launch {
                tannin: options.tannin.clone(),
                data,
                port_offset: free_port_offset()?,
                args,
                failpoints: String::new(),
            },
            http: reqwest::Client::builder().no_proxy().build()?,
            random: SmallRng::seed_from_u64(options.seed),
            plan: Plan::default(),
            model: Model::new(options.seed),
            reached: BTreeMap::new(),
            began: Instant::now(),
        })
    }

    fn start(&mut self, point: Option<(&str, u32)>) -> Result<Node> {
        let mut armed = Vec::new();
        if self.options.lossy {
            armed.push("forgetful=return".to_owned());
        }
        if let Some((name, skip)) = point {
            armed.push(match skip {
                0 => format!("{name}=return"),
                skip => format!("{name}={skip}*off->return"),
            });
        }
        self.launch.failpoints = armed.join(";");
        Node::start(&self.launch, &self.http)
    }

    fn brokers(&self, ports: &Ports) -> String {
        self.options
            .kafka
            .clone()
            .unwrap_or_else(|| ports.log.clone())
    }

    async fn create_table(&mut self) -> Result<()> {
        let mut node = self.start(None)?;
        let ports = node.wait_ready(START_MAX).await?;
        let brokers = self.brokers(&ports);
        let source = KafkaSource::new(&brokers, &[], "crash")?;
        source.create_topic(TABLE, PARTITIONS as u32).await?;
        for partition in 0..PARTITIONS as u32 {
            let (_, end) = source.watermarks(TABLE, partition).await?;
            ensure!(
                end == 0,
                "topic `{TABLE}` at {brokers} is not empty; start a fresh Kafka"
            );
        }
        self.post(&ports, "/schemas", tables::schema()).await?;
        self.post(
            &ports,
            "/tables",
            tables::table(&brokers, 1, self.options.upsert),
        )
        .await?;
        let status = node.terminate(STOP_MAX).await?;
        ensure!(
            status.success(),
            "the node ended with {status} after SIGTERM"
        );
        Ok(())
    }

    async fn post(&self, ports: &Ports, path: &str, body: Value) -> Result<()> {
        let url = format!("http://{}{path}", ports.controller);
        let answer = self.http.post(url).json(&body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "POST {path}: {status}: {text}");
        Ok(())
    }

    async fn round(&mut self, round: u32) -> Result<()> {
        let kill = self.plan.next(&mut self.random);
        if kill.loses_local_segments() {
            let _ = std::fs::remove_dir_all(self.launch.data.join("segments"));
        }
        let mut node = self.start(kill.point())?;
        let deadline = node.started + kill.deadline();
        let kafka = self.options.kafka.as_deref();
        let death = produce::until_death(&mut node, deadline, kafka, &mut self.model).await?;
        let lived = node.started.elapsed();
        self.count(&kill, &death, &node)?;
        if round.is_multiple_of(COMPARE_ALL_EVERY) || round == self.options.rounds {
            self.model.compare_all_again();
        }
        let begin = Instant::now();
        let verified = self.heal().await?;
        let Verified {
            rows,
            rejected,
            sealed,
        } = verified;
        println!(
            "round {round:>4}  {:<34} {:>5.1} s  {rows:>8} rows  {rejected:>5} rejected  \
             {sealed:>4} sealed  compared in {:.1} s",
            kill.to_string(),
            lived.as_secs_f32(),
            begin.elapsed().as_secs_f32()
        );
        Ok(())
    }

    /// Starts without fail points, compares, and stops gently or not.
    async fn heal(&mut self) -> Result<Verified> {
        let mut node = self.start(None)?;
        let ports = node.wait_ready(START_MAX).await?;
        let sql = Sql::new(&self.http, &ports.broker);
        let brokers = self.brokers(&ports);
        let upserts = self.options.upsert;
        let verified =
            verify::verify((&sql, upserts, Duration::ZERO), &brokers, &mut self.model).await;
        let verified = verified.with_context(|| node.last_words())?;
        if self.random.random_bool(0.5) {
            let status = node.terminate(STOP_MAX).await?;
            ensure!(
                status.success(),
                "the node ended with {status} after SIGTERM"
            );
        } else {
            node.kill()?;
        }
        Ok(verified)
    }

    fn count(&mut self, kill: &Kill, death: &Death, node: &Node) -> Result<()> {
        if let Death::Itself(status) = death {
            ensure!(
                was_killed(*status) && kill.point().is_some(),
                "the node ended by itself with {status}\n{}",
                node.last_words()
            );
        }
        if let Kill::Point { name, .. } = kill {
            let (armed, died) = self.reached.entry(name).or_default();
            *armed += 1;
            *died += u32::from(matches!(death, Death::Itself(_)));
        }
        Ok(())
    }

    fn report(&self) -> Result<()> {
        println!("\nfail point                          armed  died there");
        let mut never = Vec::new();
        for (name, (armed, died)) in &self.reached {
            println!("{name:<34} {armed:>6} {died:>11}");
            if *died == 0 && *armed >= 3 {
                never.push(*name);
            }
        }
        let minutes = self.began.elapsed().as_secs_f32() / 60.0;
        println!(
            "{} rounds passed in {minutes:.1} min; log of the node: {}",
            self.options.rounds,
            log_file(&self.launch.data).display()
        );
        ensure!(never.is_empty(), "never reached: {}", never.join(", "));
        Ok(())
    }
}
