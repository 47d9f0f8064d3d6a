//! A whole cluster of real processes beside a real Kafka, a real PostgreSQL and an S3, under load,
//! while processes are killed, stopped and woken, ways between them cut, disks lost and bits
//! flipped.
//!
//! After each fault, by itself: nobody else has died, every event that Kafka has taken is there
//! once and unchanged, and everything has its replicas again. All the while clients ask; an answer
//! is right, or an error, or says what it lacks.

#![allow(
    clippy::print_stdout,
    reason = "a command line tool prints its results"
)]

mod cluster;
mod faults;
mod link;
mod load;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tests::exactly_once::model::{Model, PARTITIONS, TABLE};
use tests::exactly_once::{produce, tables, verify};
use tests::kafka::Kafka;

use cluster::{Cluster, Engines, REPLICAS};
use faults::Plan;
use watch::{Seen, Watch};

const EVENTS_PER_SECOND: f64 = 600.0;
/// Of load before a fault, and after it.
const AROUND: Duration = Duration::from_secs(2);
/// From the end of a fault until everything has its replicas.
const RECOVERED_MAX: Duration = Duration::from_secs(60);
/// For so long a broker may not have heard what servers already know.
const AT_ODDS_MAX: Duration = Duration::from_secs(5);
/// Every so many rounds all rows are compared again.
const COMPARE_ALL_EVERY: u32 = 14;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    tannin: PathBuf,
    /// No fault begins later
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// Where that Kafka keeps its data
    #[arg(long)]
    kafka_folder: PathBuf,
    /// The program that has started it
    #[arg(long)]
    xtask: PathBuf,
    #[arg(long, value_name = "postgres://…")]
    postgres: String,
    #[arg(long, value_name = "http://HOST:PORT/BUCKET")]
    s3: String,
    /// A table that keeps the newest row of each key
    #[arg(long)]
    upsert: bool,
    /// Where the processes keep their data; removed after a run without a fault
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
        None => std::env::temp_dir().join(format!("tannin-chaos-{}", std::process::id())),
    };
    std::fs::create_dir_all(&data)?;
    println!(
        "{} min, seed {}{}, data in {}",
        options.minutes,
        options.seed,
        if options.upsert { ", upserts" } else { "" },
        data.display()
    );
    let engines = Engines {
        postgres: options.postgres.clone(),
        s3: options.s3.clone(),
    };
    let kafka = Kafka {
        address: options.kafka.clone(),
        folder: options.kafka_folder.clone(),
        xtask: options.xtask.clone(),
    };
    let mut harness = Harness::start(options, &data, (engines, kafka)).await?;
    let begin = Instant::now();
    let mut round = 0;
    let mut all = Seen::default();
    while begin.elapsed().as_secs_f64() < options.minutes * 60.0 {
        round += 1;
        let seen = harness.round(round).await;
        let seen = seen.with_context(|| format!("round {round}; data in {}", data.display()))?;
        all.add(seen);
    }
    println!("\n{round} faults, {} rows", harness.model.sums().rows);
    all.report();
    drop(harness);
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

struct Harness {
    cluster: Cluster,
    kafka: Kafka,
    producer: KafkaProducer,
    watch: Watch,
    model: Model,
    random: SmallRng,
    plan: Plan,
    upsert: bool,
}

impl Harness {
    /// A cluster that consumes a table of its own.
    async fn start(
        options: &Options,
        data: &Path,
        (engines, kafka): (Engines, Kafka),
    ) -> Result<Self> {
        let begin = Instant::now();
        let cluster = Cluster::start(&options.tannin, data, &engines).await?;
        let source = KafkaSource::new(&kafka.address, &[], "chaos")?;
        source.create_topic(TABLE, PARTITIONS as u32).await?;
        cluster.post("/schemas", &tables::schema()).await?;
        let table = tables::table(&kafka.address, REPLICAS, options.upsert);
        cluster.post("/tables", &table).await?;
        cluster.wait_replicated(RECOVERED_MAX).await?;
        println!(
            "the cluster serves after {:.1} s",
            begin.elapsed().as_secs_f64()
        );
        Ok(Self {
            model: Model::new(options.seed),
            random: SmallRng::seed_from_u64(options.seed),
            producer: KafkaProducer::new(&kafka.address)?,
            watch: Watch::start(cluster.brokers())?,
            upsert: options.upsert,
            plan: Plan::default(),
            kafka,
            cluster,
        })
    }

    async fn round(&mut self, round: u32) -> Result<Seen> {
        let (fault, lasts) = self.plan.next(&self.cluster, &mut self.random);
        let told = fault.told(&self.cluster);
        let (done, mut ended) = tokio::sync::oneshot::channel::<()>();
        let (cluster, kafka) = (&mut self.cluster, &self.kafka);
        let (watch, random) = (&self.watch, &mut self.random);
        let driven = async {
            // Dropped at the end, whatever it is.
            let _done = done;
            tokio::time::sleep(AROUND).await;
            watch.fault_begins();
            fault.begin(cluster, kafka, random).await?;
            tokio::time::sleep(lasts).await;
            fault.end(cluster, kafka)?;
            let begin = Instant::now();
            cluster.wait_ready().await?;
            cluster.wait_replicated(RECOVERED_MAX).await?;
            let recovered = begin.elapsed();
            tokio::time::sleep(AROUND).await;
            anyhow::Ok(recovered)
        };
        let produced = produce::produce(
            &self.producer,
            EVENTS_PER_SECOND,
            &mut self.model,
            move || match ended.try_recv() {
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => Ok(None),
                _ => Ok(Some(())),
            },
        );
        let (produced, recovered) = tokio::join!(produced, driven);
        produced?;
        let recovered = recovered.with_context(|| told.clone())?;
        self.producer.flush(RECOVERED_MAX).await?;
        if round.is_multiple_of(COMPARE_ALL_EVERY) {
            self.model.compare_all_again();
        }
        let sql = self.cluster.sql(round as usize % 2);
        let verified = verify::verify(
            (&sql, self.upsert, AT_ODDS_MAX),
            &self.kafka.address,
            &mut self.model,
        )
        .await;
        let verified = verified.with_context(|| told.clone())?;
        self.cluster.check_alive().with_context(|| told.clone())?;
        let seen = self.watch.take().with_context(|| told.clone())?;
        println!(
            "round {round:>3}  {told:<34} {:>5.1} s  whole again after {:>4.1} s  {:>7} rows  {:>4} sealed  \
             {:>5} asked, slowest {:.1} s, failed {} + {}, no broker {}, flagged {}, less {}",
            lasts.as_secs_f64(),
            recovered.as_secs_f64(),
            verified.rows,
            verified.sealed,
            seen.asked,
            seen.slowest.as_secs_f64(),
            seen.failed_at_first,
            seen.failed_later,
            seen.unreachable,
            seen.flagged,
            seen.backwards
        );
        Ok(seen)
    }
}
