//! Groups that go to partitions, against plain arrays.

use schemas::proto::{NullMode, ScanOptions};

use crate::data::{Random, Table};
use crate::server::Server;
use crate::{ask, assert_equal, general, rows_of};

/// Of every encoding, with and without nulls, some of them not in every segment.
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
    "delay",
    "distance",
    "\"$partition\"",
    "\"$offset\"",
    "upper(city)",
    "code % 7",
    "date_trunc('hour', at)",
    "date_part('minute', at)",
];

const AGGREGATES: &[&str] = &[
    "count(*)",
    "count(late)",
    "count(label)",
    "sum(delay)",
    "sum(code + delay)",
    "sum(delay * 2 - 1)",
    "min(3 - delay)",
    "sum(price)",
    "avg(price)",
    "avg(ratio)",
    "avg(late)",
    "min(delay)",
    "min(at)",
    "max(distance)",
    "max(ratio)",
    "max(far)",
];

const CONDITIONS: &[&str] = &[
    "",
    "",
    " WHERE delay > 20",
    " WHERE carrier IN ('AA', 'DL') OR flag",
    " WHERE city LIKE '%number 1%'",
    " WHERE carrier = 'nobody'",
];

const HAVINGS: &[&str] = &["", "", "", " HAVING count(*) > 2", " HAVING sum(delay) > 9"];

fn question(random: &mut Random) -> String {
    let mut keys = vec![random.pick(KEYS)];
    for _ in 0..random.below(3) {
        let other = random.pick(KEYS);
        if !keys.contains(&other) {
            keys.push(other);
        }
    }
    let mut output = keys.clone();
    for _ in 0..random.below(4) {
        let other = random.pick(AGGREGATES);
        if !output.contains(&other) {
            output.push(other);
        }
    }
    let (condition, having) = (random.pick(CONDITIONS), random.pick(HAVINGS));
    let (keys, output) = (keys.join(", "), output.join(", "));
    format!("SELECT {output} FROM flights{condition} GROUP BY {keys}{having}")
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_partitions() {
    for (null_mode, seed) in [(NullMode::Defaults, 41), (NullMode::ThreeValued, 42)] {
        let table = Table::new(seed);
        let oracle = table.oracle(null_mode);
        let server = Server::partitioning(&table, null_mode);
        let mut random = Random(seed);
        let (mut before, mut partitioned) = (0, 0);
        for _ in 0..40 {
            let sql = question(&mut random);
            let expected = rows_of(&ask(&oracle, &sql).await);
            let (found, stats) = server.ask(&sql, &ScanOptions::default()).await;
            assert_equal(&sql, "states", &expected, rows_of(&found));
            assert_eq!(stats.fallback_operators, 0, "{sql}");
            let (found, _) = server.ask_one(&sql, &ScanOptions::default()).await;
            assert_equal(&sql, "values", &expected, rows_of(&found));
            partitioned += u32::from(server.partitioned() > before);
            before = server.partitioned();
            let (found, _) = server.ask(&sql, &general()).await;
            assert_equal(&sql, "general", &expected, rows_of(&found));
        }
        assert!(partitioned > 10, "{partitioned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_follow_from_others() {
    let keys = [
        "code + 1, code",
        "city, length(city), upper(city)",
        "late, coalesce(late, 3) / 7, 1 + 1",
        "code, carrier, concat(carrier, city), delay",
        "ratio, 1 / ratio, 2 * code, code",
        "at, date_trunc('day', at), at > TIMESTAMP '2013-01-04'",
        "\"$partition\" + 1, \"$partition\"",
    ];
    for (null_mode, seed) in [(NullMode::Defaults, 43), (NullMode::ThreeValued, 44)] {
        let table = Table::new(seed);
        let oracle = table.oracle(null_mode);
        let servers = [
            Server::new(&table, null_mode),
            Server::partitioning(&table, null_mode),
        ];
        for keys in keys {
            for rest in ["", " HAVING count(*) < 4"] {
                let sql = format!(
                    "SELECT {keys}, count(*), min(delay) FROM flights GROUP BY {keys}{rest}"
                );
                let expected = rows_of(&ask(&oracle, &sql).await);
                for server in &servers {
                    let (found, stats) = server.ask(&sql, &ScanOptions::default()).await;
                    assert_equal(&sql, "states", &expected, rows_of(&found));
                    assert_eq!(stats.fallback_operators, 0, "{sql}");
                    let (found, _) = server.ask_one(&sql, &ScanOptions::default()).await;
                    assert_equal(&sql, "values", &expected, rows_of(&found));
                }
            }
        }
    }
}
