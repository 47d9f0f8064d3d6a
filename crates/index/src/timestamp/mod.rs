//! The timestamp index: each document's bucket of time, such as its hour or its month.
//!
//! Groups by a bucket and conditions on whole buckets then read one or two bytes a document instead
//! of a time, and how many documents a bucket has is known without reading any. What a bucket is
//! the caller says; here it is a time at which it begins.

mod reader;
mod serializer;
mod writer;

pub use reader::BucketReader;
pub use serializer::serialize;
pub use writer::BucketWriter;

#[cfg(test)]
mod tests;
