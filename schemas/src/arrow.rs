//! How columns look in Arrow, for every crate alike.
//!
//! The full schema of a table is its columns in the order of the spec, then the virtual columns.
//! With defaults in the place of nulls no field is nullable; with SQL nulls all are that may be.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::proto::NullMode;
use crate::table::{ColumnSpec, TableSpec, virtual_column};
use crate::types::DataType;

/// Digits after the point of a BIG_DECIMAL whose field says nothing else.
pub const BIG_DECIMAL_SCALE: i8 = 18;
pub const BIG_DECIMAL_PRECISION: u8 = 76;

pub fn arrow_type(data_type: DataType) -> ArrowType {
    match data_type {
        DataType::Int => ArrowType::Int32,
        DataType::Long => ArrowType::Int64,
        DataType::Float => ArrowType::Float32,
        DataType::Double => ArrowType::Float64,
        DataType::BigDecimal => ArrowType::Decimal256(BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE),
        DataType::Boolean => ArrowType::Boolean,
        DataType::Timestamp => ArrowType::Timestamp(TimeUnit::Millisecond, None),
        DataType::String | DataType::Json | DataType::Uuid => ArrowType::Utf8View,
        DataType::Bytes => ArrowType::BinaryView,
    }
}

/// Of a whole column: `List` when a row has several values.
pub fn column_type(column: &ColumnSpec) -> ArrowType {
    let one = arrow_type(column.data_type);
    match column.multi_value {
        true => ArrowType::List(entry_field(one)),
        false => one,
    }
}

/// The field of a list's entries; there is no null among them.
pub fn entry_field(entry: ArrowType) -> FieldRef {
    Arc::new(Field::new_list_field(entry, true))
}

/// Virtual columns in their order in the full schema.
pub const VIRTUAL_COLUMNS: [(&str, DataType); 7] = [
    (virtual_column::SEGMENT_NAME, DataType::String),
    (virtual_column::DOC_ID, DataType::Int),
    (virtual_column::HOST_NAME, DataType::String),
    (virtual_column::PARTITION, DataType::Int),
    (virtual_column::PARTITION_ID, DataType::Int),
    (virtual_column::OFFSET, DataType::Long),
    (virtual_column::INGEST_TIME, DataType::Timestamp),
];

/// Before the name of a column: a column that tells whether the other has no value. So IS NULL is
/// answered also where nulls are defaults.
const IS_NULL: &str = "$isNull:";

pub fn null_test(column: &str) -> Field {
    Field::new(format!("{IS_NULL}{column}"), ArrowType::Boolean, false)
}

/// The column that this one tells of, if it is such a one.
pub fn tested_by(name: &str) -> Option<&str> {
    name.strip_prefix(IS_NULL)
}

/// Columns of the spec, then [`VIRTUAL_COLUMNS`].
pub fn full_schema(spec: &TableSpec, nulls: NullMode) -> SchemaRef {
    let own = spec.columns.iter().map(|column| field(column, nulls));
    let hidden = VIRTUAL_COLUMNS
        .iter()
        .map(|(name, data_type)| Field::new(*name, arrow_type(*data_type), false));
    Arc::new(Schema::new(own.chain(hidden).collect::<Vec<_>>()))
}

/// What decoders fill and segments take: the columns of the spec, nullable, then `$offset` and
/// `$ingestTime`.
pub fn ingest_schema(spec: &TableSpec) -> SchemaRef {
    let own = spec
        .columns
        .iter()
        .map(|column| Field::new(&column.name, column_type(column), true));
    let stored = [
        Field::new(virtual_column::OFFSET, ArrowType::Int64, false),
        Field::new(
            virtual_column::INGEST_TIME,
            arrow_type(DataType::Timestamp),
            false,
        ),
    ];
    Arc::new(Schema::new(own.chain(stored).collect::<Vec<_>>()))
}

/// The metadata keeps our type, which Arrow's alone does not tell (JSON and UUID are strings
/// there), and how functions take the column's texts and documents apart.
fn field(column: &ColumnSpec, nulls: NullMode) -> Field {
    let nullable = nulls == NullMode::ThreeValued && !column.not_null;
    let field = Field::new(&column.name, column_type(column), nullable);
    let mut metadata = HashMap::new();
    if matches!(column.data_type, DataType::Json | DataType::Uuid) {
        let name = column.data_type.name().to_owned();
        metadata.insert(TYPE_KEY.to_owned(), name);
    }
    if let Some(text) = &column.text_index {
        metadata.insert(TEXT_KEY.to_owned(), to_json(text));
    }
    if let Some(json) = &column.json_index {
        metadata.insert(JSON_KEY.to_owned(), to_json(json));
    }
    field.with_metadata(metadata)
}

fn to_json(spec: &impl serde::Serialize) -> String {
    serde_json::to_string(spec).expect("a spec has only string keys")
}

/// Key in a field's metadata that names our type where Arrow's is ambiguous.
pub const TYPE_KEY: &str = "tannin.type";

/// Key whose value is the [`crate::table::TextIndexSpec`] of the column, as JSON.
pub const TEXT_KEY: &str = "tannin.text";

/// Key whose value is the [`crate::table::JsonIndexSpec`] of the column, as JSON.
pub const JSON_KEY: &str = "tannin.json";
