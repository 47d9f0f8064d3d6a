//! The built-in log through a real Kafka client.

use std::path::Path;
use std::time::Duration;

use runtime::{ManualClock, OsFiles, SystemClock};
use schemas::Offset;

use super::*;
use crate::{KafkaProducer, KafkaSource, PartitionReader, StreamError, StreamSource};

struct Running {
    log: Arc<EmbeddedLog>,
    brokers: String,
    tasks: TaskGroup,
}

async fn start(folder: &Path) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sync = SyncPolicy::Every(Duration::from_millis(50));
    let config = LogConfig {
        sync,
        ..LogConfig::new(folder.to_owned())
    };
    start_with(config, listener, SystemClock::shared())
}

fn start_with(config: LogConfig, listener: TcpListener, clock: Arc<dyn Clock>) -> Running {
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new("log");
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
    let running = start(folder.path()).await;
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

    let running = start(folder.path()).await;
    assert_eq!(std::fs::metadata(&file).unwrap().len(), whole);
    running.produce("t", 5000..6000).await;
    let mut reader = running.source().open("t", 0, 4321).await.unwrap();
    assert_eq!(read_all(&mut reader, 6000).await, 6000 - 4321);
    drop(reader);
    running.stop().await;
}

/// Waits for a condition that must come.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: never");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_told_and_waited_for() {
    let nobody = KafkaSource::new("127.0.0.1:1", &[], "test").unwrap();
    let error = nobody.partitions("t").await.unwrap_err();
    assert!(matches!(error, StreamError::Unreachable { .. }), "{error}");
    let mut reader = nobody.open("t", 0, 0).await.unwrap();
    first_unreachable(&mut reader).await;
    drop(reader);

    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let source = running.source();
    source.create_topic("t", 1).await.unwrap();
    running.produce("t", 0..100).await;
    let mut reader = source.open("t", 0, 0).await.unwrap();
    assert_eq!(read_all(&mut reader, 100).await, 100);
    let brokers = running.brokers.clone();
    running.stop().await;
    first_unreachable(&mut reader).await;

    let listener = TcpListener::bind(&brokers).await.unwrap();
    let config = LogConfig::new(folder.path().to_owned());
    let running = start_with(config, listener, SystemClock::shared());
    running.produce("t", 100..200).await;
    let mut count = 0;
    for _ in 0..100 {
        match reader.fetch(Duration::from_millis(200)).await {
            Ok(fetched) => {
                count += fetched.messages.len();
                if fetched.next == 200 {
                    break;
                }
            }
            Err(error) => assert!(error.may_pass(), "{error}"),
        }
    }
    assert_eq!(count, 100, "the same reader goes on where it was");
    drop(reader);
    running.stop().await;
}

