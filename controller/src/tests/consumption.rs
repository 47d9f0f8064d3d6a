//! Topics and partitions of a table, where they begin, and what is ordered about them.

use std::sync::atomic::Ordering;

use schemas::proto::{ConsumerState, HeartbeatRequest, SegmentConsumedRequest};

use super::bare::{Bare, START_MS};
use super::*;
use crate::consumption::{From, Parts};
use crate::reconcile::open_partitions;
use crate::state::State;

/// Two topics; only some partitions of the second one, from a time on.
const TWO_TOPICS: &str = r#"{"tableName":"orders_REALTIME","tableType":"REALTIME",
 "segmentsConfig":{"timeColumnName":"ts","replication":"1"},"tenants":{},"tableIndexConfig":{},
 "ingestionConfig":{"streamIngestionConfig":{"streamConfigMaps":[
  {"streamType":"kafka","stream.kafka.topic.name":"a","stream.kafka.broker.list":"k:9092",
   "stream.kafka.consumer.prop.auto.offset.reset":"START"},
  {"streamType":"kafka","stream.kafka.topic.name":"b","stream.kafka.broker.list":"k:9092",
   "stream.kafka.consumer.prop.auto.offset.reset":"1970-01-01T00:00:30Z",
   "stream.kafka.partition.ids":"2, 0"}]}},
 "metadata":{}}"#;

fn two_topics(start: &str) -> String {
    TWO_TOPICS.replace("START", start)
}

/// Partition and start of what consumes.
fn heads(state: &State, table: TableId) -> Vec<(u32, i64)> {
    let published = state.table(table).unwrap();
    let consuming = crate::consumption::consuming(&published);
    consuming.map(|(p, _, start)| (p, start)).collect()
}

fn tell(bare: &Bare, consumers: Vec<ConsumerState>) {
    let request = HeartbeatRequest {
        instance: "a".to_owned(),
        role: "server".to_owned(),
        consumers,
        ..HeartbeatRequest::default()
    };
    bare.state.heartbeat(request).unwrap();
}

async fn opened(bare: &Bare, start: &str) -> TableId {
    let table = bare.table(&two_topics(start), |_| {}).await;
    open_partitions(&bare.state, &bare.published(table))
        .await
        .unwrap();
    table
}

#[tokio::test]
async fn partitions_begin_where_their_topic_says() {
    let bare = Bare::new().await;
    bare.beat("a");
    bare.streams.0.partitions.store(3, Ordering::Relaxed);
    *bare.streams.0.watermarks.lock() = (7, 90);
    for (start, first) in [
        ("smallest", 7),
        ("largest", 90),
        ("offset:50", 50),
        ("offset:5000", 90),
        ("1970-01-01T00:00:20Z", 20),
        ("2030-01-01", 90),
        ("2d", 90),
    ] {
        let table = opened(&bare, start).await;
        let wanted = [
            (0, first),
            (1, first),
            (2, first),
            (10_000, 30),
            (10_002, 30),
        ];
        assert_eq!(heads(&bare.state, table), wanted, "{start}");
        // A partition that comes later is read from its first message.
        bare.streams.0.partitions.store(4, Ordering::Relaxed);
        open_partitions(&bare.state, &bare.published(table))
            .await
            .unwrap();
        assert!(heads(&bare.state, table).contains(&(3, 7)), "{start}");
        assert_eq!(heads(&bare.state, table).len(), 6, "{start}");
        bare.streams.0.partitions.store(3, Ordering::Relaxed);
        let stored = bare.state.catalog.table(table).await.unwrap().unwrap();
        bare.state.catalog.drop_table(&stored.value).await.unwrap();
        bare.state.publish(table).await.unwrap();
    }
}

