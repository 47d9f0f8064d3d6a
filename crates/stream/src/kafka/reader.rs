//! One partition read by one librdkafka consumer on a thread of its own.
//!
//! Invariants:
//! - the consumer is assigned, never subscribed: no group, no commit;
//! - `next` is past the last message handed out, and past the end of what the log does not hand out
//!   once its end was seen; it never goes back;
//! - at most [`BATCHES_QUEUED`] batches wait for the caller; then the thread stops polling.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset as KafkaOffset, TopicPartitionList};
use schemas::Offset;
use tokio::sync::mpsc;

use super::context::Context;
use super::source::explain;
use crate::{Message, Messages, PartitionReader, StreamError};

const BATCHES_QUEUED: usize = 2;
const BATCH_MESSAGES_MAX: usize = 4096;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long the thread waits for a message before it looks whether it shall stop.
const POLL: Duration = Duration::from_millis(50);

type Batch = Result<Messages, StreamError>;

#[derive(Debug)]
pub(super) struct KafkaReader {
    batches: mpsc::Receiver<Batch>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    next: Offset,
}

struct Poller {
    consumer: BaseConsumer<Context>,
    brokers: String,
    topic: String,
    partition: i32,
    next: Offset,
    to_reader: mpsc::Sender<Batch>,
    stop: Arc<AtomicBool>,
}

impl KafkaReader {
    pub(super) fn start(
        consumer: BaseConsumer<Context>,
        brokers: &str,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<Self, StreamError> {
        let partition = partition as i32;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, partition, KafkaOffset::Offset(from))
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|error| explain(brokers, topic, &error))?;
        let (to_reader, batches) = mpsc::channel(BATCHES_QUEUED);
        let stop = Arc::new(AtomicBool::new(false));
        let poller = Poller {
            consumer,
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            partition,
            next: from,
            to_reader,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name(format!("kafka {topic}-{partition}"))
            .spawn(move || poller.run())
            .map_err(|error| StreamError::Client(format!("no thread for a consumer: {error}")))?;
        Ok(Self {
            batches,
            stop,
            thread: Some(thread),
            next: from,
        })
    }
}

#[async_trait]
impl PartitionReader for KafkaReader {
    async fn fetch(&mut self, wait: Duration) -> Result<Messages, StreamError> {
        match tokio::time::timeout(wait, self.batches.recv()).await {
            Err(_) => Ok(Messages {
                next: self.next,
                ..Messages::default()
            }),
            Ok(None) => Err(StreamError::Closed),
            Ok(Some(batch)) => {
                let batch = batch?;
                self.next = batch.next;
                Ok(batch)
            }
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.batches.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What one poll brought.
enum Polled {
    Message(Message),
    /// Everything that is there has been read.
    End,
    Nothing,
    Failed(StreamError),
}

impl Poller {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let batch = match self.gather() {
                Ok(None) => continue,
                Ok(Some(batch)) => Ok(batch),
                Err(error) => Err(error),
            };
            if self.to_reader.blocking_send(batch).is_err() {
                return;
            }
        }
    }

    /// Waits for one message, then takes what is there already.
    fn gather(&mut self) -> Result<Option<Messages>, StreamError> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        let before = self.next;
        while messages.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            match self.poll(wait) {
                Polled::Message(message) => {
                    self.next = message.offset + 1;
                    bytes += message.payload.as_ref().map_or(0, Bytes::len);
                    messages.push(message);
                    wait = Duration::ZERO;
                }
                Polled::End => {
                    self.next = self.next.max(self.position());
                    break;
                }
                Polled::Nothing => break,
                // What was read before the error is handed out first; the error comes again.
                Polled::Failed(error) if messages.is_empty() => return Err(error),
                Polled::Failed(_) => break,
            }
        }
        if messages.is_empty() && self.next == before && self.log_end().is_none() {
            return Ok(None);
        }
        let (next, log_end) = (self.next, self.log_end());
        Ok(Some(Messages {
            messages,
            next,
            log_end,
        }))
    }

    fn poll(&self, wait: Duration) -> Polled {
        match self.consumer.poll(wait) {
            None => Polled::Nothing,
            Some(Ok(message)) => Polled::Message(owned(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => Polled::End,
            Some(Err(error)) => Polled::Failed(self.explain(&error)),
        }
    }

    fn explain(&self, error: &KafkaError) -> StreamError {
        let out_of_range = [
            RDKafkaErrorCode::AutoOffsetReset,
            RDKafkaErrorCode::OffsetOutOfRange,
        ];
        if error
            .rdkafka_error_code()
            .is_some_and(|code| out_of_range.contains(&code))
        {
            let (topic, partition) = (&self.topic, self.partition);
            let (start, end) = self
                .consumer
                .fetch_watermarks(topic, partition, Duration::from_secs(2))
                .unwrap_or((-1, -1));
            return StreamError::OffsetOutOfRange {
                topic: topic.clone(),
                partition: partition as u32,
                wanted: self.next,
                start,
                end,
            };
        }
        explain(&self.brokers, &self.topic, error)
    }

    /// The application's position: at the end of the log it lies past control records and aborted
    /// transactions, which are never handed out.
    fn position(&self) -> Offset {
        let position = self.consumer.position().ok();
        let element = position.as_ref().and_then(|list| {
            list.find_partition(&self.topic, self.partition)
                .map(|e| e.offset())
        });
        match element {
            Some(KafkaOffset::Offset(offset)) => offset,
            _ => self.next,
        }
    }

    /// As of the last fetch; `None` before the first.
    fn log_end(&self) -> Option<Offset> {
        let topic = CString::new(self.topic.as_str()).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives as long as `self`; all pointers are valid during the call.
        let code = unsafe {
            rdkafka::bindings::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                topic.as_ptr(),
                self.partition,
                &mut low,
                &mut high,
            )
        };
        let known = code == rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        (known && high >= 0).then_some(high)
    }
}

fn owned(message: &BorrowedMessage<'_>) -> Message {
    Message {
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        payload: message.payload().map(Bytes::copy_from_slice),
    }
}
