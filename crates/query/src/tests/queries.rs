//! Answers are those of one engine over all rows; fragments are cut where they should be.

use futures::future::BoxFuture;

use super::double::{Cluster, Given, Laid, shown};
use super::*;

use crate::QueryStats;

/// Queries of the standard dialect, each against DataFusion over all rows in one place.
const QUERIES: &[&str] = &[
    "SELECT COUNT(*) FROM flights",
    "SELECT COUNT(delay), SUM(delay), MIN(delay), MAX(ts), AVG(distance) FROM flights",
    "SELECT carrier, COUNT(*), SUM(delay) FROM flights GROUP BY carrier ORDER BY carrier",
    "SELECT carrier, AVG(delay) a FROM flights WHERE delay > 5 AND distance < 600.0 GROUP BY carrier HAVING COUNT(*) > 3 ORDER BY a DESC, 1",
    "SELECT COUNT(DISTINCT carrier), COUNT(DISTINCT delay) FROM flights WHERE carrier IN ('AA', 'DL')",
    "SELECT DISTINCT carrier FROM flights ORDER BY 1",
    "SELECT ts, delay FROM flights WHERE delay IS NULL ORDER BY ts LIMIT 7 OFFSET 3",
    "SELECT ts, carrier FROM flights ORDER BY delay DESC NULLS LAST, ts LIMIT 9",
    "SELECT date_trunc('day', ts) AS day, COUNT(*) FROM flights GROUP BY day ORDER BY day",
    "SELECT CASE WHEN delay > 20 THEN 'late' WHEN delay IS NULL THEN 'unknown' ELSE 'fine' END AS k, COUNT(*), SUM(distance) FROM flights GROUP BY 1 ORDER BY 1",
    "SELECT COUNT(*) FILTER (WHERE delay < 0), SUM(delay) FILTER (WHERE carrier LIKE '%A') FROM flights",
    "SELECT carrier, delay + 1, CAST(distance AS BIGINT) FROM flights WHERE carrier LIKE 'D%' AND delay BETWEEN 1 AND 9 ORDER BY ts",
    "SELECT a.name, COUNT(*), SUM(f.delay) FROM flights f JOIN airlines a ON f.carrier = a.carrier GROUP BY a.name ORDER BY 1",
    "SELECT a.name, COUNT(*) FROM flights f LEFT JOIN airlines a ON f.carrier = a.carrier GROUP BY a.name ORDER BY 2, 1",
    "SELECT COUNT(*) FROM flights WHERE carrier IN (SELECT carrier FROM airlines WHERE name <> 'Delta')",
    "SELECT COUNT(*) FROM flights WHERE carrier NOT IN (SELECT carrier FROM airlines)",
    "SELECT a.name, f.c FROM airlines a LEFT JOIN (SELECT carrier, COUNT(*) c FROM flights WHERE delay > 38 GROUP BY carrier) f ON a.carrier = f.carrier ORDER BY 1",
    "SELECT name FROM airlines WHERE carrier > 'AA' ORDER BY name",
    "SELECT COUNT(*), MIN(name) FROM airlines",
    "SELECT x.carrier, y.carrier FROM airlines x JOIN airlines y ON x.carrier < y.carrier ORDER BY 1, 2",
    "WITH worst AS (SELECT carrier, MAX(delay) m FROM flights GROUP BY carrier) SELECT COUNT(*) FROM flights f JOIN worst w ON f.carrier = w.carrier AND f.delay = w.m",
    "SELECT carrier, ts, ROW_NUMBER() OVER (PARTITION BY carrier ORDER BY ts DESC) AS n FROM flights ORDER BY n, carrier LIMIT 5",
    "SELECT COUNT(*) FROM flights a JOIN flights b ON a.ts = b.ts WHERE a.carrier = 'AA'",
    "SELECT carrier FROM flights WHERE delay > 30 UNION SELECT carrier FROM airlines ORDER BY 1",
    "SELECT MAX(delay) - (SELECT AVG(delay) FROM flights) FROM flights",
    "SELECT COUNT(*) FROM flights WHERE delay > (SELECT AVG(delay) FROM flights)",
    "SELECT carrier, SUM(delay + (SELECT MAX(delay) FROM flights)) FROM flights GROUP BY carrier ORDER BY 1",
    "SELECT name FROM airlines WHERE carrier < (SELECT MAX(carrier) FROM flights) ORDER BY name LIMIT 2",
    "SELECT 1 + 1 AS two, 'x' AS x",
    "SELECT carrier, COUNT(*) FROM flights WHERE ts >= '1970-01-03' AND ts < '1970-01-05T12:00:00' GROUP BY carrier ORDER BY 1",
];

