//! Plans that are used again give the answers that planning anew would give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use schemas::TableType;
use schemas::cluster::{ClusterState, TableState};

use super::double::{Cluster, Given, Laid, NOW_MS};
use super::queries::on_one_server;
use super::{DONE, HOUR_MS, cluster, flights, flights_spec, replicated};

async fn given(cluster: &Cluster, sql: &str) -> Given {
    let given = cluster.standard(sql).await;
    given.unwrap_or_else(|fault| panic!("{sql}: {fault}"))
}

async fn count(cluster: &Cluster, sql: &str) -> Vec<String> {
    given(cluster, sql).await.rows()
}

#[tokio::test]
async fn a_plan_is_used_again_for_other_literals() {
    for cluster in [cluster(), on_one_server()] {
        let sql = |carrier: &str, least: i32| {
            format!(
                "SELECT carrier, COUNT(*) AS c, SUM(delay) FROM flights \
                 WHERE carrier <> '{carrier}' AND delay > {least} GROUP BY carrier ORDER BY c DESC"
            )
        };
        let first = given(&cluster, &sql("AA", 5)).await;
        assert!(!first.stats.template_used);
        for (carrier, least) in [("AA", 5), ("DL", 20), ("it''s", 39), ("", 1000)] {
            let again = given(&cluster, &sql(carrier, least)).await;
            assert!(again.stats.template_used, "{carrier} {least}");
            assert_eq!(
                again.rows(),
                super::double::shown(&cluster.oracle(&sql(carrier, least)).await)
            );
            assert_eq!(first.stats.tables, again.stats.tables);
            assert_eq!(first.stats.servers_queried, again.stats.servers_queried);
            assert_eq!(first.stats.scan.docs_total, again.stats.scan.docs_total);
        }
        assert_eq!(cluster.planner.templates_kept(), 1);
        let off = format!("SET planTemplates=false; {}", sql("AA", 5));
        let off = given(&cluster, &off).await;
        assert!(!off.stats.template_used);
        assert_eq!(off.rows(), first.rows());
    }
}

fn changed(cluster: &Cluster, change: impl Fn(&mut TableState)) {
    cluster.state.send_modify(|state| {
        let mut next = ClusterState::clone(state);
        for table in next.tables.values_mut() {
            let mut changed = TableState::clone(table);
            change(&mut changed);
            *table = Arc::new(changed);
        }
        *state = Arc::new(next);
    });
}

#[tokio::test]
async fn a_plan_outlives_changes_of_segments_and_not_of_columns() {
    let cluster = cluster();
    let sql = "SELECT COUNT(*) FROM flights";
    assert_eq!(count(&cluster, sql).await, ["333"]);
    changed(&cluster, |table| {
        table.segments.retain(|segment| {
            let id = segment.record.id;
            (id.partition, id.sequence) != (0, 0)
        });
    });
    let fewer = given(&cluster, sql).await;
    assert!(fewer.stats.template_used);
    assert_eq!(fewer.rows(), ["233"]);
    changed(&cluster, |table| {
        table.spec.columns.reverse();
    });
    let other = given(&cluster, sql).await;
    assert!(!other.stats.template_used);
    assert_eq!(other.rows(), ["233"]);
    assert!(given(&cluster, sql).await.stats.template_used);
}

#[tokio::test]
async fn a_plan_for_one_server_is_not_used_where_several_are_needed() {
    use schemas::Value;
    let hours = |from: i32, to: i32| {
        let range = |hour: i32| Value::Long(i64::from(hour) * HOUR_MS);
        vec![("ts".to_owned(), range(from), range(to - 1))]
    };
    let mut laid = Laid::new(flights_spec(TableType::Offline))
        .segment((0, 0), DONE, &["s1"], flights(0, 100))
        .segment((0, 1), DONE, &["s2"], flights(100, 250));
    laid.state.segments[0].record.column_ranges = hours(0, 100);
    laid.state.segments[1].record.column_ranges = hours(100, 250);
    let cluster = Cluster::new(&["s1", "s2"], vec![laid]);
    let sql = |from: i64, to: i64| {
        let ts = |hour: i64| {
            let time = chrono::DateTime::from_timestamp_millis(hour * HOUR_MS).unwrap();
            time.format("%Y-%m-%d %H:%M:%S").to_string()
        };
        format!(
            "SELECT carrier, COUNT(*) FROM flights WHERE ts >= '{}' AND ts < '{}' \
             GROUP BY carrier ORDER BY 1",
            ts(from),
            ts(to)
        )
    };
    let mut used = Vec::new();
    for (from, to) in [
        (0, 50),
        (20, 200),
        (10, 30),
        (120, 200),
        (90, 110),
        (240, 900),
        (0, 1),
    ] {
        let answer = given(&cluster, &sql(from, to)).await;
        let wanted = super::double::shown(&cluster.oracle(&sql(from, to)).await);
        assert_eq!(answer.rows(), wanted, "{from} {to}");
        let segments = 2 - answer.stats.segments_pruned_by_broker;
        used.push((answer.stats.template_used, segments));
    }
    let (one, two) = ((true, 1), (true, 2));
    assert_eq!(used, [(false, 1), (false, 2), one, one, two, one, one]);
    assert_eq!(cluster.planner.templates_kept(), 1);
}

