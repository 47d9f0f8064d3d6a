//! `information_schema`, as the SQL standard has it and PostgreSQL's clients read it: types have
//! PostgreSQL's names.

use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch, StringViewArray, new_empty_array};
use arrow::datatypes::Field;
use datafusion::common::Result;
use schemas::DataType;
use schemas::arrow::{BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE};
use schemas::cluster::ClusterState;
use schemas::table::ColumnSpec;

use super::described::{Described, all_columns, batch, default_of, in_order, ints, texts};
use super::{INFORMATION_SCHEMA, SYSTEM_SCHEMA, SystemTables, int, text, text_or_null};
use crate::catalog::DEFAULT_SCHEMA;

pub(super) const NAMES: [&str; 7] = [
    "columns",
    "key_column_usage",
    "referential_constraints",
    "schemata",
    "table_constraints",
    "tables",
    "views",
];

/// The one catalog.
pub(crate) const CATALOG: &str = "tannin";

pub(super) fn table(name: &str, cluster: &ClusterState) -> Result<Option<RecordBatch>> {
    match name {
        "columns" => columns(cluster).map(Some),
        "key_column_usage" => key_columns(cluster).map(Some),
        "referential_constraints" => foreign_keys().map(Some),
        "table_constraints" => constraints(cluster).map(Some),
        "views" => views().map(Some),
        "schemata" => schemata().map(Some),
        "tables" => tables(cluster).map(Some),
        _ => Ok(None),
    }
}

fn schemata() -> Result<RecordBatch> {
    let names = [DEFAULT_SCHEMA, INFORMATION_SCHEMA, SYSTEM_SCHEMA];
    batch(vec![
        (text("catalog_name"), texts(names.map(|_| CATALOG))),
        (text("schema_name"), texts(names)),
    ])
}

fn tables(cluster: &ClusterState) -> Result<RecordBatch> {
    let own = in_order(cluster);
    let mut named: Vec<(&str, &str)> = own
        .iter()
        .map(|table| (DEFAULT_SCHEMA, table.spec.name.as_str()))
        .collect();
    // A hybrid table has two parts.
    named.dedup();
    for one in of_nobody() {
        named.push(one);
    }
    let kind = |schema: &str| match schema {
        DEFAULT_SCHEMA => "BASE TABLE",
        _ => "VIEW",
    };
    batch(vec![
        (text("table_catalog"), texts(named.iter().map(|_| CATALOG))),
        (
            text("table_schema"),
            texts(named.iter().map(|(schema, _)| schema)),
        ),
        (
            text("table_name"),
            texts(named.iter().map(|(_, name)| name)),
        ),
        (
            text("table_type"),
            texts(named.iter().map(|(schema, _)| kind(schema))),
        ),
    ])
}

/// Tables that nobody made, and their schemas.
fn of_nobody() -> impl Iterator<Item = (&'static str, &'static str)> {
    let schemas = [INFORMATION_SCHEMA, SYSTEM_SCHEMA].into_iter();
    schemas.flat_map(|schema| {
        let names = SystemTables::names(schema).iter();
        names.map(move |name| (schema, *name))
    })
}

fn views() -> Result<RecordBatch> {
    let named: Vec<_> = of_nobody().collect();
    let same = |word: &'static str| texts(named.iter().map(|_| word));
    let none: StringViewArray = named.iter().map(|_| None::<&str>).collect();
    batch(vec![
        (text("table_catalog"), same(CATALOG)),
        (
            text("table_schema"),
            texts(named.iter().map(|(schema, _)| schema)),
        ),
        (
            text("table_name"),
            texts(named.iter().map(|(_, name)| name)),
        ),
        (text_or_null("view_definition"), Arc::new(none)),
        (text("check_option"), same("NONE")),
        (text("is_updatable"), same("NO")),
    ])
}

/// The columns of primary keys: name of the table, of the column, and its place in the key.
fn keys(cluster: &ClusterState) -> Vec<(&str, &str, usize)> {
    let mut keys = Vec::new();
    let mut before = None;
    for table in in_order(cluster) {
        let name = table.spec.name.as_str();
        if before == Some(name) {
            continue;
        }
        before = Some(name);
        let columns = table.spec.primary_key.iter().enumerate();
        keys.extend(columns.map(|(at, column)| (name, column.as_str(), at + 1)));
    }
    keys
}

fn key_name(table: &str) -> String {
    format!("{table}_pkey")
}

fn constraints(cluster: &ClusterState) -> Result<RecordBatch> {
    let mut tables: Vec<&str> = keys(cluster).iter().map(|(table, ..)| *table).collect();
    tables.dedup();
    let same = |word: &'static str| texts(tables.iter().map(|_| word));
    batch(vec![
        (text("constraint_catalog"), same(CATALOG)),
        (text("constraint_schema"), same(DEFAULT_SCHEMA)),
        (
            text("constraint_name"),
            texts(tables.iter().map(|table| key_name(table))),
        ),
        (text("table_catalog"), same(CATALOG)),
        (text("table_schema"), same(DEFAULT_SCHEMA)),
        (text("table_name"), texts(&tables)),
        (text("constraint_type"), same("PRIMARY KEY")),
        (text("is_deferrable"), same("NO")),
        (text("initially_deferred"), same("NO")),
    ])
}

