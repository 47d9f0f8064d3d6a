//! Upserts and deduplication: which row of a primary key counts.
//!
//! A partition has one [`PartitionKeys`]: a map from keys to the offset of their newest row, and
//! for each segment the rows that count. The consumer gives it batches, which become visible
//! together with what they hide; queries take views of all segments of the partition at one
//! moment. Nothing of it is stored: after a start it follows from the key columns of the sealed
//! segments, in seconds for tens of millions of keys.

mod cells;
mod map;
mod merge;
mod partition;
mod places;
mod rules;
mod writer;

pub use map::{Entry, Key, KeyMap, Spill};
pub use merge::StoredRows;
pub use partition::{Appended, KeyFigures, PartitionKeys};
