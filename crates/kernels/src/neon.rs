//! The kernels for 64-bit ARM, all of which has NEON.
//!
//! Those that compare take whole chunks of 64 values and write one word for each; the entry points
//! in [`super`] have checked that. Lanes that pass are all ones; they are made narrower, two
//! registers to one, until 64 rows are 64 bytes.

use std::arch::aarch64::*;

/// The highest bit of each of 64 bytes that are 0 or all ones.
#[inline]
#[target_feature(enable = "neon")]
fn word_of(hits: [uint8x16_t; 4]) -> u64 {
    let bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    let bits = hits.map(|hits| vandq_u8(hits, bit_of));
    // Each sum of neighbours has the bits of both; after three there are eight in a byte.
    let halves = (vpaddq_u8(bits[0], bits[1]), vpaddq_u8(bits[2], bits[3]));
    let quarters = vpaddq_u8(halves.0, halves.1);
    let word = vpaddq_u8(quarters, quarters);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(word))
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes_of_16(first: uint16x8_t, second: uint16x8_t) -> uint8x16_t {
    vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(second))
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes_of_32(hits: [uint32x4_t; 4]) -> uint8x16_t {
    let [a, b, c, d] = hits.map(|hits| vreinterpretq_u16_u32(hits));
    bytes_of_16(vuzp1q_u16(a, b), vuzp1q_u16(c, d))
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes_of_64(hits: [uint64x2_t; 8]) -> uint8x16_t {
    let [a, b, c, d, e, f, g, h] = hits.map(|hits| vreinterpretq_u32_u64(hits));
    let halves = [
        vuzp1q_u32(a, b),
        vuzp1q_u32(c, d),
        vuzp1q_u32(e, f),
        vuzp1q_u32(g, h),
    ];
    bytes_of_32(halves)
}

/// # Safety
/// The CPU has NEON; `values` is a multiple of 64 long and `words` has a word for each 64.
#[target_feature(enable = "neon")]
pub(super) unsafe fn u8_in_range(values: &[u8], low: u8, width: u8, words: &mut [u64]) {
    let (low, width) = (vdupq_n_u8(low), vdupq_n_u8(width));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        let hits = [0, 1, 2, 3].map(|quarter| {
            // SAFETY: the chunk has 64 bytes, `quarter * 16 + 16` is at most 64.
            let loaded = unsafe { vld1q_u8(chunk.as_ptr().add(quarter * 16)) };
            vcleq_u8(vsubq_u8(loaded, low), width)
        });
        *word = word_of(hits);
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn u16_in_range(values: &[u16], low: u16, width: u16, words: &mut [u64]) {
    let (low, width) = (vdupq_n_u16(low), vdupq_n_u16(width));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        let hits_at = |eighth: usize| {
            // SAFETY: the chunk has 64 values, `eighth * 8 + 8` is at most 64.
            let loaded = unsafe { vld1q_u16(chunk.as_ptr().add(eighth * 8)) };
            vcleq_u16(vsubq_u16(loaded, low), width)
        };
        let bytes = [0, 2, 4, 6].map(|at| bytes_of_16(hits_at(at), hits_at(at + 1)));
        *word = word_of(bytes);
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn u32_in_range(values: &[u32], low: u32, width: u32, words: &mut [u64]) {
    let (low, width) = (vdupq_n_u32(low), vdupq_n_u32(width));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        let hits_at = |part: usize| {
            // SAFETY: the chunk has 64 values, `part * 4 + 4` is at most 64.
            let loaded = unsafe { vld1q_u32(chunk.as_ptr().add(part * 4)) };
            vcleq_u32(vsubq_u32(loaded, low), width)
        };
        let bytes =
            [0, 4, 8, 12].map(|at| bytes_of_32([0, 1, 2, 3].map(|part| hits_at(at + part))));
        *word = word_of(bytes);
    }
}

/// The rows of a chunk of 64 whose value, of two in a register, passes.
#[inline]
#[target_feature(enable = "neon")]
fn word_of_pairs(hits_at: impl Fn(usize) -> uint64x2_t) -> u64 {
    let bytes = [0, 8, 16, 24]
        .map(|at| bytes_of_64([0, 1, 2, 3, 4, 5, 6, 7].map(|part| hits_at(at + part))));
    word_of(bytes)
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn u64_in_range(values: &[u64], low: u64, width: u64, words: &mut [u64]) {
    let (low, width) = (vdupq_n_u64(low), vdupq_n_u64(width));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        let hits_at = |part: usize| {
            // SAFETY: the chunk has 64 values, `part * 2 + 2` is at most 64.
            let loaded = unsafe { vld1q_u64(chunk.as_ptr().add(part * 2)) };
            vcleq_u64(vsubq_u64(loaded, low), width)
        };
        *word = word_of_pairs(hits_at);
    }
}

/// As [`super::double_in_range`] numbers them.
///
/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn f64_in_range(values: &[f64], low: i64, width: u64, words: &mut [u64]) {
    let (low, width) = (vdupq_n_u64(low as u64), vdupq_n_u64(width));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        let hits_at = |part: usize| {
            // SAFETY: the chunk has 64 values, `part * 2 + 2` is at most 64.
            let bits = unsafe { vld1q_u64(chunk.as_ptr().add(part * 2).cast()) };
            let sign = vshrq_n_s64::<63>(vreinterpretq_s64_u64(bits));
            let key = veorq_u64(bits, vshrq_n_u64::<1>(vreinterpretq_u64_s64(sign)));
            vcleq_u64(vsubq_u64(key, low), width)
        };
        *word = word_of_pairs(hits_at);
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn in_table(codes: &[u8], set: &[u64; 4], words: &mut [u64]) {
    // SAFETY: the set has 32 bytes.
    let set = unsafe { vld1q_u8_x2(set.as_ptr().cast()) };
    let bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    let seven = vdupq_n_u8(7);
    for (chunk, word) in codes.as_chunks::<64>().0.iter().zip(words) {
        let hits = [0, 1, 2, 3].map(|quarter| {
            // SAFETY: the chunk has 64 bytes, `quarter * 16 + 16` is at most 64.
            let codes = unsafe { vld1q_u8(chunk.as_ptr().add(quarter * 16)) };
            let held = vqtbl2q_u8(set, vshrq_n_u8::<3>(codes));
            vtstq_u8(held, vqtbl1q_u8(bit_of, vandq_u8(codes, seven)))
        });
        *word = word_of(hits);
    }
}

/// # Safety
/// The CPU has NEON; `into` is empty and has room for all numbers.
#[target_feature(enable = "neon")]
pub(super) unsafe fn widen_triples(chunks: &[[[u8; 3]; 8]], into: &mut Vec<u32>) {
    /// No byte of a register: zero comes there.
    const NONE: u8 = 0xff;
    const FROM_FIRST: [u8; 16] = [0, 1, 2, NONE, 3, 4, 5, NONE, 6, 7, 8, NONE, 9, 10, 11, NONE];
    const FROM_NINTH: [u8; 16] = [
        4, 5, 6, NONE, 7, 8, 9, NONE, 10, 11, 12, NONE, 13, 14, 15, NONE,
    ];
    // SAFETY: both have 16 bytes.
    let (lower, upper) = unsafe { (vld1q_u8(FROM_FIRST.as_ptr()), vld1q_u8(FROM_NINTH.as_ptr())) };
    for (at, chunk) in chunks.iter().enumerate() {
        let bytes: *const u8 = chunk.as_ptr().cast();
        // SAFETY: the chunk has 24 bytes, of which 16 are read from the first and from the ninth;
        // 8 numbers were written for each chunk before, so there is room for 8 more.
        unsafe {
            let to: *mut u8 = into.as_mut_ptr().add(at * 8).cast();
            vst1q_u8(to, vqtbl1q_u8(vld1q_u8(bytes), lower));
            vst1q_u8(to.add(16), vqtbl1q_u8(vld1q_u8(bytes.add(8)), upper));
        }
    }
    // SAFETY: that many were written.
    unsafe { into.set_len(chunks.len() * 8) };
}
