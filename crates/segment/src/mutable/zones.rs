//! Least and greatest values of the blocks of a consuming column of numbers.
//!
//! Whoever asks first for a block whose rows are all there finds them, and they are kept. Of the
//! last block, which grows, they are found anew for the rows of each view.

use parking_lot::RwLock;

use super::column::Values;
use crate::raw::{RawValues, Zone};
use crate::view::BLOCK_ROWS;

/// Of whole blocks, from the first on; `None` where there is none, beside a NaN.
#[derive(Debug, Default)]
pub(crate) struct Zones(RwLock<Vec<Option<Zone>>>);

impl Zones {
    /// Of the block's rows below `row_count`, which are published.
    pub(crate) fn of(&self, values: &Values, block: u32, row_count: u32) -> Option<Zone> {
        if matches!(values, Values::Dictionary { .. } | Values::Multi(_)) {
            return None;
        }
        let zone = |block: u32| {
            let start = (block * BLOCK_ROWS) as usize;
            let end = (start + BLOCK_ROWS as usize).min(row_count as usize);
            (start < end).then(|| zone(values.slice(start..end)))?
        };
        if (u64::from(block) + 1) * u64::from(BLOCK_ROWS) > u64::from(row_count) {
            return zone(block);
        }
        if let Some(known) = self.0.read().get(block as usize) {
            return *known;
        }
        let mut known = self.0.write();
        for next in known.len() as u32..=block {
            known.push(zone(next));
        }
        known[block as usize]
    }
}

fn zone(values: RawValues<'_>) -> Option<Zone> {
    match values {
        RawValues::U8 { base, values } => {
            longs(values.iter().map(|value| base + i64::from(*value)))
        }
        RawValues::I32(values) => longs(values.iter().map(|value| i64::from(*value))),
        RawValues::I64(values) => longs(values.iter().copied()),
        RawValues::F32(values) => doubles(values.iter().map(|value| f64::from(*value))),
        RawValues::F64(values) => doubles(values.iter().copied()),
        _ => None,
    }
}

fn longs(values: impl Iterator<Item = i64>) -> Option<Zone> {
    let (min, max) = values.fold((i64::MAX, i64::MIN), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    (min <= max).then_some(Zone::I64 { min, max })
}

/// Both zeros are in a zone that ends with either; beside a NaN there is none.
fn doubles(values: impl Iterator<Item = f64>) -> Option<Zone> {
    let mut has_nan = false;
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        has_nan |= value.is_nan();
        (value.min(min), value.max(max))
    });
    let min = if min == 0.0 { -0.0 } else { min };
    let max = if max == 0.0 { 0.0 } else { max };
    (!has_nan && min <= max).then_some(Zone::F64 { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::prefix;

    #[test]
    fn zones_are_those_of_the_rows_of_a_view() {
        let (mut writer, values) = prefix();
        let all: Vec<i64> = (0..3 * i64::from(BLOCK_ROWS))
            .map(|n| n * n % 9973 - n)
            .collect();
        let values = Values::I64(values);
        let zones = Zones::default();
        let mut published = 0;
        for rows in [10, 4095, 4096, 4097, 9000, 12_288] {
            writer.extend(&all[published..rows]);
            published = rows;
            for block in 0..=3u32 {
                let start = (block * BLOCK_ROWS) as usize;
                let own = all[..rows].iter().skip(start).take(BLOCK_ROWS as usize);
                let ends = own.clone().min().zip(own.max());
                let expected = ends.map(|(min, max)| Zone::I64 {
                    min: *min,
                    max: *max,
                });
                assert_eq!(zones.of(&values, block, rows as u32), expected);
            }
        }
    }

    #[test]
    fn doubles_have_both_zeros_and_no_nan() {
        let of = |values: &[f64]| zone(RawValues::F64(values));
        let zone = of(&[0.0, 2.0]);
        assert!(
            matches!(zone, Some(Zone::F64 { min, max }) if min.is_sign_negative() && max == 2.0)
        );
        assert_eq!(of(&[1.0, f64::NAN]), None);
        assert_eq!(of(&[]), None);
    }
}
