//! `information_schema`, as the SQL standard has it and PostgreSQL's clients read it: types have
//! PostgreSQL's names.

use arrow::array::RecordBatch;
use datafusion::common::Result;
use schemas::DataType;
use schemas::cluster::ClusterState;
use schemas::table::ColumnSpec;

use super::described::{all_columns, batch, default_of, in_order, ints, texts};
use super::{INFORMATION_SCHEMA, SYSTEM_SCHEMA, SystemTables, int, text, text_or_null};
use crate::catalog::DEFAULT_SCHEMA;

pub(super) const NAMES: [&str; 3] = ["columns", "schemata", "tables"];

/// The one catalog.
const CATALOG: &str = "tannin";

pub(super) fn table(name: &str, cluster: &ClusterState) -> Result<Option<RecordBatch>> {
    match name {
        "columns" => columns(cluster).map(Some),
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
    for schema in [INFORMATION_SCHEMA, SYSTEM_SCHEMA] {
        let names = SystemTables::names(schema).iter();
        named.extend(names.map(|name| (schema, *name)));
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
        (text("udt_name"), texts(short)),
    ])
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