#[tokio::test]
async fn going_on_elsewhere_names_what_is_passed_over() {
    let bare = Bare::new().await;
    bare.beat("a");
    bare.streams.0.partitions.store(1, Ordering::Relaxed);
    *bare.streams.0.watermarks.lock() = (0, 10);
    let table = opened(&bare, "smallest").await;
    let told = |next_offset| ConsumerState {
        table_id: table.to_bytes(),
        partition: 0,
        next_offset,
        log_end_offset: 10,
        ..ConsumerState::default()
    };
    tell(&bare, vec![told(6)]);
    let state = &bare.state;
    let published = || bare.published(table);
    let skips = || published().orders.skips.clone();
    let note = String::new;
    let refused = state
        .resume(&published(), None, From::Largest, note())
        .await;
    let refused = refused.unwrap_err().message;
    assert!(refused.contains("pause it before"), "{refused}");

    state
        .pause(&published(), None, "a look".to_owned())
        .await
        .unwrap();
    assert!(published().paused);
    *bare.streams.0.watermarks.lock() = (2, 40);
    state
        .resume(&published(), None, From::Smallest, note())
        .await
        .unwrap();
    assert!(!published().paused);
    assert!(skips().is_empty(), "nothing that was read is read again");

    state
        .pause(&published(), Some(vec![0]), note())
        .await
        .unwrap();
    assert!(!published().paused && published().orders.paused_topics.contains(&0));
    let unknown = state.pause(&published(), Some(vec![2]), note()).await;
    assert!(unknown.unwrap_err().message.contains("no topic 2"));
    state
        .resume(&published(), Some(vec![0]), From::Largest, note())
        .await
        .unwrap();
    let skip = skips().remove(0);
    assert_eq!((skip.partition, skip.from, skip.to), (0, 6, 40));
    assert_eq!(skips().len(), 1, "of the topic that was asked for");
    assert!(published().orders.paused_topics.is_empty());

    // What is committed past it is forgotten with the next order.
    bare.seal(table, 45, START_MS).await;
    state.publish(table).await.unwrap();
    state.pause(&published(), None, note()).await.unwrap();
    state
        .resume(&published(), None, From::LastConsumed, note())
        .await
        .unwrap();
    assert!(skips().is_empty(), "{:?}", skips());
}

#[tokio::test]
async fn a_force_commit_is_done_when_its_segments_are() {
    let bare = Bare::new().await;
    bare.beat("a");
    bare.streams.0.partitions.store(1, Ordering::Relaxed);
    let table = opened(&bare, "smallest").await;
    let published = || bare.published(table);
    let none = Parts {
        partitions: Some(vec![77]),
        ..Parts::default()
    };
    let refused = bare.state.force_commit(&published(), &none).await;
    assert!(refused.unwrap_err().message.contains("consumes"));
    let all = Parts::default();
    let job = bare.state.force_commit(&published(), &all).await.unwrap();
    assert_eq!(job.segments, [(0, 0), (10_000, 0)]);
    let left = || {
        let (table, job) = bare.state.find_commit(job.id).unwrap();
        bare.state.not_committed(&table, &job)
    };
    assert_eq!(left(), [(0, 0), (10_000, 0)]);
    // The second topic has nothing to be sealed, the first seals.
    let declined = ConsumerState {
        table_id: table.to_bytes(),
        partition: 10_000,
        declined_commit: job.id.to_string(),
        ..ConsumerState::default()
    };
    tell(&bare, vec![declined]);
    assert_eq!(left(), [(0, 0)]);
    bare.seal(table, 5, START_MS).await;
    bare.state.publish(table).await.unwrap();
    assert!(left().is_empty());
}

