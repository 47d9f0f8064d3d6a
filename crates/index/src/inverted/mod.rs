//! The inverted index: code → the documents that hold it, as short lists or roaring bitmaps.

mod bitmaps;
mod lists;
mod reader;
mod serializer;
mod writer;

pub use reader::InvertedReader;
pub use serializer::serialize;
pub use writer::Postings;

#[cfg(test)]
mod tests;
