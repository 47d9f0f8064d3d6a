//! The `.seg` container, its builder, and the sealed and the consuming segment.
//!
//! Readers see both kinds of segment through one [`SegmentView`]: a prefix of the rows that never
//! changes under them. Whatever is read from a file was checked before: damage is an error, never
//! a wrong value.

#[cfg(target_endian = "big")]
compile_error!("segments are mapped as little-endian arrays");

pub mod arrays;
mod builder;
pub mod calendar;
mod column;
mod compact;
mod container;
mod defaults;
mod earlier;
mod error;
pub mod inspect;
mod keys;
mod mutable;
mod pack;
mod prefix;
mod raw;
mod rejected;
mod seal;
mod sealed;
mod valid;
pub mod view;

pub use builder::SegmentBuilder;
pub use compact::compact;
pub use defaults::default_array;
pub use earlier::{EARLIER_MAX, EarlierFile};
pub use error::SegmentError;
pub use keys::{KeyRows, KeysAtEnd};
pub use mutable::MutableSegment;
pub use pack::{copy_file, pack, unpack, unpack_file};
pub use rejected::RejectedRow;
pub use seal::{SealExtra, Sealed, indexes, seal};
pub use sealed::{ComputedColumns, Extent, SealedSegment};
pub use view::{BLOCK_ROWS, Segment, SegmentView};

#[cfg(test)]
mod tests;
