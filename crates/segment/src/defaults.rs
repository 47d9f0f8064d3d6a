//! The value that stands for a null where null handling is off, in the form a column stores.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Decimal256Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, StringViewArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{Decimal256Type, i256};
use schemas::arrow::{BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE, entry_field};
use schemas::types::{uuid_bytes, uuid_text};
use schemas::{ColumnSpec, DataType, Value};

use crate::SegmentError;

#[derive(Clone, Debug)]
pub(crate) enum DefaultValue {
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(i256),
    Bytes(Vec<u8>),
}

impl DefaultValue {
    /// As an entry of a column with several values a row.
    pub(crate) fn into_entry(self) -> Vec<u8> {
        match self {
            Self::Long(value) => value.to_le_bytes().to_vec(),
            Self::Float(value) => value.to_le_bytes().to_vec(),
            Self::Double(value) => value.to_le_bytes().to_vec(),
            Self::Decimal(value) => value.to_le_bytes().to_vec(),
            Self::Bytes(value) => value,
        }
    }

    pub(crate) fn of(column: &ColumnSpec) -> Result<Self, SegmentError> {
        convert(column.data_type, &column.default).ok_or_else(|| SegmentError::Default {
            column: column.name.clone(),
            data_type: column.data_type,
            value: format!("{:?}", column.default),
        })
    }
}

fn convert(data_type: DataType, value: &Value) -> Option<DefaultValue> {
    Some(match (data_type, value) {
        (DataType::Int, Value::Long(value)) => {
            DefaultValue::Long(i64::from(i32::try_from(*value).ok()?))
        }
        (DataType::Long | DataType::Timestamp, Value::Long(value)) => DefaultValue::Long(*value),
        (DataType::Boolean, Value::Boolean(value)) => DefaultValue::Long(i64::from(*value)),
        (DataType::Boolean, Value::Long(value @ 0..=1)) => DefaultValue::Long(*value),
        (DataType::Float, Value::Double(value)) => DefaultValue::Float(*value as f32),
        (DataType::Float, Value::Long(value)) => DefaultValue::Float(*value as f32),
        (DataType::Double, Value::Double(value)) => DefaultValue::Double(*value),
        (DataType::Double, Value::Long(value)) => DefaultValue::Double(*value as f64),
        (DataType::BigDecimal, Value::String(text)) => decimal(text)?,
        (DataType::BigDecimal, Value::Long(value)) => decimal(&value.to_string())?,
        (DataType::BigDecimal, Value::Double(value)) => decimal(&value.to_string())?,
        (DataType::String | DataType::Json, Value::String(text)) => {
            DefaultValue::Bytes(text.clone().into_bytes())
        }
        (DataType::Uuid, Value::String(text)) => {
            DefaultValue::Bytes(uuid_text(uuid_bytes(text)?).to_vec())
        }
        (DataType::Bytes, Value::Bytes(bytes)) => DefaultValue::Bytes(bytes.clone()),
        _ => return None,
    })
}

const DECIMAL_TEXT_MAX: usize = 200;

fn decimal(text: &str) -> Option<DefaultValue> {
    // Arrow counts digits in one byte.
    if text.len() > DECIMAL_TEXT_MAX {
        return None;
    }
    parse_decimal::<Decimal256Type>(text, BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE)
        .ok()
        .map(DefaultValue::Decimal)
}

/// One row that holds the default of `column`, in its Arrow type: what rows of a segment have
/// that was written before the column existed.
pub fn default_array(column: &ColumnSpec) -> Result<ArrayRef, SegmentError> {
    let one = default_entry(column)?;
    if !column.multi_value {
        return Ok(one);
    }
    let field = entry_field(one.data_type().clone());
    let offsets = OffsetBuffer::from_lengths([1]);
    Ok(Arc::new(ListArray::new(field, offsets, one, None)))
}

fn default_entry(column: &ColumnSpec) -> Result<ArrayRef, SegmentError> {
    Ok(match (column.data_type, DefaultValue::of(column)?) {
        (DataType::Int, DefaultValue::Long(value)) => {
            Arc::new(Int32Array::from(vec![value as i32]))
        }
        (DataType::Boolean, DefaultValue::Long(value)) => {
            Arc::new(BooleanArray::from(vec![value != 0]))
        }
        (DataType::Timestamp, DefaultValue::Long(value)) => {
            Arc::new(TimestampMillisecondArray::from(vec![value]))
        }
        (_, DefaultValue::Long(value)) => Arc::new(Int64Array::from(vec![value])),
        (_, DefaultValue::Float(value)) => Arc::new(Float32Array::from(vec![value])),
        (_, DefaultValue::Double(value)) => Arc::new(Float64Array::from(vec![value])),
        (data_type, DefaultValue::Decimal(value)) => Arc::new(
            Decimal256Array::from(vec![value])
                .with_data_type(schemas::arrow::arrow_type(data_type)),
        ),
        (DataType::Bytes, DefaultValue::Bytes(value)) => {
            Arc::new(BinaryViewArray::from_iter_values([value]))
        }
        (_, DefaultValue::Bytes(value)) => {
            let text = String::from_utf8_lossy(&value);
            Arc::new(StringViewArray::from_iter_values([text]))
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use schemas::arrow::column_type;
    use schemas::{ColumnSpec, DataType, FieldRole, Value};

    use super::default_array;

    #[test]
    fn every_default_has_its_column_type() {
        for data_type in DataType::ALL {
            for role in [FieldRole::Dimension, FieldRole::Metric, FieldRole::DateTime] {
                let mut column = ColumnSpec::new("c", data_type, role);
                for multi_value in [false, true] {
                    column.multi_value = multi_value;
                    let array = default_array(&column).unwrap();
                    assert_eq!((array.len(), array.data_type()), (1, &column_type(&column)));
                }
            }
        }
    }

    #[test]
    fn wrong_defaults_are_refused() {
        let mut column = ColumnSpec::new("c", DataType::Int, FieldRole::Metric);
        column.default = Value::Long(1 << 40);
        let message = default_array(&column).unwrap_err().to_string();
        assert_eq!(
            message,
            "the default of column `c` is no INT: Long(1099511627776)"
        );
    }
}
