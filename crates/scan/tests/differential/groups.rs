//! The first groups in an order, and any few of them, against plain arrays.

use std::collections::{HashMap, HashSet};

use schemas::proto::{Explain, NullMode, ScanOptions};

use crate::data::{Random, Table};
use crate::server::Server;
use crate::{ask, assert_equal, general, on_one_thread, on_threads, rows_in_order, rows_of, same};

const KEYS: &[&str] = &[
    "carrier",
    "city",
    "code",
    "wide",
    "far",
    "late",
    "label",
    "at",
    "flag",
    "\"$partition\"",
    "delay / 10",
    "upper(city)",
    "date_trunc('hour', at)",
];

/// Whole numbers, texts and times: sums of floats depend on the order of rows.
const ORDERED_BY: &[&str] = &[
    "count(*)",
    "count(*)",
    "count(*)",
    "count(late)",
    "sum(delay)",
    "sum(code)",
    "max(distance)",
    "min(wide)",
    "max(at)",
    "min(city)",
    "count(DISTINCT code)",
    "avg(delay)",
    "count(*) FILTER (WHERE flag)",
    "sum(delay) / count(*)",
    "-count(*)",
];

const OTHERS: &[&str] = &[
    "sum(price)",
    "max(label)",
    "approx_distinct(city)",
    "count(DISTINCT carrier)",
    "stddev(delay)",
    "median(delay)",
    "avg(ratio)",
];

const CONDITIONS: &[&str] = &[
    "",
    "",
    " WHERE delay > 20",
    " WHERE carrier IN ('AA', 'DL') OR flag",
    " WHERE code < 60",
    " WHERE carrier = 'nobody'",
];

const HAVINGS: &[&str] = &[
    "",
    "",
    " HAVING count(*) > 4",
    " HAVING count(*) % 3 = 1 AND min(delay) < 30",
    " HAVING max(delay) > 90 OR count(late) > 5",
    " HAVING sum(price) IS NULL",
];

