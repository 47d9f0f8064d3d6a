//! Events of one consumer, taken from librdkafka's queue without a copy of the messages in between.
//!
//! Invariants:
//! - the queue is released before its consumer is;
//! - the end of a partition comes with its offset, which the safe interface does not tell (and the
//!   consumer's `position` is one too far at times).

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use schemas::Offset;

use super::context::Context;
use crate::Message;

#[derive(Debug)]
pub(super) enum Event {
    /// It is in the [`Gathered`].
    Message(Offset),
    /// Everything that is there has been read: first offset that is not yet there.
    End(Offset),
    Failed(RDKafkaErrorCode, String),
    /// Nothing came, or something that does not matter here.
    Nothing,
}

pub(super) struct EventQueue {
    queue: NonNull<native::rd_kafka_queue_t>,
    consumer: BaseConsumer<Context>,
}

// SAFETY: librdkafka's queues and clients may be used from any thread.
unsafe impl Send for EventQueue {}
// SAFETY: as above.
unsafe impl Sync for EventQueue {}

/// A consumer without a group closes in a moment; it is not waited for longer.
const CLOSE_POLLS_MAX: usize = 500;

impl Drop for EventQueue {
    fn drop(&mut self) {
        // The client would look for the end of its closing only each 100 ms.
        if self.consumer.close_queue().is_ok() {
            for _ in 0..CLOSE_POLLS_MAX {
                if self.consumer.closed() {
                    break;
                }
                // SAFETY: the queue is alive; an event is owned and destroyed.
                let event = unsafe { native::rd_kafka_queue_poll(self.queue.as_ptr(), 1) };
                drop(NonNull::new(event).map(Taken));
            }
        }
        // SAFETY: the reference was taken in `new`; the consumer is dropped after this.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// An event, destroyed with its scope.
struct Taken(NonNull<native::rd_kafka_event_t>);

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the event is owned and no longer used.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl EventQueue {
    /// `None`: the consumer has no group id.
    pub(super) fn new(consumer: BaseConsumer<Context>) -> Option<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue)?;
        Some(Self { queue, consumer })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    /// Wakes the thread that waits in [`Self::take`].
    pub(super) fn wake(&self) {
        // SAFETY: the queue is alive; any thread may do this.
        unsafe { native::rd_kafka_queue_yield(self.queue.as_ptr()) }
    }

    pub(super) fn take(&self, wait: Duration, into: &mut Gathered) -> Event {
        let wait_ms = wait.as_millis() as i32;
        // SAFETY: the queue is alive.
        let event = unsafe { native::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms) };
        let Some(event) = NonNull::new(event).map(Taken) else {
            return Event::Nothing;
        };
        // SAFETY: the event is alive.
        match unsafe { native::rd_kafka_event_type(event.0.as_ptr()) } {
            native::RD_KAFKA_EVENT_FETCH => message(&event, into),
            native::RD_KAFKA_EVENT_ERROR => self.failure(&event),
            native::RD_KAFKA_EVENT_LOG => {
                log(&event);
                Event::Nothing
            }
            _ => Event::Nothing,
        }
    }

    fn failure(&self, event: &Taken) -> Event {
        use native::rd_kafka_resp_err_t::{
            RD_KAFKA_RESP_ERR__PARTITION_EOF, RD_KAFKA_RESP_ERR_NO_ERROR,
        };
        // SAFETY: the event is alive; its text lives as long as it.
        let (code, text) = unsafe {
            let code = native::rd_kafka_event_error(event.0.as_ptr());
            (
                code,
                owned_text(native::rd_kafka_event_error_string(event.0.as_ptr())),
            )
        };
        if code == RD_KAFKA_RESP_ERR_NO_ERROR {
            return Event::Nothing;
        }
        if code == RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return end_of_partition(event).map_or(Event::Nothing, Event::End);
        }
        let code = RDKafkaErrorCode::from(code);
        let context = self.consumer.client().context();
        context.error(KafkaError::MessageConsumption(code), &text);
        Event::Failed(code, text)
    }

    /// Start and end of the log as of the last fetch; `None` before the first.
    pub(super) fn watermarks(&self, topic: &CString, partition: i32) -> Option<(Offset, Offset)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives as long as `self`; all pointers are valid during the call.
        let code = unsafe {
            native::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        let known = code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        (known && high >= 0).then_some((low.max(0), high))
    }
}

