//! Comparing a block of stored values with a range, one bit a row; and from bits to rows.
//!
//! The entry points are safe and check lengths; instruction sets are chosen at run time. All forms
//! are unsigned: a range of signed numbers is the same range of their distances from its lower end.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod table;

pub(crate) use table::{in_bits, in_table};

/// Bits that are set.
pub(crate) fn count_ones(words: &[u64]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("popcnt") {
        // SAFETY: the CPU has POPCNT.
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

/// Sets the bits of the rows whose value lies in `low..=high`. Bits past the values stay 0.
pub(crate) trait InRange: Copy {
    fn in_range(values: &[Self], low: Self, high: Self, words: &mut [u64]);
}

/// One bit for each value that passes; the portable form of all kernels.
#[inline(always)]
pub(crate) fn test_all<T: Copy>(values: &[T], words: &mut [u64], test: impl Fn(T) -> bool) {
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

/// Replaces `rows` by the numbers of the bits that are set, ascending.
pub(crate) fn set_bits(words: &[u64], rows: &mut Vec<u32>) {
    rows.clear();
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
        rows.reserve(words.len() * 64);
        // SAFETY: the CPU has AVX-512 F and POPCNT; there is room for each bit.
        return unsafe { set_bits_avx512(words, rows) };
    }
    set_bits_portable(words, rows);
}

fn set_bits_portable(words: &[u64], rows: &mut Vec<u32>) {
    for (at, word) in words.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            rows.push(at as u32 * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
}

/// # Safety
/// The CPU has AVX-512 F and POPCNT; `rows` is empty and has room for 64 rows for each word.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn set_bits_avx512(words: &[u64], rows: &mut Vec<u32>) {
    use std::arch::x86_64::*;
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let mut count = 0;
    for (at, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
        for quarter in 0..4 {
            let bits = (word >> (quarter * 16)) as u16;
            let first = _mm512_set1_epi32((at * 64 + quarter * 16) as i32);
            let hits = _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(first, lanes));
            // SAFETY: at most 16 rows were written for each quarter before this one, so there is
            // room for 16 more.
            unsafe { _mm512_storeu_si512(rows.as_mut_ptr().add(count).cast(), hits) };
            count += bits.count_ones() as usize;
        }
    }
    // SAFETY: that many rows were written, and there is room for all bits.
    unsafe { rows.set_len(count) };
}

/// Runs the fastest kernel that the CPU has over the whole chunks of 64 values; the portable form
/// does the rest.
macro_rules! dispatch {
    ($values:ident, $words:ident, $test:expr, [$($feature:tt => $kernel:expr),*]) => {{
        assert!($words.len() * 64 >= $values.len(), "the mask is too short");
        let (mut chunks, mut rest) = $values.split_at($values.len() / 64 * 64);
        let mut done = false;
        #[cfg(target_arch = "x86_64")]
        {
            $(
                if !done && is_x86_feature_detected!($feature) {
                    // SAFETY: the CPU has what the kernel needs, the chunks are whole and there is
                    // a word for each, which was asserted.
                    unsafe { $kernel(chunks, &mut $words[..]) };
                    done = true;
                }
            )*
        }
        if !done {
            (chunks, rest) = (&$values[..0], $values);
        }
        test_all(rest, &mut $words[chunks.len() / 64..], $test);
    }};
}

pub(super) use dispatch;

macro_rules! in_range {
    ($type:ty, $name:ident) => {
        impl InRange for $type {
            fn in_range(values: &[Self], low: Self, high: Self, words: &mut [u64]) {
                let width = high.wrapping_sub(low);
                let test = |value: Self| value.wrapping_sub(low) <= width;
                dispatch!(values, words, test, [
                    "avx512bw" => |v: &[Self], w: &mut [u64]| avx512::$name(v, low, width, w),
                    "avx2" => |v: &[Self], w: &mut [u64]| avx2::$name(v, low, width, w)
                ]);
            }
        }
    };
}

in_range!(u8, u8_in_range);
in_range!(u16, u16_in_range);
in_range!(u32, u32_in_range);
in_range!(u64, u64_in_range);

/// Doubles whose order key lies in `low..=high`.
pub(crate) fn double_in_range(values: &[f64], low: i64, high: i64, words: &mut [u64]) {
    // Without a look at zeros, -0.0 has the key -1, which no other value has.
    let low = if low == 0 { -1 } else { low };
    let high = if high == -1 { -2 } else { high };
    if low > high {
        words[..values.len().div_ceil(64)].fill(0);
        return;
    }
    let width = high.wrapping_sub(low) as u64;
    let test = |value: f64| raw_key(value).wrapping_sub(low) as u64 <= width;
    dispatch!(values, words, test, [
        "avx512f" => |v: &[f64], w: &mut [u64]| avx512::f64_in_range(v, low, width, w),
        "avx2" => |v: &[f64], w: &mut [u64]| avx2::f64_in_range(v, low, width, w)
    ]);
}

fn raw_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

pub(crate) fn i32_in_range(values: &[i32], low: i32, high: i32, words: &mut [u64]) {
    // SAFETY: `i32` and `u32` have the same size and alignment, and every bit pattern is both.
    let values = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u32>(), values.len()) };
    u32::in_range(values, low as u32, high as u32, words);
}

