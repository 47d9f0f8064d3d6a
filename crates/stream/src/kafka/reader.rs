//! One partition read by one librdkafka consumer on a thread of its own.
//!
//! Invariants:
//! - the consumer is assigned, never subscribed: no group, no commit;
//! - `next` is past the last message handed out, and past what the log does not hand out once its
//!   end was seen; it never goes back;
//! - an error is handed out after all messages before it, and none follows it, except when it may
//!   pass: nothing is skipped;
//! - at most [`BATCHES_QUEUED`] batches wait for the caller; then the thread stops polling.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use schemas::Offset;
use tokio::sync::mpsc;

use super::client::Consumer;
use super::events::{Event, Events, Gathered};
use super::source::explain;
use crate::{Messages, PartitionReader, StreamError};

const BATCHES_QUEUED: usize = 2;
const BATCH_MESSAGES_MAX: usize = 4096;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long the thread sleeps at most; it is woken to stop.
const POLL: Duration = Duration::from_millis(500);
/// The client tries again some times a second; the caller need not hear of each.
const UNREACHABLE_EVERY: Duration = Duration::from_secs(1);

type Batch = Result<Messages, StreamError>;

pub(super) struct KafkaReader {
    batches: mpsc::Receiver<Batch>,
    consumer: Arc<Consumer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    next: Offset,
    log_end: Option<Offset>,
    log_start: Option<Offset>,
    /// What ended the thread.
    failed: Option<StreamError>,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader")
            .field("next", &self.next)
            .field("log_end", &self.log_end)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl KafkaReader {
    pub(super) fn start(
        consumer: Consumer,
        brokers: &str,
        topic: &str,
        partition: u32,
        from: Offset,
        headers: bool,
    ) -> Result<Self, StreamError> {
        let native_topic = CString::new(topic)
            .map_err(|_| StreamError::Client(format!("`{topic:?}` is no topic name")))?;
        let native_partition = i32::try_from(partition)
            .map_err(|_| StreamError::Client(format!("{partition} is no partition")))?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, native_partition, KafkaOffset::Offset(from))
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|error| explain(brokers, topic, &error))?;
        let consumer = Arc::new(consumer);
        let (to_reader, batches) = mpsc::channel(BATCHES_QUEUED);
        let stop = Arc::new(AtomicBool::new(false));
        let poller = Poller {
            events: Events::new(Arc::clone(&consumer)),
            consumer: Arc::clone(&consumer),
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            native_topic,
            partition: native_partition,
            headers,
            before: (0, 0),
            next: from,
            sent: (from, None),
            pending: None,
            complained: None,
            to_reader,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name(format!("kafka {topic}-{partition}"))
            .spawn(move || poller.run())
            .map_err(|error| StreamError::Client(format!("no thread for a consumer: {error}")))?;
        Ok(Self {
            batches,
            consumer,
            stop,
            thread: Some(thread),
            next: from,
            log_end: None,
            log_start: None,
            failed: None,
        })
    }

    fn accept(&mut self, batch: Batch) -> Batch {
        match batch {
            Ok(batch) => {
                self.next = batch.next;
                self.log_end = batch.log_end;
                self.log_start = batch.log_start;
                Ok(batch)
            }
            Err(error) => {
                if !error.may_pass() {
                    self.failed = Some(error.clone());
                }
                Err(error)
            }
        }
    }
}

