//! Servers that are gone, silent or slow while a query runs: another replica answers, and nothing
//! counts twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use schemas::fault::pinot_code as code;
use schemas::proto::FragmentRequest;
use schemas::{Fault, FaultKind};

use super::double::{Cluster, Given};
use super::*;
use crate::{Event, Observer, Servers};

const COUNT: &str = "SELECT COUNT(*), SUM(delay) FROM flights";

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Event>>);

impl Observer for Seen {
    fn happened(&self, event: Event) {
        self.0.lock().push(event);
    }
}

impl Seen {
    fn count(&self, event: Event) -> usize {
        self.0.lock().iter().filter(|seen| **seen == event).count()
    }
}

/// Rows on two of three servers each, so that no server holds all of them.
fn spread() -> Cluster {
    let pairs: [&[&str]; 3] = [&["s1", "s2"], &["s2", "s3"], &["s3", "s1"]];
    let mut laid = Laid::new(flights_spec(TableType::Realtime));
    for (at, servers) in pairs.iter().enumerate() {
        let at = at as i32;
        let rows = flights(at * 100, at * 100 + 100);
        laid = laid.segment((0, at as u32), DONE, servers, rows);
    }
    Cluster::new(&["s1", "s2", "s3"], vec![laid])
}

fn on_both() -> Cluster {
    let laid = Laid::new(flights_spec(TableType::Realtime))
        .segment((0, 0), DONE, &["s1", "s2"], flights(0, 100))
        .segment((0, 1), IN_PROGRESS, &["s1", "s2"], flights(100, 170));
    Cluster::new(&["s1", "s2"], vec![laid])
}

fn watched(mut cluster: Cluster, percent: u64) -> (Cluster, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let clock = Arc::clone(&cluster.clock) as Arc<dyn runtime::Clock>;
    let observer = Arc::clone(&seen) as Arc<dyn Observer>;
    cluster.known = Some(Arc::new(Servers::new(clock, observer, percent)));
    (cluster, seen)
}