#[tokio::test]
async fn answers_equal_those_of_one_engine_over_all_rows() {
    let cluster = cluster();
    for sql in QUERIES {
        let wanted = shown(&cluster.oracle(sql).await);
        // The second time with the plan of the first.
        for _ in 0..2 {
            let given = cluster
                .standard(sql)
                .await
                .unwrap_or_else(|fault| panic!("{sql}: {fault}"));
            assert_eq!(given.rows(), wanted, "{sql}");
        }
        let none = ["x", "2|x"].contains(&wanted.first().map_or("", String::as_str));
        assert!(!wanted.is_empty() || none, "{sql} asks for nothing");
    }
}

/// Every segment on one server: what it is asked for, it answers alone.
pub(super) fn on_one_server() -> Cluster {
    let mut laid = vec![laid_flights(), laid_airlines()];
    for segment in laid.iter_mut().flat_map(|laid| &mut laid.state.segments) {
        let one = schemas::InstanceId("s1".to_owned());
        (segment.assigned, segment.online) = (vec![one.clone()].into(), vec![one].into());
    }
    Cluster::new(&["s1"], laid)
}

#[tokio::test]
async fn one_server_that_holds_everything_answers_alone() {
    let (one, several) = (on_one_server(), cluster());
    for sql in QUERIES.iter().filter(|sql| sql.contains("flights")) {
        let wanted = several.standard(sql).await.unwrap().rows();
        for _ in 0..2 {
            let given = one.standard(sql).await;
            let given = given.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
            assert_eq!(given.rows(), wanted, "{sql}");
        }
        let plan = explained(&one, sql).await;
        assert!(plan.starts_with("RemoteExec: servers=1"), "{sql}\n{plan}");
        let exchanges = [
            "CoalescePartitionsExec",
            "SortPreservingMergeExec",
            "LocalLimitExec",
        ];
        let is_union = plan.contains("UnionExec");
        assert!(
            is_union || !exchanges.iter().any(|e| plan.contains(e)),
            "{sql}\n{plan}"
        );
    }
    let tables = "SELECT COUNT(*) FROM flights, sys.segments";
    assert!(explained(&one, tables).await.contains("CrossJoinExec"));
}

#[tokio::test]
async fn without_the_server_that_answers_alone_others_answer() {
    let rows = flights;
    let laid = || {
        Laid::new(flights_spec(TableType::Offline))
            .segment((0, 0), DONE, &["s1", "s2"], rows(0, 100))
            .segment((0, 2), DONE, &["s1", "s3"], rows(100, 150))
    };
    let cluster = Cluster::new(&["s1", "s2", "s3"], vec![laid()]);
    let table = *cluster.state.borrow().tables.keys().next().unwrap();
    let sql = "SELECT carrier, COUNT(*) FROM flights GROUP BY 1 ORDER BY 1 LIMIT 3";
    assert!(
        explained(&cluster, sql)
            .await
            .starts_with("RemoteExec: servers=1")
    );
    let wanted = cluster.standard(sql).await.unwrap();
    cluster.manners("s1", |m| m.lost = [(table, 0, 2)].into());
    let given = cluster.standard(sql).await.unwrap();
    assert_eq!(given.rows(), wanted.rows());
    assert_eq!(given.stats.scan.docs_total, 150);
    cluster.manners("s1", |m| {
        m.refuses = Some(schemas::Fault::unavailable("gone"))
    });
    assert_eq!(cluster.standard(sql).await.unwrap().rows(), wanted.rows());
    let asked = |name: &str| cluster.servers[name].requests.lock().len();
    // EXPLAIN asks, too.
    assert_eq!((asked("s1"), asked("s2"), asked("s3")), (4, 2, 2));
}

