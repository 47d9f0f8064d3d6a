//! The kernels for CPUs with AVX-512.
//!
//! Those that compare take whole chunks of 64 values and write one word for each; the entry points
//! in [`super`] have checked that, and that the CPU has what the kernel is compiled for.

use std::arch::x86_64::*;

macro_rules! in_range {
    ($name:ident, $type:ty, $lanes:literal, $splat:ident, $sub:ident, $less_or_equal:ident) => {
        /// # Safety
        /// The CPU has AVX-512 F and BW; `values` is a multiple of 64 long and `words` has a word
        /// for each 64.
        #[target_feature(enable = "avx512f,avx512bw")]
        pub(super) unsafe fn $name(values: &[$type], low: $type, width: $type, words: &mut [u64]) {
            let (low, width) = ($splat(low as _), $splat(width as _));
            for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
                *word = 0;
                for lane in 0..64 / $lanes {
                    let at = chunk.as_ptr().wrapping_add(lane * $lanes);
                    // SAFETY: the chunk has 64 values, `lane * $lanes + $lanes` is at most 64.
                    let loaded = unsafe { _mm512_loadu_si512(at.cast()) };
                    let hits = $less_or_equal($sub(loaded, low), width);
                    *word |= u64::from(hits) << (lane * $lanes);
                }
            }
        }
    };
}

in_range!(
    u8_in_range,
    u8,
    64,
    _mm512_set1_epi8,
    _mm512_sub_epi8,
    _mm512_cmple_epu8_mask
);
in_range!(
    u16_in_range,
    u16,
    32,
    _mm512_set1_epi16,
    _mm512_sub_epi16,
    _mm512_cmple_epu16_mask
);
in_range!(
    u32_in_range,
    u32,
    16,
    _mm512_set1_epi32,
    _mm512_sub_epi32,
    _mm512_cmple_epu32_mask
);
in_range!(
    u64_in_range,
    u64,
    8,
    _mm512_set1_epi64,
    _mm512_sub_epi64,
    _mm512_cmple_epu64_mask
);

/// As [`super::double_in_range`] numbers them.
///
/// # Safety
/// The CPU has AVX-512 F; `values` is a multiple of 64 long and `words` has a word for each 64.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn f64_in_range(values: &[f64], low: i64, width: u64, words: &mut [u64]) {
    let (low, width) = (_mm512_set1_epi64(low), _mm512_set1_epi64(width as i64));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for part in 0..8 {
            // SAFETY: the chunk has 64 values, `part * 8 + 8` is at most 64.
            let bits = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(part * 8).cast()) };
            let negative = _mm512_srai_epi64::<63>(bits);
            let key = _mm512_xor_si512(bits, _mm512_srli_epi64::<1>(negative));
            let hits = _mm512_cmple_epu64_mask(_mm512_sub_epi64(key, low), width);
            *word |= u64::from(hits) << (part * 8);
        }
    }
}

/// # Safety
/// The CPU has AVX-512 F, BW and VBMI; `codes` is a multiple of 64 long and `words` has a word for
/// each 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn in_table(codes: &[u8], set: &[u64; 4], words: &mut [u64]) {
    // SAFETY: the set has 32 bytes.
    let set = unsafe { _mm256_loadu_si256(set.as_ptr().cast()) };
    let table = _mm512_broadcast_i64x4(set);
    let bit_of = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let (five, three) = (_mm512_set1_epi8(0x1f), _mm512_set1_epi8(7));
    for (chunk, word) in codes.as_chunks::<64>().0.iter().zip(words) {
        // SAFETY: the chunk has 64 bytes.
        let codes = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        let byte = _mm512_and_si512(_mm512_srli_epi16::<3>(codes), five);
        let held = _mm512_permutexvar_epi8(byte, table);
        let bit = _mm512_shuffle_epi8(bit_of, _mm512_and_si512(codes, three));
        *word = _mm512_test_epi8_mask(held, bit);
    }
}

/// The bytes of 16 numbers of three bytes, each with another one behind it, which is left out.
const TRIPLES: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = (at / 4 * 3 + at % 4) as u8;
        at += 1;
    }
    bytes
};

/// # Safety
/// The CPU has AVX-512 F, BW and VBMI; `into` is empty and has room for all numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn widen_triples(chunks: &[[[u8; 3]; 16]], into: &mut Vec<u32>) {
    // SAFETY: the array has 64 bytes.
    let order = unsafe { _mm512_loadu_si512(TRIPLES.as_ptr().cast()) };
    for (at, chunk) in chunks.iter().enumerate() {
        // SAFETY: the 48 bytes that are read are those of the chunk; 16 numbers were written for
        // each chunk before, so there is room for 16 more.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8((1 << 48) - 1, chunk.as_ptr().cast());
            let wide = _mm512_maskz_permutexvar_epi8(0x7777_7777_7777_7777, order, bytes);
            _mm512_storeu_si512(into.as_mut_ptr().add(at * 16).cast(), wide);
        }
    }
    // SAFETY: that many were written.
    unsafe { into.set_len(chunks.len() * 16) };
}