/// While the query runs, the servers' clock goes on.
async fn in_time(cluster: &Cluster, sql: &str, steps: u32) -> Result<Given, Fault> {
    let time = async {
        for _ in 0..steps {
            tokio::time::sleep(Duration::from_millis(5)).await;
            cluster.clock.advance(Duration::from_millis(200));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        given = cluster.standard(sql) => given,
        () = time => unreachable!(),
    }
}

fn requests(cluster: &Cluster, server: &str) -> Vec<FragmentRequest> {
    cluster.servers[server].requests.lock().clone()
}

#[tokio::test]
async fn a_share_is_asked_of_others_until_nobody_is_left() {
    for cluster in [spread(), on_both()] {
        let whole = cluster.standard(COUNT).await.unwrap().rows();
        let (cluster, seen) = watched(cluster, 5);
        cluster.manners("s1", |m| m.refuses = Some(Fault::unavailable("it stops")));
        for turn in 0..6 {
            cluster.turn.store(turn, Ordering::Relaxed);
            let given = cluster.standard(COUNT).await.unwrap();
            assert_eq!(given.rows(), whole, "{turn}");
            let stats = &given.stats;
            assert_eq!(stats.servers_queried, stats.servers_responded, "{turn}");
            let docs = stats.scan.docs_total;
            assert!(docs == 300 || docs == 170, "nothing counts twice: {docs}");
        }
        // Known to be away, it is not asked again.
        assert!(requests(&cluster, "s1").len() <= 2);
        assert!(seen.count(Event::Retried) <= 2 && seen.count(Event::Silent) == 1);
        cluster.manners("s2", |m| m.breaks_off = true);
        let fault = cluster.standard(COUNT).await.unwrap_err();
        assert!(fault.retryable, "{fault:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for() {
    for (cluster, is_alone) in [(spread(), false), (on_both(), true)] {
        let whole = cluster.standard(COUNT).await.unwrap().rows();
        // Also without a budget.
        let (cluster, seen) = watched(cluster, 0);
        cluster.manners("s1", |m| m.hangs = true);
        let known = cluster.known.clone().unwrap();
        let id = schemas::InstanceId("s1".to_owned());
        let silent = async {
            while requests(&cluster, "s1").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            known.asked(&id).broke();
        };
        let (given, ()) = tokio::join!(cluster.standard(COUNT), silent);
        assert_eq!(given.unwrap().rows(), whole);
        assert_eq!(seen.count(Event::Retried), 1, "{is_alone}");
        let given_up = cluster.servers["s1"].given_up.load(Ordering::Relaxed);
        assert_eq!(given_up, 1, "the request is cancelled");
    }
}

#[tokio::test]
async fn a_slow_servers_share_is_asked_of_another_within_the_budget() {
    for cluster in [spread(), on_both()] {
        let whole = cluster.standard(COUNT).await.unwrap();
        let (cluster, seen) = watched(cluster, 5);
        cluster.manners("s1", |m| m.hangs = true);
        let given = in_time(&cluster, COUNT, 1000).await.unwrap();
        assert_eq!(given.rows(), whole.rows());
        assert_eq!(given.stats.scan.docs_total, whole.stats.scan.docs_total);
        assert_eq!(
            (seen.count(Event::Hedged), seen.count(Event::HedgeWon)),
            (1, 1)
        );
        assert_eq!(cluster.servers["s1"].given_up.load(Ordering::Relaxed), 1);
        // It is known to be slow.
        cluster.manners("s1", |m| m.hangs = false);
        let before = requests(&cluster, "s1").len();
        for turn in 0..8 {
            cluster.turn.store(turn, Ordering::Relaxed);
            let given = cluster.standard(COUNT).await.unwrap();
            assert_eq!(given.rows(), whole.rows());
        }
        assert!(requests(&cluster, "s1").len() <= before + 1);
    }
    let (cluster, seen) = watched(on_both(), 0);
    cluster.manners("s1", |m| m.hangs = true);
    let waited = tokio::time::timeout(Duration::from_millis(300), in_time(&cluster, COUNT, 1000));
    assert!(waited.await.is_err(), "there is no budget");
    assert_eq!(seen.count(Event::HedgeUnaffordable), 1);
}

#[tokio::test]
async fn what_nobody_answers_is_left_out_where_the_query_allows_it() {
    let mut cluster = spread();
    let sql = "SELECT COUNT(*) FROM flights";
    for name in ["s1", "s2"] {
        cluster.manners(name, |m| m.refuses = Some(Fault::unavailable("it stops")));
    }
    let fault = cluster.standard(sql).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault:?}");
    cluster.options.set("allowPartialResults", "true");
    let given = cluster.standard(sql).await.unwrap();
    assert_eq!(given.rows(), ["200"], "two segments are on s3 too");
    let left_out = &given.stats.left_out;
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(
        left_out[0].message.contains("`flights__0__0__"),
        "{left_out:?}"
    );
    assert!(left_out[0].message.contains("it stops"), "{left_out:?}");
    assert!(given.stats.servers_queried.len() > given.stats.servers_responded.len());

    // Nobody is known to hold it.
    cluster.state.send_modify(|state| {
        let state = Arc::make_mut(state);
        for name in ["s1", "s2"] {
            let id = schemas::InstanceId(name.to_owned());
            state.instances.get_mut(&id).unwrap().alive = false;
        }
    });
    let given = cluster.standard(sql).await.unwrap();
    assert_eq!(given.rows(), ["200"]);
    assert_eq!(
        given.stats.left_out[0].code,
        code::BROKER_SEGMENT_UNAVAILABLE
    );

    cluster.manners("s3", |m| {
        m.refuses = Some(Fault::unavailable("it stops too"))
    });
    let given = cluster.standard(sql).await.unwrap();
    assert_eq!(given.rows(), ["0"]);
    let left_out = given.stats.left_out.iter();
    let names = left_out.map(|fault| fault.message.matches("`flights__0__").count());
    assert_eq!(names.sum::<usize>(), 3, "{:?}", given.stats.left_out);
}

#[tokio::test]
async fn a_fixed_replica_is_always_the_same() {
    let mut cluster = on_both();
    cluster.options.set("useFixedReplica", "true");
    for turn in 0..6 {
        cluster.turn.store(turn, Ordering::Relaxed);
        cluster.standard(COUNT).await.unwrap();
    }
    let asked = ["s1", "s2"].map(|name| requests(&cluster, name).len());
    assert!(asked == [6, 0] || asked == [0, 6], "{asked:?}");
}
