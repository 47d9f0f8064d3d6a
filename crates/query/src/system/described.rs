//! What tables, columns and nodes there are: told from the cluster's state alone.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use datafusion::common::Result;
use schemas::cluster::{ClusterState, TableState};
use schemas::table::{ColumnSpec, TableSpec};
use schemas::{FieldRole, Value};

use super::{flag, int, long, text, time};

/// The tables of a cluster by their physical names.
pub(super) fn in_order(cluster: &ClusterState) -> Vec<&Arc<TableState>> {
    let mut tables: Vec<_> = cluster.tables.values().collect();
    tables.sort_by_key(|table| table.spec.physical_name());
    tables
}

pub(super) fn batch(columns: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

pub(super) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

pub(super) fn ints(values: impl IntoIterator<Item = usize>) -> ArrayRef {
    let values = values.into_iter().map(|value| value as i32);
    Arc::new(Int32Array::from_iter_values(values))
}

pub(super) fn flags(values: impl IntoIterator<Item = bool>) -> ArrayRef {
    let values: Vec<bool> = values.into_iter().collect();
    Arc::new(BooleanArray::from(values))
}

pub(super) fn tables(cluster: &ClusterState) -> Result<RecordBatch> {
    let tables = in_order(cluster);
    let counts = tables.iter().map(|table| table.seen().count() as i64);
    let counts = Arc::new(Int64Array::from_iter_values(counts));
    // Of both parts, as both are cut there.
    let boundary = |table: &&Arc<TableState>| {
        let parts = cluster.resolve(table.spec.name.as_str());
        let is_hybrid = parts.len() > 1;
        parts
            .iter()
            .find_map(|part| part.time_boundary_ms)
            .filter(|_| is_hybrid)
    };
    let boundaries: TimestampMillisecondArray = tables.iter().map(boundary).collect();
    let of = |each: fn(&TableSpec) -> String| texts(tables.iter().map(|table| each(&table.spec)));
    batch(vec![
        (text("table"), of(|spec| spec.name.to_string())),
        (text("type"), of(|spec| spec.table_type.to_string())),
        (text("id"), of(|spec| spec.id.to_string())),
        (long("segments"), counts),
        (time("time_boundary"), Arc::new(boundaries)),
    ])
}

/// A column of a table, which has it once however many parts it has.
pub(super) struct Described<'a> {
    pub(super) table: &'a TableSpec,
    pub(super) column: &'a ColumnSpec,
    /// From 1.
    pub(super) position: usize,
}

pub(super) fn all_columns(cluster: &ClusterState) -> Vec<Described<'_>> {
    let mut columns: Vec<Described<'_>> = Vec::new();
    let mut before = None;
    for table in in_order(cluster) {
        // The OFFLINE part of a hybrid table comes first; the other has the same schema.
        if before == Some(&table.spec.name) {
            continue;
        }
        before = Some(&table.spec.name);
        let described = table.spec.columns.iter().enumerate();
        columns.extend(described.map(|(at, column)| Described {
            table: &table.spec,
            column,
            position: at + 1,
        }));
    }
    columns
}

pub(super) fn columns(cluster: &ClusterState) -> Result<RecordBatch> {
    let columns = all_columns(cluster);
    let of = |each: fn(&Described<'_>) -> String| texts(columns.iter().map(each));
    batch(vec![
        (text("table"), of(|one| one.table.name.to_string())),
        (text("column"), of(|one| one.column.name.clone())),
        (
            int("position"),
            ints(columns.iter().map(|one| one.position)),
        ),
        (text("type"), of(|one| one.column.data_type.to_string())),
        (text("role"), of(|one| role(one.column.role).to_owned())),
        (
            flag("multi_value"),
            flags(columns.iter().map(|one| one.column.multi_value)),
        ),
        (
            flag("not_null"),
            flags(columns.iter().map(|one| one.column.not_null)),
        ),
        (text("default"), of(|one| default_of(one.column))),
        (text("indexes"), of(indexes)),
    ])
}

/// What stands for a null wherever null handling is off.
pub(super) fn default_of(column: &ColumnSpec) -> String {
    match &column.default {
        Value::Boolean(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::Bytes(value) => value.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn role(role: FieldRole) -> &'static str {
    match role {
        FieldRole::Dimension => "DIMENSION",
        FieldRole::Metric => "METRIC",
        FieldRole::DateTime => "DATE_TIME",
    }
}

/// That the table's config names for the column.
fn indexes(described: &Described<'_>) -> String {
    let column = described.column;
    let is_sorted = described.table.sorted_column.as_ref() == Some(&column.name);
    let named = [
        (is_sorted, "sorted"),
        (column.inverted_index, "inverted"),
        (column.range_index, "range"),
        (column.bloom_filter.is_some(), "bloom"),
        (column.text_index.is_some(), "text"),
        (column.json_index.is_some(), "json"),
        (!column.timestamp_index.is_empty(), "timestamp"),
    ];
    let named = named.into_iter().filter(|(has, _)| *has);
    named.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

pub(super) fn nodes(cluster: &ClusterState) -> Result<RecordBatch> {
    let mut nodes: Vec<_> = cluster.instances.values().collect();
    nodes.sort_by(|a, b| (a.role.name(), &a.id.0).cmp(&(b.role.name(), &b.id.0)));
    let segments = nodes.iter().map(|node| {
        let segments = cluster.tables.values().flat_map(|table| &table.segments);
        segments.filter(|s| s.online.contains(&node.id)).count() as i64
    });
    let segments = Arc::new(Int64Array::from_iter_values(segments));
    batch(vec![
        (text("node"), texts(nodes.iter().map(|node| &node.id.0))),
        (
            text("role"),
            texts(nodes.iter().map(|node| node.role.name())),
        ),
        (
            text("address"),
            texts(nodes.iter().map(|node| &node.address)),
        ),
        (flag("alive"), flags(nodes.iter().map(|node| node.alive))),
        (long("segments"), segments),
        (flag("leads"), flags(nodes.iter().map(|node| node.leads))),
    ])
}
