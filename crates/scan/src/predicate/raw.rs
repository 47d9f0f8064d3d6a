//! Finding the rows of a block whose raw value lies in a set of ranges.

use segment::view::{Bits, Codes, RawValues, Zone};

use super::sieve::Sieve;
use crate::columns::doubles;
use crate::ranges::{RangeSet, order_key};
use crate::rows::{BlockMask, WORDS};
use kernels::{InRange, double_in_range, i32_in_range, i64_in_range, test_all};

/// More ranges than these are searched for each value.
const RANGES_SCANNED_MAX: usize = 6;
/// Of a look into a sieve, about.
const SIEVED_NS: f64 = 1.5;
/// Fewer rows are not worth a sieve.
const SIEVED_ROWS: u32 = 1 << 14;

/// What a zone says about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    All,
    Look,
}

pub(super) fn bounds(zone: Zone) -> (i64, i64) {
    match zone {
        Zone::I64 { min, max } => (min, max),
        Zone::F64 { min, max } => (order_key(min), order_key(max)),
    }
}

pub(super) fn judge(set: &RangeSet, zone: Option<Zone>) -> Verdict {
    let Some((low, high)) = zone.map(bounds) else {
        return Verdict::Look;
    };
    if !set.overlaps(low, high) {
        Verdict::None
    } else if set.covers(low, high) {
        Verdict::All
    } else {
        Verdict::Look
    }
}

/// Of a block's rows, as if its values were spread evenly.
pub(super) fn share(set: &RangeSet, zone: Option<Zone>) -> f64 {
    let Some((low, high)) = zone.map(bounds) else {
        return 0.3;
    };
    let span = high as f64 - low as f64 + 1.0;
    let within = set.ranges().iter().map(|range| {
        let (from, to) = (range.0.max(low), range.1.min(high));
        (to as f64 - from as f64 + 1.0).max(0.0)
    });
    (within.sum::<f64>() / span).min(1.0)
}

/// Nanoseconds for a row, about.
pub(super) fn cost(set: &RangeSet, values: RawValues<'_>) -> f64 {
    let one = match values {
        RawValues::Bits { .. } => 0.01,
        RawValues::U8 { .. } => 0.02,
        RawValues::U16 { .. } => 0.04,
        RawValues::U32 { .. } | RawValues::I32(_) => 0.1,
        RawValues::Scaled { stored, .. } => match stored {
            Codes::U8(_) => 0.02,
            Codes::U16(_) => 0.04,
            Codes::U32(_) => 0.1,
        },
        RawValues::Sequence { .. } => 0.0,
        RawValues::I64(_) | RawValues::F32(_) | RawValues::F64(_) | RawValues::I256(_) => 0.25,
    };
    match set.ranges().len() {
        ranges @ 0..=RANGES_SCANNED_MAX => one * ranges as f64,
        _ => one + SIEVED_NS,
    }
}

/// For a scan of so many rows.
pub(super) fn sieve(set: &RangeSet, rows: u32) -> Option<Sieve> {
    let is_worth_it = set.ranges().len() > RANGES_SCANNED_MAX && rows >= SIEVED_ROWS;
    is_worth_it.then(|| Sieve::new(set)).flatten()
}

/// The value of a row as ranges number it.
pub(super) fn key_at(values: RawValues<'_>, row: u32) -> i64 {
    let at = row as usize;
    match values {
        RawValues::U8 { base, values } => base + i64::from(values[at]),
        RawValues::U16 { base, values } => base + i64::from(values[at]),
        RawValues::U32 { base, values } => base.wrapping_add(i64::from(values[at])),
        RawValues::Bits { base, bits } => base + i64::from(bits.get(at)),
        RawValues::I32(values) => i64::from(values[at]),
        RawValues::I64(values) => values[at],
        RawValues::F32(values) => order_key(f64::from(values[at])),
        RawValues::F64(values) => order_key(values[at]),
        RawValues::Scaled {
            divisor,
            base,
            stored,
        } => order_key((base + f64::from(stored.get(at))) / divisor),
        RawValues::Sequence { first, .. } => first + i64::from(row),
        RawValues::I256(_) => unreachable!("no set is made for them"),
    }
}

/// `sieve` is that of the set, if it has one.
pub(super) fn scan(
    set: &RangeSet,
    sieve: Option<&Sieve>,
    values: RawValues<'_>,
    len: u32,
) -> BlockMask {
    match sieve {
        Some(sieve) => search(set, |value| sieve.contains(value, set), values, len),
        None => search(set, |value| set.contains(value), values, len),
    }
}