fn key_columns(cluster: &ClusterState) -> Result<RecordBatch> {
    let keys = keys(cluster);
    let same = |word: &'static str| texts(keys.iter().map(|_| word));
    batch(vec![
        (text("constraint_catalog"), same(CATALOG)),
        (text("constraint_schema"), same(DEFAULT_SCHEMA)),
        (
            text("constraint_name"),
            texts(keys.iter().map(|(table, ..)| key_name(table))),
        ),
        (text("table_catalog"), same(CATALOG)),
        (text("table_schema"), same(DEFAULT_SCHEMA)),
        (
            text("table_name"),
            texts(keys.iter().map(|(table, ..)| table)),
        ),
        (
            text("column_name"),
            texts(keys.iter().map(|(_, column, _)| column)),
        ),
        (
            int("ordinal_position"),
            ints(keys.iter().map(|(.., position)| *position)),
        ),
    ])
}

/// There are none.
fn foreign_keys() -> Result<RecordBatch> {
    let names = [
        "constraint_catalog",
        "constraint_schema",
        "constraint_name",
        "unique_constraint_catalog",
        "unique_constraint_schema",
        "unique_constraint_name",
        "match_option",
        "update_rule",
        "delete_rule",
    ];
    let columns = names.map(|name| {
        let field = text(name);
        let none = new_empty_array(field.data_type());
        (field, none)
    });
    batch(columns.to_vec())
}

fn columns(cluster: &ClusterState) -> Result<RecordBatch> {
    let all = all_columns(cluster);
    let same = |word: &'static str| texts(all.iter().map(|_| word));
    let names = all.iter().map(|one| one.column.name.as_str());
    let nullable = all.iter().map(|one| match one.column.not_null {
        true => "NO",
        false => "YES",
    });
    let types = all.iter().map(|one| type_name(one.column));
    let short = all.iter().map(|one| short_name(one.column));
    let numbers = |name: &str, of: fn(DataType) -> Option<i32>| {
        let of = |one: &Described<'_>| of(one.column.data_type).filter(|_| !one.column.multi_value);
        let numbers: Int32Array = all.iter().map(of).collect();
        let field = Field::new(name, arrow::datatypes::DataType::Int32, true);
        (field, Arc::new(numbers) as _)
    };
    batch(vec![
        (text("table_catalog"), same(CATALOG)),
        (text("table_schema"), same(DEFAULT_SCHEMA)),
        (
            text("table_name"),
            texts(all.iter().map(|one| one.table.name.as_str())),
        ),
        (text("column_name"), texts(names)),
        (
            int("ordinal_position"),
            ints(all.iter().map(|one| one.position)),
        ),
        (
            text_or_null("column_default"),
            texts(all.iter().map(|one| default_of(one.column))),
        ),
        (text("is_nullable"), texts(nullable)),
        (text("data_type"), texts(types)),
        numbers("character_maximum_length", |_| None),
        numbers("character_octet_length", |_| None),
        numbers("numeric_precision", |of| digits(of).map(|(all, ..)| all)),
        numbers("numeric_precision_radix", |of| {
            digits(of).map(|(_, radix, _)| radix)
        }),
        numbers("numeric_scale", |of| digits(of)?.2),
        // Milliseconds.
        numbers("datetime_precision", |of| {
            (of == DataType::Timestamp).then_some(3)
        }),
        (text("udt_name"), texts(short)),
        (text("is_identity"), same("NO")),
        (text("is_generated"), same("NEVER")),
        (text("is_updatable"), same("NO")),
    ])
}

/// Of a number: how many digits it has, of which radix, and behind the point where that is fixed.
fn digits(data_type: DataType) -> Option<(i32, i32, Option<i32>)> {
    Some(match data_type {
        DataType::Int => (32, 2, Some(0)),
        DataType::Long => (64, 2, Some(0)),
        DataType::Float => (24, 2, None),
        DataType::Double => (53, 2, None),
        DataType::BigDecimal => (
            i32::from(BIG_DECIMAL_PRECISION),
            10,
            Some(i32::from(BIG_DECIMAL_SCALE)),
        ),
        _ => return None,
    })
}

fn type_name(column: &ColumnSpec) -> &'static str {
    if column.multi_value {
        return "ARRAY";
    }
    match column.data_type {
        DataType::Int => "integer",
        DataType::Long => "bigint",
        DataType::Float => "real",
        DataType::Double => "double precision",
        DataType::BigDecimal => "numeric",
        DataType::Boolean => "boolean",
        DataType::Timestamp => "timestamp without time zone",
        DataType::String => "character varying",
        DataType::Json => "json",
        DataType::Bytes => "bytea",
        DataType::Uuid => "uuid",
    }
}

fn short_name(column: &ColumnSpec) -> String {
    let name = match column.data_type {
        DataType::Int => "int4",
        DataType::Long => "int8",
        DataType::Float => "float4",
        DataType::Double => "float8",
        DataType::BigDecimal => "numeric",
        DataType::Boolean => "bool",
        DataType::Timestamp => "timestamp",
        DataType::String => "varchar",
        DataType::Json => "json",
        DataType::Bytes => "bytea",
        DataType::Uuid => "uuid",
    };
    match column.multi_value {
        true => format!("_{name}"),
        false => name.to_owned(),
    }
}