#[async_trait]
impl PartitionReader for KafkaReader {
    async fn fetch(&mut self, wait: Duration) -> Result<Messages, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match tokio::time::timeout(wait, self.batches.recv()).await {
            Err(_) => Ok(Messages {
                messages: Vec::new(),
                next: self.next,
                log_end: self.log_end,
                log_start: self.log_start,
            }),
            Ok(None) => Err(StreamError::Closed),
            Ok(Some(batch)) => self.accept(batch),
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.batches.close();
        self.consumer.wake();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The thread's half.
struct Poller {
    events: Events,
    consumer: Arc<Consumer>,
    brokers: String,
    topic: String,
    native_topic: CString,
    partition: i32,
    headers: bool,
    /// Messages and bytes of the batch before.
    before: (usize, usize),
    next: Offset,
    /// `next` and the log's end as the reader knows them.
    sent: (Offset, Option<Offset>),
    /// Comes after the messages that were read before it.
    pending: Option<StreamError>,
    complained: Option<Instant>,
    to_reader: mpsc::Sender<Batch>,
    stop: Arc<AtomicBool>,
}

impl Poller {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if let Some(news) = self.gather()
                && self.to_reader.blocking_send(Ok(news)).is_err()
            {
                return;
            }
            if let Some(error) = self.pending.take() {
                let ends = !error.may_pass();
                if self.to_reader.blocking_send(Err(error)).is_err() || ends {
                    return;
                }
            }
        }
    }

    /// Waits for one event, then takes what is there already. `None`: nothing new.
    fn gather(&mut self) -> Option<Messages> {
        let mut gathered = Gathered::new(self.headers, self.before);
        let mut wait = POLL;
        while gathered.len() < BATCH_MESSAGES_MAX && gathered.bytes() < BATCH_BYTES_MAX {
            match self.events.take(wait, &mut gathered) {
                Event::Message(offset) => {
                    self.next = offset + 1;
                    wait = Duration::ZERO;
                }
                Event::End(offset) => {
                    self.next = self.next.max(offset);
                    break;
                }
                Event::Failed(code, reason) => {
                    self.pending = self.failure(code, &reason);
                    if self.pending.is_some() {
                        break;
                    }
                }
                Event::Nothing => break,
            }
        }
        let watermarks = self.events.watermarks(&self.native_topic, self.partition);
        let log_end = watermarks.map(|(_, end)| end);
        let known = (self.next, log_end);
        if gathered.len() == 0 && self.sent == known {
            return None;
        }
        self.sent = known;
        self.before = (gathered.len(), gathered.bytes());
        Some(Messages {
            messages: gathered.into_messages(),
            next: self.next,
            log_end,
            log_start: watermarks.map(|(start, _)| start),
        })
    }

    /// `None`: it passes by itself, or was told just now.
    fn failure(&mut self, code: Code, reason: &str) -> Option<StreamError> {
        match code {
            // One connection; when no broker is left, `AllBrokersDown` follows.
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => None,
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Some(self.out_of_range()),
            // What the client cannot take is what it asked for: the message at `next`.
            Code::BadMessage if reason.contains("receive.message.max.bytes") => {
                Some(StreamError::TooLarge {
                    topic: self.topic.clone(),
                    partition: self.partition as u32,
                    offset: self.next,
                    detail: reason.to_owned(),
                })
            }
            Code::UnknownPartition => Some(StreamError::PartitionMissing {
                topic: self.topic.clone(),
                partition: self.partition as u32,
                brokers: self.brokers.clone(),
            }),
            _ => {
                let error = explain(&self.brokers, &self.topic, &KafkaError::Global(code));
                if error.may_pass() {
                    return self.complain(reason);
                }
                match error {
                    StreamError::Client(text) => {
                        Some(StreamError::Client(format!("{text} ({reason})")))
                    }
                    other => Some(other),
                }
            }
        }
    }

    fn complain(&mut self, reason: &str) -> Option<StreamError> {
        let quiet = |at: Instant| at.elapsed() < UNREACHABLE_EVERY;
        if self.complained.is_some_and(quiet) {
            return None;
        }
        self.complained = Some(Instant::now());
        Some(StreamError::Unreachable {
            brokers: self.brokers.clone(),
            detail: reason.to_owned(),
        })
    }

    fn out_of_range(&self) -> StreamError {
        let within = Duration::from_secs(2);
        let held = self
            .consumer
            .ask_watermarks(&self.topic, self.partition, within);
        let (start, end) = held.unwrap_or((-1, -1));
        StreamError::OffsetOutOfRange {
            topic: self.topic.clone(),
            partition: self.partition as u32,
            wanted: self.next,
            start,
            end,
        }
    }
}
