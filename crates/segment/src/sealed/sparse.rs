//! Numbers of which nearly all are the same: positions and values of the others.
//!
//! Invariant: positions ascend and are below the row count, with one value for each. Whoever
//! wants every row gets blocks that are laid out once and kept: they take what a column that is not
//! sparse would, but only where they are asked for, and all blocks without an exception are one.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::buffer::ScalarBuffer;

use super::forward::Forward;
use crate::BLOCK_ROWS;
use crate::raw::{RawValues, SparseValues};

#[derive(Debug)]
pub(crate) struct SparseColumn {
    /// The integer, or the bits of the float.
    default: i64,
    positions: ScalarBuffer<u32>,
    values: Box<Forward>,
    /// `None`: without an exception.
    blocks: Box<[Option<OnceLock<Dense>>]>,
    plain: OnceLock<Dense>,
}

#[derive(Debug)]
enum Dense {
    U8(i64, Vec<u8>),
    U16(i64, Vec<u16>),
    U32(i64, Vec<u32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl SparseColumn {
    /// `None` when positions are out of order, or values are of a form that is never sparse.
    pub(super) fn new(
        default: i64,
        positions: ScalarBuffer<u32>,
        values: Forward,
        rows: u32,
    ) -> Option<Self> {
        let ascend = positions.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = positions.last().is_none_or(|last| *last < rows);
        let is_of_form = match &values {
            Forward::U8(base, _) => u8::try_from(default.wrapping_sub(*base)).is_ok(),
            Forward::U16(base, _) => u16::try_from(default.wrapping_sub(*base)).is_ok(),
            Forward::U32(base, _) => u32::try_from(default.wrapping_sub(*base)).is_ok(),
            Forward::I32(_) => i32::try_from(default).is_ok(),
            Forward::F32(_) => u32::try_from(default).is_ok(),
            Forward::I64(_) | Forward::F64(_) => true,
            _ => false,
        };
        if !(ascend && fits && is_of_form) {
            return None;
        }
        let mut blocks: Box<[_]> = (0..rows.div_ceil(BLOCK_ROWS)).map(|_| None).collect();
        for row in &positions {
            blocks[(row / BLOCK_ROWS) as usize] = Some(OnceLock::new());
        }
        Some(Self {
            default,
            positions,
            values: Box::new(values),
            blocks,
            plain: OnceLock::new(),
        })
    }

    pub(crate) fn values(&self) -> SparseValues<'_> {
        SparseValues {
            default: self.default,
            positions: &self.positions,
            values: self.values.slice(0..self.positions.len()),
        }
    }

    /// `rows` lie within one block.
    pub(super) fn slice(&self, rows: Range<usize>) -> RawValues<'_> {
        let block = rows.start / BLOCK_ROWS as usize;
        let start = block * BLOCK_ROWS as usize;
        let within = rows.start - start..rows.end - start;
        let Some(block) = self.blocks.get(block) else {
            return self.values.slice(0..0);
        };
        let block = block.as_ref().unwrap_or(&self.plain);
        match block.get_or_init(|| self.lay_out(start)) {
            Dense::U8(base, values) => RawValues::U8 {
                base: *base,
                values: &values[within],
            },
            Dense::U16(base, values) => RawValues::U16 {
                base: *base,
                values: &values[within],
            },
            Dense::U32(base, values) => RawValues::U32 {
                base: *base,
                values: &values[within],
            },
            Dense::I32(values) => RawValues::I32(&values[within]),
            Dense::I64(values) => RawValues::I64(&values[within]),
            Dense::F32(values) => RawValues::F32(&values[within]),
            Dense::F64(values) => RawValues::F64(&values[within]),
        }
    }

    fn lay_out(&self, start: usize) -> Dense {
        let before = |end: usize| self.positions.partition_point(|row| (*row as usize) < end);
        let positions = before(start)..before(start + BLOCK_ROWS as usize);
        let block = Block {
            start,
            positions: &self.positions[positions.clone()],
        };
        let default = self.default;
        match self.values.slice(positions) {
            RawValues::U8 { base, values } => {
                Dense::U8(base, block.fill(default.wrapping_sub(base) as u8, values))
            }
            RawValues::U16 { base, values } => {
                Dense::U16(base, block.fill(default.wrapping_sub(base) as u16, values))
            }
            RawValues::U32 { base, values } => {
                Dense::U32(base, block.fill(default.wrapping_sub(base) as u32, values))
            }
            RawValues::I32(values) => Dense::I32(block.fill(default as i32, values)),
            RawValues::I64(values) => Dense::I64(block.fill(default, values)),
            RawValues::F32(values) => {
                Dense::F32(block.fill(f32::from_bits(default as u32), values))
            }
            RawValues::F64(values) => {
                Dense::F64(block.fill(f64::from_bits(default as u64), values))
            }
            RawValues::I256(_)
            | RawValues::Bits { .. }
            | RawValues::Scaled { .. }
            | RawValues::Sequence { .. } => {
                unreachable!("refused when the column was read")
            }
        }
    }
}

struct Block<'a> {
    start: usize,
    positions: &'a [u32],
}

impl Block<'_> {
    fn fill<T: Copy>(&self, default: T, values: &[T]) -> Vec<T> {
        let mut all = vec![default; BLOCK_ROWS as usize];
        for (row, value) in self.positions.iter().zip(values) {
            all[*row as usize - self.start] = *value;
        }
        all
    }
}