async fn explained(cluster: &Cluster, sql: &str) -> String {
    let given = cluster.standard(&format!("EXPLAIN {sql}")).await.unwrap();
    given.rows().join("\n")
}

/// The lines above and below the first exchange.
fn halves(plan: &str) -> (&str, &str) {
    let at = plan
        .find("RemoteExec")
        .unwrap_or_else(|| panic!("nothing is remote:\n{plan}"));
    plan.split_at(at)
}

#[tokio::test]
async fn what_servers_can_do_they_do() {
    let cluster = cluster();
    let plan = explained(
        &cluster,
        "SELECT carrier, SUM(delay) FROM flights GROUP BY 1",
    )
    .await;
    let (broker, servers) = halves(&plan);
    assert!(servers.contains("AggregateExec: mode=Partial"), "{plan}");
    assert!(broker.contains("AggregateExec: mode=Final"), "{plan}");

    let top = "SELECT ts FROM flights WHERE delay > 1 ORDER BY ts DESC LIMIT 3";
    let plan = explained(&cluster, top).await;
    assert!(halves(&plan).1.contains("TopK(fetch=3)"), "{plan}");
    assert!(halves(&plan).1.contains("filters=["), "{plan}");

    let join = "SELECT a.name, COUNT(*) FROM flights f JOIN airlines a ON f.carrier = a.carrier \
                WHERE a.name <> 'x' GROUP BY a.name";
    for sql in [
        join.to_owned(),
        join.replace(" JOIN", " LEFT JOIN")
            .replace("WHERE a.name <> 'x'", ""),
    ] {
        let plan = explained(&cluster, &sql).await;
        let (broker, servers) = halves(&plan);
        assert!(servers.contains("HashJoinExec: mode=CollectLeft"), "{plan}");
        assert!(servers.contains("AggregateExec: mode=Partial"), "{plan}");
        assert!(!broker.contains("Join"), "{plan}");
    }

    // Two tables that are spread over servers meet at the broker.
    let plan = explained(
        &cluster,
        "SELECT COUNT(*) FROM flights a JOIN flights b ON a.ts = b.ts",
    )
    .await;
    assert!(halves(&plan).0.contains("HashJoinExec"), "{plan}");
    assert_eq!(plan.matches("RemoteExec").count(), 2, "{plan}");

    let plan = explained(&cluster, "SELECT COUNT(*), MAX(name) FROM airlines").await;
    assert!(halves(&plan).1.contains("AggregateExec"), "{plan}");
}

#[tokio::test]
async fn a_table_without_segments_answers() {
    let empty = Laid::new(flights_spec(TableType::Realtime));
    let dimension = Laid::new(airlines_spec());
    let cluster = Cluster::new(&["s1"], vec![empty, dimension]);
    let rows = async |sql: &str| cluster.standard(sql).await.unwrap().rows();
    assert_eq!(
        rows("SELECT COUNT(*), SUM(delay) FROM flights").await,
        ["0|"]
    );
    assert!(
        rows("SELECT carrier, COUNT(*) FROM flights GROUP BY 1")
            .await
            .is_empty()
    );
    assert!(
        rows("SELECT * FROM flights ORDER BY ts LIMIT 3")
            .await
            .is_empty()
    );
    assert_eq!(rows("SELECT COUNT(*) FROM airlines").await, ["0"]);
    let joined = "SELECT COUNT(*) FROM flights f JOIN airlines a ON f.carrier = a.carrier";
    assert_eq!(rows(joined).await, ["0"]);
}

fn hybrid() -> Cluster {
    let mut offline = Laid::new(flights_spec(TableType::Offline))
        .segment((0, 0), DONE, &["s1"], flights(0, 100))
        .segment((0, 1), DONE, &["s2"], flights(100, 200));
    offline.state.time_boundary_ms = Some(149 * HOUR_MS);
    let mut realtime = Laid::new(flights_spec(TableType::Realtime))
        .segment((0, 0), DONE, &["s2"], flights(100, 250))
        .segment((0, 1), IN_PROGRESS, &["s2"], flights(250, 300));
    // The order of columns is each part's own.
    realtime.state.spec.columns.reverse();
    Cluster::new(&["s1", "s2"], vec![offline, realtime])
}

