//! Brokers that go, leaders that move, answers that are errors: librdkafka's mock cluster injects
//! what a real one does seldom. Every message comes, once and in order.

use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t as native;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
use tokio::time::Instant;

use crate::embedded::{EmbeddedLog, LogConfig};
use crate::{KafkaProducer, KafkaSource, Message, PartitionReader, StreamError, StreamSource};

const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: KafkaProducer,
    source: KafkaSource,
    produced: usize,
}

impl Cluster {
    fn new() -> Self {
        let mock = MockCluster::new(3).unwrap();
        mock.create_topic("t", 1, 3).unwrap();
        let brokers = mock.bootstrap_servers();
        // The mock answers a fetch only when this is over.
        let options = [("fetch.wait.max.ms".to_owned(), "5".to_owned())];
        Self {
            producer: KafkaProducer::new(&brokers).unwrap(),
            source: KafkaSource::new(&brokers, &options, "test").unwrap(),
            mock,
            produced: 0,
        }
    }

    async fn produce(&mut self, count: usize) {
        for number in self.produced..self.produced + count {
            let text = number.to_string();
            let sent = self.producer.send("t", Some(0), None, text.as_bytes());
            sent.await.unwrap();
        }
        self.producer.flush(PATIENCE).await.unwrap();
        self.produced += count;
    }
}

/// The numbers of the messages, each at its offset.
fn numbers(messages: &[Message]) -> Vec<usize> {
    let number = |message: &Message| {
        let text = std::str::from_utf8(message.payload.as_deref().unwrap()).unwrap();
        let number: usize = text.parse().unwrap();
        assert_eq!(message.offset, number as i64);
        number
    };
    messages.iter().map(number).collect()
}

/// Reads until `until` messages are there; unreachable brokers may come back.
async fn read(reader: &mut dyn PartitionReader, from: usize, until: usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut next = from;
    while next < until {
        assert!(Instant::now() < deadline, "{next} of {until} messages");
        match reader.fetch(Duration::from_millis(200)).await {
            Ok(fetched) => {
                let read = numbers(&fetched.messages);
                assert!(read.iter().copied().eq(next..next + read.len()), "{read:?}");
                next += read.len();
            }
            Err(error) => assert!(error.may_pass(), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_and_brokers_go() {
    let mut cluster = Cluster::new();
    let mut reader = cluster.source.open("t", 0, 0).await.unwrap();
    for round in 0..6 {
        let leader = round % 3 + 1;
        cluster.mock.partition_leader("t", 0, Some(leader)).unwrap();
        if round >= 3 {
            cluster.mock.broker_down(leader % 3 + 1).unwrap();
        }
        let before = cluster.produced;
        cluster.produce(200).await;
        read(&mut *reader, before, before + 200).await;
        cluster.mock.broker_up(leader % 3 + 1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_a_fetch_pass() {
    let mut cluster = Cluster::new();
    cluster.produce(100).await;
    let mut reader = cluster.source.open("t", 0, 0).await.unwrap();
    read(&mut *reader, 0, 100).await;
    let errors = [
        native::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        native::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        native::RD_KAFKA_RESP_ERR__TRANSPORT,
        native::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    for error in errors {
        cluster
            .mock
            .request_errors(RDKafkaApiKey::Fetch, &[error; 3]);
        let before = cluster.produced;
        cluster.produce(50).await;
        read(&mut *reader, before, before + 50).await;
        cluster.mock.clear_request_errors(RDKafkaApiKey::Fetch);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_brokers_are_away_for_a_while() {
    let mut cluster = Cluster::new();
    cluster.produce(100).await;
    let mut reader = cluster.source.open("t", 0, 0).await.unwrap();
    read(&mut *reader, 0, 100).await;
    for broker in 1..=3 {
        cluster.mock.broker_down(broker).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reader.fetch(Duration::from_millis(200)).await {
            Err(StreamError::Unreachable { .. }) => break,
            other => assert!(other.unwrap().messages.is_empty()),
        }
        assert!(Instant::now() < deadline, "it is never told");
    }
    for broker in 1..=3 {
        cluster.mock.broker_up(broker).unwrap();
    }
    cluster.produce(100).await;
    read(&mut *reader, 100, 200).await;
}

/// A message that is larger than the client takes is named by its offset, by a reader that begins
/// there; what lies around it can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_receive_limit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = runtime::TaskGroup::new("log");
    let config = LogConfig::new(folder.path().to_owned());
    let (files, clock) = (
        std::sync::Arc::new(runtime::OsFiles),
        runtime::SystemClock::shared(),
    );
    let log = EmbeddedLog::start(config, listener, files, clock, &tasks).unwrap();
    let options = [
        ("message.max.bytes", "100000"),
        ("fetch.max.bytes", "200000"),
        ("fetch.message.max.bytes", "200000"),
        ("receive.message.max.bytes", "300000"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let source = KafkaSource::new(&brokers, &options, "test").unwrap();
    source.create_topic("t", 1).await.unwrap();
    let producer = KafkaProducer::new(&brokers).unwrap();
    // No codec makes it small.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(700_000)
    .collect();
    for payload in [b"before".as_slice(), &noise, b"after"] {
        producer.produce("t", Some(0), None, payload).await.unwrap();
    }
    let mut reader = source.open("t", 0, 0).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    let error = loop {
        match reader.fetch(Duration::from_millis(200)).await {
            Ok(fetched) => seen.extend(fetched.messages.iter().map(|m| m.offset)),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "it is never told");
    };
    assert_eq!(seen, [0]);
    let named = matches!(error, StreamError::TooLarge { offset: 1, .. });
    assert!(named, "{error}");
    let mut reader = source.open("t", 0, 2).await.unwrap();
    let after = loop {
        let fetched = reader.fetch(Duration::from_millis(200)).await.unwrap();
        if let Some(message) = fetched.messages.first() {
            break message.offset;
        }
        assert!(Instant::now() < deadline, "the rest never came");
    };
    assert_eq!(after, 2);
    drop((reader, log));
    tasks.stop(Duration::from_secs(5)).await;
}
