//! From a mask to how many rows and which.
//!
//! The fast forms are reached only through the level of the CPU, and write into reserved room.

use crate::Level;

/// Bits that are set.
pub fn count_ones(words: &[u64]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if Level::current() >= Level::Avx2 {
        // SAFETY: a CPU of this level has POPCNT.
        return unsafe { count_ones_popcnt(words) };
    }
    words.iter().map(|word| word.count_ones()).sum()
}

/// # Safety
/// The CPU has POPCNT.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
unsafe fn count_ones_popcnt(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

/// Replaces `rows` by the numbers of the bits that are set, ascending.
pub fn set_bits(words: &[u64], rows: &mut Vec<u32>) {
    rows.clear();
    #[cfg(target_arch = "x86_64")]
    if Level::current() == Level::Avx512 {
        rows.reserve(words.len() * 64);
        // SAFETY: a CPU of this level has AVX-512 F and POPCNT; there is room for each bit.
        return unsafe { set_bits_avx512(words, rows) };
    }
    set_bits_portable(words, rows);
}

fn set_bits_portable(words: &[u64], rows: &mut Vec<u32>) {
    for (at, word) in words.iter().enumerate() {
        push_bits(at, *word, rows);
    }
}

#[inline(always)]
fn push_bits(at: usize, mut word: u64, rows: &mut Vec<u32>) {
    while word != 0 {
        rows.push(at as u32 * 64 + word.trailing_zeros());
        word &= word - 1;
    }
}

/// Measured: at this many set bits of 64 both ways take the same time.
#[cfg(target_arch = "x86_64")]
const FEW_BITS: u32 = 4;

/// # Safety
/// The CPU has AVX-512 F and POPCNT; `rows` is empty and has room for 64 rows for each word.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn set_bits_avx512(words: &[u64], rows: &mut Vec<u32>) {
    use std::arch::x86_64::*;
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (at, word) in words.iter().enumerate() {
        // Where few bits are set, going from one to the next is faster than 64 lanes.
        if word.count_ones() <= FEW_BITS {
            push_bits(at, *word, rows);
            continue;
        }
        let mut count = rows.len();
        for quarter in 0..4 {
            let bits = (word >> (quarter * 16)) as u16;
            let first = _mm512_set1_epi32((at * 64 + quarter * 16) as i32);
            let hits = _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(first, lanes));
            // SAFETY: at most 16 rows were written for each quarter before this one, so there is
            // room for 16 more.
            unsafe { _mm512_storeu_si512(rows.as_mut_ptr().add(count).cast(), hits) };
            count += bits.count_ones() as usize;
        }
        // SAFETY: that many rows were written, and there is room for all bits.
        unsafe { rows.set_len(count) };
    }
}
