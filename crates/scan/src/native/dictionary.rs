//! Values of a dictionary, compared in their order.

use std::mem::discriminant;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMillisecondType};

#[derive(Clone, Debug)]
pub(super) enum OrderedValues {
    Texts(StringViewArray),
    Bytes(BinaryViewArray),
    Ints(ScalarBuffer<i32>),
    Longs(ScalarBuffer<i64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'v> {
    Number(i64),
    Bytes(&'v [u8]),
    /// Behind all others, as its code is.
    Null,
}

impl OrderedValues {
    /// `None`: values of this type are not compared here.
    pub(super) fn of(array: &ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8View => Self::Texts(array.as_string_view().clone()),
            DataType::BinaryView => Self::Bytes(array.as_binary_view().clone()),
            DataType::Int32 => Self::Ints(array.as_primitive::<Int32Type>().values().clone()),
            DataType::Int64 => Self::Longs(array.as_primitive::<Int64Type>().values().clone()),
            DataType::Timestamp(_, None) => {
                let times = array.as_primitive_opt::<TimestampMillisecondType>()?;
                Self::Longs(times.values().clone())
            }
            _ => return None,
        })
    }

    /// Whether values of both can be compared.
    pub(super) fn are_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Ints(ints) => ints.len(),
            Self::Longs(longs) => longs.len(),
        }
    }

    #[inline(always)]
    pub(super) fn at(&self, code: u32) -> Value<'_> {
        let at = code as usize;
        match self {
            Self::Texts(texts) => Value::Bytes(texts.value(at).as_bytes()),
            Self::Bytes(bytes) => Value::Bytes(bytes.value(at)),
            Self::Ints(ints) => Value::Number(ints[at].into()),
            Self::Longs(longs) => Value::Number(longs[at]),
        }
    }

    /// The code of `value`, or else that of the first greater one; those before `from` are less.
    /// Codes must ascend with the values.
    pub(super) fn find(&self, value: Value<'_>, from: u32) -> Result<u32, u32> {
        let count = self.len() as u32;
        let (mut low, mut step) = (from, 1);
        // Most are near the one before.
        while low + step < count && self.at(low + step) < value {
            low += step + 1;
            step *= 2;
        }
        let mut high = count.min(low + step + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
}
