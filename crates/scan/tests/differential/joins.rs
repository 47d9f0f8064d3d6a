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
    "SELECT s.label, s.flag, count(*), avg(f.price) FROM few s JOIN flights f ON s.city = f.city \
     GROUP BY CUBE (s.label, s.flag)",
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
    "SELECT f.\"$offset\", s.code FROM few s JOIN flights f ON s.city = f.city \
     ORDER BY f.delay + s.code, f.\"$offset\", s.code LIMIT 20",
    "SELECT \"$offset\", delay FROM flights ORDER BY delay % 17, \"$offset\" LIMIT 9",
];

/// Aggregates over what joins with a small table make of each row: `one c s` stands for a table `s`
/// with each value of `c` once.
const LOOKED_UP: &[&str] = &[
    "SELECT s.label, f.carrier, count(*), sum(f.delay), avg(f.price) \
     FROM one city s JOIN flights f ON s.city = f.city GROUP BY 1, 2",
    "SELECT s.label, f.flag, s.code % 5, count(DISTINCT f.late), approx_distinct(f.wide) \
     FROM one city s JOIN flights f ON s.city = f.city WHERE f.delay > 10 GROUP BY 1, 2, 3",
    "SELECT f.carrier, count(*), sum(s.code), max(s.label), count(s.code), count(DISTINCT s.label) \
     FROM one city s RIGHT JOIN flights f ON s.city = f.city GROUP BY f.carrier",
    "SELECT s.label, upper(f.carrier), count(*), max(f.at) \
     FROM flights f LEFT JOIN one city s ON s.city = f.city GROUP BY 1, 2",
    "SELECT f.carrier, count(*), min(f.price) FROM flights f \
     WHERE f.city IN (SELECT city FROM one city s) GROUP BY f.carrier",
    "SELECT f.carrier, count(*) FROM one city s RIGHT SEMI JOIN flights f ON s.city = f.city \
     GROUP BY f.carrier",
    "SELECT f.carrier, sum(f.delay) FROM one code s RIGHT ANTI JOIN flights f \
     ON s.code = f.code GROUP BY f.carrier",
    "SELECT f.flag, count(*) FROM flights f WHERE f.city NOT IN (SELECT city FROM one city s) \
     GROUP BY f.flag",
    "SELECT f.flag, count(*) FROM flights f \
     WHERE f.wide NOT IN (SELECT wide FROM one wide s WHERE wide IS NOT NULL) GROUP BY f.flag",
    "SELECT count(*), sum(f.delay) FROM flights f \
     WHERE NOT EXISTS (SELECT 1 FROM one city s WHERE s.city = f.city)",
    "SELECT f.flag, count(*) FROM flights f \
     WHERE EXISTS (SELECT 1 FROM one city s WHERE s.city = f.city) OR f.delay > 150 \
     GROUP BY f.flag",
    "SELECT count(*), sum(f.delay + s.code), avg(s.code) FROM one city s \
     JOIN flights f ON s.city = f.city AND f.delay < s.code",
    "SELECT f.late, count(*) FILTER (WHERE s.code > f.code) FROM one city s \
     JOIN flights f ON s.city = f.city GROUP BY f.late",
    "SELECT s.label, count(*) FROM one city s RIGHT JOIN flights f ON s.city = f.city \
     WHERE s.label IS NULL OR s.code > f.code GROUP BY s.label",
    "SELECT s.label, count(*), sum(f.distance) FROM one delay s JOIN flights f \
     ON s.delay = f.delay GROUP BY s.label",
    "SELECT s.label, count(*) FROM one at s JOIN flights f ON s.at = f.at GROUP BY s.label",
    "SELECT s.label, f.carrier, count(*) FROM one note s RIGHT JOIN flights f ON s.note = f.note \
     GROUP BY 1, 2",
    "SELECT s.label, count(*) FROM one city s JOIN flights f \
     ON s.city IS NOT DISTINCT FROM f.city GROUP BY s.label",
    "SELECT s.label, count(*) FROM one city s RIGHT JOIN flights f \
     ON s.city = f.city AND s.code = f.code GROUP BY s.label",
    "SELECT s.label, r.label, count(*), sum(r.code - s.code) FROM one city s \
     JOIN flights f ON s.city = f.city JOIN one carrier r ON r.carrier = f.carrier GROUP BY 1, 2",
    "SELECT s.label, median(f.delay), count(*) FROM one city s JOIN flights f ON s.city = f.city \
     GROUP BY s.label",
    "SELECT count(*) FROM one city s JOIN flights f ON s.city = f.city",
    "SELECT s.label, f.carrier, count(*), sum(f.delay), avg(s.code) FROM one city s \
     JOIN flights f ON s.city = f.city GROUP BY ROLLUP (s.label, f.carrier)",
    "SELECT s.label, max(f.delay) FROM one city s JOIN flights f ON s.city = upper(f.city) \
     GROUP BY s.label",
    "SELECT f.flag, count(*) FROM one city s RIGHT SEMI JOIN flights f \
     ON s.city = f.city AND s.code > f.code GROUP BY f.flag",
    "SELECT f.flag, count(*) FROM one city s RIGHT ANTI JOIN flights f \
     ON s.city = f.city AND s.code > f.late GROUP BY f.flag",
    "SELECT f.flag, count(*) FROM flights f WHERE f.delay > 150 \
     OR EXISTS (SELECT 1 FROM one city s WHERE s.city = f.city AND s.code > f.code) GROUP BY f.flag",
    "SELECT s.label, f.carrier, count(*), sum(s.code), max(s.label) FROM flights f \
     LEFT JOIN one city s ON s.city = f.city AND s.code > f.late GROUP BY 1, 2",
];

