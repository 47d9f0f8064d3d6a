//! librdkafka's log lines go to ours, quieter: it repeats itself while a broker is away.
//!
//! Invariant: nothing is written to standard error; of each kind of error one line is a warning,
//! the others are debug lines. Errors also reach the caller as [`crate::StreamError`].

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Shared by all clients of one source, so that each does not warn anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    warned: Arc<Mutex<Vec<RDKafkaErrorCode>>>,
}

impl Context {
    fn is_first(&self, code: RDKafkaErrorCode) -> bool {
        let mut warned = self.warned.lock();
        let first = !warned.contains(&code);
        if first {
            warned.push(code);
        }
        first
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code.is_some_and(|code| self.is_first(code)) {
            tracing::warn!(target: "librdkafka", %error, reason);
        } else {
            tracing::debug!(target: "librdkafka", %error, reason);
        }
    }
}

impl ConsumerContext for Context {}