#[tokio::test]
async fn what_asks_for_the_time_is_planned_each_time() {
    let cluster = cluster();
    let statements = [
        "SELECT COUNT(*) FROM flights WHERE ts < now() AND delay <> 1000",
        "SELECT COUNT(*) FROM (SELECT ts < now() AS old FROM flights) WHERE old",
        "SELECT COUNT(*) FROM flights WHERE ts IN (SELECT ts FROM flights WHERE ts < now())",
    ];
    for hours in [100, 200, 300] {
        cluster.now_ms.store(hours * HOUR_MS, Ordering::Relaxed);
        let flights = hours - (hours + 6) / 7;
        for (sql, wanted) in statements.iter().zip([flights, hours, hours]) {
            assert_eq!(count(&cluster, sql).await, [wanted.to_string()], "{sql}");
        }
    }
    assert_eq!(cluster.planner.templates_kept(), 0);
    cluster.now_ms.store(NOW_MS, Ordering::Relaxed);
}

#[tokio::test]
async fn each_dialect_has_its_own_plan() {
    let rows = flights(0, 50);
    let laid = Laid::new(flights_spec(TableType::Offline)).segment((0, 0), DONE, &["s1"], rows);
    let cluster = Cluster::new(&["s1"], vec![laid]);
    let sql = "SELECT carrier FROM flights";
    let by_dialect = async || {
        let standard = cluster.standard(sql).await.unwrap().rows().len();
        (standard, cluster.pinot(sql).await.unwrap().rows().len())
    };
    assert_eq!(by_dialect().await, (50, 10));
    assert_eq!(by_dialect().await, (50, 10));
    assert_eq!(cluster.planner.templates_kept(), 2);
}

#[tokio::test]
async fn replicas_take_turns_also_with_kept_plans() {
    let cluster = replicated();
    for turn in 0..24 {
        cluster.turn.store(turn, Ordering::Relaxed);
        let answer = given(&cluster, "SELECT COUNT(*) FROM flights").await;
        assert_eq!(answer.rows(), ["170"]);
    }
    let asked = |name: &str| cluster.servers[name].requests.lock().len();
    assert!(
        [asked("s1"), asked("s2"), asked("s3")]
            .iter()
            .all(|n| *n >= 11)
    );
}

#[tokio::test]
async fn the_number_of_kept_plans_is_bounded() {
    let cluster = cluster();
    for limit in 0..600 {
        let sql = format!("SELECT COUNT(*) FROM flights LIMIT {limit}");
        cluster.standard(&sql).await.unwrap();
    }
    let kept = cluster.planner.templates_kept();
    assert!((1..=512).contains(&kept), "{kept}");
    let long: Vec<String> = (0..14_000).map(|n| n.to_string()).collect();
    let sql = format!(
        "SELECT COUNT(*) FROM flights WHERE delay IN ({})",
        long.join(",")
    );
    cluster.standard(&sql).await.unwrap();
    assert_eq!(cluster.planner.templates_kept(), kept);
}

/// Conditions with a hole for each generated literal: #n a whole number, #m a negative one, #d one
/// with a point, #s a text, #t a time.
const CONDITIONS: &[&str] = &[
    "delay > #n",
    "#m <= delay",
    "delay < #d",
    "delay BETWEEN #m AND #n",
    "delay NOT IN (#n, #m)",
    "carrier = #s OR carrier > #s",
    "carrier IN (#s, #s, #s, #s, #s)",
    "NOT (carrier < #s AND distance >= #n)",
    "distance <> #d AND distance < #n AND distance > #m",
    "ts >= #t AND ts < #t",
    "ts BETWEEN #t AND #t OR delay = #n",
    "delay + #n > #m",
    "CAST(delay AS BIGINT) = #n OR CAST(distance AS VARCHAR) = #s",
    "CASE WHEN delay > #n THEN carrier ELSE #s END = #s",
    "carrier LIKE '%A%' AND delay <= #n",
    "delay IS NULL OR delay < #n",
    "delay = NULL OR carrier <> #s",
    "delay IN (SELECT delay FROM flights WHERE distance > #d)",
    "date_trunc('day', ts) = #t",
    "1 = 1 AND #n = #n OR carrier = #s",
];

