//! Queries that may not have what they would like to have: memory, time, all groups.

use std::time::{Duration, Instant};

use schemas::FaultKind;
use schemas::fault::pinot_code::SERVER_RESOURCE_LIMIT;
use schemas::proto::{NullMode, ScanOptions};

use crate::data::Table;
use crate::server::Server;
use crate::{ask, assert_equal, general, on_threads, rows_in_order, rows_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_beyond_its_memory_fails_alone_and_says_which_limit_it_was() {
    let table = Table::new(15);
    let server = Server::with_memory(&table, NullMode::Defaults, 100_000);
    let greedy = [
        "SELECT * FROM flights",
        "SELECT \"$offset\", wide, count(*), sum(price) FROM flights GROUP BY 1, 2",
    ];
    let small = "SELECT carrier, count(*) FROM flights GROUP BY carrier";
    for options in [ScanOptions::default(), general(), on_threads()] {
        for sql in greedy {
            let both = tokio::join!(
                server.outcome(sql, &options),
                server.outcome(small, &options)
            );
            let fault = both.0.expect_err(sql);
            assert_eq!(fault.code, SERVER_RESOURCE_LIMIT, "{sql}: {fault}");
            for part in [
                "`fragment` is limited to 100000 bytes",
                "raise `memory.query_bytes`",
            ] {
                assert!(fault.message.contains(part), "{sql}: {fault}");
            }
            assert!(both.1.is_ok_and(|groups| groups >= 8), "{sql}");
        }
    }
}

/// Their groups do not fit; what is asked of them does.
const SPILLED: [&str; 4] = [
    "SELECT \"$offset\" + code, count(*), sum(delay), max(at) FROM flights \
     GROUP BY 1 ORDER BY sum(delay) DESC, 1 LIMIT 20",
    "SELECT \"$offset\", wide, avg(price), stddev(delay) FROM flights \
     GROUP BY 1, 2 HAVING sum(delay) > 150 ORDER BY 1 LIMIT 9 OFFSET 3",
    "SELECT city, \"$offset\" % 5000, count(DISTINCT carrier), sum(distance) FROM flights \
     GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2 LIMIT 12",
    "SELECT count(*), max(n) FROM \
     (SELECT \"$offset\" + code AS k, wide, count(*) AS n FROM flights GROUP BY 1, 2) g",
];

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_do_not_fit_go_out_in_chunks() {
    let null_mode = NullMode::ThreeValued;
    let table = Table::times(16, 10);
    let oracle = table.oracle(null_mode);
    let large = Server::new(&table, null_mode);
    for sql in SPILLED {
        let expected = rows_in_order(&ask(&oracle, sql).await);
        let (found, with_room) = large.ask_one(sql, &on_threads()).await;
        assert_equal(sql, "with room", &expected, rows_in_order(&found));
        let mut was_short = false;
        // How much threads hold at once differs from run to run: less and less, until it is short.
        for megabytes in (12..32).rev() {
            let small = Server::with_memory(&table, null_mode, megabytes * 1_000_000);
            let (found, without) = small.ask_one(sql, &on_threads()).await;
            assert_equal(sql, "in chunks", &expected, rows_in_order(&found));
            assert_eq!(without.native_operators, 1, "{sql}");
            // What did not fit was begun again.
            was_short = with_room.docs_scanned < without.docs_scanned;
            if was_short {
                break;
            }
        }
        assert!(was_short, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_few_distinct_values_need_few_rows() {
    let table = Table::times(23, 4);
    let server = Server::new(&table, NullMode::ThreeValued);
    for all in [
        "SELECT DISTINCT city, late FROM flights WHERE delay > 3",
        "SELECT wide FROM flights WHERE price > 0 GROUP BY wide",
        "SELECT DISTINCT date_trunc('hour', at) FROM flights WHERE flag",
    ] {
        let (every, _) = server.ask_one(all, &ScanOptions::default()).await;
        let shown = |row: &Vec<_>| format!("{row:?}");
        let every: Vec<String> = rows_of(&every).iter().map(shown).collect();
        for options in [ScanOptions::default(), on_threads()] {
            let sql = format!("{all} LIMIT 7");
            let (found, stats) = server.ask_one(&sql, &options).await;
            let mut found: Vec<String> = rows_of(&found).iter().map(shown).collect();
            found.dedup();
            assert_eq!(found.len(), 7, "{sql}");
            assert!(found.iter().all(|row| every.contains(row)), "{sql}");
            assert!(
                stats.docs_scanned * 3 < stats.docs_total,
                "{stats:?}: {sql}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_of_all_with_all_ends_with_its_query() {
    let table = Table::new(18);
    let server = Server::new(&table, NullMode::Defaults);
    // Half a billion pairs, none of which is given out.
    let all = "SELECT count(*) FROM flights a JOIN flights b ON a.delay + b.code < -5000";
    let of_a_key = "SELECT count(*) FROM flights a WHERE EXISTS (SELECT 1 FROM flights b \
         WHERE b.flag = a.flag AND b.delay + a.code < -5000)";
    for (sql, options) in [
        (all, ScanOptions::default()),
        (all, general()),
        (of_a_key, ScanOptions::default()),
    ] {
        let plan = server.plan(sql).await;
        let begin = Instant::now();
        let fault = server
            .cancelled_after(plan, &options, Duration::from_millis(300))
            .await;
        assert_eq!(fault.kind, FaultKind::Cancelled, "{fault}");
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
    }
}
