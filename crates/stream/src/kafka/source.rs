//! Topics and partitions of a Kafka cluster.
//!
//! Invariant: a table's options may say how to reach the cluster and how to read from it, but not
//! what exactly-once rests on: assignment, no commits, no silent jump to another offset.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use runtime::{Backoff, ComputePool};
use schemas::Offset;
use tokio::time::Instant;

use super::client::Consumer;
use super::context::Context;
use super::reader::KafkaReader;
use crate::{PartitionReader, StreamError, StreamSource};

const METADATA_TIMEOUT: Duration = Duration::from_secs(4);
const TOPIC_READY_TIMEOUT: Duration = Duration::from_secs(5);

/// As replication factor: what the brokers are set to.
const BROKERS_DEFAULT: i32 = -1;

/// What a table's options cannot change.
const FIXED: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
];

/// One Kafka cluster as one table sees it.
#[derive(Clone)]
pub struct KafkaSource {
    brokers: Arc<str>,
    /// May hold secrets.
    config: ClientConfig,
    context: Context,
    /// Metadata calls block; they run here.
    pool: ComputePool,
    headers: bool,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// `options` are librdkafka's; `name` appears in the broker's logs.
    pub fn new(
        brokers: &str,
        options: &[(String, String)],
        name: &str,
    ) -> Result<Self, StreamError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", format!("tannin-{name}"))
            .set("group.id", format!("tannin-{name}"))
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "1048576")
            .set("receive.message.max.bytes", "268435456")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.connection.setup.timeout.ms", "4000")
            .set("topic.metadata.propagation.max.ms", "2000")
            .set("topic.metadata.refresh.fast.interval.ms", "20")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false")
            .set("log_level", "3");
        for (option, value) in options {
            config.set(option, value);
        }
        for (option, value) in FIXED {
            config.set(option, value);
        }
        let source = Self {
            brokers: brokers.into(),
            config,
            context: Context::default(),
            pool: ComputePool::new(2),
            headers: false,
        };
        source.asker()?;
        Ok(source)
    }

    /// Whether readers hand out the headers of messages.
    #[must_use]
    pub fn with_headers(self, headers: bool) -> Self {
        Self { headers, ..self }
    }

    fn consumer(&self) -> Result<Consumer, StreamError> {
        Consumer::open(&self.config, self.context.clone()).map_err(refused)
    }

    /// A client for questions. Without a group there is none to leave, which takes a moment.
    fn asker(&self) -> Result<BaseConsumer<Context>, StreamError> {
        let mut config = self.config.clone();
        config.remove("group.id");
        config
            .create_with_context(self.context.clone())
            .map_err(refused)
    }

    /// Runs a call that blocks on a fresh client.
    async fn ask<T: Send + 'static>(
        &self,
        topic: &str,
        call: impl FnOnce(&BaseConsumer<Context>, &str) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, StreamError> {
        let (source, topic) = (self.clone(), topic.to_owned());
        let asked = self.pool.run(move || {
            let consumer = source.asker()?;
            call(&consumer, &topic).map_err(|error| source.explain(&topic, &error))
        });
        asked
            .await
            .map_err(|error| StreamError::Client(error.to_string()))?
    }

    /// Until the cluster has told itself of a new topic.
    async fn await_topic(&self, topic: &str) -> Result<(), StreamError> {
        let deadline = Instant::now() + TOPIC_READY_TIMEOUT;
        let mut backoff = Backoff::up_to(Duration::from_millis(500));
        loop {
            match self.partitions(topic).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(backoff.next_delay()).await,
            }
        }
    }

    fn explain(&self, topic: &str, error: &KafkaError) -> StreamError {
        explain(&self.brokers, topic, error)
    }
}

/// Why a client could not be made; the value of an option may be a secret.
pub(super) fn refused(error: KafkaError) -> StreamError {
    match error {
        KafkaError::ClientConfig(_, detail, option, _) => StreamError::Option { option, detail },
        other => StreamError::Client(format!("no Kafka client can be made: {other}")),
    }
}

fn is_unknown_partition(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopicOrPartition};
    let code = error.rdkafka_error_code();
    matches!(code, Some(UnknownPartition | UnknownTopicOrPartition))
}

pub(super) fn explain(brokers: &str, topic: &str, error: &KafkaError) -> StreamError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => StreamError::TopicMissing {
            topic: topic.to_owned(),
            brokers: brokers.to_owned(),
        },
        Some(
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::Resolve
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::LeaderNotAvailable,
        ) => StreamError::Unreachable {
            brokers: brokers.to_owned(),
            detail: error.to_string(),
        },
        _ => StreamError::Client(format!("Kafka at `{brokers}`: {error}")),
    }
}

#[async_trait]
impl StreamSource for KafkaSource {
    async fn open(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<Box<dyn PartitionReader>, StreamError> {
        let (consumer, headers) = (self.consumer()?, self.headers);
        let reader = KafkaReader::start(consumer, &self.brokers, topic, partition, from, headers)?;
        Ok(Box::new(reader))
    }

    async fn partitions(&self, topic: &str) -> Result<u32, StreamError> {
        let count = self.ask(topic, |consumer, topic| {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found.map(|found| (found.error(), found.partitions().len())) {
                Some((None, count)) => Ok(count as u32),
                Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error.into())),
                None => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic)),
            }
        });
        count.await
    }

    async fn watermarks(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(Offset, Offset), StreamError> {
        let watermarks = self.ask(topic, move |consumer, topic| {
            match consumer.fetch_watermarks(topic, partition as i32, METADATA_TIMEOUT) {
                Err(error) if is_unknown_partition(&error) => Ok(None),
                watermarks => watermarks.map(Some),
            }
        });
        match watermarks.await? {
            Some(watermarks) => Ok(watermarks),
            // An error when the topic itself is missing.
            None => self
                .partitions(topic)
                .await
                .and(Err(StreamError::PartitionMissing {
                    topic: topic.to_owned(),
                    partition,
                    brokers: self.brokers.to_string(),
                })),
        }
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: u32,
        time_ms: i64,
    ) -> Result<Option<Offset>, StreamError> {
        self.ask(topic, move |consumer, topic| {
            let mut asked = TopicPartitionList::new();
            let at = KafkaOffset::Offset(time_ms);
            asked.add_partition_offset(topic, partition as i32, at)?;
            let found = consumer.offsets_for_times(asked, METADATA_TIMEOUT)?;
            let found = found
                .elements()
                .first()
                .map(|one| (one.error(), one.offset()));
            match found {
                Some((Err(error), _)) => Err(error),
                Some((Ok(()), KafkaOffset::Offset(offset))) => Ok(Some(offset)),
                _ => Ok(None),
            }
        })
        .await
    }

    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), StreamError> {
        let admin: AdminClient<Context> = self
            .config
            .create_with_context(self.context.clone())
            .map_err(refused)?;
        let count = i32::try_from(partitions)
            .map_err(|_| StreamError::Client(format!("{partitions} are too many partitions")))?;
        let wanted = NewTopic::new(topic, count, TopicReplication::Fixed(BROKERS_DEFAULT));
        let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
        let results = admin.create_topics([&wanted], &options).await;
        let results = results.map_err(|error| self.explain(topic, &error))?;
        match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
                self.await_topic(topic).await
            }
            Some(Err((_, code))) => Err(StreamError::Client(format!(
                "Kafka at `{}` did not create topic `{topic}`: {code}",
                self.brokers
            ))),
        }
    }
}
