//! Events of one consumer, taken from librdkafka's queue without a copy of the messages in between.
//!
//! Invariants:
//! - events come in the order of the queue; errors that are none of a partition come after the
//!   messages that were taken together with them;
//! - the end of a partition comes with its offset, which the safe interface does not tell (and the
//!   consumer's `position` is one too far at times);
//! - messages are released before their client is.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode;
use schemas::Offset;

use super::client::{Consumer, text};
use crate::Message;

/// Messages that are taken in one call.
const TOGETHER: usize = 256;

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

/// The one end at which events are taken.
pub(super) struct Events {
    /// Taken together, not yet handed out. Before the consumer, so that they go first.
    ready: VecDeque<Held>,
    consumer: Arc<Consumer>,
}

/// An event, destroyed with its scope.
struct Taken(NonNull<native::rd_kafka_event_t>);

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the event is owned and no longer used.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// A message, or an error of the partition in the form of one.
struct Held(NonNull<native::rd_kafka_message_t>);

// SAFETY: librdkafka's messages may be used and released by any thread.
unsafe impl Send for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the message is owned and no longer used.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Events {
    pub(super) fn new(consumer: Arc<Consumer>) -> Self {
        Self {
            ready: VecDeque::new(),
            consumer,
        }
    }

    /// The next event; without a wait one that is there already.
    pub(super) fn take(&mut self, wait: Duration, into: &mut Gathered) -> Event {
        if self.ready.is_empty() && wait.is_zero() {
            self.take_together();
        }
        if let Some(held) = self.ready.pop_front() {
            return self.handed_out(&held, into);
        }
        if let Some((code, reason)) = self.consumer.told() {
            self.consumer.log_error(code, &reason);
            return Event::Failed(code, reason);
        }
        match wait.is_zero() {
            true => Event::Nothing,
            false => self.wait(wait, into),
        }
    }

    /// Each message takes a lock, but not two looks at the clock.
    fn take_together(&mut self) {
        let mut messages = [std::ptr::null_mut(); TOGETHER];
        // SAFETY: the queue is alive, and the array has room for as many messages as are asked for.
        let count = unsafe {
            native::rd_kafka_consume_batch_queue(
                self.consumer.queue(),
                0,
                messages.as_mut_ptr(),
                TOGETHER,
            )
        };
        let count = usize::try_from(count).unwrap_or_default();
        let messages = messages[..count].iter().copied();
        self.ready
            .extend(messages.filter_map(NonNull::new).map(Held));
    }

    fn handed_out(&self, held: &Held, into: &mut Gathered) -> Event {
        use native::rd_kafka_resp_err_t::{
            RD_KAFKA_RESP_ERR__PARTITION_EOF, RD_KAFKA_RESP_ERR_NO_ERROR,
        };
        // SAFETY: the message and what it points to live as long as `held`; the payload of an
        // error is its text.
        unsafe {
            let message = held.0.as_ref();
            match message.err {
                RD_KAFKA_RESP_ERR_NO_ERROR => into.add(message),
                RD_KAFKA_RESP_ERR__PARTITION_EOF => Event::End(message.offset),
                code => {
                    let code = RDKafkaErrorCode::from(code);
                    let reason = text(message.payload.cast_const().cast());
                    self.consumer.log_error(code, &reason);
                    Event::Failed(code, reason)
                }
            }
        }
    }

    fn wait(&self, wait: Duration, into: &mut Gathered) -> Event {
        let wait_ms = wait.as_millis() as i32;
        // SAFETY: the queue is alive.
        let event = unsafe { native::rd_kafka_queue_poll(self.consumer.queue(), wait_ms) };
        let Some(event) = NonNull::new(event).map(Taken) else {
            return Event::Nothing;
        };
        // SAFETY: the event is alive.
        match unsafe { native::rd_kafka_event_type(event.0.as_ptr()) } {
            // SAFETY: the event has one message, which lives as long as it.
            native::RD_KAFKA_EVENT_FETCH => unsafe {
                let message = native::rd_kafka_event_message_next(event.0.as_ptr());
                message.as_ref().map_or(Event::Nothing, |own| into.add(own))
            },
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
        let (code, reason) = unsafe {
            let code = native::rd_kafka_event_error(event.0.as_ptr());
            (
                code,
                text(native::rd_kafka_event_error_string(event.0.as_ptr())),
            )
        };
        if code == RD_KAFKA_RESP_ERR_NO_ERROR {
            return Event::Nothing;
        }
        if code == RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return end_of_partition(event).map_or(Event::Nothing, Event::End);
        }
        let code = RDKafkaErrorCode::from(code);
        self.consumer.log_error(code, &reason);
        Event::Failed(code, reason)
    }

    pub(super) fn watermarks(&self, topic: &CString, partition: i32) -> Option<(Offset, Offset)> {
        self.consumer.watermarks(topic, partition)
    }
}

fn log(event: &Taken) {
    let (mut facility, mut line, mut level) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: the event is alive; its texts live as long as it.
    let (facility, line) = unsafe {
        let event = event.0.as_ptr();
        if native::rd_kafka_event_log(event, &mut facility, &mut line, &mut level) != 0 {
            return;
        }
        (text(facility), text(line))
    };
    tracing::debug!(target: "librdkafka", level, facility, line);
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
    /// With room for as much as is likely to come.
    pub(super) fn new(headers: bool, (messages, bytes): (usize, usize)) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            rows: Vec::with_capacity(messages),
            headers,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// # Safety
    /// `message` is alive, and so is what it points to.
    unsafe fn add(&mut self, message: &native::rd_kafka_message_t) -> Event {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: promised by the caller.
        let row = unsafe {
            Row {
                offset: message.offset,
                timestamp_ms: native::rd_kafka_message_timestamp(message, &mut kind),
                key: self.copy(bytes_at(message.key, message.key_len)),
                payload: self.copy(bytes_at(message.payload, message.len)),
                headers: match self.headers {
                    true => headers(message),
                    false => Vec::new(),
                },
            }
        };
        self.rows.push(row);
        Event::Message(message.offset)
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
