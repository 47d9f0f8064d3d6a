//! A consumer of librdkafka with its queue, below the safe interface: that one takes one message
//! a call, and does not hand out what happens between them.
//!
//! Invariants:
//! - it is assigned, never subscribed;
//! - the queue is released before the client is;
//! - what the client reports outside of messages is either an event of the queue or in [`Told`],
//!   by which of the two ways the queue is asked.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaType;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use schemas::Offset;

use super::context::Context;

/// Errors that came while messages were taken.
#[derive(Debug)]
pub(super) struct Told {
    context: Context,
    errors: Mutex<Vec<(RDKafkaErrorCode, String)>>,
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

pub(super) struct Consumer {
    queue: NonNull<native::rd_kafka_queue_t>,
    client: Client<Told>,
}

// SAFETY: librdkafka's queues and clients may be used from any thread.
unsafe impl Send for Consumer {}
// SAFETY: as above.
unsafe impl Sync for Consumer {}

/// It is assigned, so it closes in a moment; it is not waited for longer.
const CLOSE_POLLS_MAX: usize = 500;

impl Drop for Consumer {
    fn drop(&mut self) {
        let client = self.client.native_ptr();
        // SAFETY: client and queue are alive; an error and an event are owned and destroyed.
        unsafe {
            let refused = native::rd_kafka_consumer_close_queue(client, self.queue.as_ptr());
            if refused.is_null() {
                // The client would look for the end of its closing only each 100 ms.
                for _ in 0..CLOSE_POLLS_MAX {
                    if native::rd_kafka_consumer_closed(client) == 1 {
                        break;
                    }
                    let event = native::rd_kafka_queue_poll(self.queue.as_ptr(), 1);
                    if !event.is_null() {
                        native::rd_kafka_event_destroy(event);
                    }
                }
            } else {
                native::rd_kafka_error_destroy(refused);
            }
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

impl Consumer {
    /// Of a config with a group's id, without which librdkafka assigns nothing.
    pub(super) fn open(config: &ClientConfig, context: Context) -> Result<Self, KafkaError> {
        let own = config.create_native_config()?;
        let events = native::RD_KAFKA_EVENT_ERROR
            | native::RD_KAFKA_EVENT_LOG
            | native::RD_KAFKA_EVENT_REBALANCE
            | native::RD_KAFKA_EVENT_OFFSET_COMMIT;
        // SAFETY: the config is alive and not yet given away; the callbacks live as long as the
        // program.
        unsafe {
            native::rd_kafka_conf_set_events(own.ptr(), events);
            native::rd_kafka_conf_set_error_cb(own.ptr(), Some(on_error));
            native::rd_kafka_conf_set_log_cb(own.ptr(), Some(on_log));
        }
        let told = Told {
            context,
            errors: Mutex::default(),
        };
        let client = Client::new(config, own, RDKafkaType::RD_KAFKA_CONSUMER, told)?;
        // SAFETY: the client is alive.
        let queue = unsafe {
            native::rd_kafka_poll_set_consumer(client.native_ptr());
            native::rd_kafka_queue_get_consumer(client.native_ptr())
        };
        let no_queue = || KafkaError::ClientCreation("the consumer has no queue".to_owned());
        let queue = NonNull::new(queue).ok_or_else(no_queue)?;
        Ok(Self { queue, client })
    }

    pub(super) fn assign(&self, to: &TopicPartitionList) -> Result<(), KafkaError> {
        // SAFETY: client and list are alive; the list is copied.
        let code = unsafe { native::rd_kafka_assign(self.client.native_ptr(), to.ptr()) };
        match code {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(KafkaError::Global(code.into())),
        }
    }

    pub(super) fn queue(&self) -> *mut native::rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    /// Wakes the thread that waits at the queue.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is alive; any thread may do this.
        unsafe { native::rd_kafka_queue_yield(self.queue()) }
    }

    /// An error that was not told by an event.
    pub(super) fn told(&self) -> Option<(RDKafkaErrorCode, String)> {
        let mut errors = self.client.context().errors.lock();
        (!errors.is_empty()).then(|| errors.remove(0))
    }

    pub(super) fn log_error(&self, code: RDKafkaErrorCode, text: &str) {
        let context = self.client.context();
        context.error(KafkaError::MessageConsumption(code), text);
    }

    /// Start and end of the log as of the last fetch; `None` before the first.
    pub(super) fn watermarks(&self, topic: &CString, partition: i32) -> Option<(Offset, Offset)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives as long as `self`; all pointers are valid during the call.
        let code = unsafe {
            native::rd_kafka_get_watermark_offsets(
                self.client.native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        let known = code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        (known && high >= 0).then_some((low.max(0), high))
    }

    /// The same, asked of the broker.
    pub(super) fn ask_watermarks(
        &self,
        topic: &str,
        partition: i32,
        within: Duration,
    ) -> Result<(Offset, Offset), KafkaError> {
        self.client.fetch_watermarks(topic, partition, within)
    }
}

/// Called where messages are taken, in the thread that takes them.
unsafe extern "C" fn on_error(
    _: *mut native::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    told: *mut c_void,
) {
    let code = native::rd_kafka_resp_err_t::try_from(code);
    let code = code.map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from);
    // SAFETY: the opaque of a client is its context, which lives longer; the text is one of C.
    unsafe {
        let (told, reason) = (&*told.cast::<Told>(), text(reason));
        told.errors.lock().push((code, reason));
    }
}

unsafe extern "C" fn on_log(
    _: *const native::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    // SAFETY: both are texts of C.
    let (facility, message) = unsafe { (text(facility), text(message)) };
    tracing::debug!(target: "librdkafka", level, facility, message);
}

/// # Safety
/// `text` is null or ends with a zero byte.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .trim()
        .to_owned()
}