#[tokio::test]
async fn a_hybrid_table_is_cut_at_its_time_boundary() {
    let cluster = hybrid();
    let rows = async |sql: &str| cluster.standard(sql).await.unwrap().rows();
    assert_eq!(
        rows("SELECT COUNT(*), COUNT(DISTINCT ts) FROM flights").await,
        ["300|300"]
    );
    assert_eq!(rows("SELECT COUNT(*) FROM flights_OFFLINE").await, ["200"]);
    assert_eq!(rows("SELECT COUNT(*) FROM flights_REALTIME").await, ["200"]);
    let first = rows("SELECT carrier, delay, ts FROM flights ORDER BY ts LIMIT 2").await;
    assert_eq!(
        first,
        ["AA||1970-01-01T00:00:00", "B6|3|1970-01-01T01:00:00"]
    );
    // Each part aggregates on its servers.
    let plan = explained(
        &cluster,
        "SELECT carrier, SUM(delay) FROM flights GROUP BY 1",
    )
    .await;
    assert_eq!(plan.matches("mode=Partial").count(), 2, "{plan}");
    for side in ["flights_OFFLINE", "flights_REALTIME", " <= ", " > "] {
        assert!(plan.contains(side), "no {side} in {plan}");
    }
    assert!(!halves(&plan).0.contains("Partial"), "{plan}");
}

#[tokio::test]
async fn without_a_boundary_all_rows_come_from_the_stream() {
    let cluster = hybrid();
    change(&cluster, "flights_OFFLINE", |table| {
        table.time_boundary_ms = None
    });
    let rows = async |sql: &str| cluster.standard(sql).await.unwrap().rows();
    assert_eq!(
        rows("SELECT COUNT(*), MIN(ts) FROM flights").await,
        ["200|1970-01-05T04:00:00"]
    );
    assert_eq!(rows("SELECT COUNT(*) FROM flights_OFFLINE").await, ["200"]);
}

#[tokio::test]
async fn hidden_segments_are_not_read() {
    let cluster = hybrid();
    change(&cluster, "flights_OFFLINE", |table| {
        table.segments[1].hidden = true
    });
    let rows = async |sql: &str| cluster.standard(sql).await.unwrap().rows();
    assert_eq!(rows("SELECT COUNT(*) FROM flights_OFFLINE").await, ["100"]);
    let tables = "SELECT segments FROM sys.tables ORDER BY type";
    assert_eq!(rows(tables).await, ["1", "2"]);
}

fn pinot(sql: &str) -> BoxFuture<'_, Given> {
    let rows = flights(0, 50);
    let laid = Laid::new(flights_spec(TableType::Offline)).segment((0, 0), DONE, &["s1"], rows);
    let cluster = Cluster::new(&["s1"], vec![laid]);
    Box::pin(async move {
        let given = cluster.pinot(sql).await;
        given.unwrap_or_else(|fault| panic!("{sql}: {fault}"))
    })
}

#[tokio::test]
async fn pinots_dialect_counts_and_compares_as_pinot_does() {
    assert_eq!(pinot("SELECT carrier FROM flights").await.rows().len(), 10);
    assert_eq!(
        pinot("SELECT carrier FROM flights LIMIT 3, 40")
            .await
            .rows()
            .len(),
        40
    );
    let star = pinot("SELECT * FROM `flights` LIMIT 1").await;
    assert_eq!(star.columns, ["carrier", "delay", "distance", "ts"]);
    let one = async |sql: &str| pinot(sql).await.rows().join(",");
    assert_eq!(
        one("SELECT \"default\".flights.carrier FROM \"default\".flights LIMIT 1").await,
        "AA"
    );
    // Defaults stand for nulls.
    assert_eq!(
        one("SELECT COUNT(*) FROM flights WHERE delay = -2147483648").await,
        "8"
    );
    // They are told from values all the same.
    assert_eq!(
        one("SELECT COUNT(*) FROM flights WHERE delay IS NULL").await,
        "8"
    );
    // Epoch milliseconds and text.
    let hour = |n: i64| n * HOUR_MS;
    for (condition, count) in [
        (format!("ts < {}", hour(5)), 5),
        (format!("ts BETWEEN {} AND {}", hour(5), hour(9)), 5),
        (format!("ts IN ({}, {}, 17)", hour(1), hour(2)), 2),
        (
            "ts >= '1970-01-01 10:00:00.0' AND ts < '1970-01-01 12:00:00'".to_owned(),
            2,
        ),
        (format!("ts + {} >= {}", hour(1), hour(50)), 1),
        ("ts < now() - 86400000".to_owned(), 50),
        ("1 = 1 AND delay / 4 = 0.75".to_owned(), 1),
    ] {
        let sql = format!("SELECT COUNT(*) FROM flights WHERE {condition}");
        assert_eq!(one(&sql).await, count.to_string(), "{sql}");
    }
    // Numbers are divided as doubles, whole literals are counted as such.
    assert_eq!(
        one("SELECT 7 / 2, 7 + 2, SUM(distance) / COUNT(*) FROM flights").await,
        "3.5|9|452.25"
    );
    assert_eq!(
        one("SELECT 7 / 2 FROM flights LIMIT 1 OPTION(useMultistageEngine=true)").await,
        "3"
    );
    assert_eq!(one("SELECT DISTINCTCOUNT(carrier) FROM flights").await, "4");
}

