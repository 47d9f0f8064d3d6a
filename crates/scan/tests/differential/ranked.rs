//! Groups of which a condition lets few through: those with at least so much, and the first few of
//! each value.

use schemas::proto::{Explain, NullMode, ScanOptions};

use crate::data::{Random, Table};
use crate::server::Server;
use crate::{ask, assert_equal, general, on_threads, rows_of};

/// Keys of one dictionary with many values, and others.
const KEYS: &[&str] = &["city", "wide", "label", "far", "carrier", "city, flag"];

const CONDITIONS: &[&str] = &[
    "",
    "",
    " WHERE delay > 20",
    " WHERE carrier IN ('AA', 'DL')",
];

const AGGREGATES: &[&str] = &[
    "count(delay)",
    "sum(distance)",
    "avg(delay)",
    "max(price)",
    "min(at)",
];

/// Some that few groups pass, some that all do, and what no group is chosen by.
const HAVINGS: &[&str] = &[
    "count(*) > 20",
    "count(*) >= 14",
    "12 < count(*) AND min(delay) < 0",
    "count(*) = 11",
    "count(*) > 0",
    "sum(distance) > 30000",
    "sum(distance) > 0",
    "avg(delay) >= 60",
    "avg(delay) > -1e9",
    "max(price) > 990",
    "max(delay) < 20",
    "min(delay) < -15",
    "count(*) > 1e300",
    "sum(delay) > 400 OR count(*) > 30",
];

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_have_at_least_so_much() {
    for (null_mode, seed) in [(NullMode::Defaults, 51), (NullMode::ThreeValued, 52)] {
        let table = Table::new(seed);
        let oracle = table.oracle(null_mode);
        let servers = [
            Server::new(&table, null_mode),
            Server::partitioning(&table, null_mode),
        ];
        let mut random = Random(seed);
        let mut answered = 0;
        for having in HAVINGS {
            let (keys, filter) = (random.pick(KEYS), random.pick(CONDITIONS));
            let more = random.pick(AGGREGATES);
            let sql = format!(
                "SELECT {keys}, count(*), {more} FROM flights{filter} GROUP BY {keys} HAVING {having}"
            );
            let ordered = format!("{sql} ORDER BY count(*) DESC, {keys} LIMIT 5000");
            for sql in [sql, ordered] {
                let expected = rows_of(&ask(&oracle, &sql).await);
                answered += u32::from(!expected.is_empty());
                for server in &servers {
                    for options in [ScanOptions::default(), on_threads(), general()] {
                        let (found, _) = server.ask_one(&sql, &options).await;
                        assert_equal(&sql, "one server", &expected, rows_of(&found));
                    }
                    let (found, _) = server.ask(&sql, &ScanOptions::default()).await;
                    assert_equal(&sql, "states", &expected, rows_of(&found));
                }
            }
        }
        assert!(answered > 12, "{answered}");
    }
}

/// Of what groups, in which order, and which of them.
const RANKED: &[(&str, &str, &str, &str)] = &[
    ("carrier", "city", "count(*) DESC, city", "rn <= 3"),
    ("carrier", "city", "count(*) DESC, city", "rn = 1"),
    ("carrier", "wide", "sum(delay) NULLS FIRST, wide", "rn < 4"),
    (
        "flag",
        "city",
        "avg(price) DESC NULLS LAST, city",
        "2 >= rn",
    ),
    ("city", "late", "max(at), late DESC", "rn <= 2 AND n > 2"),
    (
        "late",
        "label",
        "min(price) DESC, label",
        "rn BETWEEN 2 AND 4",
    ),
];

