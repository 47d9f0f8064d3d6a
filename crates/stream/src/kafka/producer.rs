//! An idempotent producer, for the sample data and for tests.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use schemas::Offset;

use super::context::Context;
use super::source::explain;
use crate::StreamError;

/// Pause when the client's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(2);

pub struct KafkaProducer {
    producer: FutureProducer<Context>,
    brokers: String,
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl KafkaProducer {
    pub fn new(brokers: &str) -> Result<Self, StreamError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "tannin-producer")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "32768")
            .set("log_level", "3");
        let producer = config
            .create_with_context(Context)
            .map_err(|error| StreamError::Client(error.to_string()))?;
        Ok(Self {
            producer,
            brokers: brokers.to_owned(),
        })
    }

    /// Queues a message; waits only while the queue is full. [`Self::flush`] tells whether all
    /// arrived.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), StreamError> {
        loop {
            match self
                .producer
                .send_result(record(topic, partition, key, payload))
            {
                Ok(_delivery) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(explain(&self.brokers, topic, &error)),
            }
        }
    }

    /// Produces and waits for the acknowledgement: partition and offset.
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(u32, Offset), StreamError> {
        let record = record(topic, partition, key, payload);
        match self
            .producer
            .send(record, Timeout::After(Duration::from_secs(30)))
            .await
        {
            Ok(delivery) => Ok((delivery.partition as u32, delivery.offset)),
            Err((error, _)) => Err(explain(&self.brokers, topic, &error)),
        }
    }

    /// Waits until everything queued is acknowledged.
    pub async fn flush(&self, within: Duration) -> Result<(), StreamError> {
        let steps = (within.as_millis() / 10).max(1);
        for _ in 0..steps {
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.producer.in_flight_count();
        Err(StreamError::Unreachable {
            brokers: self.brokers.clone(),
            detail: format!("{left} messages were not acknowledged"),
        })
    }
}

fn record<'a>(
    topic: &'a str,
    partition: Option<i32>,
    key: Option<&'a [u8]>,
    payload: &'a [u8],
) -> FutureRecord<'a, [u8], [u8]> {
    FutureRecord {
        topic,
        partition,
        payload: Some(payload),
        key,
        timestamp: None,
        headers: None,
    }
}
