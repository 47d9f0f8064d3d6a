//! A server on the built-in log, through the real Kafka client.

use super::*;
use stream::embedded::{EmbeddedLog, LogConfig};
use stream::{KafkaProducer, KafkaStreams, StreamSource};

async fn produce(producer: &KafkaProducer, range: std::ops::Range<i64>) {
    for n in range {
        let payload = format!(r#"{{"n": {n}, "s": "row {n}"}}"#);
        let sent = producer.send("t", Some(0), None, payload.as_bytes());
        sent.await.unwrap();
    }
    producer.flush(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_topic_to_rows() {
    let mut world = World::new(&["a"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new("log");
    let config = LogConfig::new(world.folder.path().join("log"));
    let clock = SystemClock::shared();
    let _log = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks).unwrap();
    world.streams = Arc::new(KafkaStreams);
    let stream = {
        let mut stream = world.state().spec.stream.unwrap();
        stream.brokers.clone_from(&brokers);
        stream
    };
    world.control.change(|tables| {
        tables.get_mut(&world.table).unwrap().spec.stream = Some(stream.clone());
    });
    let source = KafkaStreams.source(&stream, "test").unwrap();
    StreamSource::create_topic(&*source, "t", 1).await.unwrap();
    let producer = KafkaProducer::new(&brokers).unwrap();
    produce(&producer, 0..1300).await;

    let first = world.start("a").await;
    eventually("ready", || first.ready().is_ok()).await;
    assert_eq!(offsets(&world, &first).len(), 1300, "ready means caught up");
    watch(&world, &first, |_| world.sealed().len() == 2).await;
    first.stop(GRACE).await;

    produce(&producer, 1300..1400).await;
    let second = world.start("a").await;
    eventually("ready again", || second.ready().is_ok()).await;
    assert_eq!(offsets(&world, &second).len(), 1400);
    produce(&producer, 1400..1600).await;
    watch(&world, &second, |seen| {
        seen.len() == 1600 && world.sealed().len() == 3
    })
    .await;
    world.check_ledgers();
    second.stop(GRACE).await;
    tasks.stop(GRACE).await;
}
