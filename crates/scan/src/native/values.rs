//! Columns of values that are hashed and compared across segments, each by the cheapest form of its
//! type: numbers by their bits, text and bytes as views, all else by Arrow's row format.
//!
//! Equal values have equal hashes, whatever segment they come from; null equals null.

use std::borrow::Cow;
use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray, downcast_primitive_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType, ToByteSlice,
};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, internal_err};

/// Text of up to so many bytes is in its view.
const INLINE_MAX: u32 = 12;
const HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(7);
const NULL_HASH: u64 = 0x5bd1_e995_9d1b_8c53;

#[derive(Debug)]
pub(super) struct ValueColumn {
    array: ArrayRef,
    form: Form,
    nulls: Option<NullBuffer>,
}

#[derive(Debug)]
enum Form {
    Bits(Vec<u64>),
    Views(ScalarBuffer<u128>, Vec<Buffer>),
    Rows(Rows),
}

impl ValueColumn {
    pub(super) fn new(array: ArrayRef) -> Result<Self> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(Self {
            form: Form::of(&array)?,
            array,
            nulls,
        })
    }

    pub(super) fn array(&self) -> &ArrayRef {
        &self.array
    }

    /// Whole numbers and times, where there is no null among them.
    pub(super) fn longs(&self) -> Option<Cow<'_, [i64]>> {
        if self.nulls.is_some() {
            return None;
        }
        Some(match self.array.data_type() {
            DataType::Int64 => Cow::Borrowed(self.array.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                let times = self.array.as_primitive::<TimestampMillisecondType>();
                Cow::Borrowed(times.values())
            }
            DataType::Int32 => {
                let ints = self.array.as_primitive::<Int32Type>().values();
                Cow::Owned(ints.iter().map(|value| i64::from(*value)).collect())
            }
            _ => return None,
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Folds the hash of each row into `hashes`.
    pub(super) fn hash_into(&self, hashes: &mut [u64]) {
        match &self.form {
            Form::Bits(bits) => self.fold_into(hashes, |row| HASHER.hash_one(bits[row])),
            Form::Views(views, buffers) => self.fold_into(hashes, |row| {
                let view = &views[row];
                match *view as u32 {
                    0..=INLINE_MAX => HASHER.hash_one(view),
                    _ => HASHER.hash_one(bytes_of(view, buffers)),
                }
            }),
            Form::Rows(rows) => {
                self.fold_into(hashes, |row| HASHER.hash_one(rows.row(row).data()));
            }
        }
    }

    /// What lies under a null does not matter.
    #[inline(always)]
    fn fold_into(&self, hashes: &mut [u64], of: impl Fn(usize) -> u64) {
        let fold = |hash: u64, own: u64| hash.rotate_left(23).wrapping_mul(31) ^ own;
        for (row, hash) in hashes.iter_mut().enumerate() {
            let own = if self.is_null(row) {
                NULL_HASH
            } else {
                of(row)
            };
            *hash = fold(*hash, own);
        }
    }

    pub(super) fn equals(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self.is_null(row), other.is_null(other_row)) {
            (false, false) => {}
            (true, true) => return true,
            _ => return false,
        }
        match (&self.form, &other.form) {
            (Form::Bits(own), Form::Bits(others)) => own[row] == others[other_row],
            (Form::Views(own, buffers), Form::Views(others, other_buffers)) => {
                let (a, b) = (&own[row], &others[other_row]);
                if *a as u64 != *b as u64 {
                    return false;
                }
                match *a as u32 {
                    0..=INLINE_MAX => a == b,
                    _ => bytes_of(a, buffers) == bytes_of(b, other_buffers),
                }
            }
            (Form::Rows(own), Form::Rows(others)) => own.row(row) == others.row(other_row),
            _ => false,
        }
    }
}

