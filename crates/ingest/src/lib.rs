//! From the bytes of a message to Arrow batches of a table's columns.
//!
//! A row is taken whole or rejected whole, with a reason; nothing is dropped in silence. Decoders
//! fill batches of at most [`BATCH_ROWS_MAX`] rows in the form of `schemas::arrow::ingest_schema`.

mod coerce;
mod columns;
pub mod files;
pub mod infer;
mod json;
mod text_files;
mod time;

pub use json::{Decoded, JsonDecoder, RawMessage, Rejection};

/// Rows of a batch.
pub const BATCH_ROWS_MAX: usize = 4096;
/// Bytes of a rejected payload that are kept.
pub const REJECTED_PAYLOAD_BYTES_MAX: usize = 4096;
