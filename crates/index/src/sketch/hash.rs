//! The hash of a value, the same wherever it was computed: it is part of the sketches' states.
//! Floats have none: DataFusion does not count them.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

const STATE: FixedState = FixedState::with_seed(0);

/// Longest bytes that Arrow's views hold in themselves; these are hashed as the view.
const INLINE_MAX: usize = 12;

#[inline]
pub fn hash_i32(value: i32) -> u64 {
    STATE.hash_one(value)
}

/// LONG, and TIMESTAMP by its milliseconds.
#[inline]
pub fn hash_i64(value: i64) -> u64 {
    STATE.hash_one(value)
}

/// BIG_DECIMAL by the lower and upper half of its unscaled value.
#[inline]
pub fn hash_decimal(low: u128, high: i128) -> u64 {
    STATE.hash_one((low, high))
}

/// STRING, JSON and BYTES.
#[inline]
pub fn hash_bytes(value: &[u8]) -> u64 {
    if value.len() > INLINE_MAX {
        return STATE.hash_one(value);
    }
    let mut view = [0; 16];
    view[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    view[4..4 + value.len()].copy_from_slice(value);
    STATE.hash_one(u128::from_le_bytes(view))
}