impl Form {
    fn of(array: &ArrayRef) -> Result<Self> {
        let data_type = array.data_type();
        Ok(match data_type {
            DataType::Utf8View => {
                let strings = array.as_string_view();
                Self::Views(strings.views().clone(), strings.data_buffers().to_vec())
            }
            DataType::BinaryView => {
                let strings = array.as_binary_view();
                Self::Views(strings.views().clone(), strings.data_buffers().to_vec())
            }
            DataType::Boolean => {
                Self::Bits(array.as_boolean().values().iter().map(u64::from).collect())
            }
            own if own.primitive_width().is_some_and(|width| width <= 8) => {
                Self::Bits(bits(array)?)
            }
            own => {
                let converter = RowConverter::new(vec![SortField::new(own.clone())])?;
                Self::Rows(converter.convert_columns(&[ArrayRef::clone(array)])?)
            }
        })
    }
}

/// Values of at most 8 bytes; both zeros of floats are one value.
pub(super) fn bits(array: &ArrayRef) -> Result<Vec<u64>> {
    let minus_zero = match array.data_type() {
        DataType::Float64 => (-0.0f64).to_bits(),
        DataType::Float32 => u64::from((-0.0f32).to_bits()),
        _ => 0,
    };
    downcast_primitive_array!(
        array => Ok(array.values().iter().map(|value| {
            let mut bytes = [0; 8];
            let own = value.to_byte_slice();
            let length = own.len().min(8);
            bytes[..length].copy_from_slice(&own[..length]);
            match u64::from_le_bytes(bytes) {
                bits if bits == minus_zero => 0,
                bits => bits,
            }
        }).collect()),
        other => internal_err!("values of type {other} have no bits")
    )
}

fn bytes_of<'a>(view: &u128, buffers: &'a [Buffer]) -> &'a [u8] {
    let length = *view as u32 as usize;
    let buffer = (*view >> 64) as u32 as usize;
    let from = (*view >> 96) as u32 as usize;
    &buffers[buffer].as_slice()[from..from + length]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn equal_values_are_found_in_other_arrays() {
        let long = |n: i64| format!("a text of the longer kind, {n}");
        let texts = |of: &[i64]| of.iter().map(|n| long(*n)).collect::<Vec<_>>();
        let pairs: Vec<(ArrayRef, ArrayRef)> = vec![
            (
                Arc::new(Int64Array::from(vec![Some(3), None, Some(-7)])),
                Arc::new(Int64Array::from(vec![Some(-7), Some(3), None])),
            ),
            (
                Arc::new(StringViewArray::from_iter_values(texts(&[3, 5, 8]))),
                Arc::new(StringViewArray::from_iter_values(texts(&[8, 3, 5]))),
            ),
            (
                Arc::new(StringViewArray::from(vec!["x", "", "yz"])),
                Arc::new(StringViewArray::from(vec!["yz", "x", ""])),
            ),
            (
                Arc::new(StringArray::from(vec![Some("x"), None, Some("y")])),
                Arc::new(StringArray::from(vec![Some("y"), Some("x"), None])),
            ),
            (
                Arc::new(Float64Array::from(vec![0.0, f64::NAN, 1.0])),
                Arc::new(Float64Array::from(vec![1.0, -0.0, f64::NAN])),
            ),
            (
                Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
                Arc::new(BooleanArray::from(vec![Some(false), Some(true), None])),
            ),
        ];
        for (a, b) in pairs {
            let (a, b) = (ValueColumn::new(a).unwrap(), ValueColumn::new(b).unwrap());
            let (mut own, mut others) = (vec![1; 3], vec![1; 3]);
            a.hash_into(&mut own);
            b.hash_into(&mut others);
            for (row, own) in own.iter().enumerate() {
                for (other, theirs) in others.iter().enumerate() {
                    let same = (row + 1) % 3 == other;
                    assert_eq!(a.equals(row, &b, other), same, "{a:?} {row} {other}");
                    assert_eq!(own == theirs, same, "{a:?}");
                }
            }
        }
    }
}
