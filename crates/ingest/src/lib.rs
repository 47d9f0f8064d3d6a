//! From the bytes of a message to Arrow batches of a table's columns.
//!
//! A row is taken whole or rejected whole, with a reason; nothing is dropped in silence. Decoders
//! fill batches in the form of `schemas::arrow::ingest_schema`. What expressions mean is not known
//! here: the query engine compiles them ([`Expressions`]).

mod arrow_ipc;
pub mod authorities;
mod avro;
mod coerce;
mod columns;
mod compression;
mod convert;
mod debezium;
mod decoder;
mod field;
pub mod files;
mod framing;
pub mod infer;
mod json;
mod message;
mod metadata;
mod nested;
mod pipeline;
mod protobuf;
pub mod registry;
mod roll_up;
mod row;
mod separated;
mod sketches;
#[cfg(test)]
mod testing;
mod time;

pub use arrow_ipc::batches as arrow_batches;
pub use decoder::Decoder;
pub use files::csv_payloads;
pub use message::{Decoded, RawMessage, Rejection};
pub use metadata::wants_headers;
pub use pipeline::{Expression, Expressions, FieldUse, NoExpressions, StoredTransforms};
pub use roll_up::{RolledUp, compact, roll_up_again};

/// Rows of a batch, where each message gives one at most.
pub const BATCH_ROWS_MAX: usize = 4096;
/// Bytes of a rejected payload that are kept.
pub const REJECTED_PAYLOAD_BYTES_MAX: usize = 4096;