#[tokio::test]
async fn a_force_commit_is_also_of_rows_behind_a_segment_that_is_being_committed() {
    let bare = Bare::new().await;
    bare.beat("a");
    bare.streams.0.partitions.store(1, Ordering::Relaxed);
    let table = opened(&bare, "smallest").await;
    let report = SegmentConsumedRequest {
        instance: "a".to_owned(),
        table_id: table.to_bytes(),
        offset: 5,
        ..SegmentConsumedRequest::default()
    };
    bare.api.segment_consumed(report).await.unwrap();
    let ahead = ConsumerState {
        table_id: table.to_bytes(),
        partition: 10_000,
        sequence: 1,
        ..ConsumerState::default()
    };
    tell(&bare, vec![ahead]);
    let all = Parts::default();
    let state = &bare.state;
    let job = state.force_commit(&bare.published(table), &all).await;
    let job = job.unwrap();
    assert_eq!(job.segments, [(0, 0), (0, 1), (10_000, 0), (10_000, 1)]);
    let left = || {
        let (table, job) = state.find_commit(job.id).unwrap();
        state.not_committed(&table, &job)
    };
    assert_eq!(
        left(),
        [(0, 0), (10_000, 0)],
        "what follows is not there yet"
    );
    for wanted in [vec![(0, 1), (10_000, 0)], vec![(10_000, 0)]] {
        bare.seal(table, 5, START_MS).await;
        state.publish(table).await.unwrap();
        assert_eq!(left(), wanted);
    }
}

#[tokio::test]
async fn what_pinots_clients_read_of_consumption() {
    let world = World::memory().await;
    let server = world.server("Server_a").await;
    world.streams.0.partitions.store(1, Ordering::Relaxed);
    world.create(REALTIME).await;
    eventually("a partition is open", async || {
        let info = world.get("/tables/orders/consumingSegmentsInfo").await.ok();
        info["_segmentToConsumingInfoMap"]
            .as_object()
            .unwrap()
            .len()
            == 1
    })
    .await;
    let path = "/tables/orders_REALTIME/pauseConsumption?comment=why%20not";
    let paused = world.post(path, "").await.ok();
    assert_eq!(paused["comment"], "why not");
    assert!(paused["timestamp"].as_str().unwrap().parse::<i64>().is_ok());
    assert_eq!(paused["consumingSegments"].as_array().unwrap().len(), 1);
    let wrong = world.post("/tables/orders/resumeConsumption?consumeFrom=there", "");
    let wrong = wrong.await.refused(400);
    assert!(
        wrong.contains("lastConsumed, smallest and largest"),
        "{wrong}"
    );
    let job = world.post("/tables/orders/forceCommit", "").await.ok();
    assert_eq!(job["forceCommitStatus"], "SUCCESS");
    let id = job["forceCommitJobId"].as_str().unwrap();
    let status = world
        .get(&format!("/tables/forceCommitStatus/{id}"))
        .await
        .ok();
    assert_eq!(status["numberOfSegmentsYetToBeCommitted"], 1);
    assert_eq!(status["jobType"], "FORCE_COMMIT");
    world
        .get("/tables/forceCommitStatus/none")
        .await
        .refused(404);
    let health = world.get("/tables/orders/status").await.ok();
    assert_eq!(health["ingestionStatus"]["ingestionState"], "UNHEALTHY");
    let status = world.get("/v1/tables/orders/status").await.ok();
    assert_eq!(status["state"], "BAD");
    let reason = status["reasons"][0].as_str().unwrap();
    assert_eq!(reason, "partition 0 is consumed by no living server");
    drop(server);
}

#[tokio::test]
async fn who_keeps_segments_in_another_clusters_store_is_refused() {
    let bare = Bare::new().await;
    let beat = |deep_store_of: String| {
        bare.state.heartbeat(HeartbeatRequest {
            instance: "a".to_owned(),
            role: "server".to_owned(),
            deep_store_of,
            ..HeartbeatRequest::default()
        })
    };
    let fault = beat("another".to_owned()).unwrap_err();
    assert_eq!(fault.kind, schemas::FaultKind::Conflict);
    assert!(
        fault.message.contains("belongs to the cluster another"),
        "{fault}"
    );
    assert!(!bare.state.fleet().takes_anything());
    let ours = bare.state.catalog.cluster(0).await.unwrap().id;
    beat(ours.to_string()).unwrap();
    beat(String::new()).unwrap();
    assert!(bare.state.fleet().takes_anything());
}
