//! Reading Kafka topics or files that grow, and a built-in log that speaks Kafka's protocol.
//!
//! Consumers never join a group: they are assigned a partition and an offset, and the offset lives
//! in the segment metadata. The built-in log is for development, tests and the quickstart; it is
//! reached over the same protocol and through the same client as a real Kafka.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
mod error;
mod files;
mod kafka;
mod sample;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemas::Offset;
use schemas::table::StreamKind;

pub use error::StreamError;
pub use files::FileSource;
pub use kafka::{Acks, KafkaProducer, KafkaSource, Record};
pub use sample::{SampleFrom, sample, sample_partitions};

/// Key and payload share one buffer with the other messages of their fetch.
#[derive(Clone, Debug)]
pub struct Message {
    pub offset: Offset,
    /// Epoch milliseconds; -1 = the log has none.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// Only where the stream's columns are filled from them.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What one fetch brought: at most 4096 messages, about 4 MiB. Offsets ascend; they may have gaps.
#[derive(Debug, Default)]
pub struct Messages {
    pub messages: Vec<Message>,
    /// First offset that is not covered: past the last message and past what the log does not hand
    /// out (control records, aborted transactions).
    pub next: Offset,
    /// End of the log as of the last answer of the broker; `None` before the first. While a
    /// transaction is open, `next` stays below it.
    pub log_end: Option<Offset>,
    /// First offset that is still in the log, as `log_end`.
    pub log_start: Option<Offset>,
}

/// One partition, read in order by one reader.
#[async_trait]
pub trait PartitionReader: Debug + Send {
    /// Returns as soon as there are messages, or `next` or `log_end` moved; else empty after
    /// `wait`. Dropping the future loses nothing.
    ///
    /// After [`StreamError::Unreachable`] the reader goes on by itself when the broker is back.
    /// Every other error ends it and is given again: open a new one at the last `next`.
    async fn fetch(&mut self, wait: Duration) -> Result<Messages, StreamError>;
}

/// A stream's topics and partitions.
#[async_trait]
pub trait StreamSource: Debug + Send + Sync {
    async fn open(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<Box<dyn PartitionReader>, StreamError>;
    async fn partitions(&self, topic: &str) -> Result<u32, StreamError>;
    /// First offset that is there, first that is not yet there.
    async fn watermarks(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(Offset, Offset), StreamError>;
    /// Offset of the first message with this time of the log or a later one; `None`: all are older.
    async fn offset_at(
        &self,
        topic: &str,
        partition: u32,
        time_ms: i64,
    ) -> Result<Option<Offset>, StreamError>;
    /// With the brokers' default replication; returns when the topic can be used. A topic that
    /// exists already is fine, also with another number of partitions.
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), StreamError>;
}

/// How roles reach the streams that tables name; tests replace it.
pub trait Streams: Debug + Send + Sync + 'static {
    /// `name` appears in the logs of the stream's brokers.
    fn source(
        &self,
        spec: &schemas::table::StreamSpec,
        name: &str,
    ) -> Result<std::sync::Arc<dyn StreamSource>, StreamError>;
}

/// Kafka topics, and files below the folders that the node's settings name.
#[derive(Clone, Debug, Default)]
pub struct AllStreams {
    pub folders: Vec<std::path::PathBuf>,
}

impl Streams for AllStreams {
    fn source(
        &self,
        spec: &schemas::table::StreamSpec,
        name: &str,
    ) -> Result<std::sync::Arc<dyn StreamSource>, StreamError> {
        match spec.kind {
            StreamKind::Kafka => KafkaStreams.source(spec, name),
            StreamKind::Files => {
                let source = FileSource::new(spec.brokers.as_ref(), &self.folders)?;
                Ok(std::sync::Arc::new(source))
            }
        }
    }
}

/// Every stream is a Kafka topic.
#[derive(Debug, Default)]
pub struct KafkaStreams;

impl Streams for KafkaStreams {
    fn source(
        &self,
        spec: &schemas::table::StreamSpec,
        name: &str,
    ) -> Result<std::sync::Arc<dyn StreamSource>, StreamError> {
        let source = KafkaSource::new(&spec.brokers, &spec.client_options, name)?;
        let source = source.with_headers(spec.decoder.metadata);
        Ok(std::sync::Arc::new(source))
    }
}
