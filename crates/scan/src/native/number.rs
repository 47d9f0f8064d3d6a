//! Numbers of rows: joining those of several keys, and the values that numbers stand for.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    TimestampMillisecondArray,
};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use segment::view::{Codes, Nulls, RawValues};

use super::divider::Divider;
use crate::columns::{doubles, longs};
use crate::rows::BlockMask;

/// Rows of a block: all `len` from `start`, or those `picked`, which are relative to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRows<'r> {
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) picked: Option<&'r [u32]>,
    /// The same rows.
    pub(crate) mask: &'r BlockMask,
    /// Where rows are picked once for each entry of a column of several values: its codes.
    pub(crate) entries: Option<&'r [u32]>,
}

impl<'r> BlockRows<'r> {
    /// All rows of the mask, which are all of a block.
    pub(super) fn all(start: u32, mask: &'r BlockMask) -> Self {
        Self {
            start,
            len: mask.len,
            picked: None,
            mask,
            entries: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.picked.map_or(self.len as usize, <[u32]>::len)
    }

    /// The row at this place among those picked, relative to the block.
    pub(super) fn row(&self, at: usize) -> u32 {
        self.picked.map_or(at as u32, |picked| picked[at])
    }

    pub(super) fn range(&self) -> Range<u32> {
        self.start..self.start + self.len
    }

    /// The null rows of the block; `None`: there is none.
    pub(super) fn nulls(&self, nulls: Option<Nulls<'_>>) -> Option<BlockMask> {
        let nulls = nulls.filter(|nulls| nulls.any_in(self.range()))?;
        Some(BlockMask::of_nulls(nulls, self.start, self.len))
    }

    /// Replaces `into` by what `of` makes of each row, which is relative to the block.
    pub(super) fn each_into(&self, into: &mut Vec<u32>, of: impl Fn(u32) -> u32) {
        into.clear();
        match self.picked {
            None => into.extend((0..self.len).map(of)),
            Some(rows) => into.extend(rows.iter().map(|row| of(*row))),
        }
    }
}

/// Integers in which group numbers are put together.
pub(super) trait Number: Copy {
    /// `self * domain + number`
    fn join(self, domain: u64, number: u64) -> Self;

    fn plus(self, number: u64) -> Self;
}

impl Number for u32 {
    fn join(self, domain: u64, number: u64) -> Self {
        self.wrapping_mul(domain as Self)
            .wrapping_add(number as Self)
    }

    fn plus(self, number: u64) -> Self {
        self.wrapping_add(number as Self)
    }
}

impl Number for u64 {
    fn join(self, domain: u64, number: u64) -> Self {
        self.wrapping_mul(domain).wrapping_add(number)
    }

    fn plus(self, number: u64) -> Self {
        self.wrapping_add(number)
    }
}

fn each<T: Copy, U>(values: &[T], picked: Option<&[u32]>, of: impl Fn(T) -> U) -> Vec<U> {
    match picked {
        None => values.iter().map(|value| of(*value)).collect(),
        Some(rows) => rows.iter().map(|row| of(values[*row as usize])).collect(),
    }
}

/// Whole numbers as they are, floats by their bits; both zeros are one.
pub(super) fn bits_of(values: RawValues<'_>, picked: Option<&[u32]>) -> Vec<i64> {
    match values {
        RawValues::F32(values) => each(values, picked, |v| i64::from((v + 0.0).to_bits())),
        RawValues::F64(_) | RawValues::Scaled { .. } => {
            let values = doubles(values, picked).into_iter();
            values.map(|v| (v + 0.0).to_bits() as i64).collect()
        }
        whole => longs(whole, picked),
    }
}

pub(super) fn of_bits(
    bits: impl Iterator<Item = Option<i64>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Int32 => Arc::new(bits.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(bits.collect::<Int64Array>()),
        DataType::Timestamp(_, None) => Arc::new(bits.collect::<TimestampMillisecondArray>()),
        DataType::Boolean => Arc::new(bits.map(|v| v.map(|v| v != 0)).collect::<BooleanArray>()),
        DataType::Float32 => {
            let floats = bits.map(|v| v.map(|v| f32::from_bits(v as u32)));
            Arc::new(floats.collect::<Float32Array>())
        }
        DataType::Float64 => {
            let floats = bits.map(|v| v.map(|v| f64::from_bits(v as u64)));
            Arc::new(floats.collect::<Float64Array>())
        }
        other => return internal_err!("a key of type {other}"),
    })
}

