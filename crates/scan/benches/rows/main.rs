//! How long whole plans take on one server: first rows, look-ups, groups in an order, joins and
//! windows, at one thread and at all of them; and how long a small query waits beside a big one.
//!
//! `cargo bench -p scan --bench rows -- [ROWS [WORDS]]`: with words, only the statements that have
//! one of them. It measures, it does not judge.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

mod events;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::prelude::{SessionConfig, SessionContext};
use query::codec::encode_plan;
use runtime::{CancellationToken, ComputePool, MemoryBudget};
use scan::{Engine, EngineConfig, Fragment, FragmentResult};
use schemas::TableId;
use schemas::proto::{NullMode, ScanOptions};
use tokio::runtime::Builder;

use events::{Events, Parts};

const STATEMENTS: &[&str] = &[
    "SELECT * FROM events ORDER BY ts DESC LIMIT 100",
    "SELECT * FROM events ORDER BY ts LIMIT 100",
    "SELECT * FROM events WHERE country = 'C7' ORDER BY ts DESC LIMIT 100",
    "SELECT ts, latency FROM events ORDER BY latency DESC LIMIT 10",
    "SELECT ts, revenue FROM events ORDER BY revenue DESC, ts LIMIT 10",
    "SELECT url FROM events ORDER BY url LIMIT 10",
    "SELECT tenant, ts FROM events ORDER BY tenant DESC, ts DESC LIMIT 10",
    "SELECT * FROM events WHERE id = 12345678",
    "SELECT * FROM events LIMIT 10",
    "SELECT * FROM events WHERE status = 500 LIMIT 10",
    "SELECT DISTINCT country FROM events",
    "SELECT DISTINCT country FROM events LIMIT 5",
    "SELECT DISTINCT country, device FROM events",
    "SELECT DISTINCT url FROM events LIMIT 10",
    "SELECT country, COUNT(*) FROM events GROUP BY country ORDER BY 2 DESC LIMIT 10",
    "SELECT url, COUNT(*) FROM events GROUP BY url ORDER BY 2 DESC LIMIT 10",
    "SELECT user_id, COUNT(*) FROM events GROUP BY user_id ORDER BY 2 DESC LIMIT 10",
    "SELECT url, SUM(latency) FROM events GROUP BY url HAVING COUNT(*) > 60 ORDER BY 2 LIMIT 10",
    "SELECT AVG(gap) FROM (SELECT latency - LAG(latency) OVER (PARTITION BY device ORDER BY ts) \
     AS gap FROM events WHERE tenant = 'T3')",
    "SELECT COUNT(*), SUM(a.latency) FROM events a JOIN events b ON a.id = b.user_id \
     WHERE b.status = 500",
];

const BIG: &str = "SELECT url, user_id, COUNT(*), SUM(latency) FROM events GROUP BY url, user_id \
                   ORDER BY 3 DESC LIMIT 10";
const SMALL: &str = "SELECT device, COUNT(*), SUM(latency) FROM events WHERE tenant = 'T900' \
                     GROUP BY device";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let rows = words.next().map_or(Ok(20_000_000), |rows| rows.parse())?;
    let words: Vec<String> = words.collect();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let server = Server::new(Events::new(rows)?)?;
    println!(
        "{rows} rows in {:.1} s; ms: least, median",
        began.elapsed().as_secs_f64()
    );
    for sql in STATEMENTS {
        if words.is_empty() || words.iter().any(|word| sql.contains(word.as_str())) {
            runtime.block_on(server.measure(sql))?;
        }
    }
    if words.is_empty() || words.iter().any(|word| word == "fair") {
        runtime.block_on(server.fairness())?;
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    events: Arc<Events>,
    context: SessionContext,
    engine: Arc<Engine>,
}

impl Server {
    fn new(events: Events) -> Result<Self, Box<dyn Error>> {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        context.register_table("events", Arc::new(Parts::of(&events)))?;
        let threads = std::thread::available_parallelism()?.get();
        let config = EngineConfig {
            fragment_memory_bytes: 8 << 30,
        };
        let memory = MemoryBudget::root("bench", 16 << 30);
        Ok(Self {
            events: Arc::new(events),
            context,
            engine: Arc::new(Engine::new(config, ComputePool::new(threads), memory)),
        })
    }

    async fn fragment(&self, sql: &str, threads: u32) -> Result<Fragment, Box<dyn Error>> {
        let plan = self.context.sql(sql).await?.create_physical_plan().await?;
        let table: TableId = self.events.spec.id;
        Ok(Fragment {
            plan: encode_plan(plan)?,
            template_hash: 0,
            parameters: Default::default(),
            tables: HashMap::from([(table, self.events.segments.clone())]),
            specs: HashMap::from([(table, Arc::clone(&self.events.spec))]),
            null_mode: NullMode::Defaults,
            options: ScanOptions {
                threads_max: threads,
                ..ScanOptions::default()
            },
            cancel: CancellationToken::new(),
        })
    }

    async fn measure(&self, sql: &str) -> Result<(), Box<dyn Error>> {
        let mut shown = String::new();
        for threads in [1, 0] {
            let fragment = self.fragment(sql, threads).await?;
            let mut times = Vec::new();
            let began = Instant::now();
            let mut last = None;
            while times.len() < 15 && (times.len() < 3 || began.elapsed() < Duration::from_secs(2))
            {
                let run = Instant::now();
                last = Some(self.engine.run(fragment.clone()).await?);
                times.push(run.elapsed());
            }
            shown.push_str(&summary(times));
            if threads == 0
                && let Some(FragmentResult { stats, batches, .. }) = last
            {
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                let ways = (stats.native_operators, stats.fallback_operators);
                shown.push_str(&format!("| {rows:>8} rows, native/general {ways:?} "));
            }
        }
        println!("{shown}| {sql}");
        Ok(())
    }

    /// A small query alone, and while one and three big ones run.
    async fn fairness(&self) -> Result<(), Box<dyn Error>> {
        let (big, small) = (self.fragment(BIG, 0).await?, self.fragment(SMALL, 0).await?);
        for beside in [0, 1, 3] {
            let cancel = CancellationToken::new();
            let others: Vec<_> = (0..beside)
                .map(|_| {
                    let (server, cancel) = (self.clone(), cancel.clone());
                    let big = Fragment {
                        cancel: cancel.clone(),
                        ..big.clone()
                    };
                    let again = async move {
                        while !cancel.is_cancelled() {
                            let ended = server.engine.run(big.clone()).await;
                            assert!(ended.is_ok() || cancel.is_cancelled(), "a big query failed");
                        }
                    };
                    let group = runtime::TaskGroup::new("big");
                    group.spawn("big", |_| again);
                    group
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut times = Vec::new();
            for _ in 0..300 {
                let run = Instant::now();
                self.engine.run(small.clone()).await?;
                times.push(run.elapsed());
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            times.sort_unstable();
            let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
            println!(
                "small beside {beside} big: p50 {:.2} ms, p90 {:.2}, p99 {:.2}",
                at(0.5),
                at(0.9),
                at(0.99)
            );
            cancel.cancel();
            for group in others {
                group.stop(Duration::from_secs(60)).await;
            }
        }
        Ok(())
    }
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let (least, median) = (ms(&times[0]), ms(&times[times.len() / 2]));
    format!("| {least:>9.3} {median:>9.3} ")
}
