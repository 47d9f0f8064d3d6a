//! From Kafka into a table: events a second of one core, how soon they are seen, what queries feel
//! of it, rows over HTTP and out of files.
//!
//! Kafka, whoever fills it and whoever asks share the machine with the node, so rates are those of
//! the node's own processor time. Topics are filled before a table reads them.

mod appends;
mod cpu;
pub(crate) mod events;
mod keys;
mod load;
pub(crate) mod table;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ::tests::process::{Ports, Sql, free_port_offset};
use anyhow::{Result, ensure};
use clap::Args;

use crate::engine::node::Tannin;
use crate::figures::{Figures, Goal};
use crate::freshness::Fresh;
use cpu::Cpu;
use table::{Format, Table};

const PARTITIONS: u32 = 2;
const FAIR_PARTITIONS: u32 = 8;
/// Of a table: a segment of each partition is sealed while it consumes, and one at the end.
const SEGMENTS: u64 = 4;
/// About 20 MB/s.
const FAST_RATE: f64 = 57_000.0;
/// Budget for consuming rows that does not hold them all: 96 MiB.
const LITTLE_MEMORY: &str = "memory.ingest_bytes=100663296";

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Events in a topic
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Seconds of each part that runs at a rate
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Keys of the table whose node is killed and started again
    #[arg(long, default_value_t = 50_000_000)]
    keys: u64,
    /// A tenth of the events and keys, and a sixth of the seconds
    #[arg(long)]
    quick: bool,
    /// Only parts whose name contains this: json, queries, upsert, avro, fair, fresh, fast,
    /// appends, import, pressure, keys
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write no dated result into benchmarks/results
    #[arg(long)]
    dry: bool,
    /// A Kafka without topics; `cargo xtask bench` starts one unless it is given
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// benchmarks/ of the checkout
    #[arg(long, hide = true)]
    benchmarks: PathBuf,
    /// Where rows of other benchmarks are kept
    #[arg(long, hide = true)]
    cache: PathBuf,
}

/// One node, one Kafka, and what was measured of them.
struct Bench<'a> {
    options: &'a Options,
    tannin: &'a Path,
    folder: PathBuf,
    node: Tannin,
    http: reqwest::Client,
    sql: Sql,
    figures: Figures,
}

pub(crate) async fn run(options: &Options, tannin: &Path) -> Result<()> {
    let mut options = options.clone();
    if options.quick {
        options.events /= 10;
        options.keys /= 10;
        options.seconds = (options.seconds / 6).max(1);
    }
    let folder = std::env::temp_dir().join(format!("tannin-bench-{}", std::process::id()));
    let node = Tannin::start(tannin, folder.join("data"), free_port_offset()?).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut bench = Bench {
        sql: Sql::new(&http, node.broker()),
        options: &options,
        tannin,
        folder: folder.clone(),
        node,
        http,
        figures: Figures::default(),
    };
    bench.run().await?;
    let Bench { node, figures, .. } = bench;
    node.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    figures.print();
    if !options.dry {
        let file = figures.write(&options.benchmarks.join("results"), "ingest")?;
        println!("\nwrote {}", file.display());
    }
    Ok(())
}