async fn first_unreachable(reader: &mut Box<dyn PartitionReader>) {
    let told = async {
        loop {
            if let Err(error) = reader.fetch(Duration::from_millis(100)).await {
                return error;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(5), told).await;
    let error = told.expect("no error within 5 s");
    assert!(matches!(error, StreamError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_and_not_taken_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let options = [("message.timeout.ms", "1000"), ("linger.ms", "5")];
    let producer = KafkaProducer::with_options(&running.brokers, &options).unwrap();
    producer.send("missing", Some(0), None, b"x").await.unwrap();
    let flushed = producer.flush(Duration::from_secs(30)).await;
    assert!(flushed.is_err());
    let acks = producer.acks();
    assert_eq!((acks.queued, acks.acked, acks.failed), (1, 0, 1));
    let produced = producer.produce("missing", Some(0), None, b"x").await;
    assert!(produced.is_err());
    drop(producer);
    running.stop().await;
}

/// Begins a transaction and forgets about it.
async fn leave_open(brokers: &str, topic: &'static str) {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("transactional.id", "left-open");
    let job = move || {
        let wait = Duration::from_secs(10);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(wait).unwrap();
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<(), str>::to(topic).partition(0).payload("x");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(wait).unwrap();
        std::mem::forget(producer);
    };
    ComputePool::new(1).run(job).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_open_at_a_restart_is_aborted() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    running.source().create_topic("t", 1).await.unwrap();
    leave_open(&running.brokers, "t").await;
    let partition = running.log.topics.partition("t", 0).unwrap();
    assert_eq!(partition.offsets(), (0, 0, 1));
    drop(partition);
    running.stop().await;

    let running = start(folder.path()).await;
    let source = running.source();
    assert_eq!(source.partitions("t").await.unwrap(), 1);
    let mut reader = source.open("t", 0, 0).await.unwrap();
    let mut next = 0;
    for _ in 0..50 {
        let fetched = reader.fetch(Duration::from_millis(200)).await.unwrap();
        assert!(fetched.messages.is_empty(), "it was never committed");
        next = fetched.next;
        if next == 2 {
            break;
        }
    }
    assert_eq!(next, 2, "the message and the marker that aborts it");
    drop(reader);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_there_after_a_restart_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let topics = &running.log.topics;
    let make = topics::Change::Make;
    assert_eq!(topics.create("kept", 3, make), kafka_error::NONE);
    assert_eq!(topics.create("gone", 1, make), kafka_error::NONE);
    assert_eq!(topics.grow("kept", 4, make), kafka_error::NONE);
    assert_eq!(
        topics.grow("kept", 2, make),
        kafka_error::INVALID_PARTITIONS
    );
    assert_eq!(topics.delete("gone"), kafka_error::NONE);
    assert_eq!(
        topics.create("checked", 1, topics::Change::OnlyCheck),
        kafka_error::NONE
    );
    for illegal in ["", ".", "..", "a/b", "~topics", "ü"] {
        assert_eq!(
            topics.create(illegal, 1, make),
            kafka_error::INVALID_TOPIC,
            "{illegal}"
        );
    }
    running.stop().await;
    // A creation and a deletion that were cut short.
    std::fs::create_dir_all(folder.path().join("half/0")).unwrap();
    std::fs::create_dir_all(folder.path().join("dying/0")).unwrap();
    let list = folder.path().join("~topics");
    let listed = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, format!("{listed}dying 0\n")).unwrap();

    let running = start(folder.path()).await;
    assert_eq!(running.log.topics.names(), ["kept"]);
    assert_eq!(running.log.topics.partition_count("kept"), Some(4));
    assert!(!folder.path().join("dying").exists());
    running.stop().await;
    std::fs::write(&list, "kept\n").unwrap();
    let config = LogConfig::new(folder.path().to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (clock, tasks) = (SystemClock::shared(), TaskGroup::new("log"));
    let refused = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("is damaged at `kept`")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_files_go_when_the_log_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = ManualClock::at_ms(1_700_000_000_000);
    let config = LogConfig {
        retention_bytes: 1 << 20,
        file_bytes: 256 << 10,
        sync: SyncPolicy::Every(Duration::from_secs(1)),
        ..LogConfig::new(folder.path().to_owned())
    };
    let running = start_with(config, listener, Arc::clone(&clock) as Arc<dyn Clock>);
    let source = running.source();
    source.create_topic("t", 2).await.unwrap();
    let options = [("compression.type", "none"), ("batch.size", "50000")];
    let producer = KafkaProducer::with_options(&running.brokers, &options).unwrap();
    for number in 0..3000u32 {
        let partition = (number % 2) as i32;
        producer
            .send("t", Some(partition), None, &[7; 1000])
            .await
            .unwrap();
    }
    producer.flush(Duration::from_secs(20)).await.unwrap();
    assert!(running.log.log_bytes() > 3_000_000);
    eventually("within its size", || {
        clock.advance(RETENTION_EVERY);
        running.log.log_bytes() <= 1 << 20
    })
    .await;
    for partition in 0..2 {
        let (start, end) = source.watermarks("t", partition).await.unwrap();
        assert!(end == 1500 && (1..1500).contains(&start), "{start} {end}");
        let mut reader = source.open("t", partition, start).await.unwrap();
        let mut next = start;
        while next < end {
            let fetched = reader.fetch(Duration::from_secs(5)).await.unwrap();
            assert!(fetched.next > next);
            next = fetched.next;
        }
    }
    drop(producer);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_log_keeps_goes() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = ManualClock::at_ms(SystemClock::shared().now_ms());
    let config = LogConfig {
        retention_ms: Some(3_600_000),
        sync: SyncPolicy::Every(Duration::from_secs(1)),
        ..LogConfig::new(folder.path().to_owned())
    };
    let running = start_with(config, listener, Arc::clone(&clock) as Arc<dyn Clock>);
    let source = running.source();
    source.create_topic("t", 1).await.unwrap();
    running.produce("t", 0..100).await;
    for _ in 0..5 {
        clock.advance(RETENTION_EVERY);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        source.watermarks("t", 0).await.unwrap(),
        (0, 100),
        "it is young"
    );
    clock.advance(Duration::from_secs(2 * 3600));
    let emptied = || running.log.log_bytes() == 0;
    eventually("it is gone", || {
        clock.advance(RETENTION_EVERY);
        emptied()
    })
    .await;
    assert_eq!(source.watermarks("t", 0).await.unwrap(), (100, 100));
    running.produce("t", 100..110).await;
    let mut reader = source.open("t", 0, 100).await.unwrap();
    assert_eq!(read_all(&mut reader, 110).await, 10, "offsets go on");
    drop(reader);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_frames_close_their_connection_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    running.source().create_topic("t", 1).await.unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let frame = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let mut frames = vec![
        u32::MAX.to_be_bytes().to_vec(),
        (101u32 << 20).to_be_bytes().to_vec(),
        frame(b""),
        frame(&[0; 7]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for _ in 0..600 {
        // A right header, then anything.
        let api = (random() % 40) as u8;
        let version = (random() % 13) as u8;
        let mut body = vec![0, api, 0, version, 0, 0, 0, 1, 0xff, 0xff];
        for _ in 0..random() % 64 {
            body.push(if random() % 3 == 0 { random() as u8 } else { 0 });
        }
        frames.push(frame(&body));
    }
    for bytes in frames {
        let mut client = tokio::net::TcpStream::connect(&running.brokers)
            .await
            .unwrap();
        client.write_all(&bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset, in time.
        let closed = client.read_to_end(&mut answer);
        let closed = tokio::time::timeout(Duration::from_secs(10), closed).await;
        assert!(closed.is_ok(), "a connection hangs after {bytes:?}");
    }
    assert_eq!(running.source().partitions("t").await.unwrap(), 1);
    running.stop().await;
}
