//! Values of Arrow arrays of any type into columns of ours, by the same rules as those of JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{self as types, DataType as ArrowType, TimeUnit};
use arrow::util::display::array_value_to_string;
use schemas::arrow::column_type;
use schemas::decoding::TooLong;
use schemas::{ColumnSpec, DataType};

use crate::coerce::Cell;
use crate::columns::Column;
use crate::field::Field;
use crate::row::{Row, TEXT_BYTES_MAX, Target};

const DAY_MS: i64 = 86_400_000;

/// Which rows are wrong, and why.
pub(crate) type Wrong = Vec<Option<String>>;

/// The array as one of column `at`; a row whose value it cannot take is null, and told in `wrong`.
pub(crate) fn convert(
    array: &ArrayRef,
    target: &Target,
    at: usize,
    row: &mut Row,
    wrong: &mut Wrong,
) -> ArrayRef {
    let column = &target.spec.columns[at];
    let array = without_empty(unpacked(array));
    if fits(&array, column) {
        return array;
    }
    let mut builder = Column::of(column);
    for (index, wrong) in wrong.iter_mut().enumerate() {
        row.clear(1);
        let cell = cell(&array, index, target, at, row);
        let cell = cell.unwrap_or_else(|reason| {
            wrong.get_or_insert(reason);
            Cell::Null
        });
        if row.texts.wrong > 0 {
            wrong.get_or_insert_with(String::new);
        }
        builder.push(cell, row.data());
    }
    builder.finish()
}

/// Dictionaries and the other forms of texts as views.
pub(crate) fn unpacked(array: &ArrayRef) -> ArrayRef {
    let plain = match array.data_type() {
        ArrowType::Dictionary(_, values) => values.as_ref().clone(),
        ArrowType::RunEndEncoded(_, values) => values.data_type().clone(),
        other => other.clone(),
    };
    let wanted = match plain {
        ArrowType::Utf8 | ArrowType::LargeUtf8 => ArrowType::Utf8View,
        ArrowType::Binary | ArrowType::LargeBinary => ArrowType::BinaryView,
        ArrowType::FixedSizeBinary(_) => ArrowType::BinaryView,
        other => other,
    };
    if *array.data_type() == wanted {
        return Arc::clone(array);
    }
    // First the values where they are: a text that many rows have is not repeated for them.
    let within = match array.data_type() {
        ArrowType::Dictionary(keys, _) => Some(ArrowType::Dictionary(
            keys.clone(),
            Box::new(wanted.clone()),
        )),
        ArrowType::RunEndEncoded(ends, values) => {
            let values = values.as_ref().clone().with_data_type(wanted.clone());
            Some(ArrowType::RunEndEncoded(Arc::clone(ends), Arc::new(values)))
        }
        _ => None,
    };
    let inner = match within {
        Some(within) => cast(array, &within),
        None => Ok(Arc::clone(array)),
    };
    // What cannot be cast is told when its values are read.
    let cast = inner.and_then(|inner| cast(&inner, &wanted));
    cast.unwrap_or_else(|_| Arc::clone(array))
}

/// A list without entries is null.
fn without_empty(array: ArrayRef) -> ArrayRef {
    let Some(lists) = array.as_list_opt::<i32>() else {
        return array;
    };
    let is_empty = |at: usize| lists.value_length(at) == 0;
    if !(0..lists.len()).any(|at| lists.is_valid(at) && is_empty(at)) {
        return array;
    }
    let (field, offsets, values, _) = lists.clone().into_parts();
    let valid =
        NullBuffer::from_iter((0..lists.len()).map(|at| lists.is_valid(at) && !is_empty(at)));
    // The parts of one list array fit together.
    match ListArray::try_new(field, offsets, values, Some(valid)) {
        Ok(lists) => Arc::new(lists),
        Err(_) => array,
    }
}

/// Whether the array is one of the column as it is.
fn fits(array: &ArrayRef, column: &ColumnSpec) -> bool {
    if *array.data_type() != column_type(column) {
        return false;
    }
    let entries = match array.as_list_opt::<i32>() {
        // Lists keep no null.
        Some(lists) if lists.values().null_count() > 0 => return false,
        Some(lists) => lists.values(),
        None => array,
    };
    let limit = column.length_max as usize;
    match column.data_type {
        DataType::Uuid | DataType::Json => false,
        DataType::String => column.too_long == TooLong::Keep || are_short(entries, limit),
        DataType::Bytes if matches!(column.too_long, TooLong::Error | TooLong::Default) => {
            let mut values = entries.as_binary_view().iter().flatten();
            values.all(|value| value.len() <= limit)
        }
        _ => true,
    }
}