fn join<T: Copy, N: Number>(
    values: &[T],
    rows: BlockRows<'_>,
    domain: u64,
    groups: &mut [N],
    number: impl Fn(T) -> u64,
) {
    match rows.picked {
        None => {
            for (group, value) in groups.iter_mut().zip(values) {
                *group = group.join(domain, number(*value));
            }
        }
        Some(picked) => {
            for (group, row) in groups.iter_mut().zip(picked) {
                *group = group.join(domain, number(values[*row as usize]));
            }
        }
    }
}

/// As [`join`]; rows in `null` have the last number of the domain.
fn join_or_null<T: Copy, N: Number>(
    values: &[T],
    null: &BlockMask,
    rows: BlockRows<'_>,
    domain: u64,
    groups: &mut [N],
    number: impl Fn(T) -> u64,
) {
    let number = |row: u32| match null.contains(row) {
        true => domain - 1,
        false => number(values[row as usize]),
    };
    match rows.picked {
        None => {
            for (group, row) in groups.iter_mut().zip(0..rows.len) {
                *group = group.join(domain, number(row));
            }
        }
        Some(picked) => {
            for (group, row) in groups.iter_mut().zip(picked) {
                *group = group.join(domain, number(*row));
            }
        }
    }
}

pub(super) fn join_each<N: Number>(
    groups: &mut [N],
    domain: u64,
    mut number: impl FnMut(usize) -> u64,
) {
    for (at, group) in groups.iter_mut().enumerate() {
        *group = group.join(domain, number(at));
    }
}

pub(super) fn join_codes<N: Number>(
    codes: Codes<'_>,
    nulls: Option<&BlockMask>,
    rows: BlockRows<'_>,
    domain: u64,
    groups: &mut [N],
) {
    match (codes, nulls) {
        (Codes::U8(codes), None) => join(codes, rows, domain, groups, u64::from),
        (Codes::U16(codes), None) => join(codes, rows, domain, groups, u64::from),
        (Codes::U32(codes), None) => join(codes, rows, domain, groups, u64::from),
        (Codes::U8(codes), Some(null)) => {
            join_or_null(codes, null, rows, domain, groups, u64::from);
        }
        (Codes::U16(codes), Some(null)) => {
            join_or_null(codes, null, rows, domain, groups, u64::from);
        }
        (Codes::U32(codes), Some(null)) => {
            join_or_null(codes, null, rows, domain, groups, u64::from);
        }
    }
}

/// How often `unit` fits between `base` and each value; narrow values are joined as they are.
pub(super) fn join_direct<N: Number>(
    values: RawValues<'_>,
    rows: BlockRows<'_>,
    (base, unit): (i64, i64),
    domain: u64,
    groups: &mut [N],
) {
    let more = |least: i64| least.wrapping_sub(base) as u64;
    match values {
        RawValues::U8 {
            base: least,
            values,
        } if unit == 1 => {
            let more = more(least);
            join(values, rows, domain, groups, |v| {
                more.wrapping_add(u64::from(v))
            });
        }
        RawValues::U16 {
            base: least,
            values,
        } if unit == 1 => {
            let more = more(least);
            join(values, rows, domain, groups, |v| {
                more.wrapping_add(u64::from(v))
            });
        }
        RawValues::Bits { base: least, bits } => {
            let values = RawValues::U8 {
                base: least,
                values: &bits.bytes(),
            };
            join_direct(values, rows, (base, unit), domain, groups);
        }
        values => {
            let values = longs(values, rows.picked);
            let unit = Divider::new(unit as u64, domain);
            join_each(groups, domain, |at| unit.divide(more(values[at])));
        }
    }
}
