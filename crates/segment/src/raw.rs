//! Numbers without a dictionary, in the form that their segment gave them.
//!
//! Every form is a slice of what is stored, so that loops run over narrow values as they lie.

use std::ops::Range;

use arrow::datatypes::i256;

use crate::column::{Codes, checked};
use crate::mutable;
use crate::sealed::forward;

#[derive(Clone, Copy, Debug)]
pub struct RawColumn<'a> {
    pub(crate) row_count: u32,
    pub(crate) source: RawSource<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum RawSource<'a> {
    Sealed(&'a forward::Forward),
    Mutable(&'a mutable::Values),
}

impl<'a> RawColumn<'a> {
    /// Values of `rows`, which lie within one block. The form is the same for all blocks of a
    /// sealed column, and so is `base`.
    pub fn values(&self, rows: Range<u32>) -> RawValues<'a> {
        let rows = checked(rows, self.row_count);
        match self.source {
            RawSource::Sealed(values) => values.slice(rows),
            RawSource::Mutable(values) => values.slice(rows),
        }
    }

    /// Where nearly all rows of a sealed column hold the same value. [`Self::values`] can be had
    /// as well.
    pub fn sparse(&self) -> Option<SparseValues<'a>> {
        match self.source {
            RawSource::Sealed(forward::Forward::Sparse(sparse)) => Some(sparse.values()),
            _ => None,
        }
    }
}

/// All rows but those at `positions` hold the default.
#[derive(Clone, Copy, Debug)]
pub struct SparseValues<'a> {
    /// The integer, or the bits of the float.
    pub default: i64,
    /// Ascending.
    pub positions: &'a [u32],
    /// One for each position.
    pub values: RawValues<'a>,
}

/// BOOLEAN is 0 and 1, TIMESTAMP epoch milliseconds; BIG_DECIMAL is unscaled.
#[derive(Clone, Copy, Debug)]
pub enum RawValues<'a> {
    /// value = base + stored
    U8 {
        base: i64,
        values: &'a [u8],
    },
    U16 {
        base: i64,
        values: &'a [u16],
    },
    U32 {
        base: i64,
        values: &'a [u32],
    },
    /// value = base + bit
    Bits {
        base: i64,
        bits: Bits<'a>,
    },
    I32(&'a [i32]),
    I64(&'a [i64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    /// DOUBLE: value = (base + stored) / divisor, where both sides are whole and exact.
    Scaled {
        divisor: f64,
        base: f64,
        stored: Codes<'a>,
    },
    I256(&'a [i256]),
    /// `first`, `first + 1`, …: one for each row asked for; an elided `$offset`.
    Sequence {
        first: i64,
        count: usize,
    },
}

impl RawValues<'_> {
    /// Appends them, floats cut to whole numbers. BIG_DECIMAL has none.
    pub fn longs_into(self, into: &mut Vec<i64>) {
        match self {
            Self::U8 { base, values } => {
                into.extend(values.iter().map(|v| base.wrapping_add(i64::from(*v))));
            }
            Self::U16 { base, values } => {
                into.extend(values.iter().map(|v| base.wrapping_add(i64::from(*v))));
            }
            Self::U32 { base, values } => {
                into.extend(values.iter().map(|v| base.wrapping_add(i64::from(*v))));
            }
            Self::Bits { base, bits } => {
                into.extend((0..bits.len()).map(|at| base.wrapping_add(bits.get(at).into())));
            }
            Self::I32(values) => into.extend(values.iter().map(|v| i64::from(*v))),
            Self::I64(values) => into.extend_from_slice(values),
            Self::Sequence { first, count } => into.extend((first..).take(count)),
            Self::F32(_) | Self::F64(_) | Self::Scaled { .. } => {
                let mut doubles = Vec::new();
                self.doubles_into(&mut doubles);
                into.extend(doubles.into_iter().map(|v| v as i64));
            }
            Self::I256(_) => {}
        }
    }

    /// Appends them. BIG_DECIMAL has none.
    pub fn doubles_into(self, into: &mut Vec<f64>) {
        match self {
            Self::F32(values) => into.extend(values.iter().map(|v| f64::from(*v))),
            Self::F64(values) => into.extend_from_slice(values),
            Self::Scaled {
                divisor,
                base,
                stored,
            } => into
                .extend((0..stored.len()).map(|at| (base + f64::from(stored.get(at))) / divisor)),
            whole => {
                let mut longs = Vec::new();
                whole.longs_into(&mut longs);
                into.extend(longs.into_iter().map(|v| v as f64));
            }
        }
    }
}

/// One bit for each of some rows.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    words: &'a [u64],
    first: usize,
    count: usize,
}

