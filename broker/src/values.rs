//! Arrow values as the text of JSON, in Pinot's forms, straight from columns to bytes.
//!
//! | type | JSON |
//! |---|---|
//! | INT, LONG | number |
//! | FLOAT, DOUBLE | number as Java prints it; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | BIG_DECIMAL | string without an exponent |
//! | TIMESTAMP | `"2013-01-01 00:00:00.0"`, UTC |
//! | BYTES | lower-case hexadecimal string |
//! | JSON, STRING, UUID | string |
//! | INTERVAL | string as PostgreSQL shows it: `"1 mon 2 days 03:04:05.5"` |
//! | several values a row | array of these |

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use query::End;
use schemas::arrow::TYPE_KEY;
use serde::Serialize;

use crate::digits::{self, text};
use crate::lengths;

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

/// Writes the value of one row, which is not null.
type WriteRow<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + Send + 'a>;

/// A column, ready to be written row by row.
pub(crate) struct Cells<'a> {
    nulls: Nulls<'a>,
    write: WriteRow<'a>,
    null: String,
}

/// Which rows have none.
enum Nulls<'a> {
    None,
    Some(&'a NullBuffer),
    All,
}

impl<'a> Nulls<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        // Those of a column of nulls are not in a bitmap.
        match array.nulls() {
            _ if *array.data_type() == DataType::Null => Self::All,
            Some(nulls) if nulls.null_count() > 0 => Self::Some(nulls),
            _ => Self::None,
        }
    }
}

impl<'a> Cells<'a> {
    pub(crate) fn new(array: &'a ArrayRef) -> Self {
        Self {
            nulls: Nulls::of(array),
            write: writer(array),
            null: "null".to_owned(),
        }
    }

    /// Of a column that Pinot gives as DOUBLE; a null is `of_nothing`, where that is given.
    pub(crate) fn doubles(array: &'a ArrayRef, of_nothing: Option<f64>) -> Self {
        let mut null = Vec::new();
        match of_nothing {
            Some(value) => double(value, &mut null),
            None => null.extend_from_slice(b"null"),
        }
        Self {
            nulls: Nulls::of(array),
            write: writer_of_doubles(array),
            null: String::from_utf8(null).unwrap_or_default(),
        }
    }

    /// Of a column in which a null is the end of its type that an aggregate begins with.
    pub(crate) fn with_end(array: &'a ArrayRef, end: End) -> Self {
        let one_of = |least: &str, greatest: &str| match end {
            End::Min => greatest.to_owned(),
            End::Max => least.to_owned(),
        };
        let null = match array.data_type() {
            DataType::Int32 => one_of("-2147483648", "2147483647"),
            DataType::Int64 => one_of("-9223372036854775808", "9223372036854775807"),
            DataType::Float32 | DataType::Float64 => one_of("\"-Infinity\"", "\"Infinity\""),
            _ => "null".to_owned(),
        };
        Self {
            null,
            ..Self::new(array)
        }
    }

    /// Of a column in which a null is what Pinot has for a value that is not there: 0, or an empty
    /// text. NULL itself, which has no type, stays.
    pub(crate) fn without_nulls(array: &'a ArrayRef) -> Self {
        let null = match array.data_type() {
            DataType::Null => "null",
            DataType::Boolean => "false",
            DataType::Float32 | DataType::Float64 => "0.0",
            DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => "\"0\"",
            DataType::Timestamp(_, _) | DataType::Date32 => "\"1970-01-01 00:00:00.0\"",
            DataType::List(_) => "[]",
            other if other.is_integer() => "0",
            _ => "\"\"",
        };
        Self {
            null: null.to_owned(),
            ..Self::new(array)
        }
    }

    pub(crate) fn write(&self, row: usize, to: &mut Vec<u8>) {
        let is_null = match self.nulls {
            Nulls::None => false,
            Nulls::Some(nulls) => nulls.is_null(row),
            Nulls::All => true,
        };
        match is_null {
            true => to.extend_from_slice(self.null.as_bytes()),
            false => (self.write)(row, to),
        }
    }
}

fn of_type<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    write: impl Fn(T::Native, &mut Vec<u8>) + Send + 'a,
) -> WriteRow<'a> {
    let array = array.as_primitive::<T>();
    Box::new(move |row, to| write(array.value(row), to))
}