pub(crate) fn i64_in_range(values: &[i64], low: i64, high: i64, words: &mut [u64]) {
    // SAFETY: `i64` and `u64` have the same size and alignment, and every bit pattern is both.
    let values = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u64>(), values.len()) };
    u64::in_range(values, low as u64, high as u64, words);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: InRange + PartialOrd + std::fmt::Debug>(values: &[T], low: T, high: T) {
        let mut words = vec![0; values.len().div_ceil(64) + 1];
        T::in_range(values, low, high, &mut words);
        let mut portable = vec![0; words.len()];
        test_all(values, &mut portable, |v| v >= low && v <= high);
        assert_eq!(
            words,
            portable,
            "{low:?}..={high:?} of {} values",
            values.len()
        );
        for (at, value) in values.iter().enumerate() {
            let bit = words[at / 64] >> (at % 64) & 1 == 1;
            assert_eq!(bit, *value >= low && *value <= high, "row {at}");
        }
    }

    #[test]
    fn both_forms_find_the_bits_that_are_set() {
        let (mut found, mut portable) = (vec![7; 3], Vec::new());
        for words in [
            &[][..],
            &[0, 0],
            &[u64::MAX; 64],
            &[1, 1 << 63, 0x8001_4002_2004_1008, 0],
        ] {
            set_bits(words, &mut found);
            portable.clear();
            set_bits_portable(words, &mut portable);
            assert_eq!(found, portable);
            let bit = |row: &u32| words[*row as usize / 64] >> (row % 64) & 1 == 1;
            let expected = (0..words.len() as u32 * 64).filter(bit);
            assert_eq!(found, expected.collect::<Vec<u32>>());
        }
    }

    #[test]
    fn doubles_are_found_by_their_order() {
        let mut values: Vec<f64> = (0..200).map(|n| f64::from(n) - 100.0).collect();
        values.extend([
            -0.0,
            0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ]);
        values.extend([f64::MIN_POSITIVE, -f64::MIN_POSITIVE, 5e-324, -5e-324]);
        let key = index::range::order_key;
        let ends: Vec<i64> = values.iter().map(|value| key(*value)).collect();
        let near = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        for low in ends.iter().step_by(17).chain(&near) {
            for high in ends
                .iter()
                .step_by(13)
                .chain(&near)
                .filter(|high| low <= *high)
            {
                let mut words = vec![u64::MAX; 4];
                double_in_range(&values, *low, *high, &mut words);
                for (at, value) in values.iter().enumerate() {
                    let bit = words[at / 64] >> (at % 64) & 1 == 1;
                    let expected = (*low..=*high).contains(&key(*value));
                    assert_eq!(bit, expected, "{value} in {low}..={high}");
                }
            }
        }
    }

    /// The kernels that a faster one hides on this CPU.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_instruction_set_finds_the_same_rows() {
        if !is_x86_feature_detected!("avx2") {
            return;
        }
        let random = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        let values: Vec<u64> = (0..512).map(random).collect();
        let (mut found, mut portable) = (vec![7; 8], vec![0; 8]);
        macro_rules! check {
            ($type:ty, $name:ident, $low:expr, $width:expr) => {
                let narrow: Vec<$type> = values.iter().map(|v| *v as $type).collect();
                let (low, width) = ($low as $type, $width as $type);
                test_all(&narrow, &mut portable, |v| v.wrapping_sub(low) <= width);
                // SAFETY: the CPU has AVX2, and there are 8 chunks and 8 words.
                unsafe { avx2::$name(&narrow, low, width, &mut found) };
                assert_eq!(found, portable, "{low} and {width} more");
            };
        }
        for (low, width) in [(0, u64::MAX), (3 << 60, 1 << 62), (250, 10), (u64::MAX, 0)] {
            check!(u8, u8_in_range, low, width);
            check!(u16, u16_in_range, low, width);
            check!(u32, u32_in_range, low, width);
            check!(u64, u64_in_range, low, width);
            let doubles: Vec<f64> = values.iter().map(|v| f64::from_bits(*v)).collect();
            let low = low as i64;
            test_all(&doubles, &mut portable, |v| {
                raw_key(v).wrapping_sub(low) as u64 <= width
            });
            // SAFETY: as above.
            unsafe { avx2::f64_in_range(&doubles, low, width, &mut found) };
            assert_eq!(found, portable);
        }
        let codes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
        for set in [[1, 0, 0, 1 << 63], [u64::MAX, 0, 0xf0f0, 7], [values[3]; 4]] {
            let has = |code: u8| set[usize::from(code) / 64] >> (code % 64) & 1 == 1;
            test_all(&codes, &mut portable, has);
            // SAFETY: as above.
            unsafe { avx2::in_table(&codes, &set, &mut found) };
            assert_eq!(found, portable, "{set:?}");
            in_table(&codes, &set, &mut found);
            assert_eq!(found, portable, "{set:?}");
        }
    }

    #[test]
    fn every_form_finds_the_same_rows() {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 7
        };
        for len in [0, 1, 63, 64, 65, 1000, 4096] {
            let random: Vec<u64> = (0..len).map(|_| next()).collect();
            let bytes: Vec<u8> = random.iter().map(|v| *v as u8).collect();
            let shorts: Vec<u16> = random.iter().map(|v| *v as u16).collect();
            let ints: Vec<u32> = random.iter().map(|v| *v as u32).collect();
            for (low, high) in [(0, 0), (3, 200), (0, 255), (255, 255)] {
                check(&bytes, low, high);
                check(&shorts, u16::from(low) * 200, u16::from(high) * 257);
                check(&ints, u32::from(low) << 20, u32::from(high) << 24);
                check(&random, u64::from(low) << 40, u64::from(high) << 50);
            }
            let mut words = vec![0; len / 64 + 1];
            let signed: Vec<i32> = ints.iter().map(|v| *v as i32).collect();
            i32_in_range(&signed, -5_000_000, i32::MAX, &mut words);
            for (at, value) in signed.iter().enumerate() {
                assert_eq!(words[at / 64] >> (at % 64) & 1 == 1, *value >= -5_000_000);
            }
            let wide: Vec<i64> = random.iter().map(|v| (*v as i64) << 7).collect();
            i64_in_range(&wide, i64::MIN, 12, &mut words);
            for (at, value) in wide.iter().enumerate() {
                assert_eq!(words[at / 64] >> (at % 64) & 1 == 1, *value <= 12);
            }
        }
    }
}
