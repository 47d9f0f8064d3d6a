//! A table config and a schema together: whether they fit, and the [`TableSpec`] that they make.

use super::super::reader::Report;
use super::super::{Schema, Violations};
use super::{Marked, TableConfig, keyed, placement, star_tree, tasks};
use crate::ids::{TableId, TableType};
use crate::table::{ColumnSpec, TableSpec};
use crate::types::DataType;

const TIME_COLUMN: &str = "segmentsConfig.timeColumnName";

/// The internal form of schema and config together.
pub fn table_spec(
    schema: &Schema,
    config: &TableConfig,
    id: TableId,
) -> Result<TableSpec, Violations> {
    let mut report = Report::default();
    check(schema, config, &mut report);
    if report.faults.is_empty() {
        Ok(spec(schema, config, id))
    } else {
        Err(Violations(report.faults))
    }
}

/// `time`: the column that is named, if there is one.
fn check_time_column(config: &TableConfig, time: Option<Option<&ColumnSpec>>, report: &mut Report) {
    match time {
        None if config.table_type == TableType::Realtime => {
            report.fault(TIME_COLUMN, "a REALTIME table needs a time column");
        }
        None | Some(None) => {}
        Some(Some(time)) => {
            let known = [DataType::Timestamp, DataType::Long, DataType::Int];
            if !known.contains(&time.data_type) {
                let what = format!(
                    "a time column is TIMESTAMP, LONG or INT, not {}",
                    time.data_type
                );
                report.fault(TIME_COLUMN, what);
            }
        }
    }
}

pub(super) fn check(schema: &Schema, config: &TableConfig, report: &mut Report) {
    if schema.name != config.name {
        let what = format!("the schema is named `{}`", schema.name);
        report.fault("tableName", what);
    }
    let column = |name: &str| schema.columns.iter().find(|column| column.name == name);
    let mut marked: Vec<(&str, &str)> = Vec::new();
    let lists = [&config.inverted, &config.no_dictionary];
    for mark in lists.into_iter().flatten() {
        let mark = (mark.path.as_str(), mark.column.as_str());
        if !marked.contains(&mark) {
            marked.push(mark);
        }
    }
    if let Some(sorted) = &config.sorted_column {
        marked.push(("tableIndexConfig.sortedColumn", sorted));
    }
    if let Some(time) = &config.time_column {
        marked.push((TIME_COLUMN, time));
    }
    for (path, name) in marked {
        if column(name).is_none() {
            report.fault(path, format!("there is no column `{name}`"));
        }
    }
    let once = [
        ("tableIndexConfig.sortedColumn", &config.sorted_column),
        (TIME_COLUMN, &config.time_column),
    ];
    for (path, name) in once {
        let found = name.as_deref().and_then(column);
        if found.is_some_and(|column| column.multi_value) {
            report.fault(path, "the column has several values a row");
        }
    }
    config.column_indexes.check(schema, report);
    config.partitionings.check(schema, report);
    config.search.check(schema, report);
    config.pipeline.check(schema, report);
    if let Some(keyed) = &config.keyed {
        keyed::check(schema, keyed, report);
        if !config.pipeline.keeps_messages() {
            let what = "a table whose keys have rules has a row for each message";
            report.fault(
                "ingestionConfig",
                format!("{what}: no fieldsToUnnest, no aggregationConfigs"),
            );
        }
    }
    placement::check(&config.placement, column, report);
    star_tree::check(schema, has_none(config), &config.star_trees, report);
    tasks::check(schema, config, report);
    check_time_column(config, config.time_column.as_deref().map(column), report);
    if config.is_dimension_table && schema.primary_key.is_empty() {
        report.fault(
            "primaryKeyColumns",
            "a dimension table needs a primary key in its schema",
        );
    }
}

/// Whether the config forbids the dictionary of a column.
fn has_none(config: &TableConfig) -> impl Fn(&str) -> bool {
    |name| config.no_dictionary.iter().any(|mark| mark.column == name)
}

/// Only for what was checked.
pub(super) fn spec(schema: &Schema, config: &TableConfig, id: TableId) -> TableSpec {
    let mut columns = schema.columns.clone();
    let mut set = |marks: &[Marked], set: fn(&mut ColumnSpec)| {
        for column in &mut columns {
            if marks.iter().any(|mark| mark.column == column.name) {
                set(column);
            }
        }
    };
    set(&config.inverted, |column| column.inverted_index = true);
    set(&config.no_dictionary, |column| column.no_dictionary = true);
    config.column_indexes.set(&mut columns);
    config.partitionings.set(&mut columns);
    config.search.apply(&mut columns);
    let pipeline = config.pipeline.apply(&mut columns);
    let mut star_trees = config.star_trees.clone();
    let time_column = config.time_column.as_deref();
    for tree in &mut star_trees {
        star_tree::fill_default(schema, time_column, has_none(config), tree);
    }
    TableSpec {
        id,
        name: config.name.clone(),
        table_type: config.table_type,
        columns,
        primary_key: schema.primary_key.clone(),
        time_column: config.time_column.clone(),
        is_dimension_table: config.is_dimension_table,
        replication: config.replication,
        sorted_column: config.sorted_column.clone(),
        retention: config.retention,
        peer_download: config.peer_download,
        batch: config.batch,
        streams: config.streams.clone(),
        flush: config.flush,
        ingest: config.ingest,
        star_trees,
        pipeline,
        keyed: config.keyed.clone(),
        tasks: config.tasks.clone(),
        routing: config.serving.routing,
        quota: config.serving.quota,
        placement: config.placement.clone(),
    }
}