/// Joins whose right side has far fewer rows, as indexes tell; whether the left one's are then not
/// all read.
const FEWER_ON_THE_RIGHT: &[(bool, &str)] = &[
    (
        true,
        "SELECT f.\"$offset\", s.label FROM flights f JOIN few s ON f.wide = s.wide",
    ),
    (
        true,
        "SELECT wide FROM flights WHERE code >= 0 INTERSECT SELECT wide FROM few s",
    ),
    (
        true,
        "SELECT f.\"$offset\", f.price FROM flights f LEFT SEMI JOIN few s ON f.wide = s.wide \
         AND f.delay >= s.delay",
    ),
    (
        false,
        "SELECT wide FROM flights EXCEPT SELECT wide FROM few s",
    ),
    (
        false,
        "SELECT f.\"$offset\", s.label FROM flights f LEFT JOIN few s ON f.wide = s.wide",
    ),
    (
        false,
        "SELECT f.\"$offset\", s.label, s.code FROM flights f FULL JOIN few s ON f.wide = s.wide \
         AND f.delay > s.delay",
    ),
    (
        false,
        "SELECT f.\"$offset\" FROM flights f WHERE f.delay > 150 \
         OR EXISTS (SELECT 1 FROM few s WHERE s.wide = f.wide)",
    ),
    (
        false,
        "SELECT f.\"$offset\" FROM flights f WHERE f.wide NOT IN (SELECT wide FROM few s)",
    ),
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
        Self::of(Table::new(21), null_mode)
    }

    fn of(table: Table, null_mode: NullMode) -> Self {
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
                // Where a key is there once after all, there is nothing to join.
                let stats = world.check(sql, few, &ScanOptions::default()).await;
                assert!(stats.native_operators <= 1, "{sql}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_with_small_tables_are_looked_up() {
    for (null_mode, replaced) in [
        (NullMode::Defaults, false),
        (NullMode::ThreeValued, false),
        (NullMode::ThreeValued, true),
    ] {
        let table = Table::new(21);
        let world = World::of(
            if replaced {
                table.half_replaced(21)
            } else {
                table
            },
            null_mode,
        );
        let ways = [on_threads(), ScanOptions::default()].into_iter().cycle();
        for (few, options) in FEW.into_iter().chain(["code < 100"]).zip(ways) {
            for sql in LOOKED_UP {
                let sql = &with_ones(sql, few);
                let tables = sql.matches("min(label)").count() as u64;
                let stats = world.check(sql, few, &options).await;
                let operators = (stats.native_operators, stats.fallback_operators);
                assert_eq!(operators, (tables + 1, 0), "{sql}");
                let stats = world.check(sql, few, &general()).await;
                assert_eq!(stats.native_operators, 0, "{sql}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_what_their_group_has_are_looked_up() {
    let world = World::new(NullMode::ThreeValued);
    for sql in [
        "SELECT count(*), sum(f.delay) FROM flights f \
         WHERE f.delay > (SELECT avg(i.delay) FROM flights i WHERE i.city = f.city)",
        "SELECT f.carrier, count(*) FROM flights f WHERE f.code < 300 AND f.late IS DISTINCT FROM \
         (SELECT max(i.late) FROM flights i WHERE i.city = f.city) GROUP BY f.carrier",
    ] {
        let stats = world.check(sql, FEW[0], &on_threads()).await;
        let operators = (stats.native_operators, stats.fallback_operators);
        assert_eq!(operators, (2, 0), "{sql}");
        world.check(sql, FEW[0], &general()).await;
    }
}

/// With a table in the place of each `one key`.
fn with_ones(sql: &str, few: &str) -> String {
    let mut parts = sql.split("one ");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) = part.split_once(' ').unwrap();
        let code = if key == "code" {
            ""
        } else {
            ", max(code) AS code"
        };
        let columns = format!("{key}, min(label) AS label{code}");
        let table = format!("(SELECT {columns} FROM flights WHERE {few} GROUP BY {key})");
        whole.push_str(&format!("{table} {rest}"));
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_small_or_not_once_is_joined() {
    let world = World::of(Table::new(21), NullMode::ThreeValued);
    let by_label = "SELECT s.label, f.flag, count(*), sum(f.delay) FROM few s \
                    JOIN flights f ON s.city = f.city GROUP BY 1, 2";
    // Each city many times.
    let stats = world
        .check(by_label, "code < 50", &ScanOptions::default())
        .await;
    assert_eq!((stats.native_operators, stats.fallback_operators), (0, 1));
    let by_distance = "SELECT s.flag, f.carrier, count(*) FROM few s \
                       JOIN flights f ON s.distance = f.distance GROUP BY 1, 2";
    for (few, operators) in [
        ("distance > 0", (0, 1)),
        ("distance < 900", (1, 0)),
        // Too many for a list of them.
        ("\"$offset\" BETWEEN 3000 AND 7500", (1, 0)),
    ] {
        let stats = world.check(by_distance, few, &on_threads()).await;
        let found = (stats.native_operators, stats.fallback_operators);
        assert_eq!(found, operators, "{few}");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_side_with_far_fewer_rows_is_kept() {
    for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
        let world = World::new(null_mode);
        for (reads_fewer, sql) in FEWER_ON_THE_RIGHT {
            for few in FEW {
                let kept = world.check(sql, few, &ScanOptions::default()).await;
                world.check(sql, few, &on_threads()).await;
                let general = world.check(sql, few, &general()).await;
                let (fewer, all) = (kept.docs_scanned, general.docs_scanned);
                assert!(!reads_fewer || fewer * 2 < all, "{fewer} of {all}: {sql}");
            }
        }
    }
}
