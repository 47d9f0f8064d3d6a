//! What a decoder is given, and what becomes of it.
//!
//! Every message is a row, several rows, a rejection, or is left out and counted: none is lost.

use std::fmt;

use arrow::array::RecordBatch;
use schemas::Offset;

use crate::REJECTED_PAYLOAD_BYTES_MAX;

/// A message as it came from the stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawMessage<'a> {
    pub partition: u32,
    pub offset: Offset,
    /// Epoch milliseconds; negative: the log has none.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    /// Where they are read: names and values in their order.
    pub headers: &'a [(Vec<u8>, Option<Vec<u8>>)],
    /// `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// A row that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub offset: Offset,
    pub reason: String,
    /// The first [`REJECTED_PAYLOAD_BYTES_MAX`] bytes; of several of a message the first has them.
    pub payload: Vec<u8>,
}

impl Rejection {
    pub(crate) fn of(message: &RawMessage<'_>, reason: String) -> Self {
        let payload = message.payload.unwrap_or_default();
        let kept = payload.len().min(REJECTED_PAYLOAD_BYTES_MAX);
        Self {
            offset: message.offset,
            reason,
            payload: payload[..kept].to_vec(),
        }
    }
}

/// Of [`Self::taken`] messages: `rows - unnested + merged + rejected + filtered` of them.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Messages that were looked at, from the first on.
    pub taken: usize,
    /// One, unless a message gives one row at most.
    pub batches: Vec<RecordBatch>,
    pub rejected: Vec<Rejection>,
    /// Left out by the table's filter, or without a row in them.
    pub filtered: u64,
    /// Rows, rejections and what was left out beyond the first of each message.
    pub unnested: u64,
    /// Rows that went into another one.
    pub merged: u64,
    /// Rows of which a wrong value was made null.
    pub incomplete: u64,
}

impl Decoded {
    /// One of the rows that a message gives; `before` is the number of rejections before it.
    pub(crate) fn reject_row(&mut self, message: &RawMessage<'_>, reason: String, before: usize) {
        let rejection = match self.rejected.len() == before {
            true => Rejection::of(message, reason),
            false => Rejection {
                offset: message.offset,
                reason,
                payload: Vec::new(),
            },
        };
        self.rejected.push(rejection);
    }
}

/// Shown shortened in a reason.
pub(crate) struct Short<T>(pub(crate) T);

const SHOWN_BYTES_MAX: usize = 60;

impl<T: fmt::Display> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.to_string();
        if shown.len() <= SHOWN_BYTES_MAX {
            return f.write_str(&shown);
        }
        f.write_str(&shown[..shown.floor_char_boundary(SHOWN_BYTES_MAX)])?;
        f.write_str("…")
    }
}
