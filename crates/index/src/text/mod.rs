//! The text index: which documents hold a word, a phrase, a prefix, …
//!
//! A [`TextQuery`] is defined by what it says about the tokens of one text ([`TextMatcher`]); the
//! index answers the same question for all documents at once. An [`Analyzer`] takes texts apart,
//! those of documents and those of queries.
//!
//! ```text
//! TEXT := the files of one tantivy index with one segment, each in a buffer of its own;
//!         document n is the n-th that was added; the field `text` has positions and nothing else
//! ```
//!
//! tantivy checks little of what it reads: buffers come with verified checksums, and what goes
//! wrong in spite of them is caught and is a [`crate::CorruptIndex`].

mod analyzer;
mod bundle;
mod matcher;
mod postings;
mod query;
mod reader;
mod writer;

pub use analyzer::{Analyzer, AnalyzerKind};
pub use matcher::TextMatcher;
pub use query::{DefaultOperator, QueryFault, TextQuery};
pub use reader::TextIndexReader;
pub use writer::{TextIndexFault, TextIndexWriter};

#[cfg(test)]
mod tests;
