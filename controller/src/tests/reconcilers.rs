//! Retention, orphans and assignment, under a clock that is held.

use schemas::InstanceId;
use schemas::table::Retention;
use schemas::task::{Task, TaskKind};

use super::bare::{Bare, START_MS};
use super::*;
use crate::reconcile;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn sequences(bare: &Bare, table: TableId) -> Vec<u32> {
    let stored = bare.state.catalog.segments(table).await.unwrap();
    let published = bare.published(table);
    let ids = stored.iter().map(|segment| segment.record.id);
    assert!(ids.eq(published.segments.iter().map(|segment| segment.record.id)));
    stored.iter().map(|s| s.record.id.sequence).collect()
}

fn removed(task: &Task) -> Vec<u32> {
    let TaskKind::RemoveObjects { keys, segments } = &task.kind else {
        panic!("{task:?}");
    };
    assert_eq!(keys.len(), segments.len());
    segments.iter().map(|id| id.sequence).collect()
}

#[tokio::test]
async fn what_is_past_retention_goes_and_its_objects_with_it() {
    let bare = Bare::new().await;
    let by_rows = |spec: &mut schemas::TableSpec| {
        spec.retention = Retention {
            age_max_ms: Some(HOUR.as_millis() as i64),
            rows_max: Some(25),
        };
    };
    let table = bare.table(REALTIME, by_rows).await;
    bare.open(table, "a").await;
    for _ in 0..4 {
        bare.seal(table, 10, START_MS).await;
    }
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(
        sequences(&bare, table).await,
        [1, 2, 3, 4],
        "30 rows and what consumes"
    );
    let tasks = bare.state.catalog.tasks().await.unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!(removed(&tasks[0]), [0]);
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(
        bare.state.catalog.tasks().await.unwrap(),
        tasks,
        "once is enough"
    );

    // The object is still there: only a minion removes it.
    let key = SegmentRecord::object_key(segment(table, 0, 0), 1);
    assert!(bare.deep.head(&key).await.unwrap().is_some());
    bare.state
        .catalog
        .finish_task(tasks[0].id, "", 0)
        .await
        .unwrap();
    bare.clock.advance(2 * HOUR);
    bare.seal(table, 10, START_MS + 7_000_000).await;
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(
        sequences(&bare, table).await,
        [4, 5],
        "the others are too old"
    );
    let tasks = bare.state.catalog.tasks().await.unwrap();
    let mut all: Vec<Vec<u32>> = Vec::new();
    for task in &tasks {
        if matches!(task.kind, TaskKind::RemoveObjects { .. }) {
            all.push(removed(task));
        }
    }
    assert_eq!(all, [[3, 2, 1]]);
    assert_eq!(bare.state.metrics.segments_removed.get(), 4);
}

#[tokio::test]
async fn dimension_tables_have_no_age() {
    let bare = Bare::new().await;
    let old = |spec: &mut schemas::TableSpec| {
        spec.is_dimension_table = true;
        spec.retention.age_max_ms = Some(1);
    };
    let table = bare.table(OFFLINE, old).await;
    let mut record = sealed(segment(table, 0, 0), 0, 3, 1);
    bare.store_object(&mut record).await;
    bare.state.add_offline_segment(record).await.unwrap();
    bare.clock.advance(HOUR);
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(sequences(&bare, table).await, [0]);
}

#[tokio::test]
async fn orphans_are_looked_for_hourly_but_not_right_after_the_start() {
    let bare = Bare::new().await;
    let table = bare.table(REALTIME, |_| {}).await;
    bare.open(table, "a").await;
    let record = bare.seal(table, 10, START_MS).await;
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(bare.state.catalog.tasks().await.unwrap(), []);
    bare.clock.advance(6 * MINUTE);
    reconcile::retention(&bare.state).await.unwrap();
    let tasks = bare.state.catalog.tasks().await.unwrap();
    let kind = TaskKind::RemoveOrphans {
        known: vec![record.uri.unwrap()],
        older_than_ms: START_MS + 6 * 60_000 - 3_600_000,
    };
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].kind, kind);

    bare.clock.advance(2 * HOUR);
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(
        bare.state.catalog.tasks().await.unwrap(),
        tasks,
        "it is not done yet"
    );
    bare.state
        .catalog
        .finish_task(tasks[0].id, "", 0)
        .await
        .unwrap();
    reconcile::retention(&bare.state).await.unwrap();
    assert_eq!(bare.state.catalog.tasks().await.unwrap().len(), 1);
}