fn question(random: &mut Random) -> String {
    let mut keys = vec![random.pick(KEYS)];
    let other = random.pick(KEYS);
    if random.below(3) == 0 && other != keys[0] {
        keys.push(other);
    }
    let by = random.pick(ORDERED_BY);
    let direction = ["DESC", "DESC", "", "DESC NULLS LAST", "NULLS FIRST"];
    let mut order = vec![format!("{by} {}", random.pick(&direction))];
    // Keys leave no order open.
    order.extend(
        keys.iter()
            .map(|key| format!("{key} {}", random.pick(&direction))),
    );
    if random.below(5) == 0 {
        order.rotate_left(1);
    }
    let output = [&keys[..], &[by, random.pick(OTHERS)]].concat().join(", ");
    let limit = [1, 5, 10, 10, 50, 3_000][random.below(6) as usize];
    let skipped = match random.below(4) {
        0 => format!(" OFFSET {}", random.below(7)),
        _ => String::new(),
    };
    let (condition, having) = (random.pick(CONDITIONS), random.pick(HAVINGS));
    format!(
        "SELECT {output} FROM flights{condition} GROUP BY {}{having} ORDER BY {} LIMIT \
         {limit}{skipped}",
        keys.join(", "),
        order.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_groups_in_an_order() {
    for (null_mode, seed, replaced) in [
        (NullMode::Defaults, 21, false),
        (NullMode::ThreeValued, 22, false),
        (NullMode::Defaults, 25, true),
    ] {
        let table = Table::new(seed);
        let table = if replaced {
            table.half_replaced(seed)
        } else {
            table
        };
        let oracle = table.oracle(null_mode);
        let servers = [1, 3].map(|threads| Server::with(&table, null_mode, threads, 64 << 20));
        let mut random = Random(seed);
        let mut answered = 0;
        for _ in 0..50 {
            let sql = question(&mut random);
            let expected = rows_in_order(&ask(&oracle, &sql).await);
            for server in &servers {
                let (found, stats) = server.ask_one(&sql, &ScanOptions::default()).await;
                assert_equal(&sql, "native", &expected, rows_in_order(&found));
                assert_eq!(
                    (stats.native_operators, stats.fallback_operators),
                    (1, 0),
                    "{sql}"
                );
                let (found, _) = server.ask_one(&sql, &on_threads()).await;
                assert_equal(&sql, "on threads", &expected, rows_in_order(&found));
                let (found, _) = server.ask_one(&sql, &general()).await;
                assert_equal(&sql, "general", &expected, rows_in_order(&found));
            }
            let mut options = ScanOptions::default();
            options.set_explain(Explain::Plan);
            let (_, stats) = servers[0].ask_one(&sql, &options).await;
            assert!(
                stats.plan.contains("TopGroupsExec"),
                "{sql}: {}",
                stats.plan
            );
            assert!(!stats.plan.contains("SortExec"), "{sql}: {}", stats.plan);
            answered += u32::from(!expected.is_empty());
        }
        assert!(answered > 25, "{answered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_few_groups() {
    let table = Table::new(23);
    let server = Server::new(&table, NullMode::ThreeValued);
    let all = "SELECT DISTINCT city, late FROM flights WHERE delay > 3";
    let (rows, _) = server.ask_one(all, &ScanOptions::default()).await;
    let rows: Vec<String> = rows_of(&rows)
        .iter()
        .map(|row| format!("{row:?}"))
        .collect();
    for (limit, skipped) in [(1, 0), (10, 5), (700, 0), (100_000, 0)] {
        let sql = format!("{all} LIMIT {limit} OFFSET {skipped}");
        let (found, _) = server.ask_one(&sql, &ScanOptions::default()).await;
        let found = rows_of(&found);
        assert_eq!(found.len(), limit.min(rows.len() - skipped), "{sql}");
        let mut found: Vec<String> = found.iter().map(|row| format!("{row:?}")).collect();
        assert!(found.iter().all(|row| rows.contains(row)), "{sql}");
        let count = found.len();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), count, "each once: {sql}");
    }
    let mut options = ScanOptions::default();
    options.set_explain(Explain::Plan);
    let (_, stats) = server.ask_one(&format!("{all} LIMIT 3"), &options).await;
    assert!(stats.plan.contains("TopGroupsExec"), "{}", stats.plan);
}

/// Keys that make many groups together.
const MANY: &[&str] = &[
    "city, late",
    "late, wide",
    "far, at",
    "code, label, city",
    "at, upper(city)",
    "city, late, delay / 10",
    "wide, ratio, flag",
    "distance",
    "date_trunc('hour', at), city, \"$partition\"",
];

#[tokio::test(flavor = "multi_thread")]
async fn any_few_groups_with_aggregates() {
    for (null_mode, seed) in [(NullMode::Defaults, 25), (NullMode::ThreeValued, 26)] {
        let table = Table::times(seed, 4);
        let oracle = table.oracle(null_mode);
        let servers = [
            (Server::new(&table, null_mode), on_threads()),
            (Server::new(&table, null_mode), on_one_thread()),
            (
                Server::partitioning(&table, null_mode),
                ScanOptions::default(),
            ),
        ];
        let mut random = Random(seed);
        let mut read_few = 0;
        for keys in MANY {
            let (by, other) = (random.pick(ORDERED_BY), random.pick(OTHERS));
            let all = format!(
                "SELECT {keys}, {by}, {other} FROM flights{} GROUP BY {keys}",
                random.pick(CONDITIONS)
            );
            let expected = rows_in_order(&ask(&oracle, &all).await);
            let key_columns = expected.first().map_or(0, Vec::len).saturating_sub(2);
            let key = |row: &Vec<_>| format!("{:?}", &row[..key_columns]);
            let expected: HashMap<String, _> =
                expected.into_iter().map(|row| (key(&row), row)).collect();
            let limit = [1, 10, 10, 100, 2_000][random.below(5) as usize];
            let skipped = random.below(4) as usize;
            let sql = format!("{all} LIMIT {limit} OFFSET {skipped}");
            for (server, options) in &servers {
                let (found, stats) = server.ask_one(&sql, options).await;
                let found = rows_in_order(&found);
                let left = expected.len().saturating_sub(skipped);
                assert_eq!(found.len(), limit.min(left), "{sql}");
                let mut once = HashSet::new();
                for row in &found {
                    let key = key(row);
                    let own = &expected[&key];
                    let equal = own.iter().zip(row).all(|(a, b)| same(a, b));
                    assert!(equal, "{sql}\nexpected {own:?}\n   found {row:?}");
                    assert!(once.insert(key), "each once: {sql}");
                }
                assert_eq!(stats.fallback_operators, 0, "{sql}");
                let is_chosen = stats.docs_scanned * 5 < stats.docs_total;
                read_few += u32::from(is_chosen && left > 0);
            }
        }
        assert!(read_few > 8, "{read_few}");
    }
}