#[inline(always)]
fn search(
    set: &RangeSet,
    contains: impl Fn(i64) -> bool,
    values: RawValues<'_>,
    len: u32,
) -> BlockMask {
    let mut hits = BlockMask::none(len);
    if set.ranges().len() > RANGES_SCANNED_MAX {
        let words = &mut hits.words;
        match values {
            RawValues::U8 { base, values } => {
                test_all(values, words, |v| contains(base + i64::from(v)));
            }
            RawValues::U16 { base, values } => {
                test_all(values, words, |v| contains(base + i64::from(v)));
            }
            RawValues::U32 { base, values } => {
                let at = |v: u32| base.wrapping_add(i64::from(v));
                test_all(values, words, |v| contains(at(v)));
            }
            RawValues::I32(values) => test_all(values, words, |v| contains(i64::from(v))),
            RawValues::I64(values) => test_all(values, words, &contains),
            RawValues::F32(values) => {
                test_all(values, words, |v| contains(order_key(f64::from(v))));
            }
            RawValues::F64(values) => test_all(values, words, |v| contains(order_key(v))),
            RawValues::Scaled { .. } => {
                let values = doubles(values, None);
                test_all(&values, words, |v| contains(order_key(v)));
            }
            _ => scan_ranges(set, values, &mut hits),
        }
        return hits;
    }
    scan_ranges(set, values, &mut hits);
    hits
}

fn scan_ranges(set: &RangeSet, values: RawValues<'_>, hits: &mut BlockMask) {
    for (low, high) in set.ranges() {
        let mut words = [0; WORDS];
        scan_range(*low, *high, values, &mut words);
        for (word, more) in hits.words.iter_mut().zip(words) {
            *word |= more;
        }
    }
}

/// The range among the stored forms of values `base ..= base + max`.
fn stored_range(low: i64, high: i64, base: i64, max: u64) -> Option<(u64, u64)> {
    let distance = |value: i64| i128::from(value) - i128::from(base);
    let (low, high) = (distance(low).max(0), distance(high).min(i128::from(max)));
    (low <= high).then_some((low as u64, high as u64))
}

/// The least stored number up to `max` whose double has the order key `low` or a greater one;
/// `max + 1` when none has.
fn first_at_least(low: i64, (base, divisor): (f64, f64), max: u32) -> u64 {
    let key = |stored: u64| order_key((base + stored as f64) / divisor);
    let end = u64::from(max) + 1;
    // Within one of the right number, unless that is no number at all.
    let guess = index::range::double_of_order_key(low) * divisor - base;
    let mut found = match guess.is_nan() {
        true if low > 0 => end,
        true => 0,
        false => (guess as u64).min(end),
    };
    while found > 0 && key(found - 1) >= low {
        found -= 1;
    }
    while found < end && key(found) < low {
        found += 1;
    }
    found
}

fn scan_bits((low, high): (i64, i64), base: i64, bits: Bits<'_>, words: &mut [u64]) {
    let holds = |value: i64| u64::from((low..=high).contains(&value)).wrapping_neg();
    let (zero, one) = (holds(base), base.checked_add(1).map_or(0, holds));
    let count = bits.len().div_ceil(64);
    for (at, word) in words.iter_mut().enumerate().take(count) {
        let own = bits.word(at);
        *word = own & one | !own & zero;
    }
    if !bits.len().is_multiple_of(64) {
        words[count - 1] &= (1 << (bits.len() % 64)) - 1;
    }
}

fn scan_range(low: i64, high: i64, values: RawValues<'_>, words: &mut [u64; WORDS]) {
    match values {
        RawValues::U8 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u8::MAX)) {
                u8::in_range(values, low as u8, high as u8, words);
            }
        }
        RawValues::U16 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u16::MAX)) {
                u16::in_range(values, low as u16, high as u16, words);
            }
        }
        RawValues::U32 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u32::MAX)) {
                u32::in_range(values, low as u32, high as u32, words);
            }
        }
        RawValues::Bits { base, bits } => scan_bits((low, high), base, bits, words),
        RawValues::I32(values) => {
            let low = low.max(i64::from(i32::MIN));
            let high = high.min(i64::from(i32::MAX));
            if low <= high {
                i32_in_range(values, low as i32, high as i32, words);
            }
        }
        RawValues::I64(values) => i64_in_range(values, low, high, words),
        RawValues::F32(values) => test_all(values, words, |value| {
            (low..=high).contains(&order_key(f64::from(value)))
        }),
        RawValues::F64(values) => double_in_range(values, low, high, words),
        RawValues::Scaled {
            divisor,
            base,
            stored,
        } => {
            let max = match stored {
                Codes::U8(_) => u32::from(u8::MAX),
                Codes::U16(_) => u32::from(u16::MAX),
                Codes::U32(_) => u32::MAX,
            };
            let first = first_at_least(low, (base, divisor), max);
            let past = high.checked_add(1);
            let past = past.map_or(u64::from(max) + 1, |high| {
                first_at_least(high, (base, divisor), max)
            });
            if first < past {
                match stored {
                    Codes::U8(values) => {
                        u8::in_range(values, first as u8, (past - 1) as u8, words);
                    }
                    Codes::U16(values) => {
                        u16::in_range(values, first as u16, (past - 1) as u16, words);
                    }
                    Codes::U32(values) => {
                        u32::in_range(values, first as u32, (past - 1) as u32, words);
                    }
                }
            }
        }
        RawValues::Sequence { first, count } => {
            if let Some((from, to)) = stored_range(low, high, first, (count as u64).max(1) - 1) {
                let rows = from as usize..=(to as usize).min(count.saturating_sub(1));
                rows.for_each(|row| words[row / 64] |= 1 << (row % 64));
            }
        }
        // No range set is made for them.
        RawValues::I256(_) => {}
    }
}