impl Bench<'_> {
    fn wants(&self, part: &str) -> bool {
        let only = self.options.only.as_deref();
        only.is_none_or(|only| part.contains(only))
    }

    fn ports(&self) -> &Ports {
        self.node.ports()
    }

    async fn run(&mut self) -> Result<()> {
        let at_least = |rate: f64| Some(Goal::AtLeast(rate));
        // First, while Kafka does nothing: it shares the cores, and what other parts do to it (its
        // virtual machine compiles what runs often) goes on for half a minute after them.
        self.rates().await?;
        // Later parts ask this table or read its topic.
        let of_json = ["json", "queries", "upsert", "pressure"];
        if of_json.iter().any(|part| self.wants(part)) {
            self.fill("json", PARTITIONS, Format::Json).await?;
            self.consume("json", "json", false, at_least(800_000.0))
                .await?;
        }
        if self.wants("queries") {
            self.queries().await?;
        }
        if self.wants("upsert") {
            self.consume("upsert", "json", true, at_least(400_000.0))
                .await?;
        }
        if self.wants("avro") {
            self.fill("avro", PARTITIONS, Format::Avro).await?;
            self.consume("avro", "avro", false, at_least(1_000_000.0))
                .await?;
        }
        if self.wants("fair") {
            self.fair().await?;
        }
        if self.wants("appends") {
            self.appends().await?;
        }
        if self.wants("import") {
            self.import().await?;
        }
        if self.wants("pressure") {
            self.pressure().await?;
        }
        if self.wants("keys") {
            self.keys().await?;
        }
        Ok(())
    }

    async fn fill(&mut self, topic: &str, partitions: u32, format: Format) -> Result<()> {
        let (kafka, events) = (&self.options.kafka, self.options.events);
        println!("{events} events into topic `{topic}`");
        let bytes = table::fill(kafka, topic, partitions, events, format).await?;
        let what = format!("{topic}: size of a message");
        self.figures.add(&what, bytes, "bytes", None);
        Ok(())
    }

    fn table<'t>(&'t self, name: &'t str, topic: &'t str, upsert: bool) -> Table<'t> {
        Table {
            name,
            brokers: &self.options.kafka,
            topic,
            format: if topic == "avro" {
                Format::Avro
            } else {
                Format::Json
            },
            upsert,
            flush_rows: (self.options.events / SEGMENTS).max(1),
        }
    }

    /// Reads a whole topic into a new table.
    async fn consume(
        &mut self,
        name: &str,
        topic: &str,
        upsert: bool,
        goal: Option<Goal>,
    ) -> Result<()> {
        println!("table `{name}` reads topic `{topic}`");
        let events = self.options.events;
        let table = self.table(name, topic, upsert);
        let (begin, before) = (Instant::now(), Cpu::of(self.node.pid())?);
        table.create(&self.http, self.ports()).await?;
        table.wait_rows(&self.sql, events).await?;
        let (wall, there) = (begin.elapsed(), Cpu::of(self.node.pid())?);
        table
            .seal(&self.http, self.ports(), &self.sql, events)
            .await?;
        let sealed = Cpu::of(self.node.pid())?;
        let (until_there, until_sealed) = (there.since(&before), sealed.since(&before));
        let rate = |seconds: f64| events as f64 / seconds;
        let figures = &mut self.figures;
        let seconds = until_sealed.all.as_secs_f64();
        let what = format!("{name}: a core, all of it sealed with its indexes");
        figures.add(&what, rate(seconds), "events/s", goal);
        let seconds = until_there.all.as_secs_f64();
        let what = format!("{name}: a core, until the last is queryable");
        figures.add(&what, rate(seconds), "events/s", None);
        let what = format!("{name}: by the clock, until the last is queryable");
        figures.add(&what, rate(wall.as_secs_f64()), "events/s", None);
        figures.note(&format!("{name}: {}", until_sealed.shares()));
        Ok(())
    }

    /// Both rates: a thousand a second, and about 20 MB/s.
    async fn rates(&mut self) -> Result<()> {
        let seconds = self.options.seconds as usize;
        let parts = [
            ("fresh", 1_000.0, "0", (2.0, 15.0), "1,000/s"),
            ("fast", FAST_RATE, "1", (5.0, 40.0), "20 MB/s"),
        ];
        for (name, rate, linger_ms, (p50, p99), shown) in parts {
            if !self.wants(name) {
                continue;
            }
            println!("producing {rate} events a second for {seconds} s");
            let events = rate as usize * seconds;
            let fresh = Fresh {
                name,
                brokers: &self.options.kafka,
                flush_rows: (events / 4) as u64,
                rate,
                warm_up: events / 10,
                events,
                linger_ms,
            };
            let times = fresh.measure(&self.http, self.ports()).await?;
            let goals = [
                (0.5, "p50", Some(Goal::AtMost(p50))),
                (0.99, "p99", Some(Goal::AtMost(p99))),
                (1.0, "max", None),
            ];
            for (quantile, called, goal) in goals {
                let what = format!("produce → queryable, {shown}, four seals, {called}");
                self.figures.add(&what, times.at(quantile), "ms", goal);
            }
        }
        Ok(())
    }

    /// A statement at rest, and while another table reads a topic as fast as it can.
    async fn queries(&mut self) -> Result<()> {
        println!("asking at rest and beside a table that reads as fast as it can");
        let rest = load::at_rest(self.node.broker())?;
        let events = self.options.events;
        let beside = self.table("beside", "json", false);
        beside.create(&self.http, self.ports()).await?;
        let busy = load::until(self.node.broker(), "beside", events)?;
        // What comes next is not measured beside its seals.
        let (http, sql) = (&self.http, &self.sql);
        beside.seal(http, self.ports(), sql, events).await?;
        self.figures
            .add("query at rest, p50", rest.at(0.5), "ms", None);
        self.figures
            .add("query at rest, p99", rest.at(0.99), "ms", None);
        let at_most = 3.0 * rest.at(0.99);
        self.figures
            .add("query beside full ingestion, p50", busy.at(0.5), "ms", None);
        let goal = Some(Goal::AtMost((at_most * 100.0).round() / 100.0));
        self.figures.add(
            "query beside full ingestion, p99",
            busy.at(0.99),
            "ms",
            goal,
        );
        Ok(())
    }

    /// How far apart partitions are when half of all rows are there.
    async fn fair(&mut self) -> Result<()> {
        self.fill("fair", FAIR_PARTITIONS, Format::Json).await?;
        let events = self.options.events;
        let table = self.table("fair", "fair", false);
        table.create(&self.http, self.ports()).await?;
        let statement = "SELECT \"$partition\", COUNT(*) FROM fair GROUP BY 1";
        let half = loop {
            let rows = self.sql.rows(statement).await.unwrap_or_default();
            let counts = rows.iter().map(|row| ::tests::process::number(&row[1]));
            let counts: Vec<i64> = counts.collect();
            if counts.iter().sum::<i64>() >= i64::try_from(events / 2)? {
                break counts;
            }
        };
        table.wait_rows(&self.sql, events).await?;
        table
            .seal(&self.http, self.ports(), &self.sql, events)
            .await?;
        ensure!(!half.is_empty(), "no partition has a row");
        let mean = half.iter().sum::<i64>() as f64 / f64::from(FAIR_PARTITIONS);
        let missing = half.len() < FAIR_PARTITIONS as usize;
        let least = half.iter().copied().min().filter(|_| !missing).unwrap_or(0) as f64;
        let most = half.iter().copied().max().unwrap_or(0) as f64;
        let what = "8 partitions at half of the rows: the last of the mean";
        self.figures.add(what, least / mean * 100.0, "%", None);
        let what = "8 partitions at half of the rows: the first of the mean";
        self.figures.add(what, most / mean * 100.0, "%", None);
        Ok(())
    }

    async fn appends(&mut self) -> Result<()> {
        let (seconds, log) = (self.options.seconds.min(10), self.ports().log.clone());
        for (name, brokers) in [
            ("appends", log),
            ("appends_kafka", self.options.kafka.clone()),
        ] {
            println!("appending to `{name}` for {seconds} s");
            let table = Table {
                name,
                brokers: &brokers,
                topic: name,
                format: Format::Json,
                upsert: false,
                flush_rows: 1_000_000,
            };
            let before = Cpu::of(self.node.pid())?;
            table.create(&self.http, self.ports()).await?;
            let appended = appends::run(self.node.broker(), name, seconds)?;
            let used = Cpu::of(self.node.pid())?.since(&before);
            let log = if name == "appends" {
                "built-in log"
            } else {
                "Kafka"
            };
            let what = format!("appends of one row, {log}");
            let goal = Some(Goal::AtLeast(10_000.0));
            self.figures.add(&what, appended.rate, "/s", goal);
            let what = format!("appends of one row, {log}: a core of the node");
            let rate = appended.count as f64 / used.all.as_secs_f64();
            self.figures.add(&what, rate, "/s", None);
            let what = format!("appends of one row, {log}: p99");
            self.figures.add(&what, appended.times.at(0.99), "ms", None);
        }
        Ok(())
    }

    /// Of the rows that `bench engine` has made.
    async fn import(&mut self) -> Result<()> {
        let Some(file) = load::parquet(&self.options.cache, &self.folder)? else {
            println!("no rows to import: `cargo xtask bench engine --dry` makes them");
            return Ok(());
        };
        println!("importing {}", file.display());
        let config = self.options.benchmarks.join("engine/tables/events.json");
        let before = Cpu::of(self.node.pid())?;
        let imported = self.node.load(&config, &file).await?;
        let used = Cpu::of(self.node.pid())?.since(&before);
        let rows = self.sql.numbers("SELECT COUNT(*) FROM events").await?;
        let rows = rows.first().copied().unwrap_or(0) as f64;
        let cpu = (imported.cpu + used.all).as_secs_f64();
        let goal = Some(Goal::AtLeast(1_500_000.0));
        self.figures
            .add("import of Parquet, a core", rows / cpu, "rows/s", goal);
        let wall = imported.wall.as_secs_f64();
        self.figures.add(
            "import of Parquet, by the clock",
            rows / wall,
            "rows/s",
            None,
        );
        Ok(())
    }

    /// A node whose budget for consuming rows is small: all come, and it stays small.
    async fn pressure(&mut self) -> Result<()> {
        println!("a node with {LITTLE_MEMORY}");
        let data = self.folder.join("pressed");
        let set = ["--set", LITTLE_MEMORY];
        let node = Tannin::start_with(self.tannin, data, free_port_offset()?, &set).await?;
        let (sql, events) = (Sql::new(&self.http, node.broker()), self.options.events);
        let table = Table {
            flush_rows: events,
            ..self.table("pressed", "json", false)
        };
        let (begin, before) = (Instant::now(), Cpu::of(node.pid())?);
        table.create(&self.http, node.ports()).await?;
        table.wait_rows(&sql, events).await?;
        let (wall, used) = (begin.elapsed(), Cpu::of(node.pid())?.since(&before));
        let peak = load::peak_mib(node.pid())?;
        let segments = "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'pressed'";
        let segments = sql.numbers(segments).await?.first().copied().unwrap_or(0);
        node.stop().await?;
        let figures = &mut self.figures;
        let rate = events as f64 / used.all.as_secs_f64();
        figures.add("96 MiB for consuming rows: a core", rate, "events/s", None);
        let rate = events as f64 / wall.as_secs_f64();
        figures.add(
            "96 MiB for consuming rows: by the clock",
            rate,
            "events/s",
            None,
        );
        figures.add(
            "96 MiB for consuming rows: segments",
            segments as f64,
            "",
            None,
        );
        figures.add(
            "96 MiB for consuming rows: most memory (RSS)",
            peak,
            "MiB",
            None,
        );
        Ok(())
    }

    /// A node of its own.
    async fn keys(&mut self) -> Result<()> {
        let keys = self.options.keys;
        println!("{keys} keys, and a start with them");
        let data = self.folder.join("keyed");
        let mut node = Tannin::start(self.tannin, data, free_port_offset()?).await?;
        keys::run(&mut node, &self.http, keys, &mut self.figures).await?;
        node.stop().await
    }
}
