//! An idempotent producer, for the sample data and for tests.
//!
//! Invariant: every message that was queued is either acknowledged or counted as failed;
//! [`KafkaProducer::flush`] is an error when any has failed.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::util::IntoOpaque;
use rdkafka::{ClientConfig, ClientContext};
use schemas::Offset;
use tokio::sync::{Notify, oneshot};

use super::context::Context;
use super::source::{explain, refused};
use crate::StreamError;

/// Pause when the client's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// A message to produce.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub topic: &'a str,
    /// `None`: the key decides.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    pub header: Option<(&'a str, &'a [u8])>,
}

/// What became of the messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    pub queued: u64,
    pub acked: u64,
    pub failed: u64,
}

pub struct KafkaProducer {
    producer: ThreadedProducer<Deliveries>,
    counts: Arc<Counts>,
    brokers: String,
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer")
            .field("brokers", &self.brokers)
            .field("acks", &self.acks())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    queued: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<KafkaError>>,
    /// Woken when nothing is under way any more.
    settled: Notify,
}

impl Counts {
    fn under_way(&self) -> u64 {
        let done = self.acked.load(Ordering::Acquire) + self.failed.load(Ordering::Acquire);
        self.queued.load(Ordering::Acquire).saturating_sub(done)
    }

    fn settle(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::AcqRel);
        if self.under_way() == 0 {
            self.settled.notify_waiters();
        }
    }
}

struct Deliveries {
    context: Context,
    counts: Arc<Counts>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

type Delivered = Result<(i32, Offset), KafkaError>;

/// Who waits for the delivery of a message, if anyone does.
struct Ticket(Option<Box<oneshot::Sender<Delivered>>>);

impl IntoOpaque for Ticket {
    fn into_ptr(self) -> *mut c_void {
        self.0
            .map_or(std::ptr::null_mut(), |sender| Box::into_raw(sender).cast())
    }

    unsafe fn from_ptr(ptr: *mut c_void) -> Self {
        let sender: *mut oneshot::Sender<Delivered> = ptr.cast();
        // SAFETY: null or from `into_ptr`, given back once.
        Self((!sender.is_null()).then(|| unsafe { Box::from_raw(sender) }))
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let delivered = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        if let Err(error) = &delivered {
            *self.counts.last_failure.lock() = Some(error.clone());
            self.counts.settle(&self.counts.failed);
        } else {
            self.counts.settle(&self.counts.acked);
        }
        if let Some(waiting) = ticket.0 {
            // Whoever asked may have gone.
            let _gone = waiting.send(delivered);
        }
    }
}

impl KafkaProducer {
    /// Sends each message at once (`linger.ms` 0).
    pub fn new(brokers: &str) -> Result<Self, StreamError> {
        Self::with_options(brokers, &[])
    }

    /// `options` are librdkafka's, such as `("linger.ms", "5")`.
    pub fn with_options(brokers: &str, options: &[(&str, &str)]) -> Result<Self, StreamError> {
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
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("log_level", "3");
        for (option, value) in options {
            config.set(*option, *value);
        }
        let counts = Arc::new(Counts::default());
        let deliveries = Deliveries {
            context: Context::default(),
            counts: Arc::clone(&counts),
        };
        let producer = config.create_with_context(deliveries).map_err(refused)?;
        Ok(Self {
            producer,
            counts,
            brokers: brokers.to_owned(),
        })
    }

    pub fn acks(&self) -> Acks {
        // Queued last: a message is never counted as done before it is as queued.
        let acked = self.counts.acked.load(Ordering::Acquire);
        let failed = self.counts.failed.load(Ordering::Acquire);
        Acks {
            queued: self.counts.queued.load(Ordering::Acquire),
            acked,
            failed,
        }
    }

    /// Queues a message; waits only while the queue is full. Without a partition the key decides.
    /// [`Self::flush`] and [`Self::acks`] tell whether all arrived.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), StreamError> {
        let record = Record {
            topic,
            partition,
            key,
            payload,
            header: None,
        };
        self.queue(record, Ticket(None)).await
    }

    /// Produces and waits for the acknowledgement: partition and offset.
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(u32, Offset), StreamError> {
        self.produce_record(Record {
            topic,
            partition,
            key,
            payload,
            header: None,
        })
        .await
    }

    /// As [`Self::produce`].
    pub async fn produce_record(&self, record: Record<'_>) -> Result<(u32, Offset), StreamError> {
        let (sender, delivered) = oneshot::channel();
        self.queue(record, Ticket(Some(Box::new(sender)))).await?;
        let delivered = delivered.await.map_err(|_| StreamError::Closed)?;
        let (partition, offset) =
            delivered.map_err(|error| explain(&self.brokers, record.topic, &error))?;
        Ok((partition as u32, offset))
    }

    async fn queue(&self, record: Record<'_>, ticket: Ticket) -> Result<(), StreamError> {
        let headers = record.header.map(|(key, value)| {
            let header = Header {
                key,
                value: Some(value),
            };
            OwnedHeaders::new_with_capacity(1).insert(header)
        });
        let topic = record.topic;
        let mut record = BaseRecord::<[u8], [u8], Ticket> {
            topic,
            partition: record.partition,
            payload: Some(record.payload),
            key: record.key,
            timestamp: None,
            headers,
            delivery_opaque: ticket,
        };
        loop {
            self.counts.queued.fetch_add(1, Ordering::AcqRel);
            let Err((error, back)) = self.producer.send(record) else {
                return Ok(());
            };
            self.counts.queued.fetch_sub(1, Ordering::AcqRel);
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            if error != full {
                return Err(explain(&self.brokers, topic, &error));
            }
            record = back;
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Waits until everything queued is acknowledged; an error when a message has failed, now or
    /// earlier.
    pub async fn flush(&self, within: Duration) -> Result<(), StreamError> {
        let settled = async {
            loop {
                let settled = self.counts.settled.notified();
                tokio::pin!(settled);
                settled.as_mut().enable();
                if self.counts.under_way() == 0 {
                    return;
                }
                settled.await;
            }
        };
        if tokio::time::timeout(within, settled).await.is_err() {
            let left = self.counts.under_way();
            return Err(StreamError::Unreachable {
                brokers: self.brokers.clone(),
                detail: format!("{left} messages were not acknowledged within {within:?}"),
            });
        }
        let failed = self.acks().failed;
        if failed == 0 {
            return Ok(());
        }
        let last = self.counts.last_failure.lock();
        let why = last.as_ref().map(ToString::to_string).unwrap_or_default();
        Err(StreamError::Client(format!(
            "Kafka at `{}` did not take {failed} messages: {why}",
            self.brokers
        )))
    }
}
