//! The codes of a record packed into one number that sorts as they do.

use std::fmt::Debug;
use std::hash::Hash;

use super::{Dimension, Shape};

/// Bits of a code of the dimension, its star included.
pub(super) fn bits(dimension: Dimension) -> u32 {
    u32::BITS - dimension.cardinality.leading_zeros()
}

/// An unsigned number in which codes are packed, the first dimension uppermost.
pub(super) trait Key: Copy + Debug + Ord + Eq + Hash {
    const ZERO: Self;

    /// Makes room for `bits` and puts `code` there.
    fn joined(self, bits: u32, code: u32) -> Self;
    /// The code of `bits` that is `shift` bits from the right.
    fn code(self, shift: u32, bits: u32) -> u32;
    fn with_code(self, shift: u32, bits: u32, code: u32) -> Self;
    /// For keys that are short.
    fn index(self) -> usize;
}

macro_rules! key {
    ($type:ty) => {
        impl Key for $type {
            const ZERO: Self = 0;

            fn joined(self, bits: u32, code: u32) -> Self {
                self.wrapping_shl(bits) | Self::from(code)
            }

            fn code(self, shift: u32, bits: u32) -> u32 {
                (self.wrapping_shr(shift) & mask::<Self>(bits)) as u32
            }

            fn with_code(self, shift: u32, bits: u32, code: u32) -> Self {
                let hole = mask::<Self>(bits).wrapping_shl(shift);
                self & !hole | Self::from(code).wrapping_shl(shift)
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

key!(u64);
key!(u128);

fn mask<T: From<u64>>(bits: u32) -> T {
    T::from((1 << bits) - 1)
}

/// Where the code of each dimension stands in a key.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Shift and bits.
    fields: Vec<(u32, u32)>,
}

impl Layout {
    pub(super) fn of(shape: &Shape) -> Self {
        let mut shift = shape.bits();
        let fields = shape.dimensions.iter().map(|dimension| {
            let bits = bits(*dimension);
            shift -= bits;
            (shift, bits)
        });
        Self {
            fields: fields.collect(),
        }
    }

    pub(super) fn bits(&self, dimension: usize) -> u32 {
        self.fields[dimension].1
    }

    pub(super) fn code<K: Key>(&self, key: K, dimension: usize) -> u32 {
        let (shift, bits) = self.fields[dimension];
        key.code(shift, bits)
    }

    pub(super) fn with_code<K: Key>(&self, key: K, dimension: usize, code: u32) -> K {
        let (shift, bits) = self.fields[dimension];
        key.with_code(shift, bits, code)
    }
}