fn whole(value: impl itoa::Integer, to: &mut Vec<u8>) {
    to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn writer(array: &ArrayRef) -> WriteRow<'_> {
    match array.data_type() {
        DataType::Int8 => of_type::<Int8Type>(array, whole),
        DataType::Int16 => of_type::<Int16Type>(array, whole),
        DataType::Int32 => of_type::<Int32Type>(array, whole),
        DataType::Int64 => of_type::<Int64Type>(array, whole),
        DataType::UInt8 => of_type::<UInt8Type>(array, whole),
        DataType::UInt16 => of_type::<UInt16Type>(array, whole),
        DataType::UInt32 => of_type::<UInt32Type>(array, whole),
        DataType::UInt64 => of_type::<UInt64Type>(array, whole),
        DataType::Float32 => of_type::<Float32Type>(array, float),
        DataType::Float64 => of_type::<Float64Type>(array, double),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, to| {
                let text = if array.value(row) { "true" } else { "false" };
                to.extend_from_slice(text.as_bytes());
            })
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(move |row, to| text(array.value(row), to))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Box::new(move |row, to| text(array.value(row), to))
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(move |row, to| text(array.value(row), to))
        }
        DataType::Binary => Box::new(move |row, to| hex(array.as_binary::<i32>().value(row), to)),
        DataType::LargeBinary => {
            Box::new(move |row, to| hex(array.as_binary::<i64>().value(row), to))
        }
        DataType::BinaryView => Box::new(move |row, to| hex(array.as_binary_view().value(row), to)),
        DataType::Decimal128(_, scale) => of_type::<Decimal128Type>(array, move |value, to| {
            decimal(itoa::Buffer::new().format(value), *scale, to);
        }),
        DataType::Decimal256(_, scale) => of_type::<Decimal256Type>(array, move |value, to| {
            decimal(&value.to_string(), *scale, to);
        }),
        DataType::Timestamp(unit, _) => {
            Box::new(move |row, to| timestamp(ms_and_nanos(array, *unit, row), to))
        }
        DataType::Date32 => of_type::<Date32Type>(array, |days, to| {
            timestamp((i64::from(days) * 86_400_000, 0), to);
        }),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            Box::new(move |row, to| list(&lists.value(row), to))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            of_type::<IntervalMonthDayNanoType>(array, |length, to| {
                let (months, days) = (length.months, i64::from(length.days));
                text(&lengths::shown(months, days, length.nanoseconds), to);
            })
        }
        DataType::Duration(unit) => {
            let unit = *unit;
            Box::new(move |row, to| {
                let nanos = lengths::nanos(array, unit, row);
                let (days, rest) = (nanos / lengths::DAY, nanos % lengths::DAY);
                text(&lengths::shown(0, days, rest), to);
            })
        }
        _ => Box::new(move |row, to| {
            let shown = array_value_to_string(array, row);
            text(&shown.unwrap_or_default(), to);
        }),
    }
}

fn decimal(value: &str, scale: i8, to: &mut Vec<u8>) {
    to.push(b'"');
    digits::decimal(value, scale, to);
    to.push(b'"');
}

fn timestamp((ms, nanos): (i64, u32), to: &mut Vec<u8>) {
    let (seconds, ms) = (ms.div_euclid(1000), ms.rem_euclid(1000) as u32);
    digits::timestamp(seconds, ms * 1_000_000 + nanos, to);
}

fn list(values: &ArrayRef, to: &mut Vec<u8>) {
    let cells = Cells::new(values);
    to.push(b'[');
    for at in 0..values.len() {
        if at > 0 {
            to.push(b',');
        }
        cells.write(at, to);
    }
    to.push(b']');
}

fn writer_of_doubles(array: &ArrayRef) -> WriteRow<'_> {
    macro_rules! as_double {
        ($type:ty) => {
            of_type::<$type>(array, |value, to| double(value as f64, to))
        };
    }
    match array.data_type() {
        DataType::Int8 => as_double!(Int8Type),
        DataType::Int16 => as_double!(Int16Type),
        DataType::Int32 => as_double!(Int32Type),
        DataType::Int64 => as_double!(Int64Type),
        DataType::UInt8 => as_double!(UInt8Type),
        DataType::UInt16 => as_double!(UInt16Type),
        DataType::UInt32 => as_double!(UInt32Type),
        DataType::UInt64 => as_double!(UInt64Type),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, to| double(f64::from(u8::from(array.value(row))), to))
        }
        DataType::Timestamp(unit, _) => {
            Box::new(move |row, to| double(ms_and_nanos(array, *unit, row).0 as f64, to))
        }
        _ => writer(array),
    }
}

/// Writing to memory does not fail.
fn json(value: &(impl Serialize + ?Sized), to: &mut Vec<u8>) {
    let _written = serde_json::to_writer(to, value);
}

/// The shortest text of the float, not of its widening.
fn float(value: f32, to: &mut Vec<u8>) {
    match value.is_finite() {
        true => json(&value, to),
        false => double(f64::from(value), to),
    }
}

fn double(value: f64, to: &mut Vec<u8>) {
    if value.is_finite() {
        json(&value, to);
    } else if value.is_nan() {
        json("NaN", to);
    } else {
        json(if value > 0.0 { "Infinity" } else { "-Infinity" }, to);
    }
}

fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    to.push(b'"');
    for byte in bytes {
        to.extend([
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
    to.push(b'"');
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn shown(array: impl Array + 'static) -> String {
        let array: ArrayRef = Arc::new(array);
        let mut shown = Vec::new();
        list(&array, &mut shown);
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn columns_that_pinot_gives_as_doubles() {
        use arrow::array::*;
        let shown = |array: ArrayRef, of_nothing| {
            let cells = Cells::doubles(&array, of_nothing);
            let mut shown = Vec::new();
            (0..array.len()).for_each(|row| cells.write(row, &mut shown));
            String::from_utf8(shown).unwrap()
        };
        let longs = || Arc::new(Int64Array::from(vec![Some(7), None]));
        assert_eq!(shown(longs(), Some(f64::INFINITY)), "7.0\"Infinity\"");
        assert_eq!(shown(longs(), None), "7.0null");
        let times = TimestampMillisecondArray::from(vec![1500]);
        assert_eq!(shown(Arc::new(times), None), "1500.0");
        assert_eq!(shown(Arc::new(BooleanArray::from(vec![true])), None), "1.0");
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
        let times = TimestampMicrosecondArray::from(vec![-1_000_001, 253_402_300_799_999_999]);
        assert_eq!(
            shown(times),
            r#"["1969-12-31 23:59:58.999999","9999-12-31 23:59:59.999999"]"#
        );
        assert_eq!(
            shown(StringArray::from(vec!["a\"\n", "ü"])),
            r#"["a\"\n","ü"]"#
        );
        assert_eq!(shown(BooleanArray::from(vec![true])), "[true]");
        assert_eq!(shown(NullArray::new(2)), "[null,null]");
    }
}
