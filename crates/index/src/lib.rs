//! One folder for each index of a column: writer, serializer, reader.
//!
//! This crate knows neither segments nor tables: it turns codes and values into bytes and back.
//! Two kinds of failure are kept apart: bytes that are wrong are a [`CorruptIndex`], a caller who
//! asks for a code of another column panics. Everything is little endian.

pub mod blocks;
pub mod bloom;
pub mod dictionary;
pub mod forward;
pub mod inverted;
pub mod json;
pub mod null;
pub mod range;
pub mod sketch;
pub mod sorted;
pub mod star_tree;
pub mod text;
pub mod timestamp;

mod error;

pub use error::{CorruptIndex, IndexTooLarge};
