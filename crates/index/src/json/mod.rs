//! The JSON index: path and value → the documents that have them.
//!
//! A document is flattened into records, each a set of (path, value): an object is one record, an
//! array one for each element, and what stands beside several arrays is in every combination of
//! their elements. Conditions joined by AND hold in the same record, so in the same element. A
//! negation holds for a document when no record of it fulfils what is negated.
//!
//! Keys are those of Pinot: `.a.b` is the value at `$.a.b`; an element of the array at `$.a` has
//! its value at `.a.`, its fields at `.a..b` and its place at `.a.$index`.
//!
//! ```text
//! JSON     := OFFSETS KEYS POSTINGS STARTS?
//! OFFSETS  := (keys + 1) × u32, where each key begins in KEYS
//! KEYS     := ascending: a path, then, for each of its values, path | 0 | value
//! POSTINGS := an inverted index (../inverted), code = position of the key, document = record
//! STARTS   := (documents + 1) × u32, the first record of each; absent where each has one record
//! ```

mod evaluate;
mod filter;
mod flatten;
mod path;
mod path_tree;
mod reader;
mod writer;

pub use evaluate::{JsonExtractor, JsonMatcher};
pub use filter::{FilterFault, JsonFilter};
pub use flatten::Flattening;
pub use path::{JsonPath, Step};
pub use path_tree::PathTree;
pub use reader::{Extracted, JsonIndexReader};
pub use writer::JsonIndexWriter;

#[cfg(test)]
mod tests;
