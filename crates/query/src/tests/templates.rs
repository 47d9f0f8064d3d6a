//! Plans that are used again give the answers that planning anew would give.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use schemas::TableType;

use super::double::{Cluster, Laid, NOW_MS};
use super::{DONE, HOUR_MS, cluster, flights, flights_spec, replicated, without_nulls};

const COUNTS: &str = "SELECT carrier, COUNT(*) AS c FROM flights GROUP BY carrier ORDER BY c DESC";

async fn count(cluster: &Cluster, sql: &str) -> Vec<String> {
    cluster.standard(sql).await.unwrap().rows()
}

#[tokio::test]
async fn a_plan_is_kept_and_used_again_with_what_planning_found() {
    let cluster = cluster();
    let first = cluster.standard(COUNTS).await.unwrap();
    assert_eq!(cluster.planner.templates_kept(), 1);
    let again = cluster.standard(COUNTS).await.unwrap();
    assert_eq!(cluster.planner.templates_kept(), 1);
    assert_eq!(first.rows(), again.rows());
    assert_eq!(first.stats.tables, again.stats.tables);
    assert_eq!(again.stats.servers_queried.len(), 2);
    assert_eq!(first.stats.scan.docs_total, again.stats.scan.docs_total);
}

#[tokio::test]
async fn a_cluster_that_changed_is_planned_for_anew() {
    let cluster = cluster();
    let sql = "SELECT COUNT(*) FROM flights";
    assert_eq!(count(&cluster, sql).await, ["333"]);
    cluster.state.send_modify(|state| {
        let mut next = (**state).clone();
        for table in next.tables.values_mut() {
            let mut changed = (**table).clone();
            changed.segments.retain(|segment| {
                let id = segment.record.id;
                (id.partition, id.sequence) != (0, 0)
            });
            *table = Arc::new(changed);
        }
        *state = Arc::new(next);
    });
    assert_eq!(count(&cluster, sql).await, ["233"]);
    assert_eq!(cluster.planner.templates_kept(), 1);
}

#[tokio::test]
async fn what_asks_for_the_time_is_planned_each_time() {
    let cluster = cluster();
    let statements = [
        "SELECT COUNT(*) FROM flights WHERE ts < now()",
        "SELECT COUNT(*) FROM (SELECT ts < now() AS old FROM flights) WHERE old",
        "SELECT COUNT(*) FROM flights WHERE ts IN (SELECT ts FROM flights WHERE ts < now())",
    ];
    for hours in [100, 200, 300] {
        cluster.now_ms.store(hours * HOUR_MS, Ordering::Relaxed);
        for sql in statements {
            assert_eq!(count(&cluster, sql).await, [hours.to_string()], "{sql}");
        }
    }
    assert_eq!(cluster.planner.templates_kept(), 0);
    cluster.now_ms.store(NOW_MS, Ordering::Relaxed);
}

#[tokio::test]
async fn each_dialect_has_its_own_plan() {
    let rows = without_nulls(&flights(0, 50));
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
        assert_eq!(
            count(&cluster, "SELECT COUNT(*) FROM flights").await,
            ["170"]
        );
    }
    assert_eq!(cluster.planner.templates_kept(), 6);
    let asked = |name: &str| cluster.servers[name].requests.lock().len();
    assert!(
        [asked("s1"), asked("s2"), asked("s3")]
            .iter()
            .all(|n| *n >= 12)
    );
}

#[tokio::test]
async fn the_number_of_kept_plans_is_bounded() {
    let cluster = cluster();
    for least in 0..1100 {
        let sql = format!("SELECT COUNT(*) FROM flights WHERE delay > {least}");
        cluster.standard(&sql).await.unwrap();
    }
    assert!((1..=512).contains(&cluster.planner.templates_kept()));
    let kept = cluster.planner.templates_kept();
    let long: Vec<String> = (0..14_000).map(|n| n.to_string()).collect();
    let long = long.join(",");
    let sql = format!("SELECT COUNT(*) FROM flights WHERE delay IN ({long})");
    cluster.standard(&sql).await.unwrap();
    assert_eq!(cluster.planner.templates_kept(), kept);
}
