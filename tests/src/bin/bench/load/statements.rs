//! What users of a page ask: one tenant, some time, a group-by or the newest rows; each statement
//! with other literals, each with the checksum of its right answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::engine::node::{OPTIONS, rows_of};
use crate::http::Connection;

pub(crate) const PATH: &str = "/query/sql";
const ROWS_MAX: f64 = 100_000.0;
const DAYS: f64 = 30.0;
const FIRST_DAY_MS: i64 = 1_788_220_800_000;
const DAY_MS: f64 = 86_400_000.0;
/// Share of the greatest tenant; the next has half of it, and so on.
const GREATEST: f64 = 0.122;
const TENANTS: u32 = 2_000;

/// `{w}` is the tenant and the time.
const SHAPES: [&str; 6] = [
    "SELECT url, count(*) AS c FROM events WHERE {w} GROUP BY url ORDER BY c DESC, url LIMIT 10",
    "SELECT date_trunc('hour', ts) AS hour, count(*), sum(bytes) FROM events WHERE {w} \
     GROUP BY date_trunc('hour', ts) ORDER BY hour LIMIT 1000",
    "SELECT country, count(*) AS c, avg(latency_ms) FROM events WHERE {w} \
     GROUP BY country ORDER BY c DESC, country LIMIT 20",
    "SELECT device, browser, count(*) AS c, max(latency_ms) FROM events WHERE {w} \
     GROUP BY device, browser ORDER BY c DESC, device, browser LIMIT 50",
    "SELECT ts, url, status, latency_ms FROM events WHERE {w} AND status >= 500 \
     ORDER BY ts DESC, url, latency_ms LIMIT 50",
    "SELECT status, count(*), count(*) FILTER (WHERE is_bot = true) FROM events WHERE {w} \
     GROUP BY status ORDER BY status LIMIT 20",
];

/// A request as it is sent, and what its answer must be.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) body: Vec<u8>,
    pub(crate) checksum: u64,
}

/// `count` statements over a table of `rows` rows; the answers are taken one at a time, at rest.
pub(crate) fn prepare(
    connection: &mut Connection,
    count: usize,
    rows: u64,
    seed: u64,
) -> Result<Vec<Statement>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut statements = Vec::with_capacity(count);
    for turn in 0..count {
        let sql = SHAPES[turn % SHAPES.len()].replace("{w}", &range(&mut rng, rows as f64));
        let body = json!({ "sql": sql, "queryOptions": OPTIONS })
            .to_string()
            .into_bytes();
        let answer = connection.post(PATH, &body)?;
        ensure!(answer.status == 200, "{sql}: status {}", answer.status);
        rows_of(answer.body).with_context(|| sql)?;
        let checksum = checksum(answer.body).context("an answer without a table")?;
        statements.push(Statement { body, checksum });
    }
    Ok(statements)
}

/// A tenant, great ones more often, and a time in which it has at most [`ROWS_MAX`] rows.
fn range(rng: &mut SmallRng, rows: f64) -> String {
    let tenant = f64::powf(f64::from(TENANTS), rng.random::<f64>()) as u32;
    let a_day = rows * GREATEST / f64::from(tenant + 1) / DAYS;
    let longest = (ROWS_MAX / a_day).min(14.0);
    let days = longest * rng.random_range(0.05..1.0);
    let begin = FIRST_DAY_MS + (rng.random::<f64>() * (DAYS - days) * DAY_MS) as i64;
    let end = begin + (days * DAY_MS) as i64;
    format!("tenant = 'tenant_{tenant:04}' AND ts >= {begin} AND ts < {end}")
}

/// Of the table of an answer: what comes after it (times, ids) differs from run to run. `None`: it
/// is no answer with a table.
pub(crate) fn checksum(body: &[u8]) -> Option<u64> {
    const BEGIN: &[u8] = b"{\"resultTable\":";
    const END: &[u8] = b"\"numRowsResultSet\":";
    if !body.starts_with(BEGIN) {
        return None;
    }
    let end = body.windows(END.len()).position(|window| window == END)?;
    let mut hasher = DefaultHasher::new();
    body[..end].hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_counts() {
        let of = |rows: &str, ms: u32| {
            let text = format!("{{\"resultTable\":{rows},\"numRowsResultSet\":1,\"ms\":{ms}}}");
            checksum(text.as_bytes())
        };
        assert!(of("[[1]]", 3).is_some());
        assert_eq!(of("[[1]]", 3), of("[[1]]", 4));
        assert_ne!(of("[[1]]", 3), of("[[2]]", 3));
        assert_eq!(checksum(b"{\"exceptions\":[]}"), None);
    }

    #[test]
    fn ranges_hold_few_enough_rows() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..1000 {
            let range = range(&mut rng, 20e6);
            assert!(range.starts_with("tenant = 'tenant_"), "{range}");
            let times: Vec<i64> = range
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            assert!(times[0] >= FIRST_DAY_MS && times[1] > times[0], "{range}");
            assert!(times[1] - FIRST_DAY_MS <= (DAYS * DAY_MS) as i64, "{range}");
        }
    }
}
