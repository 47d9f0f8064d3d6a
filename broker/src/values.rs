//! Arrow values as JSON, in Pinot's forms.
//!
//! | type | JSON |
//! |---|---|
//! | INT, LONG | number |
//! | FLOAT, DOUBLE | number as Java prints it; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | BIG_DECIMAL | string without an exponent |
//! | TIMESTAMP | `"2013-01-01 00:00:00.0"`, UTC |
//! | BYTES | lower-case hexadecimal string |
//! | JSON, STRING, UUID | string |
//! | several values a row | array of these |

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use schemas::arrow::TYPE_KEY;
use serde_json::{Number, Value};

/// Pinot's name of a column's type.
pub(crate) fn type_name(field: &Field) -> &'static str {
    let data_type = match field.data_type() {
        DataType::List(entry) | DataType::LargeList(entry) => {
            return array_name(&Field::clone(entry).with_metadata(field.metadata().clone()));
        }
        other => other,
    };
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            "INT"
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "LONG",
        DataType::Float16 | DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => "BIG_DECIMAL",
        DataType::Boolean => "BOOLEAN",
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => "TIMESTAMP",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES",
        DataType::Null => "UNKNOWN",
        _ => match field.metadata().get(TYPE_KEY).map(String::as_str) {
            Some("JSON") => "JSON",
            Some("UUID") => "UUID",
            _ => "STRING",
        },
    }
}

/// Of columns with several values a row, by the type of one.
fn array_name(entry: &Field) -> &'static str {
    match type_name(entry) {
        "INT" => "INT_ARRAY",
        "LONG" => "LONG_ARRAY",
        "FLOAT" => "FLOAT_ARRAY",
        "DOUBLE" => "DOUBLE_ARRAY",
        "BIG_DECIMAL" => "BIG_DECIMAL_ARRAY",
        "BOOLEAN" => "BOOLEAN_ARRAY",
        "TIMESTAMP" => "TIMESTAMP_ARRAY",
        "BYTES" => "BYTES_ARRAY",
        "UUID" => "UUID_ARRAY",
        _ => "STRING_ARRAY",
    }
}

/// The value of one row.
pub(crate) fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        // Its nulls are not in a bitmap.
        DataType::Null => Value::Null,
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            // The shortest text of the float, not of its widening.
            float(f64::from(value), value.to_string())
        }
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)).into(),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)).into(),
        DataType::BinaryView => hex(array.as_binary_view().value(row)).into(),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            plain_decimal(&value.to_string(), *scale).into()
        }
        DataType::Decimal256(_, scale) => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            plain_decimal(&value.to_string(), *scale).into()
        }
        DataType::Timestamp(unit, _) => timestamp(ms_and_nanos(array, *unit, row)).into(),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            timestamp((i64::from(days) * 86_400_000, 0)).into()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|at| value(&list, at)).collect()
        }
        _ => arrow::util::display::array_value_to_string(array, row)
            .unwrap_or_default()
            .into(),
    }
}

/// The value of one row of a column that Pinot gives as DOUBLE.
pub(crate) fn value_as_double(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    if let DataType::Timestamp(unit, _) = array.data_type() {
        return double(ms_and_nanos(array, *unit, row).0 as f64);
    }
    match value(array, row) {
        Value::Bool(value) => double(f64::from(u8::from(value))),
        Value::Number(number) => match number.as_f64() {
            Some(value) => double(value),
            None => Value::Number(number),
        },
        other => other,
    }
}

pub(crate) fn double(value: f64) -> Value {
    float(value, value.to_string())
}

fn float(value: f64, shortest: String) -> Value {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let precise: f64 = shortest.parse().unwrap_or(value);
    Number::from_f64(precise).map_or(Value::Null, Value::Number)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `12345` at scale 2 → `123.45`.
fn plain_decimal(digits: &str, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let scale = scale.max(0) as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

fn ms_and_nanos(array: &ArrayRef, unit: TimeUnit, row: usize) -> (i64, u32) {
    match unit {
        TimeUnit::Second => (
            array.as_primitive::<TimestampSecondType>().value(row) * 1000,
            0,
        ),
        TimeUnit::Millisecond => (
            array.as_primitive::<TimestampMillisecondType>().value(row),
            0,
        ),
        TimeUnit::Microsecond => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            (value.div_euclid(1000), value.rem_euclid(1000) as u32 * 1000)
        }
        TimeUnit::Nanosecond => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            (
                value.div_euclid(1_000_000),
                value.rem_euclid(1_000_000) as u32,
            )
        }
    }
}

/// As `java.sql.Timestamp` prints it: at least one digit of the fraction.
fn timestamp((ms, nanos): (i64, u32)) -> String {
    let seconds = ms.div_euclid(1000);
    let nanos = ms.rem_euclid(1000) as u32 * 1_000_000 + nanos;
    let Some(time) = chrono::DateTime::from_timestamp(seconds, nanos) else {
        return format!("{ms}");
    };
    let fraction = format!("{nanos:09}");
    let fraction = fraction.trim_end_matches('0');
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    format!("{}.{fraction}", time.format("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn shown(array: impl Array + 'static) -> String {
        let array: ArrayRef = Arc::new(array);
        let values: Vec<Value> = (0..array.len()).map(|row| value(&array, row)).collect();
        serde_json::to_string(&values).unwrap()
    }

    #[test]
    fn values_in_pinots_forms() {
        use arrow::array::*;
        let doubles = Float64Array::from(vec![1.0, 0.1, f64::NAN, f64::NEG_INFINITY]);
        assert_eq!(shown(doubles), r#"[1.0,0.1,"NaN","-Infinity"]"#);
        assert_eq!(shown(Float32Array::from(vec![13.1f32])), "[13.1]");
        let times = TimestampMillisecondArray::from(vec![1_356_998_400_000, 1_356_998_400_120]);
        assert_eq!(
            shown(times),
            r#"["2013-01-01 00:00:00.0","2013-01-01 00:00:00.12"]"#
        );
        assert_eq!(
            shown(BinaryViewArray::from_iter_values([[10u8, 255]])),
            r#"["0aff"]"#
        );
        let lists = [Some(vec![Some(1), Some(-2)]), None, Some(vec![Some(3)])];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let field = Field::new("l", lists.data_type().clone(), true);
        assert_eq!(type_name(&field), "INT_ARRAY");
        assert_eq!(shown(lists), "[[1,-2],null,[3]]");
        assert_eq!(
            shown(Int64Array::from(vec![Some(i64::MAX), None])),
            "[9223372036854775807,null]"
        );
        assert_eq!(plain_decimal("-12345", 3), "-12.345");
        assert_eq!(plain_decimal("5", 3), "0.005");
        assert_eq!(plain_decimal("12000", 3), "12");
    }
}
