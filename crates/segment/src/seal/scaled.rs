//! Doubles that are decimal fractions of few digits: whole numbers over a power of ten.
//!
//! Only where every value comes back bit by bit. The idea is that of ALP (Afroozeh, Kuffó and
//! Boncz, SIGMOD 2023), without exceptions and with one power for a column.

use index::forward::Width;

use crate::sealed::forward::{DECIMALS_MAX, WHOLE_MAX, divisor};

/// Enough to tell the power, mostly.
const SAMPLE: usize = 1024;

#[derive(Debug, PartialEq)]
pub(super) struct Scaled {
    pub(super) decimals: u8,
    /// value = whole / 10^decimals
    pub(super) whole: Vec<i64>,
    pub(super) least: i64,
    pub(super) width: Width,
}

/// `None`: they are no such fractions, or would not be narrower.
pub(super) fn scaled(values: &[f64]) -> Option<Scaled> {
    let sample = values.iter().step_by((values.len() / SAMPLE).max(1));
    let mut decimals = 0;
    for value in sample {
        decimals = fewest_decimals(*value, decimals)?;
    }
    'tried: loop {
        let power = divisor(decimals);
        let mut whole = Vec::with_capacity(values.len());
        for value in values {
            match whole_of(*value, power) {
                Some(number) => whole.push(number),
                None => {
                    decimals = fewest_decimals(*value, decimals + 1)?;
                    continue 'tried;
                }
            }
        }
        let (least, greatest) = super::numbers::bounds(&whole)?;
        let width = Width::of_spread(greatest.wrapping_sub(least) as u64)?;
        return Some(Scaled {
            decimals,
            whole,
            least,
            width,
        });
    }
}

fn fewest_decimals(value: f64, at_least: u8) -> Option<u8> {
    (at_least..=DECIMALS_MAX).find(|decimals| whole_of(value, divisor(*decimals)).is_some())
}

/// The number whose quotient with `power` has the very bits of `value`.
fn whole_of(value: f64, power: f64) -> Option<i64> {
    let whole = (value * power).round();
    let is_exact = whole.abs() < WHOLE_MAX as f64
        && ((whole as i64) as f64 / power).to_bits() == value.to_bits();
    is_exact.then_some(whole as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_decimal_fraction_stays() {
        for other in [
            f64::NAN,
            f64::INFINITY,
            -0.0,
            1e300,
            5e-324,
            1.0 / 3.0,
            0.1 + 0.2,
        ] {
            assert_eq!(scaled(&[1.25, other]), None, "{other}");
        }
        assert_eq!(scaled(&[]), None);
        assert_eq!(scaled(&[0.01, 1e8]), None, "no narrower");
    }

    proptest! {
        #[test]
        fn values_come_back(
            whole in prop::collection::vec(-9_999_999..9_999_999_i64, 1..3000),
            decimals in 0..=DECIMALS_MAX,
        ) {
            let values: Vec<f64> = whole.iter().map(|n| *n as f64 / divisor(decimals)).collect();
            let found = scaled(&values).unwrap();
            prop_assert!(found.decimals <= decimals);
            for (value, whole) in values.iter().zip(&found.whole) {
                let again = *whole as f64 / divisor(found.decimals);
                prop_assert_eq!(again.to_bits(), value.to_bits());
            }
        }
    }
}
