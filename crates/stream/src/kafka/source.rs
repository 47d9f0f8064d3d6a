//! Topics and partitions of a Kafka cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use runtime::ComputePool;
use schemas::Offset;

use super::context::Context;
use super::reader::KafkaReader;
use crate::{PartitionReader, StreamError, StreamSource};

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// One Kafka cluster as one table sees it.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    brokers: Arc<str>,
    config: ClientConfig,
    /// Metadata calls block; they run here.
    pool: ComputePool,
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
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "1048576")
            .set("receive.message.max.bytes", "100000000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false")
            .set("log_level", "3");
        for (option, value) in options {
            config.set(option, value);
        }
        let source = Self {
            brokers: brokers.into(),
            config,
            pool: ComputePool::new(2),
        };
        source.consumer()?;
        Ok(source)
    }

    fn consumer(&self) -> Result<BaseConsumer<Context>, StreamError> {
        self.config
            .create_with_context(Context)
            .map_err(|error| match error {
                KafkaError::ClientConfig(_, detail, option, value) => StreamError::Option {
                    option: format!("{option}={value}"),
                    detail,
                },
                other => StreamError::Client(other.to_string()),
            })
    }

    /// Runs a call that blocks on a fresh consumer.
    async fn ask<T: Send + 'static>(
        &self,
        topic: &str,
        call: impl FnOnce(&BaseConsumer<Context>, &str) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, StreamError> {
        let (source, topic) = (self.clone(), topic.to_owned());
        let asked = self.pool.run(move || {
            let consumer = source.consumer()?;
            call(&consumer, &topic).map_err(|error| source.explain(&topic, &error))
        });
        asked
            .await
            .map_err(|error| StreamError::Client(error.to_string()))?
    }

    fn explain(&self, topic: &str, error: &KafkaError) -> StreamError {
        explain(&self.brokers, topic, error)
    }
}

pub(super) fn explain(brokers: &str, topic: &str, error: &KafkaError) -> StreamError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            StreamError::TopicMissing {
                topic: topic.to_owned(),
                brokers: brokers.to_owned(),
            }
        }
        Some(
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::Resolve
            | Code::RequestTimedOut,
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
        let reader = KafkaReader::start(self.consumer()?, &self.brokers, topic, partition, from)?;
        Ok(Box::new(reader))
    }

    async fn partitions(&self, topic: &str) -> Result<u32, StreamError> {
        let count = self.ask(topic, |consumer, topic| {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found {
                Some(found) if found.error().is_none() => Ok(found.partitions().len() as u32),
                _ => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic)),
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
            consumer.fetch_watermarks(topic, partition as i32, METADATA_TIMEOUT)
        });
        watermarks.await
    }

    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), StreamError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &*self.brokers)
            .set("log_level", "3");
        let admin: AdminClient<Context> = config
            .create_with_context(Context)
            .map_err(|error| StreamError::Client(error.to_string()))?;
        let wanted = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(1));
        let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
        let results = admin.create_topics([&wanted], &options).await;
        let results = results.map_err(|error| self.explain(topic, &error))?;
        match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(StreamError::Client(format!(
                "Kafka at `{}` did not create topic `{topic}`: {code}",
                self.brokers
            ))),
        }
    }
}
