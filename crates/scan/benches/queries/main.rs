//! Whole plans on one server over a generated table of events: milliseconds of each query, alone on
//! its threads; and how long a small query waits beside big ones.
//!
//! `cargo bench -p scan --bench queries -- [rows] [part of a name]`; the part `fair` measures the
//! waiting. Segments are made once and kept in the temporary folder. Wall time is the least of
//! several runs, beside it the CPU time of the process in the same run, which other work on the
//! machine changes less. The last column tells how many operators were native and how many not.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a developer's tool"
)]

mod data;
#[expect(dead_code, reason = "the tests ask in more ways")]
#[path = "../../tests/differential/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runtime::TaskGroup;
use schemas::proto::{NullMode, ScanOptions};

use data::Table;
use server::Server;

const QUERIES: &[(&str, &str)] = &[
    ("q1 count", "SELECT count(*) FROM flights"),
    (
        "q2 count of a country",
        "SELECT count(*) FROM flights WHERE country = 'AC'",
    ),
    (
        "q3 sum by device",
        "SELECT device, sum(revenue), count(*) FROM flights GROUP BY device",
    ),
    (
        "q4 countries",
        "SELECT country, count(*) FROM flights GROUP BY country",
    ),
    (
        "q4f countries, filtered",
        "SELECT country, count(*) FROM flights WHERE status = 200 GROUP BY country",
    ),
    ("q5 urls", "SELECT url, count(*) FROM flights GROUP BY url"),
    (
        "q5s urls, sum",
        "SELECT url, sum(latency) FROM flights WHERE device = 'mobile' GROUP BY url",
    ),
    (
        "q6 two keys",
        "SELECT country, browser, avg(latency) FROM flights WHERE device = 'mobile' GROUP BY \
         country, browser",
    ),
    (
        "q7 few rows",
        "SELECT browser, count(*) FROM flights WHERE country = 'AC' AND campaign = 5003 GROUP \
         BY browser",
    ),
    (
        "q8 distinct users",
        "SELECT country, count(DISTINCT user_id) FROM flights GROUP BY country",
    ),
    (
        "q8g distinct users in all",
        "SELECT count(DISTINCT user_id) FROM flights",
    ),
    (
        "q8u distinct urls",
        "SELECT count(DISTINCT url) FROM flights",
    ),
    (
        "q8a approximate",
        "SELECT country, approx_distinct(user_id) FROM flights GROUP BY country",
    ),
    (
        "q9 minutes",
        "SELECT date_trunc('minute', at), count(*) FROM flights WHERE at >= TIMESTAMP \
         '2025-10-09 10:00:00' AND at < TIMESTAMP '2025-10-09 11:00:00' GROUP BY 1",
    ),
    (
        "q9h hours",
        "SELECT date_trunc('hour', at), count(*), avg(latency) FROM flights GROUP BY 1",
    ),
    (
        "q10 percentile",
        "SELECT browser, percentile_cont(latency, 0.95) FROM flights GROUP BY browser",
    ),
    (
        "q10a approximate",
        "SELECT browser, approx_percentile_cont(latency, 0.95) FROM flights GROUP BY browser",
    ),
    (
        "q11 users",
        "SELECT user_id, count(*) FROM flights GROUP BY user_id",
    ),
    (
        "q11s users, sum",
        "SELECT user_id, count(*), sum(revenue) FROM flights GROUP BY user_id",
    ),
    (
        "q12 like",
        "SELECT count(*) FROM flights WHERE url LIKE '%blog%'",
    ),
    (
        "q13 range",
        "SELECT country, sum(revenue) FROM flights WHERE latency > 500 GROUP BY country",
    ),
    (
        "q14 many aggregates",
        "SELECT browser, count(*), sum(revenue), sum(latency), avg(latency), min(latency), \
         max(latency) FROM flights GROUP BY browser",
    ),
    (
        "q15 no keys",
        "SELECT count(*), sum(revenue), avg(latency), min(at), max(at) FROM flights",
    ),
    (
        "q16 case",
        "SELECT CASE WHEN latency > 100 THEN 'slow' ELSE 'fast' END, count(*) FROM flights \
         GROUP BY 1",
    ),
    (
        "q17 text ends",
        "SELECT device, min(url), max(url) FROM flights GROUP BY device",
    ),
    (
        "q18 filters",
        "SELECT country, count(*) FILTER (WHERE device = 'mobile'), sum(revenue) FILTER \
         (WHERE browser = 'Edge 93') FROM flights GROUP BY country",
    ),
    (
        "q19 three keys",
        "SELECT country, device, status, count(*) FROM flights GROUP BY country, device, status",
    ),
    (
        "q20 url and country",
        "SELECT url, country, count(*) FROM flights WHERE status = 404 GROUP BY url, country",
    ),
    (
        "q21 deviation",
        "SELECT browser, stddev(revenue) FROM flights GROUP BY browser",
    ),
    (
        "q22 median",
        "SELECT device, median(revenue) FROM flights GROUP BY device",
    ),
    (
        "q23 distinct rows",
        "SELECT DISTINCT country, browser FROM flights",
    ),
    (
        "q24 substring",
        "SELECT substr(url, 1, 4), count(*) FROM flights GROUP BY 1",
    ),
    (
        "r1 newest",
        "SELECT * FROM flights ORDER BY at DESC LIMIT 100",
    ),
    ("r2 oldest", "SELECT * FROM flights ORDER BY at LIMIT 100"),
    (
        "r3 newest of a country",
        "SELECT * FROM flights WHERE country = 'AC' ORDER BY at DESC LIMIT 100",
    ),
    (
        "r4 greatest",
        "SELECT at, latency FROM flights ORDER BY latency DESC LIMIT 10",
    ),
    (
        "r5 greatest, two columns",
        "SELECT at, revenue FROM flights ORDER BY revenue DESC, at LIMIT 10",
    ),
    (
        "r6 first urls",
        "SELECT url FROM flights ORDER BY url LIMIT 10",
    ),
    (
        "r7 a user",
        "SELECT * FROM flights WHERE user_id = 12345678",
    ),
    ("r8 any", "SELECT * FROM flights LIMIT 10"),
    (
        "r9 any errors",
        "SELECT * FROM flights WHERE status = 500 LIMIT 10",
    ),
    (
        "t1 top countries",
        "SELECT country, count(*) FROM flights GROUP BY country ORDER BY 2 DESC LIMIT 10",
    ),
    (
        "t2 top urls",
        "SELECT url, count(*) FROM flights GROUP BY url ORDER BY 2 DESC LIMIT 10",
    ),
    (
        "t3 top users",
        "SELECT user_id, count(*) FROM flights GROUP BY user_id ORDER BY 2 DESC LIMIT 10",
    ),
    (
        "t4 having",
        "SELECT url, sum(latency) FROM flights GROUP BY url HAVING count(*) > 60 ORDER BY 2 \
         LIMIT 10",
    ),
    (
        "t5 top urls of a browser",
        "SELECT url, count(*) FROM flights WHERE browser = 'Edge 93' GROUP BY url ORDER BY 2 \
         DESC, url LIMIT 10",
    ),
    (
        "q10c percentiles by country",
        "SELECT country, approx_percentile_cont(latency, 0.5), approx_percentile_cont(latency, \
         0.95), approx_percentile_cont(latency, 0.99) FROM flights WHERE device = 'desktop' GROUP \
         BY country",
    ),
    (
        "q8d distinct urls by country",
        "SELECT country, count(DISTINCT url) FROM flights GROUP BY country",
    ),
    ("d1 some urls", "SELECT DISTINCT url FROM flights LIMIT 10"),
    (
        "w1 window",
        "SELECT avg(gap) FROM (SELECT latency - lag(latency) OVER (PARTITION BY device ORDER BY \
         at) AS gap FROM flights WHERE country = 'AC')",
    ),
    (
        "j1 join",
        "SELECT count(*), sum(a.latency) FROM flights a JOIN flights b ON a.user_id = b.user_id \
         WHERE b.status = 429 AND a.status = 429",
    ),
];