/// Statements that mean the same in both dialects.
const IN_BOTH: &[&str] = &[
    "SELECT carrier, delay FROM flights WHERE delay BETWEEN 3 AND 29 AND carrier IN ('AA', 'DL') ORDER BY ts LIMIT 5 OFFSET 1",
    "SELECT carrier, ts FROM flights WHERE carrier LIKE '%A' AND NOT (delay > 3 OR distance <= 100.5) ORDER BY ts LIMIT 20",
    "SELECT carrier, COUNT(*), COUNT(DISTINCT delay) FROM flights GROUP BY carrier HAVING MIN(delay) < -9 ORDER BY 2 DESC, carrier LIMIT 20",
    "SELECT DISTINCT carrier FROM flights WHERE carrier <> 'B6' ORDER BY carrier LIMIT 20",
    "SELECT EXTRACT(DAY FROM ts), SUM(distance) FROM flights GROUP BY EXTRACT(DAY FROM ts) ORDER BY 1 LIMIT 20",
    "SELECT CASE WHEN delay > 20 THEN 'late' ELSE 'fine' END, COUNT(*) FROM flights GROUP BY 1 ORDER BY 1 LIMIT 20",
    "SELECT COUNT(*) FILTER (WHERE carrier = 'AA'), MAX(delay) FILTER (WHERE delay < 30) FROM flights LIMIT 20",
    "SELECT CAST(distance AS BIGINT), MIN(delay), MAX(distance), AVG(distance) FROM flights GROUP BY 1 ORDER BY 1 LIMIT 20",
    "SELECT COUNT(*) FROM flights WHERE carrier IS NOT NULL AND delay IS NOT NULL LIMIT 20",
    "SELECT a.name, COUNT(*) FROM flights f JOIN airlines a ON f.carrier = a.carrier GROUP BY a.name ORDER BY a.name LIMIT 20",
];

#[tokio::test]
async fn pinots_dialect_knows_every_shape() {
    let flights = Laid::new(flights_spec(TableType::Offline))
        .segment((0, 0), DONE, &["s1"], without_nulls(&flights(0, 50)))
        .segment((0, 1), DONE, &["s2"], without_nulls(&flights(50, 90)));
    let cluster = Cluster::new(&["s1", "s2"], vec![flights, laid_airlines()]);
    for sql in IN_BOTH {
        let given = cluster.pinot(sql).await;
        let given = given.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
        let wanted = shown(&cluster.oracle(sql).await);
        assert!(!wanted.is_empty(), "{sql} asks for nothing");
        assert_eq!(given.rows(), wanted, "{sql}");
    }
}

#[tokio::test]
async fn virtual_columns_are_there_when_they_are_named() {
    let cluster = cluster();
    let star = cluster
        .standard("SELECT * FROM flights LIMIT 1")
        .await
        .unwrap();
    assert_eq!(star.columns, ["ts", "carrier", "delay", "distance"]);
    let fault = cluster
        .standard("SELECT offset FROM flights")
        .await
        .unwrap_err();
    assert_eq!(fault.code, schemas::fault::pinot_code::UNKNOWN_COLUMN);
    let plan = explained(
        &cluster,
        "SELECT *, $offset FROM flights WHERE $partition = 1",
    )
    .await;
    assert!(
        plan.contains("$offset") && plan.contains("$partition"),
        "{plan}"
    );
}