/// Those of which none are left out before.
const RANKED_ALL: &[(&str, &str, &str, &str)] = &[
    ("carrier", "city", "city", "rn <= 3"),
    ("carrier", "city", "count(*), city", "rn > 5"),
    ("carrier", "city", "count(*), city", "rn <= 0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_groups_of_each_value() {
    for (null_mode, seed) in [(NullMode::Defaults, 53), (NullMode::ThreeValued, 54)] {
        let table = Table::new(seed);
        let oracle = table.oracle(null_mode);
        let servers = [
            Server::new(&table, null_mode),
            Server::partitioning(&table, null_mode),
        ];
        let few = RANKED.iter().map(|ranked| (ranked, true));
        let all = RANKED_ALL.iter().map(|ranked| (ranked, false));
        for ((each, of, order, passes), is_few) in few.chain(all) {
            for rank in ["row_number()", "rank()", "dense_rank()"] {
                let over = format!("{rank} OVER (PARTITION BY {each} ORDER BY {order}) AS rn");
                let sql = format!(
                    "SELECT * FROM (SELECT {each}, {of}, count(*) AS n, {over} FROM flights \
                     GROUP BY {each}, {of}) g WHERE {passes}"
                );
                let expected = rows_of(&ask(&oracle, &sql).await);
                for server in &servers {
                    for options in [ScanOptions::default(), on_threads(), general()] {
                        let (found, _) = server.ask_one(&sql, &options).await;
                        assert_equal(&sql, "one server", &expected, rows_of(&found));
                    }
                }
                let mut options = ScanOptions::default();
                options.set_explain(Explain::Plan);
                let (_, stats) = servers[0].ask_one(&sql, &options).await;
                let is_chosen = stats.plan.contains("FirstOfEachExec");
                let can_be = is_few && rank != "dense_rank()";
                assert_eq!(is_chosen, can_be, "{sql}: {}", stats.plan);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_look_ahead_see_all_groups() {
    let table = Table::new(55);
    let oracle = table.oracle(NullMode::ThreeValued);
    let server = Server::new(&table, NullMode::ThreeValued);
    let window = "(PARTITION BY carrier ORDER BY count(*) DESC, city)";
    for other in ["lead(city)", "count(*)", "last_value(city)", "ntile(3)"] {
        let sql = format!(
            "SELECT * FROM (SELECT carrier, city, row_number() OVER {window} AS rn, \
             {other} OVER {window} AS other FROM flights GROUP BY carrier, city) g WHERE rn <= 2"
        );
        let expected = rows_of(&ask(&oracle, &sql).await);
        let (found, _) = server.ask_one(&sql, &ScanOptions::default()).await;
        assert_equal(&sql, "one server", &expected, rows_of(&found));
    }
}

/// The rows themselves: the last flights of each carrier, and many partitions of a row each.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_rows_of_each_value() {
    let cases = [
        ("carrier", "at DESC, price, distance, delay", "rn = 1", true),
        (
            "carrier, flag",
            "delay NULLS FIRST, price, distance, at",
            "rn <= 3",
            true,
        ),
        (
            "city",
            "price DESC NULLS LAST, at, delay, distance",
            "rn < 5",
            true,
        ),
        (
            "wide",
            "distance, at, price, delay",
            "rn = 1 AND delay > 0",
            true,
        ),
        ("at", "delay DESC, price, distance, city", "rn <= 2", true),
        (
            "carrier",
            "city, at, price, delay, distance",
            "rn = 1",
            false,
        ),
        (
            "carrier",
            "at DESC, price, distance, delay",
            "rn > 2",
            false,
        ),
    ];
    for (null_mode, seed) in [(NullMode::Defaults, 56), (NullMode::ThreeValued, 57)] {
        let table = Table::new(seed);
        let oracle = table.oracle(null_mode);
        let server = Server::new(&table, null_mode);
        for (each, order, passes, is_few) in cases {
            for rank in ["row_number()", "rank()", "dense_rank()"] {
                let over = format!("{rank} OVER (PARTITION BY {each} ORDER BY {order}) AS rn");
                let sql = format!(
                    "SELECT * FROM (SELECT {each}, delay, price, distance, {over} FROM flights \
                     WHERE distance > 100) r WHERE {passes}"
                );
                let expected = rows_of(&ask(&oracle, &sql).await);
                for options in [ScanOptions::default(), on_threads(), general()] {
                    let (found, _) = server.ask_one(&sql, &options).await;
                    assert_equal(&sql, "one server", &expected, rows_of(&found));
                }
                let mut options = ScanOptions::default();
                options.set_explain(Explain::Plan);
                let (_, stats) = server.ask_one(&sql, &options).await;
                let is_less = stats.plan.contains("FirstOfRowsExec");
                let can_be = is_few && rank != "dense_rank()";
                assert_eq!(is_less, can_be, "{sql}: {}", stats.plan);
            }
        }
    }
}
