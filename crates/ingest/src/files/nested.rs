//! Rows with nested values, structs, lists and maps, as JSON objects: what is done to records of
//! JSON is done to them.
//!
//! Invariant: what has no form in JSON is written as columns of any type take it from there: times
//! as milliseconds, bytes as hexadecimal digits, decimal fractions as text with all their digits.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;

/// Structs, maps, and lists of such or of lists.
pub(super) fn is_nested(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| nests(field.data_type()))
}

pub(super) fn nests(found: &ArrowType) -> bool {
    match found {
        ArrowType::Struct(_) | ArrowType::Map(..) => true,
        ArrowType::List(entry)
        | ArrowType::LargeList(entry)
        | ArrowType::ListView(entry)
        | ArrowType::LargeListView(entry)
        | ArrowType::FixedSizeList(entry, _) => entry.data_type().is_nested(),
        _ => false,
    }
}

/// An object a row; a null has no key.
pub(super) fn records(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, ArrowError> {
    let fields = batch.schema_ref().fields().iter();
    // Through milliseconds to numbers.
    let (mut plain, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in fields.zip(batch.columns()) {
        let array = converted(column, &in_milliseconds)?;
        let array = converted(&array, &as_numbers)?;
        let data_type = array.data_type().clone();
        plain.push(Field::new(field.name(), data_type, true));
        columns.push(array);
    }
    let plain = RecordBatch::try_new(Arc::new(Schema::new(plain)), columns)?;
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(false)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(&plain)?;
    writer.finish()?;
    let text = writer.into_inner();
    let lines = text.split(|byte| *byte == b'\n');
    let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).take(batch.num_rows()).collect();
    Ok(lines)
}

fn converted(
    array: &ArrayRef,
    leaf: &dyn Fn(&ArrowType) -> Option<ArrowType>,
) -> Result<ArrayRef, ArrowError> {
    let wanted = of_leaves(array.data_type(), leaf);
    match wanted == *array.data_type() {
        true => Ok(Arc::clone(array)),
        false => cast(array, &wanted),
    }
}

fn in_milliseconds(leaf: &ArrowType) -> Option<ArrowType> {
    match leaf {
        ArrowType::Timestamp(..) | ArrowType::Date32 | ArrowType::Date64 => {
            Some(ArrowType::Timestamp(TimeUnit::Millisecond, None))
        }
        ArrowType::Decimal128(..) | ArrowType::Decimal256(..) => Some(ArrowType::Utf8),
        ArrowType::Float16 => Some(ArrowType::Float32),
        ArrowType::Dictionary(_, value) => Some(ArrowType::clone(value)),
        _ => None,
    }
}

fn as_numbers(leaf: &ArrowType) -> Option<ArrowType> {
    matches!(leaf, ArrowType::Timestamp(..)).then_some(ArrowType::Int64)
}

/// The same form with other leaves.
fn of_leaves(found: &ArrowType, leaf: &dyn Fn(&ArrowType) -> Option<ArrowType>) -> ArrowType {
    let inner = |field: &Arc<Field>| {
        let data_type = of_leaves(field.data_type(), leaf);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match found {
        ArrowType::Struct(fields) => ArrowType::Struct(fields.iter().map(inner).collect()),
        ArrowType::List(entry) => ArrowType::List(inner(entry)),
        ArrowType::LargeList(entry) => ArrowType::LargeList(inner(entry)),
        ArrowType::ListView(entry) => ArrowType::ListView(inner(entry)),
        ArrowType::LargeListView(entry) => ArrowType::LargeListView(inner(entry)),
        ArrowType::FixedSizeList(entry, size) => ArrowType::FixedSizeList(inner(entry), *size),
        ArrowType::Map(entries, sorted) => ArrowType::Map(inner(entries), *sorted),
        other => leaf(other).unwrap_or_else(|| other.clone()),
    }
}
