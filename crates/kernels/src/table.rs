//! Finding the codes of a block that belong to a set, where the set is a bitmap of codes.
//!
//! A code past the end of the bitmap is in no set: the entry points are safe for any codes.

#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use super::{dispatch, test_all};

/// For codes of one byte: bit c of `set` is code c.
pub fn in_table(codes: &[u8], set: &[u64; 4], words: &mut [u64]) {
    let test = |code: u8| set[usize::from(code) / 64] >> (code % 64) & 1 == 1;
    dispatch!(
        codes,
        words,
        test,
        |c: &[u8], w: &mut [u64]| avx512::in_table(c, set, w),
        |c: &[u8], w: &mut [u64]| avx2::in_table(c, set, w),
        |c: &[u8], w: &mut [u64]| neon::in_table(c, set, w)
    );
}

/// For wider codes: bit c % 64 of word c / 64 is code c.
pub fn in_bits<T: Copy + Into<u32>>(codes: &[T], set: &[u64], words: &mut [u64]) {
    test_all(codes, words, |code| {
        let code = code.into() as usize;
        set.get(code / 64)
            .is_some_and(|word| word >> (code % 64) & 1 == 1)
    });
}
