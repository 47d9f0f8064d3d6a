//! Division of many numbers by one, as a multiplication.
//!
//! A division takes some twenty cycles and stands alone; a multiplication takes a few, and many
//! run at once. Invariant: the result is that of the division for every number below the limit.

#[derive(Clone, Copy, Debug)]
pub(super) enum Divider {
    Shift(u32),
    /// The upper half of the product with the number that is shifted.
    Multiply {
        shift: u32,
        factor: u64,
    },
    Divide(u64),
}

impl Divider {
    /// For numbers below `quotients` times `unit`, which is not 0.
    pub(super) fn new(unit: u64, quotients: u64) -> Self {
        let shift = unit.trailing_zeros();
        let odd = unit >> shift;
        if odd == 1 {
            return Self::Shift(shift);
        }
        // 2^64 / odd, rounded up. That is too much by less than one, which adds less than
        // number / 2^64: it stays within a quotient while number times odd is below 2^64.
        let limit = u128::from(quotients) * u128::from(odd) * u128::from(odd);
        match limit <= 1 << 64 {
            true => Self::Multiply {
                shift,
                factor: u64::MAX / odd + 1,
            },
            false => Self::Divide(unit),
        }
    }

    #[inline]
    pub(super) fn divide(self, number: u64) -> u64 {
        match self {
            Self::Shift(shift) => number >> shift,
            Self::Multiply { shift, factor } => {
                ((u128::from(number >> shift) * u128::from(factor)) >> 64) as u64
            }
            Self::Divide(unit) => number / unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Divider;

    #[test]
    fn quotients_are_those_of_a_division() {
        let quotients = 1 << 20;
        for unit in [
            1,
            2,
            3,
            7,
            1000,
            4096,
            60_000,
            3_600_000,
            86_400_000,
            604_800_000,
            1 << 43,
        ] {
            let divider = Divider::new(unit, quotients);
            if unit % 1000 == 0 {
                assert!(
                    matches!(divider, Divider::Multiply { .. }),
                    "{unit}: {divider:?}"
                );
            }
            let ends = (0..quotients).step_by(997).chain([quotients - 1]);
            for first in ends.map(|quotient| quotient * unit) {
                for number in [first, first + unit / 2, first + unit - 1] {
                    assert_eq!(divider.divide(number), number / unit, "{number} / {unit}");
                }
            }
        }
        let far = Divider::new((1 << 40) + 1, 1 << 20);
        assert!(matches!(far, Divider::Divide(_)));
        assert_eq!(far.divide(u64::MAX), u64::MAX / ((1 << 40) + 1));
    }
}