const BIG: &str = "SELECT url, user_id, count(*), sum(latency) FROM flights GROUP BY url, user_id \
                   ORDER BY 3 DESC LIMIT 10";
const SMALL: &str = "SELECT device, count(*), sum(latency) FROM flights WHERE campaign = 5900 \
                     GROUP BY device";
/// Many groups of the big query are in memory.
const MEMORY_BYTES: u64 = 4 << 30;

fn cpu() -> Duration {
    let of = |name: &str| std::fs::read_to_string(name).unwrap();
    let stat = of("/proc/self/stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let rows: usize = arguments
        .get(1)
        .map_or(20_000_000, |rows| rows.parse().unwrap());
    let wanted = arguments.get(2).cloned().unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sealed = Table::sealed(rows);
    if wanted.is_empty() || wanted == "fair" {
        runtime.block_on(fairness(&sealed));
    }
    let consuming = Table::consuming(rows / 8);
    println!(
        "{:28} {:>10} {:>10} {:>10} {:>10} {:>10}  ways",
        "query", "1t ms", "1t cpu", "2t ms", "2t cpu", "cons. ms"
    );
    for (name, sql) in QUERIES.iter().filter(|(name, _)| name.contains(&wanted)) {
        let mut cells = Vec::new();
        let mut ways = (0, 0);
        for (table, threads, with_cpu) in [
            (&sealed, 1, true),
            (&sealed, 2, true),
            (&consuming, 1, false),
        ] {
            let server = Server::with(table, NullMode::Defaults, threads, MEMORY_BYTES);
            let measured = runtime.block_on(measured(&server, sql));
            cells.push(measured.best_ms);
            if with_cpu {
                cells.push(measured.cpu_ms);
            }
            ways = measured.ways;
        }
        let cells: Vec<String> = cells.iter().map(|ms| format!("{ms:>10.2}")).collect();
        println!("{name:28} {}  {ways:?}", cells.join(" "));
    }
}

/// The least time, and the least CPU time over several runs.
struct Measured {
    best_ms: f64,
    cpu_ms: f64,
    /// Native operators, and the others.
    ways: (u64, u64),
}

async fn measured(server: &Server, sql: &str) -> Measured {
    let options = ScanOptions::default();
    let plan = server.plan(sql).await;
    let mut least = Measured {
        best_ms: f64::INFINITY,
        cpu_ms: f64::INFINITY,
        ways: (0, 0),
    };
    let begun = Instant::now();
    let mut runs = 0;
    while runs < 3 || (runs < 40 && begun.elapsed() < Duration::from_millis(1500)) {
        let cpu_before = cpu();
        let mut batch = 0;
        // The clock of the CPU ticks every 10 ms.
        while batch < 1 || (cpu() - cpu_before < Duration::from_millis(50) && batch < 50) {
            let one = Instant::now();
            let (_, stats) = server.run_whole(Arc::clone(&plan), &options).await;
            least.best_ms = least.best_ms.min(one.elapsed().as_secs_f64() * 1e3);
            least.ways = (stats.native_operators, stats.fallback_operators);
            batch += 1;
        }
        let cpu_ms = (cpu() - cpu_before).as_secs_f64() * 1e3 / f64::from(batch);
        least.cpu_ms = least.cpu_ms.min(cpu_ms);
        runs += batch;
    }
    least
}

/// A small query alone, and while one and three big ones run.
async fn fairness(table: &Table) {
    let server = Arc::new(Server::with(table, NullMode::Defaults, 2, MEMORY_BYTES));
    let options = ScanOptions::default();
    let (big, small) = (server.plan(BIG).await, server.plan(SMALL).await);
    for beside in [0, 1, 3] {
        let enough = Arc::new(AtomicBool::new(false));
        let others = TaskGroup::new("big");
        for _ in 0..beside {
            let (server, big) = (Arc::clone(&server), Arc::clone(&big));
            let enough = Arc::clone(&enough);
            others.spawn("big", |_| async move {
                while !enough.load(Ordering::Relaxed) {
                    server
                        .run_whole(Arc::clone(&big), &ScanOptions::default())
                        .await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut times = Vec::new();
        for _ in 0..300 {
            let run = Instant::now();
            server.run_whole(Arc::clone(&small), &options).await;
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
        enough.store(true, Ordering::Relaxed);
        others.stop(Duration::from_secs(120)).await;
    }
}
