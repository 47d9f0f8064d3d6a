//! The kernels for CPUs with AVX2 and no AVX-512.
//!
//! Those that compare take whole chunks of 64 values and write one word for each; the entry points
//! in [`super`] have checked that, and that the CPU has AVX2.

use std::arch::x86_64::*;

/// # Safety
/// The CPU has AVX2; `values` is a multiple of 64 long and `words` has a word for each 64.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn u8_in_range(values: &[u8], low: u8, width: u8, words: &mut [u64]) {
    let (low, width) = (_mm256_set1_epi8(low as i8), _mm256_set1_epi8(width as i8));
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for half in 0..2 {
            // SAFETY: the chunk has 64 bytes, `half * 32 + 32` is at most 64.
            let loaded = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(half * 32).cast()) };
            let past = _mm256_sub_epi8(loaded, low);
            let hits = _mm256_cmpeq_epi8(_mm256_min_epu8(past, width), past);
            *word |= u64::from(_mm256_movemask_epi8(hits) as u32) << (half * 32);
        }
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn u16_in_range(values: &[u16], low: u16, width: u16, words: &mut [u64]) {
    let (low, width) = (
        _mm256_set1_epi16(low as i16),
        _mm256_set1_epi16(width as i16),
    );
    let hits_of = |loaded| {
        let past = _mm256_sub_epi16(loaded, low);
        _mm256_cmpeq_epi16(_mm256_min_epu16(past, width), past)
    };
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for half in 0..2 {
            let at = chunk.as_ptr().wrapping_add(half * 32);
            // SAFETY: the chunk has 64 values, `half * 32 + 32` is at most 64.
            let loaded = unsafe {
                (
                    _mm256_loadu_si256(at.cast()),
                    _mm256_loadu_si256(at.add(16).cast()),
                )
            };
            let packed = _mm256_packs_epi16(hits_of(loaded.0), hits_of(loaded.1));
            // Packing works within halves of a register: their middle quarters change places.
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            *word |= u64::from(_mm256_movemask_epi8(ordered) as u32) << (half * 32);
        }
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn u32_in_range(values: &[u32], low: u32, width: u32, words: &mut [u64]) {
    let (low, width) = (
        _mm256_set1_epi32(low as i32),
        _mm256_set1_epi32(width as i32),
    );
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for eighth in 0..8 {
            // SAFETY: the chunk has 64 values, `eighth * 8 + 8` is at most 64.
            let loaded = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(eighth * 8).cast()) };
            let past = _mm256_sub_epi32(loaded, low);
            let hits = _mm256_cmpeq_epi32(_mm256_min_epu32(past, width), past);
            let bits = _mm256_movemask_ps(_mm256_castsi256_ps(hits)) as u64;
            *word |= bits << (eighth * 8);
        }
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn u64_in_range(values: &[u64], low: u64, width: u64, words: &mut [u64]) {
    // Only signed numbers are compared: the highest bit is turned over.
    let sign = _mm256_set1_epi64x(i64::MIN);
    let low = _mm256_set1_epi64x(low as i64);
    let width = _mm256_xor_si256(_mm256_set1_epi64x(width as i64), sign);
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for part in 0..16 {
            // SAFETY: the chunk has 64 values, `part * 4 + 4` is at most 64.
            let loaded = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(part * 4).cast()) };
            let past = _mm256_xor_si256(_mm256_sub_epi64(loaded, low), sign);
            let beyond = _mm256_cmpgt_epi64(past, width);
            let bits = !_mm256_movemask_pd(_mm256_castsi256_pd(beyond)) as u64 & 0xf;
            *word |= bits << (part * 4);
        }
    }
}

/// As [`super::double_in_range`] numbers them.
///
/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn f64_in_range(values: &[f64], low: i64, width: u64, words: &mut [u64]) {
    let sign = _mm256_set1_epi64x(i64::MIN);
    let low = _mm256_set1_epi64x(low);
    let width = _mm256_xor_si256(_mm256_set1_epi64x(width as i64), sign);
    let zero = _mm256_setzero_si256();
    for (chunk, word) in values.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for part in 0..16 {
            // SAFETY: the chunk has 64 values, `part * 4 + 4` is at most 64.
            let bits = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(part * 4).cast()) };
            let negative = _mm256_cmpgt_epi64(zero, bits);
            let key = _mm256_xor_si256(bits, _mm256_srli_epi64::<1>(negative));
            let past = _mm256_xor_si256(_mm256_sub_epi64(key, low), sign);
            let beyond = _mm256_cmpgt_epi64(past, width);
            let hits = !_mm256_movemask_pd(_mm256_castsi256_pd(beyond)) as u64 & 0xf;
            *word |= hits << (part * 4);
        }
    }
}

/// # Safety
/// As of [`u8_in_range`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn in_table(codes: &[u8], set: &[u64; 4], words: &mut [u64]) {
    // SAFETY: the set has 32 bytes, 16 of them from its third word on.
    let (first, second) = unsafe {
        let at: *const __m128i = set.as_ptr().cast();
        (_mm_loadu_si128(at), _mm_loadu_si128(at.add(1)))
    };
    let (first, second) = (
        _mm256_broadcastsi128_si256(first),
        _mm256_broadcastsi128_si256(second),
    );
    let bit_of = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let (five, three) = (_mm256_set1_epi8(0x1f), _mm256_set1_epi8(7));
    for (chunk, word) in codes.as_chunks::<64>().0.iter().zip(words) {
        *word = 0;
        for half in 0..2 {
            // SAFETY: the chunk has 64 bytes, `half * 32 + 32` is at most 64.
            let codes = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(half * 32).cast()) };
            let byte = _mm256_and_si256(_mm256_srli_epi16::<3>(codes), five);
            let near = _mm256_shuffle_epi8(first, byte);
            // A number of 16 and more is of the second half: its fifth bit chooses.
            let low = _mm256_and_si256(byte, _mm256_set1_epi8(0xf));
            let far = _mm256_shuffle_epi8(second, low);
            let held = _mm256_blendv_epi8(near, far, _mm256_slli_epi16::<3>(byte));
            let bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(codes, three));
            let hits = _mm256_cmpeq_epi8(_mm256_and_si256(held, bit), bit);
            *word |= u64::from(_mm256_movemask_epi8(hits) as u32) << (half * 32);
        }
    }
}

/// # Safety
/// The CPU has AVX2; `into` is empty and has room for all numbers.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn widen_triples(chunks: &[[[u8; 3]; 8]], into: &mut Vec<u32>) {
    // Four numbers from the first bytes of the lower half, four from the last of the upper.
    let order = _mm256_setr_epi8(
        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12,
        -1, 13, 14, 15, -1,
    );
    for (at, chunk) in chunks.iter().enumerate() {
        let bytes: *const u8 = chunk.as_ptr().cast();
        // SAFETY: the chunk has 24 bytes, of which 16 are read from the first and from the ninth;
        // 8 numbers were written for each chunk before, so there is room for 8 more.
        unsafe {
            let lower = _mm_loadu_si128(bytes.cast());
            let upper = _mm_loadu_si128(bytes.add(8).cast());
            let wide = _mm256_shuffle_epi8(_mm256_set_m128i(upper, lower), order);
            _mm256_storeu_si256(into.as_mut_ptr().add(at * 8).cast(), wide);
        }
    }
    // SAFETY: that many were written.
    unsafe { into.set_len(chunks.len() * 8) };
}
