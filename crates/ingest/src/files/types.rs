//! The columns that a file with a schema of its own would make of a new table.

use arrow::datatypes::{DataType as ArrowType, Schema};
use schemas::{ColumnSpec, DataType, FieldRole};

use super::FileError;
use super::nested::nests;

pub(super) fn columns_of(schema: &Schema) -> Result<Vec<ColumnSpec>, FileError> {
    schema
        .fields()
        .iter()
        .map(|field| {
            let (entry, multi_value) = match field.data_type() {
                // What nests is one value of JSON.
                found if nests(found) => {
                    let role = FieldRole::Dimension;
                    return Ok(ColumnSpec::new(field.name(), DataType::Json, role));
                }
                ArrowType::List(entry) | ArrowType::LargeList(entry) => (entry.data_type(), true),
                other => (other, false),
            };
            let (data_type, role) = type_and_role(entry).ok_or_else(|| FileError::Type {
                column: field.name().clone(),
                found: field.data_type().clone(),
            })?;
            let role = match multi_value {
                true => FieldRole::Dimension,
                false => role,
            };
            let mut column = ColumnSpec::new(field.name(), data_type, role);
            column.multi_value = multi_value;
            Ok(column)
        })
        .collect()
}

fn type_and_role(found: &ArrowType) -> Option<(DataType, FieldRole)> {
    use ArrowType as A;
    Some(match found {
        A::Int8 | A::Int16 | A::Int32 | A::UInt8 | A::UInt16 => {
            (DataType::Int, FieldRole::Dimension)
        }
        A::Int64 | A::UInt32 | A::UInt64 => (DataType::Long, FieldRole::Dimension),
        A::Float16 | A::Float32 => (DataType::Float, FieldRole::Metric),
        A::Float64 => (DataType::Double, FieldRole::Metric),
        A::Decimal128(_, _) | A::Decimal256(_, _) => (DataType::BigDecimal, FieldRole::Metric),
        A::Boolean => (DataType::Boolean, FieldRole::Dimension),
        A::Timestamp(_, _) | A::Date32 | A::Date64 => (DataType::Timestamp, FieldRole::DateTime),
        A::Utf8 | A::LargeUtf8 | A::Utf8View => (DataType::String, FieldRole::Dimension),
        A::Dictionary(_, value) => return type_and_role(value),
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => {
            (DataType::Bytes, FieldRole::Dimension)
        }
        _ => return None,
    })
}
