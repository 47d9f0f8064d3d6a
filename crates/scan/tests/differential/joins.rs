//! Joins with few rows of the table: what the join finds reaches the scan, and aggregates come
//! before the join where they may.

use schemas::proto::{Explain, NullMode, ScanOptions, ScanStats};

use crate::data::Table;
use crate::server::Server;
use crate::{ask, assert_same, general, on_threads, rows_of};

/// Aggregates of `f`, grouped by `s`.
const BEFORE: &[&str] = &[
    "SELECT s.label, count(*), sum(f.delay), avg(f.price), min(f.at), count(f.late) \
     FROM few s JOIN flights f ON s.city = f.city GROUP BY s.label",
    "SELECT s.code % 10, upper(s.label), count(*), max(f.city), sum(f.ratio) \
     FROM few s JOIN flights f ON s.carrier = f.carrier GROUP BY 1, 2",
    "SELECT f.carrier, s.flag, count(DISTINCT f.code), approx_distinct(f.city), stddev(f.delay) \
     FROM few s JOIN flights f ON s.carrier = f.carrier GROUP BY 1, 2",
    "SELECT s.carrier, count(*) FILTER (WHERE f.delay > 20), sum(f.price * f.ratio) \
     FROM few s JOIN flights f ON s.carrier = f.carrier WHERE f.code < 300 GROUP BY s.carrier",
    "SELECT s.late, sum(f.distance), bool_or(f.flag) FROM few s \
     JOIN flights f ON s.carrier = f.carrier AND s.label = f.label GROUP BY s.late",
];

/// Rows and aggregates that need both sides.
const AFTER: &[&str] = &[
    "SELECT f.\"$offset\", s.label, f.price FROM few s JOIN flights f ON s.city = f.city",
    "SELECT f.\"$offset\", s.label FROM few s JOIN flights f ON s.wide = f.wide",
    "SELECT s.label, f.flag, count(*) FROM few s JOIN flights f ON s.city = f.city GROUP BY 1, 2",
    "SELECT s.label, sum(s.delay), sum(f.delay) FROM few s JOIN flights f ON s.city = f.city \
     GROUP BY s.label",
    "SELECT count(*), sum(f.delay) FROM few s JOIN flights f ON s.city = f.city",
    "SELECT f.code, count(*) FROM few s JOIN flights f ON s.city = f.city AND f.delay > s.delay \
     GROUP BY f.code",
    "SELECT f.carrier, count(*) FROM few s RIGHT JOIN flights f ON s.city = f.city \
     GROUP BY f.carrier",
    "SELECT s.label, count(f.delay) FROM few s LEFT JOIN flights f ON s.city = f.city \
     GROUP BY s.label",
    "SELECT f.carrier, count(*) FROM flights f WHERE f.city IN (SELECT city FROM few s) \
     GROUP BY f.carrier",
    "SELECT f.\"$offset\", s.code FROM few s JOIN flights f ON s.city = f.city \
     ORDER BY f.delay + s.code, f.\"$offset\", s.code LIMIT 20",
    "SELECT \"$offset\", delay FROM flights ORDER BY delay % 17, \"$offset\" LIMIT 9",
];

const FEW: [&str; 3] = [
    "\"$offset\" < 40",
    "\"$offset\" BETWEEN 5000 AND 5003",
    "city = 'not a city'",
];

struct World {
    oracle: datafusion::prelude::SessionContext,
    server: Server,
}

impl World {
    fn new(null_mode: NullMode) -> Self {
        let table = Table::new(21);
        Self {
            oracle: table.oracle(null_mode),
            server: Server::new(&table, null_mode),
        }
    }

    /// What the server did when it gave the right answer.
    async fn check(&self, sql: &str, few: &str, options: &ScanOptions) -> ScanStats {
        let few = format!("(SELECT * FROM flights WHERE {few})");
        let sql = sql.replace("few s", &format!("{few} s"));
        let expected = rows_of(&ask(&self.oracle, &sql).await);
        let (found, stats) = self.server.ask_one(&sql, options).await;
        let which = format!("{options:?}");
        assert_same(&sql, &which, &expected, &found);
        stats
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_come_before_a_join_where_they_may() {
    for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
        let world = World::new(null_mode);
        for few in FEW {
            for sql in BEFORE {
                let stats = world.check(sql, few, &ScanOptions::default()).await;
                assert_eq!(stats.native_operators, 1, "{sql}");
                let stats = world.check(sql, few, &on_threads()).await;
                assert!(few == FEW[2] || stats.threads > 1, "{stats:?}: {sql}");
                let stats = world.check(sql, few, &general()).await;
                assert_eq!(stats.native_operators, 0, "{sql}");
            }
            for sql in AFTER {
                let stats = world.check(sql, few, &ScanOptions::default()).await;
                assert_eq!(stats.native_operators, 0, "{sql}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_join_finds_reaches_the_scan() {
    let world = World::new(NullMode::ThreeValued);
    // Where a join keeps two columns of one name nothing is learnt: those before have such.
    for sql in [AFTER[0], AFTER[1], AFTER[2]] {
        let learnt = world.check(sql, FEW[1], &ScanOptions::default()).await;
        let unlearnt = world.check(sql, FEW[1], &general()).await;
        let scanned = (learnt.docs_scanned, unlearnt.docs_scanned);
        assert!(scanned.0 * 20 < scanned.1, "{scanned:?}: {sql}");
        let mut explained = ScanOptions::default();
        explained.set_explain(Explain::Plan);
        let few = format!("(SELECT * FROM flights WHERE {}) s", FEW[1]);
        let (_, planned) = world
            .server
            .ask_one(&sql.replace("few s", &few), &explained)
            .await;
        assert_eq!(planned.docs_scanned, 0, "{sql}");
        assert!(planned.plan.contains("DynamicFilter"), "{}", planned.plan);
    }
    let indexes = world
        .check(AFTER[0], FEW[1], &ScanOptions::default())
        .await
        .indexes;
    assert!(
        indexes.iter().any(|index| index == "inverted(city)"),
        "{indexes:?}"
    );
}
