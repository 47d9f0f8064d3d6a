//! Upserts and deduplication: which row of a primary key counts.
//!
//! A partition has one [`PartitionKeys`]: a map from keys to the offset of their newest row, and
//! for each segment the rows that count. The consumer gives it batches, which become visible
//! together with what they hide; queries take views of all segments of the partition at one
//! moment. After a start it follows from what is sealed: each segment tells which rows counted at
//! its end, and their key columns are read by several threads.

mod cells;
mod compared;
mod load;
mod map;
mod merge;
mod partition;
mod places;
mod rules;
mod writer;

pub use load::{Load, Stage, Unreadable};
pub use map::{Entry, Key, KeyMap, Spill};
pub use merge::StoredRows;
pub use partition::{Appended, KeyFigures, PartitionKeys};