const SELECTS: &[&str] = &[
    "SELECT COUNT(*), SUM(delay), MIN(ts), MAX(carrier) FROM flights WHERE ",
    "SELECT carrier, COUNT(*), AVG(distance) FROM flights WHERE # GROUP BY carrier ORDER BY 1",
    "SELECT ts, delay, delay > #n FROM flights WHERE # ORDER BY ts LIMIT 7",
    "SELECT a.name, COUNT(*) FROM flights f JOIN airlines a ON f.carrier = a.carrier \
     WHERE f.delay < #n GROUP BY a.name HAVING COUNT(*) > #n ORDER BY 1",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n) as usize
    }

    fn literal(&mut self, hole: char) -> String {
        let whole = [
            "0",
            "1",
            "7",
            "20",
            "39",
            "2147483647",
            "2147483648",
            "9223372036854775808",
        ];
        let negative = ["-1", "-8", "-10", "-2147483648", "-9223372036854775808"];
        let points = ["2.5", "0.5", "1e2", "602.99"];
        let texts = [
            "'AA'", "'B6'", "''", "'it''s'", "'UA'", "'%'", "'ü'", "'1'", "'D'",
        ];
        let times = [
            "'1970-01-03'",
            "'1970-01-05 12:00:00'",
            "'1970-01-02T03:04:05.678'",
            "'1970-01-06 00:00:00.0001'",
            "'2070-01-01'",
            "'1960-05-05 01:00:00'",
        ];
        let of = |random: &mut Self, values: &[&str]| {
            values[random.below(values.len() as u64)].to_owned()
        };
        match hole {
            'n' => of(self, &whole),
            'm' => of(self, &negative),
            'd' => of(self, &points),
            's' => of(self, &texts),
            _ => of(self, &times),
        }
    }

    fn filled(&mut self, text: &str) -> String {
        let mut parts = text.split('#');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            filled.push_str(&self.literal(part.chars().next().unwrap_or('t')));
            filled.push_str(&part[1..]);
        }
        filled
    }
}

/// In Pinot's dialect there are defaults in the place of nulls.
fn clusters() -> [Cluster; 3] {
    let rows = flights;
    let laid = Laid::new(flights_spec(TableType::Offline))
        .segment((0, 0), DONE, &["s1"], rows(0, 120))
        .segment((0, 1), DONE, &["s2"], rows(120, 333));
    let for_pinot = Cluster::new(&["s1", "s2"], vec![laid, super::laid_airlines()]);
    [cluster(), on_one_server(), for_pinot]
}

async fn asked(cluster: &Cluster, is_pinot: bool, sql: &str) -> Result<Given, schemas::Fault> {
    match is_pinot {
        true => cluster.pinot(sql).await,
        false => cluster.standard(sql).await,
    }
}

/// Whatever the literals are, a plan of the shape gives what planning the statement gives.
#[tokio::test]
async fn generated_literals_give_what_planning_anew_gives() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut used = 0;
    let mut faults: BTreeMap<String, u32> = BTreeMap::new();
    let clusters = clusters();
    for (at, condition) in CONDITIONS.iter().enumerate() {
        for (number, cluster) in clusters.iter().enumerate() {
            let select = SELECTS[(at + number) % SELECTS.len()];
            let shape = match select.contains("WHERE #") {
                true => select.replace("WHERE #", &format!("WHERE {condition}")),
                false if select.ends_with("WHERE ") => format!("{select}{condition}"),
                false => select.to_owned(),
            };
            for _ in 0..4 {
                let sql = random.filled(&shape);
                let off = format!("SET planTemplates=false; {sql}");
                let with = asked(cluster, number == 2, &sql).await;
                match (with, asked(cluster, number == 2, &off).await) {
                    (Ok(with), Ok(without)) => {
                        assert_eq!(with.rows(), without.rows(), "{sql}");
                        assert_eq!(with.columns, without.columns, "{sql}");
                        assert!(!without.stats.template_used);
                        used += u32::from(with.stats.template_used);
                    }
                    (Err(with), Err(without)) => {
                        assert_eq!(with.message, without.message, "{sql}");
                        *faults.entry(with.message).or_default() += 1;
                    }
                    (with, without) => panic!("{sql}\n{with:?}\n{without:?}"),
                }
            }
        }
    }
    let failed: u32 = faults.values().sum();
    assert!(used > 40 && failed < 40, "{used} times, {faults:#?}");
}
