//! A server on the built-in log and on Apache Kafka, both through the real client.

use super::*;
use stream::conformance::apache_kafka;
use stream::embedded::{EmbeddedLog, LogConfig};
use stream::{KafkaProducer, KafkaStreams, StreamSource};

async fn produce(producer: &KafkaProducer, topic: &str, range: std::ops::Range<i64>) {
    for n in range {
        let payload = format!(r#"{{"n": {n}, "s": "row {n}"}}"#);
        let sent = producer.send(topic, Some(0), None, payload.as_bytes());
        sent.await.unwrap();
    }
    producer.flush(Duration::from_secs(10)).await.unwrap();
}

/// A world whose table reads a new topic of the cluster at `brokers`.
async fn world_on(brokers: &str, servers: &[&str]) -> (World, String) {
    let mut world = World::new(servers);
    world.streams = Arc::new(KafkaStreams);
    let topic = format!("server-{}", world.table);
    let mut stream = world.state().spec.streams.remove(0);
    brokers.clone_into(&mut stream.brokers);
    stream.topic.clone_from(&topic);
    let source = KafkaStreams.source(&stream, "test").unwrap();
    StreamSource::create_topic(&*source, &topic, 1)
        .await
        .unwrap();
    world.control.change(|tables| {
        tables.get_mut(&world.table).unwrap().spec.streams = vec![stream];
    });
    (world, topic)
}

async fn from_a_topic_to_rows(brokers: &str) {
    let (world, topic) = world_on(brokers, &["a"]).await;
    let producer = KafkaProducer::new(brokers).unwrap();
    produce(&producer, &topic, 0..1300).await;

    let first = world.start("a").await;
    eventually("ready", || first.ready().is_ok()).await;
    assert_eq!(offsets(&world, &first).len(), 1300, "ready means caught up");
    watch(&world, &first, |_| world.sealed().len() == 2).await;
    first.stop(GRACE).await;

    produce(&producer, &topic, 1300..1400).await;
    let second = world.start("a").await;
    eventually("ready again", || second.ready().is_ok()).await;
    assert_eq!(offsets(&world, &second).len(), 1400);
    produce(&producer, &topic, 1400..1600).await;
    watch(&world, &second, |seen| {
        seen.len() == 1600 && world.sealed().len() == 3
    })
    .await;
    world.check_ledgers();
    second.stop(GRACE).await;
}

/// Both replicas see every row while one of them commits; bad events are told by both.
async fn two_replicas_agree(brokers: &str) {
    let (world, topic) = world_on(brokers, &["a", "b"]).await;
    let producer = KafkaProducer::new(brokers).unwrap();
    let (a, b) = (world.start("a").await, world.start("b").await);
    produce(&producer, &topic, 0..1700).await;
    for (name, server) in [("a", &a), ("b", &b)] {
        watch(&world, server, |seen| {
            let held = world.control.held(name);
            let sealed = world.sealed();
            let is_held = |r: &SegmentRecord| held.contains(&(r.id.sequence, r.crc));
            seen.len() == 1700 && sealed.len() == 3 && sealed.iter().all(is_held)
        })
        .await;
    }
    world.check_ledgers();
    let bad = producer.produce(&topic, Some(0), None, b"{\"n\": ");
    assert_eq!(bad.await.unwrap(), (0, 1700));
    for server in [&a, &b] {
        eventually("the bad event is told", || {
            let tables = server.core.tables.all();
            let now_ms = server.core.clock.now_ms();
            crate::system::rejected_rows(&tables, now_ms)
                .unwrap()
                .num_rows()
                == 1
        })
        .await;
    }
    a.stop(GRACE).await;
    b.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_built_in_log() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new("log");
    let config = LogConfig::new(folder.path().join("log"));
    let clock = SystemClock::shared();
    let _log = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks).unwrap();
    from_a_topic_to_rows(&brokers).await;
    two_replicas_agree(&brokers).await;
    tasks.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_apache_kafka() {
    let Some(brokers) = apache_kafka("server::on_apache_kafka") else {
        return;
    };
    from_a_topic_to_rows(&brokers).await;
    two_replicas_agree(&brokers).await;
}