fn log(event: &Taken) {
    let (mut facility, mut text, mut level) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: the event is alive; its texts live as long as it.
    let (facility, text) = unsafe {
        let event = event.0.as_ptr();
        if native::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) != 0 {
            return;
        }
        (owned_text(facility), owned_text(text))
    };
    tracing::debug!(target: "librdkafka", level, facility, text);
}

/// # Safety
/// `text` is null or ends with a zero byte.
unsafe fn owned_text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .trim()
        .to_owned()
}

fn end_of_partition(event: &Taken) -> Option<Offset> {
    // SAFETY: the event is alive; the partition is owned here and destroyed once.
    unsafe {
        let partition = NonNull::new(native::rd_kafka_event_topic_partition(event.0.as_ptr()))?;
        let offset = partition.as_ref().offset;
        native::rd_kafka_topic_partition_destroy(partition.as_ptr());
        Some(offset)
    }
}

fn message(event: &Taken, into: &mut Gathered) -> Event {
    // SAFETY: the message and what it points to live as long as the event, which has one message.
    unsafe {
        let Some(message) =
            NonNull::new(native::rd_kafka_event_message_next(event.0.as_ptr()).cast_mut())
        else {
            return Event::Nothing;
        };
        let message = message.as_ref();
        let offset = message.offset;
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp_ms = native::rd_kafka_message_timestamp(message, &mut kind);
        let key = into.copy(bytes_at(message.key, message.key_len));
        let payload = into.copy(bytes_at(message.payload, message.len));
        let headers = match into.headers {
            true => headers(message),
            false => Vec::new(),
        };
        into.rows.push(Row {
            offset,
            timestamp_ms,
            key,
            payload,
            headers,
        });
        Event::Message(offset)
    }
}

/// # Safety
/// `message` is alive.
unsafe fn headers(message: &native::rd_kafka_message_t) -> Headers {
    let mut list = std::ptr::null_mut();
    let mut headers = Vec::new();
    // SAFETY: the headers and what they point to live as long as the message; the pointers are
    // valid during the calls.
    unsafe {
        let found = native::rd_kafka_message_headers(message, &mut list);
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        for at in 0.. {
            let (mut name, mut value, mut bytes) = (std::ptr::null(), std::ptr::null(), 0);
            let code = native::rd_kafka_header_get_all(list, at, &mut name, &mut value, &mut bytes);
            if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            let name = CStr::from_ptr(name).to_bytes().to_vec();
            let value = bytes_at(value.cast_mut(), bytes).map(<[u8]>::to_vec);
            headers.push((name, value));
        }
    }
    headers
}

/// # Safety
/// `at` is null or has `len` bytes that outlive the result.
unsafe fn bytes_at<'a>(at: *mut std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
}

/// Messages on their way to the reader: all bytes in one buffer.
type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// Whether headers are wanted, too.
    headers: bool,
}

#[derive(Debug)]
struct Row {
    offset: Offset,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    headers: Headers,
}

impl Gathered {
    pub(super) fn new(headers: bool) -> Self {
        Self {
            bytes: Vec::new(),
            rows: Vec::new(),
            headers,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Option<Range<usize>> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes?);
        Some(start..self.bytes.len())
    }

    pub(super) fn into_messages(self) -> Vec<Message> {
        let bytes = Bytes::from(self.bytes);
        let rows = self.rows.into_iter().map(|row| Message {
            offset: row.offset,
            timestamp_ms: row.timestamp_ms,
            key: row.key.map(|range| bytes.slice(range)),
            payload: row.payload.map(|range| bytes.slice(range)),
            headers: row.headers,
        });
        rows.collect()
    }
}
