//! What goes wrong is repaired where it can be, and told where not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemas::fault::pinot_code as code;
use schemas::{Fault, FaultKind};

use super::double::Cluster;
use super::*;

const COUNT: &str = "SELECT COUNT(*), SUM(distance) FROM flights";

#[tokio::test]
async fn a_server_that_is_gone_is_replaced() {
    let cluster = replicated();
    let wanted = cluster.standard(COUNT).await.unwrap().rows();
    for name in ["s1", "s2", "s3"] {
        cluster.manners(name, |m| m.refuses = Some(Fault::unavailable("gone")));
        assert_eq!(
            cluster.standard(COUNT).await.unwrap().rows(),
            wanted,
            "without {name}"
        );
        cluster.manners(name, |m| m.refuses = None);
    }
    for name in ["s1", "s2"] {
        cluster.manners(name, |m| m.refuses = Some(Fault::unavailable("gone")));
    }
    let fault = cluster.standard(COUNT).await.unwrap_err();
    assert!(fault.retryable, "{fault:?}");
}

/// As a tree it has 65,536 leaves.
fn endless_to_plan() -> String {
    let doubled = |at| format!(", c{} AS (SELECT a.x FROM c{at} a, c{at} b)", at + 1);
    let doubled: String = (0..16).map(doubled).collect();
    format!("WITH c0 AS (SELECT distance AS x FROM flights){doubled} SELECT COUNT(*) FROM c16")
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_ends_with_its_query() {
    let cluster = replicated();
    let sql = endless_to_plan();
    let options = crate::Options::default();
    let dialect = crate::Dialect::Standard;
    let statement = cluster.planner.parse(&sql, dialect, options, 10).await;
    let statement = Arc::new(statement.unwrap());
    let context = |change: &dyn Fn(&mut crate::QueryContext)| {
        let mut context = cluster.context(&statement).unwrap();
        change(&mut context);
        Arc::new(context)
    };
    let late = context(&|context| context.deadline_ms -= 10_000);
    let fault = cluster.planner.answer(&statement, &late).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Timeout, "{fault:?}");

    let cancelled = context(&|_| {});
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancelled.stop.cancel();
    };
    let (answer, ()) = tokio::join!(cluster.planner.answer(&statement, &cancelled), stop);
    assert_eq!(answer.unwrap_err().kind, FaultKind::Cancelled);

    // Nobody waits any more: the thread that plans notices.
    let left = context(&|_| {});
    let answer = cluster.planner.answer(&statement, &left);
    let answer = tokio::time::timeout(Duration::from_millis(100), answer).await;
    assert!(answer.is_err(), "this is planned too fast for the test");
    let begun = Instant::now();
    while Arc::strong_count(&statement) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_regular_expression_has_a_largest_size() {
    let sql = "SELECT COUNT(*) FROM flights WHERE carrier ~ '((a{500}){500}){50}'";
    let fault = replicated().standard(sql).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault:?}");
    assert!(fault.message.contains("too large: compiled"), "{fault:?}");
}

#[tokio::test]
async fn what_a_server_lost_is_read_elsewhere_and_nothing_twice() {
    let cluster = replicated();
    let table = cluster
        .state
        .borrow()
        .tables
        .keys()
        .copied()
        .next()
        .unwrap();
    let wanted = cluster.standard(COUNT).await.unwrap().rows();
    let ordered = "SELECT ts FROM flights ORDER BY ts DESC LIMIT 150";
    let wanted_order = cluster.standard(ordered).await.unwrap().rows();
    for sequence in 0..3 {
        for name in ["s1", "s2", "s3"] {
            cluster.manners(name, |m| m.lost = [(table, 0, sequence)].into());
            assert_eq!(cluster.standard(COUNT).await.unwrap().rows(), wanted);
            assert_eq!(
                cluster.standard(ordered).await.unwrap().rows(),
                wanted_order
            );
            cluster.manners(name, |m| m.lost.clear());
        }
    }
    for name in ["s1", "s2", "s3"] {
        cluster.manners(name, |m| m.lost = [(table, 0, 1)].into());
    }
    let fault = cluster.standard(COUNT).await.unwrap_err();
    assert_eq!(fault.code, code::BROKER_SEGMENT_UNAVAILABLE, "{fault}");
    assert!(fault.message.contains("`flights__0__1__"), "{fault}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_merged() {
    let cluster = replicated();
    let whole = cluster.standard(COUNT).await.unwrap();
    for name in ["s1", "s2", "s3"] {
        cluster.manners(name, |m| m.breaks_off = true);
        let given = cluster.standard(COUNT).await.unwrap();
        assert_eq!(given.rows(), whole.rows(), "{name}");
        assert_eq!(given.stats.scan.docs_total, 170, "{name}");
        let responded = &given.stats.servers_responded;
        assert!(responded.iter().all(|server| server.0 != name), "{name}");
        cluster.manners(name, |m| m.breaks_off = false);
    }
    for name in ["s1", "s2"] {
        cluster.manners(name, |m| m.breaks_off = true);
    }
    let fault = cluster.standard(COUNT).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault:?}");
}

