//! Comparing and widening blocks of stored values: loops for several instruction sets.
//!
//! What is compared gives one bit a row.
//! The entry points are safe: they check lengths and choose the instruction set that [`Level`]
//! vouches for. All forms are unsigned: a range of signed numbers is the same range of their
//! distances from its lower end. Every kernel has a portable twin with the same result.
//!
//! The tests run the forms of the CPU that runs them. Those for ARM on another one (on Debian, with
//! `gcc-aarch64-linux-gnu`, `libc6-dev-arm64-cross` and `qemu-user-static`):
//!
//! ```sh
//! rustup target add aarch64-unknown-linux-gnu
//! export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
//! export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
//! export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
//! cargo test -p kernels --lib --target aarch64-unknown-linux-gnu
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bits;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod table;
#[cfg(test)]
mod tests;
mod triples;

pub use bits::{count_ones, set_bits};
pub use level::Level;
pub use table::{in_bits, in_table};
pub use triples::widen_triples;

/// Sets the bits of the rows whose value lies in `low..=high`. Bits past the values stay 0.
pub trait InRange: Copy {
    fn in_range(values: &[Self], low: Self, high: Self, words: &mut [u64]);
}

/// One bit for each value that passes; the portable form of all kernels.
#[inline(always)]
pub fn test_all<T: Copy>(values: &[T], words: &mut [u64], test: impl Fn(T) -> bool) {
    assert!(words.len() * 64 >= values.len(), "the mask is too short");
    for (chunk, word) in values.chunks(64).zip(words) {
        let mut bytes = [0u8; 64];
        for (byte, value) in bytes.iter_mut().zip(chunk) {
            *byte = u8::from(test(*value));
        }
        *word = packed(&bytes);
    }
}

/// The lowest bits of 64 bytes that are 0 or 1.
#[inline(always)]
fn packed(bytes: &[u8; 64]) -> u64 {
    let mut word = 0;
    for (at, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // Each product bit of the top byte collects one of the eight bytes.
        let byte = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= byte << (at * 8);
    }
    word
}

/// Runs the kernel of the current level over the whole chunks of 64 values, where there is one;
/// the portable form does the rest.
macro_rules! dispatch {
    ($values:ident, $words:ident, $test:expr, $avx512:expr, $avx2:expr, $neon:expr) => {{
        assert!($words.len() * 64 >= $values.len(), "the mask is too short");
        let whole = $values.len() / 64 * 64;
        let (chunks, rest) = $values.split_at(whole);
        match $crate::Level::current() {
            // SAFETY: the CPU has what the level says, the chunks are whole and there is a word
            // for each, which was asserted.
            #[cfg(target_arch = "x86_64")]
            $crate::Level::Avx512 => unsafe { $avx512(chunks, &mut $words[..]) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::Level::Avx2 => unsafe { $avx2(chunks, &mut $words[..]) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            $crate::Level::Neon => unsafe { $neon(chunks, &mut $words[..]) },
            _ => test_all(chunks, $words, $test),
        }
        test_all(rest, &mut $words[whole / 64..], $test);
    }};
}

pub(crate) use dispatch;

macro_rules! in_range {
    ($type:ty, $name:ident) => {
        impl InRange for $type {
            fn in_range(values: &[Self], low: Self, high: Self, words: &mut [u64]) {
                let width = high.wrapping_sub(low);
                let test = |value: Self| value.wrapping_sub(low) <= width;
                dispatch!(
                    values,
                    words,
                    test,
                    |v: &[Self], w: &mut [u64]| avx512::$name(v, low, width, w),
                    |v: &[Self], w: &mut [u64]| avx2::$name(v, low, width, w),
                    |v: &[Self], w: &mut [u64]| neon::$name(v, low, width, w)
                );
            }
        }
    };
}

in_range!(u8, u8_in_range);
in_range!(u16, u16_in_range);
in_range!(u32, u32_in_range);
in_range!(u64, u64_in_range);

/// Doubles whose order key lies in `low..=high`.
pub fn double_in_range(values: &[f64], low: i64, high: i64, words: &mut [u64]) {
    // Without a look at zeros, -0.0 has the key -1, which no other value has.
    let low = if low == 0 { -1 } else { low };
    let high = if high == -1 { -2 } else { high };
    if low > high {
        words[..values.len().div_ceil(64)].fill(0);
        return;
    }
    let width = high.wrapping_sub(low) as u64;
    let test = |value: f64| raw_key(value).wrapping_sub(low) as u64 <= width;
    dispatch!(
        values,
        words,
        test,
        |v: &[f64], w: &mut [u64]| avx512::f64_in_range(v, low, width, w),
        |v: &[f64], w: &mut [u64]| avx2::f64_in_range(v, low, width, w),
        |v: &[f64], w: &mut [u64]| neon::f64_in_range(v, low, width, w)
    );
}

fn raw_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// As [`InRange`], of signed numbers.
pub fn i32_in_range(values: &[i32], low: i32, high: i32, words: &mut [u64]) {
    // SAFETY: `i32` and `u32` have the same size and alignment, and every bit pattern is both.
    let values = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u32>(), values.len()) };
    u32::in_range(values, low as u32, high as u32, words);
}

/// As [`InRange`], of signed numbers.
pub fn i64_in_range(values: &[i64], low: i64, high: i64, words: &mut [u64]) {
    // SAFETY: `i64` and `u64` have the same size and alignment, and every bit pattern is both.
    let values = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u64>(), values.len()) };
    u64::in_range(values, low as u64, high as u64, words);
}