fn are_short(texts: &ArrayRef, limit: usize) -> bool {
    let texts: &StringViewArray = texts.as_string_view();
    texts
        .views()
        .iter()
        .all(|view| *view as u32 as usize <= limit)
}

/// One value, or the values of a list, as a cell of the row.
pub(crate) fn cell(
    array: &ArrayRef,
    index: usize,
    target: &Target,
    at: usize,
    row: &mut Row,
) -> Result<Cell, String> {
    if array.is_null(index) {
        return Ok(Cell::Null);
    }
    if !target.is_multi_value(at) {
        return one(array, index, target.field(at, &mut row.texts));
    }
    let from = row.entries.len();
    let entries = match array.data_type() {
        ArrowType::List(_) => Some(array.as_list::<i32>().value(index)),
        ArrowType::LargeList(_) => Some(array.as_list::<i64>().value(index)),
        _ => None,
    };
    match entries {
        Some(entries) => {
            let entries = unpacked(&entries);
            for entry in 0..entries.len() {
                let cell = one(&entries, entry, target.field(at, &mut row.texts))?;
                row.push_entry(cell);
                if row.texts.len() > TEXT_BYTES_MAX {
                    return Err(format!("the texts exceed {} MiB", TEXT_BYTES_MAX >> 20));
                }
            }
        }
        None => {
            let cell = one(array, index, target.field(at, &mut row.texts))?;
            row.push_entry(cell);
        }
    }
    Ok(row.list(from))
}

fn one(array: &ArrayRef, at: usize, field: Field<'_>) -> Result<Cell, String> {
    if array.is_null(at) {
        return Ok(Cell::Null);
    }
    macro_rules! value {
        ($type:ident) => {
            array.as_primitive::<types::$type>().value(at)
        };
    }
    match array.data_type() {
        ArrowType::Null => Ok(Cell::Null),
        ArrowType::Boolean => field.boolean(array.as_boolean().value(at)),
        ArrowType::Int8 => field.integer(value!(Int8Type).into()),
        ArrowType::Int16 => field.integer(value!(Int16Type).into()),
        ArrowType::Int32 => field.integer(value!(Int32Type).into()),
        ArrowType::Int64 => field.integer(value!(Int64Type)),
        ArrowType::UInt8 => field.integer(value!(UInt8Type).into()),
        ArrowType::UInt16 => field.integer(value!(UInt16Type).into()),
        ArrowType::UInt32 => field.integer(value!(UInt32Type).into()),
        ArrowType::UInt64 => field.unsigned(value!(UInt64Type)),
        ArrowType::Float32 => field.float(value!(Float32Type).into()),
        ArrowType::Float64 => field.float(value!(Float64Type)),
        ArrowType::Utf8View => field.text(array.as_string_view().value(at)),
        ArrowType::BinaryView => field.bytes(array.as_binary_view().value(at)),
        ArrowType::Date32 => {
            let days = i64::from(value!(Date32Type));
            field.instant(days.checked_mul(DAY_MS), days)
        }
        ArrowType::Date64 => field.instant(Some(value!(Date64Type)), value!(Date64Type)),
        ArrowType::Timestamp(unit, _) => {
            let (ms, value) = match unit {
                TimeUnit::Second => {
                    let value = value!(TimestampSecondType);
                    (value.checked_mul(1_000), value)
                }
                TimeUnit::Millisecond => {
                    let value = value!(TimestampMillisecondType);
                    (Some(value), value)
                }
                TimeUnit::Microsecond => {
                    let value = value!(TimestampMicrosecondType);
                    (Some(value.div_euclid(1_000)), value)
                }
                TimeUnit::Nanosecond => {
                    let value = value!(TimestampNanosecondType);
                    (Some(value.div_euclid(1_000_000)), value)
                }
            };
            // As a number it is epoch milliseconds, whatever its unit.
            field.instant(ms, ms.unwrap_or(value))
        }
        ArrowType::Decimal32(..)
        | ArrowType::Decimal64(..)
        | ArrowType::Decimal128(..)
        | ArrowType::Decimal256(..) => match array_value_to_string(array, at) {
            Ok(digits) => field.decimal(&digits),
            Err(error) => Err(error.to_string()),
        },
        other => {
            let what = format!("a value of Arrow's type {other}");
            field.refuse(what)
        }
    }
}