#[tokio::test]
async fn gauges_show_who_lives_and_what_nobody_holds() {
    let bare = Bare::new().await;
    bare.beat("a");
    bare.beat("b");
    let table = bare.table(OFFLINE, |_| {}).await;
    let mut record = sealed(segment(table, 0, 0), 0, 3, 1);
    bare.store_object(&mut record).await;
    bare.state.add_offline_segment(record).await.unwrap();
    bare.clock.advance(Duration::from_secs(6));
    bare.beat("b");
    bare.state.judge_liveness();
    reconcile::figures(&bare.state).await.unwrap();
    let text = bare.state.metrics.registry.text();
    for line in [
        "tannin_controller_instances{role=\"server\",state=\"alive\"} 1",
        "tannin_controller_instances{role=\"server\",state=\"dead\"} 1",
        "tannin_controller_instances{role=\"broker\",state=\"alive\"} 0",
        "tannin_controller_segments 1",
        "tannin_controller_segments_missing 1",
        "tannin_controller_segments_under_replicated 1",
        "tannin_controller_partitions_unconsumed 0",
        "tannin_controller_tasks{state=\"waiting\"} 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn segments_of_a_dead_server_are_spread_over_the_living() {
    let bare = Bare::new().await;
    let servers = ["a", "b", "c"];
    let beat = |names: &[&str]| names.iter().for_each(|name| bare.beat(name));
    beat(&["a"]);
    let table = bare.table(OFFLINE, |_| {}).await;
    for sequence in 0..6 {
        let mut record = sealed(segment(table, 0, sequence), 0, 3, 1);
        bare.store_object(&mut record).await;
        bare.state.add_offline_segment(record).await.unwrap();
    }
    let assigned = || -> Vec<String> {
        let published = bare.published(table);
        let lists = published.segments.iter().map(|segment| &segment.assigned);
        lists
            .map(|list| {
                list.iter()
                    .map(|id| id.0.as_str())
                    .collect::<Vec<_>>()
                    .join("+")
            })
            .collect()
    };
    assert_eq!(assigned(), ["a"; 6]);
    beat(&servers);
    // It may come back within the grace.
    for _ in 0..6 {
        bare.clock.advance(Duration::from_secs(4));
        beat(&["b", "c"]);
        reconcile::assignment(&bare.state).await.unwrap();
    }
    let dead = InstanceId("a".to_owned());
    assert!(!bare.state.may_live(&dead));
    assert_eq!(assigned(), ["a"; 6]);
    for _ in 0..4 {
        bare.clock.advance(Duration::from_secs(4));
        beat(&["b", "c"]);
    }
    let carry = async || {
        reconcile::assignment(&bare.state).await.unwrap();
        reconcile::moves(&bare.state).await.unwrap();
    };
    carry().await;
    assert_eq!(assigned(), ["b+a", "c+a", "b+a", "c+a", "b+a", "c+a"]);
    ["b", "c"].iter().for_each(|name| bare.hold(name));
    carry().await;
    assert_eq!(assigned(), ["b", "c", "b", "c", "b", "c"]);

    // A table that wants more replicas gets them, and one that wants fewer lets go.
    for (replicas, wanted) in [
        (2, ["b+c", "c+b", "b+c", "c+b", "b+c", "c+b"]),
        (1, ["b", "c", "b", "c", "b", "c"]),
    ] {
        let change = |stored: &mut metastore::catalog::StoredTable| {
            stored.spec.replication = replicas;
        };
        bare.state
            .catalog
            .change_table(table, change)
            .await
            .unwrap();
        bare.state.publish(table).await.unwrap();
        carry().await;
        ["b", "c"].iter().for_each(|name| bare.hold(name));
        carry().await;
        assert_eq!(assigned(), wanted);
    }
}

#[tokio::test]
async fn nobody_is_gone_who_was_not_listened_for() {
    let mut bare = Bare::new().await;
    bare.beat("a");
    let table = bare.table(OFFLINE, |_| {}).await;
    let mut record = sealed(segment(table, 0, 0), 0, 3, 1);
    bare.store_object(&mut record).await;
    bare.state.add_offline_segment(record).await.unwrap();
    let stays = async |bare: &Bare| {
        reconcile::assignment(&bare.state).await.unwrap();
        reconcile::moves(&bare.state).await.unwrap();
        let assigned = &bare.published(table).segments[0].assigned;
        assert_eq!(*assigned, [InstanceId("a".to_owned())]);
    };
    // The controller slept for an hour: others are heard first.
    bare.clock.advance(HOUR);
    bare.beat("b");
    stays(&bare).await;
    bare.clock.advance(Duration::from_secs(20));
    bare.beat("b");
    stays(&bare).await;
    // It took the lead a moment ago.
    bare.restart().await;
    bare.state.take_over().await.unwrap();
    bare.beat("b");
    stays(&bare).await;
    bare.clock.advance(Duration::from_secs(29));
    bare.beat("b");
    stays(&bare).await;
    bare.clock.advance(Duration::from_secs(2));
    bare.beat("b");
    reconcile::assignment(&bare.state).await.unwrap();
    reconcile::moves(&bare.state).await.unwrap();
    let assigned = bare.published(table).segments[0].assigned.clone();
    assert!(
        assigned.contains(&InstanceId("b".to_owned())),
        "{assigned:?}"
    );
}