#[tokio::test]
async fn a_join_never_goes_without_its_dimension_table() {
    let flights = Laid::new(flights_spec(TableType::Realtime)).segment(
        (0, 0),
        DONE,
        &["s1", "s2"],
        flights(0, 100),
    );
    let cluster = Cluster::new(&["s1", "s2"], vec![flights, laid_airlines()]);
    let airlines = cluster.state.borrow().resolve("airlines")[0].spec.id;
    let sql = "SELECT COUNT(*) FROM flights f JOIN airlines a ON f.carrier = a.carrier";
    assert_eq!(cluster.standard(sql).await.unwrap().rows(), ["75"]);
    cluster.manners("s1", |m| m.lost = [(airlines, 0, 0)].into());
    assert_eq!(cluster.standard(sql).await.unwrap().rows(), ["75"]);
    assert_eq!(
        cluster
            .standard("SELECT COUNT(*) FROM airlines")
            .await
            .unwrap()
            .rows(),
        ["3"]
    );
    cluster.manners("s2", |m| m.lost = [(airlines, 0, 0)].into());
    let fault = cluster.standard(sql).await.unwrap_err();
    assert_eq!(fault.code, code::BROKER_SEGMENT_UNAVAILABLE, "{fault}");
}

#[tokio::test]
async fn segments_that_nobody_holds_are_named() {
    let mut laid = laid_flights();
    laid.state.segments[2].online = Default::default();
    laid.state.segments[2].assigned = Default::default();
    laid.state.segments[0].online = Default::default();
    let cluster = Cluster::new(&["s1", "s2"], vec![laid]);
    let fault = cluster.standard(COUNT).await.unwrap_err();
    assert_eq!(
        (fault.code, fault.kind),
        (code::BROKER_SEGMENT_UNAVAILABLE, FaultKind::Unavailable)
    );
    assert!(fault.message.contains("flights__0__"), "{fault}");
}

#[tokio::test]
async fn faults_of_a_statement_have_pinots_code_and_a_place() {
    let cluster = cluster();
    for (sql, code, place, words) in [
        (
            "SELECT * FROM flihgts",
            code::TABLE_DOES_NOT_EXIST,
            "flihgts",
            "did you mean `flights`",
        ),
        (
            "SELECT * FROM sys.segment",
            code::TABLE_DOES_NOT_EXIST,
            "segment",
            "`sys.segments`",
        ),
        (
            "SELECT carier, delay FROM flights",
            code::UNKNOWN_COLUMN,
            "carier",
            "did you mean `carrier`",
        ),
        (
            "SELECT a.x FROM flights a",
            code::UNKNOWN_COLUMN,
            "x",
            "no column `x`",
        ),
        ("SELECT delay,, ts FROM flights", code::SQL_PARSING, ",", ""),
        (
            "SELECT foo(delay) FROM flights",
            code::QUERY_VALIDATION,
            "foo",
            "no function `foo`",
        ),
        (
            "SELECT date_trunk('day', ts) FROM flights",
            code::QUERY_VALIDATION,
            "date_trunk",
            "did you mean `date_trunc`",
        ),
        (
            "SELECT carrier, COUNT(*) FROM flights",
            code::QUERY_VALIDATION,
            "carrier",
            "GROUP BY",
        ),
        (
            "SELECT flihgts.ts FROM flights",
            code::UNKNOWN_COLUMN,
            "flihgts",
            "no table `flihgts`; did you mean `flights`",
        ),
        (
            "SELECT COUNT(*) FROM flights\nWHERE delay > 3 AND dealy < 9",
            code::UNKNOWN_COLUMN,
            "dealy",
            "did you mean `delay`",
        ),
        ("SELECT delay FROM flights WHERE", code::SQL_PARSING, "", ""),
    ] {
        let fault = cluster.standard(sql).await.unwrap_err();
        assert_eq!(fault.code, code, "{sql}: {fault:?}");
        assert!(fault.message.contains(words), "{sql}: {fault:?}");
        assert!(!fault.retryable);
        if !place.is_empty() {
            let span = fault
                .span
                .unwrap_or_else(|| panic!("{sql}: no place in {fault:?}"));
            assert_eq!(&sql[span.start as usize..span.end as usize], place, "{sql}");
        }
    }
}

#[tokio::test]
async fn a_place_is_that_of_the_name_not_of_the_same_text() {
    let cluster = cluster();
    let sql = "SET timeoutMs=9; SELECT 'carier', carier FROM flights";
    let fault = cluster.standard(sql).await.unwrap_err();
    let at = sql.rfind("carier").unwrap() as u32;
    assert_eq!(fault.span.map(|span| span.start), Some(at), "{fault:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let tables = vec![laid_flights()];
    let cluster = Cluster::with_system(&["s1", "s2"], tables, HashMap::new(), 4000);
    assert!(cluster.standard(COUNT).await.is_ok());
    let fault = cluster.standard("SELECT * FROM flights").await.unwrap_err();
    assert_eq!(fault.code, code::SERVER_RESOURCE_LIMIT, "{fault:?}");
    // What was held is given back.
    assert!(
        cluster
            .standard("SELECT carrier, COUNT(*) FROM flights GROUP BY 1")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn faults_of_a_server_are_those_of_the_query() {
    let cluster = cluster();
    let refusal = Fault::new(
        FaultKind::Overloaded,
        code::SERVER_RESOURCE_LIMIT,
        "too large",
    );
    cluster.manners("s2", |m| m.refuses = Some(refusal));
    let fault = cluster.standard(COUNT).await.unwrap_err();
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (code::SERVER_RESOURCE_LIMIT, "too large")
    );
}
