//! The whole numbers of a dictionary, stored narrower than their type.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray};
use schemas::DataType;

use super::forward::CodesBuffer;
use crate::column::Codes;

/// value = base + stored. None is past the greatest of the type.
#[derive(Debug)]
pub(crate) struct Numbers {
    data_type: DataType,
    base: i64,
    stored: CodesBuffer,
}

impl Numbers {
    /// `None`: the type has no such numbers.
    pub(super) fn new(data_type: DataType, base: i64, stored: CodesBuffer) -> Option<Self> {
        let (least, limit) = match data_type {
            DataType::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Long | DataType::Timestamp => (i64::MIN, i64::MAX),
            _ => return None,
        };
        let greatest = match stored.all() {
            Codes::U8(values) => values.iter().max().map(|value| u32::from(*value)),
            Codes::U16(values) => values.iter().max().map(|value| u32::from(*value)),
            Codes::U32(values) => values.iter().max().copied(),
        };
        let last = base.checked_add(greatest.unwrap_or(0).into())?;
        (base >= least && last <= limit).then_some(Self {
            data_type,
            base,
            stored,
        })
    }

    pub(super) fn array(&self) -> ArrayRef {
        let stored = self.stored.all();
        let values = (0..stored.len()).map(|at| self.base + i64::from(stored.get(at)));
        match self.data_type {
            DataType::Int => Arc::new(values.map(|value| value as i32).collect::<Int32Array>()),
            DataType::Timestamp => Arc::new(TimestampMillisecondArray::from_iter_values(values)),
            _ => Arc::new(Int64Array::from_iter_values(values)),
        }
    }
}