/// Every offset once, and none left out.
const PROOF: &str = "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
                     MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM flights \
                     GROUP BY 1 ORDER BY 1";

#[tokio::test]
async fn offsets_that_are_there_twice_or_not_at_all_are_counted() {
    let whole = |partition, laid: Laid| {
        let rows = |count| flights(0, count);
        laid.segment((partition, 0), DONE, &["s1"], rows(100))
            .segment((partition, 1), DONE, &["s2"], rows(100))
            .segment((partition, 2), IN_PROGRESS, &["s2"], rows(7))
    };
    let laid = Laid::new(flights_spec(TableType::Realtime));
    let exact = Cluster::new(&["s1", "s2"], vec![whole(1, whole(0, laid))]);
    let zeros = exact.standard(PROOF).await.unwrap();
    assert_eq!(zeros.rows(), ["0|0|0", "1|0|0"]);
    // Pinot's single-stage engine subtracts doubles.
    let zeros = exact.pinot(PROOF).await.unwrap();
    assert_eq!(zeros.rows(), ["0|0.0|0.0", "1|0.0|0.0"]);
    // Here ten rows of partition 0 came twice, and offsets of partition 1 are missing.
    let found = cluster().standard(PROOF).await.unwrap();
    assert_eq!(found.rows(), ["0|10|-10", "1|0|110"]);
}

#[tokio::test]
async fn a_star_over_a_join_shows_no_virtual_column() {
    let cluster = cluster();
    let sql = "SELECT *, f.\"$docId\" FROM flights f JOIN airlines a ON f.carrier = a.carrier \
               WHERE f.\"$segmentName\" LIKE 'flights%' ORDER BY f.ts LIMIT 1";
    let given = cluster.standard(sql).await.unwrap();
    let wanted = [
        "ts", "carrier", "delay", "distance", "carrier", "name", "$docId",
    ];
    assert_eq!(given.columns, wanted);
    assert_eq!(given.rows(), ["1970-01-01T00:00:00|AA||0.0|AA|American|0"]);
    let sql = sql.replace("SELECT *,", "SELECT a.*,");
    let given = cluster.standard(&sql).await.unwrap();
    assert_eq!(given.columns, ["carrier", "name", "$docId"]);
}

#[tokio::test]
async fn segments_that_cannot_match_are_not_asked_for() {
    use schemas::Value;
    let mut laid = laid_flights();
    for segment in &mut laid.state.segments {
        let record = &mut segment.record;
        let (least, greatest) = match (record.id.partition, record.id.sequence) {
            (0, 0) => (0, 99),
            (1, 0) => (100, 149),
            (0, 1) => (150, 259),
            _ => continue,
        };
        let range = |hour: i64| Value::Long(hour * HOUR_MS);
        record.column_ranges = vec![("ts".to_owned(), range(least), range(greatest))];
    }
    let cluster = Cluster::new(&["s1", "s2"], vec![laid]);
    let from = |day: &str| format!("SELECT COUNT(*) FROM flights WHERE ts >= '{day}'");
    for _ in 0..2 {
        let given = cluster.standard(&from("1970-01-06")).await.unwrap();
        assert_eq!(given.rows(), ["213"]);
        let QueryStats {
            segments_pruned_by_broker,
            docs_pruned_by_broker,
            ..
        } = given.stats;
        assert_eq!((segments_pruned_by_broker, docs_pruned_by_broker), (1, 100));
    }
    let lines = cluster
        .standard(&format!("EXPLAIN {}", from("1970-01-06")))
        .await
        .unwrap();
    let told = "  not read, pruned by the broker: 1 segment, 100 rows";
    assert_eq!(lines.rows().last().map(String::as_str), Some(told));
    // A segment without ranges is always read, so are consuming rows.
    let given = cluster.standard(&from("1990-01-01")).await.unwrap();
    assert_eq!(
        (given.rows(), given.stats.segments_pruned_by_broker),
        (vec!["0".to_owned()], 3)
    );
    assert_eq!(given.stats.scan.docs_total, 40 + 10 + 23);
}