impl<'a> Bits<'a> {
    /// Those of `rows`, where bit `row % 64` of word `row / 64` is that of a row.
    pub(crate) fn new(words: &'a [u64], rows: Range<usize>) -> Self {
        Self {
            words: &words[rows.start / 64..rows.end.div_ceil(64).max(rows.start / 64)],
            first: rows.start % 64,
            count: rows.len(),
        }
    }

    pub fn len(self) -> usize {
        self.count
    }

    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    pub fn get(self, at: usize) -> bool {
        let at = self.first + at;
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// The 64 bits from `64 * index` on; those past the last are 0.
    pub fn word(self, index: usize) -> u64 {
        let at = |at: usize| self.words.get(at).copied().unwrap_or(0);
        let word = match self.first {
            0 => at(index),
            first => at(index) >> first | at(index + 1) << (64 - first),
        };
        match self.count.saturating_sub(index * 64) {
            64.. => word,
            left => word & ((1 << left) - 1),
        }
    }

    /// 0 and 1.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.count.next_multiple_of(64));
        for index in 0..self.count.div_ceil(64) {
            for byte in self.word(index).to_le_bytes() {
                // Each byte of the product is the whole byte, of which it keeps its own bit; the
                // sum carries that to the top, and nothing into the next.
                let spread = u64::from(byte).wrapping_mul(0x0101_0101_0101_0101);
                let own = spread & 0x8040_2010_0804_0201;
                let top = own.wrapping_add(0x7f7f_7f7f_7f7f_7f7f);
                bytes.extend_from_slice(&(top >> 7 & 0x0101_0101_0101_0101).to_le_bytes());
            }
        }
        bytes.truncate(self.count);
        bytes
    }
}

/// Least and greatest value of a block of 4096 rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    I64 { min: i64, max: i64 },
    F64 { min: f64, max: f64 },
}

impl Zone {
    /// What holds the values of both; `None` when they are of different types.
    pub fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (
                Self::I64 { min, max },
                Self::I64 {
                    min: low,
                    max: high,
                },
            ) => Some(Self::I64 {
                min: min.min(low),
                max: max.max(high),
            }),
            (
                Self::F64 { min, max },
                Self::F64 {
                    min: low,
                    max: high,
                },
            ) => Some(Self::F64 {
                min: min.min(low),
                max: max.max(high),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Bits;

    proptest! {
        #[test]
        fn bits_are_those_of_their_rows(
            words in prop::collection::vec(any::<u64>(), 6),
            ends in (0..384_usize, 0..=384_usize),
        ) {
            let rows = ends.0.min(ends.1)..ends.0.max(ends.1);
            let bit = |row: usize| words[row / 64] >> (row % 64) & 1 == 1;
            let wanted: Vec<bool> = rows.clone().map(bit).collect();
            let bits = Bits::new(&words, rows);
            prop_assert_eq!(bits.len(), wanted.len());
            let bytes: Vec<u8> = wanted.iter().map(|bit| u8::from(*bit)).collect();
            prop_assert_eq!(bits.bytes(), bytes);
            for (at, bit) in wanted.iter().enumerate() {
                prop_assert_eq!(bits.get(at), *bit);
                prop_assert_eq!(bits.word(at / 64) >> (at % 64) & 1 == 1, *bit);
            }
            prop_assert_eq!(bits.word(wanted.len().div_ceil(64)), 0);
        }
    }
}
