//! The built-in log through a real Kafka client.

use std::path::Path;
use std::time::Duration;

use runtime::{OsFiles, SystemClock};
use schemas::Offset;

use super::*;
use crate::{KafkaProducer, KafkaSource, PartitionReader, StreamError, StreamSource};

struct Running {
    log: Arc<EmbeddedLog>,
    brokers: String,
    tasks: TaskGroup,
}

async fn start(folder: &Path, retention_bytes: u64) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new("log");
    let sync = SyncPolicy::Every(Duration::from_millis(50));
    let config = LogConfig {
        folder: folder.to_owned(),
        retention_bytes,
        sync,
        ..LogConfig::new(folder.to_owned())
    };
    let clock = SystemClock::shared();
    let log = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks).unwrap();
    Running {
        log,
        brokers,
        tasks,
    }
}

impl Running {
    fn source(&self) -> KafkaSource {
        KafkaSource::new(&self.brokers, &[], "test").unwrap()
    }

    async fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let producer = KafkaProducer::new(&self.brokers).unwrap();
        for number in numbers {
            let payload = number.to_string();
            producer
                .send(topic, Some(0), None, payload.as_bytes())
                .await
                .unwrap();
        }
        producer.flush(Duration::from_secs(10)).await.unwrap();
    }

    async fn stop(self) {
        drop(self.log);
        assert!(self.tasks.stop(Duration::from_secs(5)).await.is_empty());
    }
}

/// Reads until `until` is the next offset; checks that payload = offset.
async fn read_all(reader: &mut Box<dyn PartitionReader>, until: Offset) -> usize {
    let mut count = 0;
    for _ in 0..100 {
        let batch = reader.fetch(Duration::from_millis(200)).await.unwrap();
        for message in &batch.messages {
            let payload = String::from_utf8(message.payload.clone().unwrap().to_vec()).unwrap();
            assert_eq!(payload, message.offset.to_string());
        }
        count += batch.messages.len();
        if batch.next >= until {
            return count;
        }
    }
    panic!("{count} messages, the end never came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_produced_is_read_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), 1 << 30).await;
    let source = running.source();
    source.create_topic("t", 2).await.unwrap();
    source.create_topic("t", 2).await.unwrap();
    assert_eq!(source.partitions("t").await.unwrap(), 2);
    running.produce("t", 0..5000).await;
    assert_eq!(source.watermarks("t", 0).await.unwrap(), (0, 5000));
    let mut reader = source.open("t", 0, 0).await.unwrap();
    assert_eq!(read_all(&mut reader, 5000).await, 5000);
    drop(reader);
    running.stop().await;

    // A torn batch at the end is cut.
    let file = folder.path().join("t/0/00000000000000000000.log");
    let whole = std::fs::metadata(&file).unwrap().len();
    let torn = std::fs::read(&file).unwrap()[..100].to_vec();
    std::fs::write(&file, [std::fs::read(&file).unwrap(), torn].concat()).unwrap();

    let running = start(folder.path(), 1 << 30).await;
    assert_eq!(std::fs::metadata(&file).unwrap().len(), whole);
    running.produce("t", 5000..6000).await;
    let mut reader = running.source().open("t", 0, 4321).await.unwrap();
    assert_eq!(read_all(&mut reader, 6000).await, 6000 - 4321);
    drop(reader);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_and_offsets_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), 1 << 30).await;
    let source = running.source();
    let error = source.partitions("nothing").await.unwrap_err();
    assert!(matches!(error, StreamError::TopicMissing { .. }), "{error}");
    source.create_topic("t", 1).await.unwrap();
    let mut reader = source.open("t", 0, 77).await.unwrap();
    let error = loop {
        match reader.fetch(Duration::from_millis(100)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let StreamError::OffsetOutOfRange {
        wanted: 77,
        start: 0,
        end: 0,
        ..
    } = error
    else {
        panic!("{error}")
    };
    drop(reader);
    let nobody = KafkaSource::new("127.0.0.1:1", &[], "test").unwrap();
    let error = nobody.partitions("t").await.unwrap_err();
    assert!(matches!(error, StreamError::Unreachable { .. }), "{error}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_transaction_is_not_read() {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), 1 << 30).await;
    let source = running.source();
    source.create_topic("t", 1).await.unwrap();
    let brokers = running.brokers.clone();
    ComputePoolForTest::run(move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("transactional.id", "tx")
            .create()
            .unwrap();
        let wait = Duration::from_secs(10);
        producer.init_transactions(wait).unwrap();
        for (payload, commit) in [("kept", true), ("dropped", false), ("kept", true)] {
            producer.begin_transaction().unwrap();
            for _ in 0..3 {
                let record = BaseRecord::<(), str>::to("t").partition(0).payload(payload);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(wait).unwrap();
            if commit {
                producer.commit_transaction(wait).unwrap();
            } else {
                producer.abort_transaction(wait).unwrap();
            }
        }
    })
    .await;
    // 3 messages and a marker for each transaction.
    let mut reader = source.open("t", 0, 0).await.unwrap();
    let mut offsets = Vec::new();
    while offsets.len() < 6 {
        let batch = reader.fetch(Duration::from_secs(1)).await.unwrap();
        for message in batch.messages {
            assert_eq!(message.payload.as_deref(), Some(b"kept".as_slice()));
            offsets.push(message.offset);
        }
    }
    assert_eq!(offsets, [0, 1, 2, 8, 9, 10]);
    let end = loop {
        let batch = reader.fetch(Duration::from_secs(1)).await.unwrap();
        if batch.next > 11 {
            break batch.next;
        }
    };
    assert_eq!(end, 12, "the end marker is passed too");
    drop(reader);
    running.stop().await;
}

struct ComputePoolForTest;

impl ComputePoolForTest {
    async fn run(job: impl FnOnce() + Send + 'static) {
        ComputePool::new(1).run(job).await.unwrap();
    }
}
