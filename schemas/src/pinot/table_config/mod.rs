//! Pinot's table config, and the [`TableSpec`] that it makes together with a schema.

mod batch;
mod column_indexes;
mod decoder;
mod fit;
mod flush;
mod ingest_rules;
mod keyed;
mod keys;
mod partitioning;
mod pipeline;
mod placement;
mod search;
mod serving;
mod star_tree;
mod stream;
mod tasks;
mod unsupported;

use serde_json::{Map, Value as Json};

use super::reader::{Node, Report, parse};
use super::{Parsed, Schema, UnknownKeys, Violations};
use crate::ids::{TableId, TableName, TableType};
use crate::keyed::KeyedSpec;
use crate::placement::Placement;
use crate::table::{
    BatchSpec, FlushLimits, IngestRules, Retention, StarTreeSpec, StreamSpec, TableSpec,
};
use crate::task::TaskSpec;

use column_indexes::ColumnIndexes;
use partitioning::ColumnPartitionings;

pub use fit::table_spec;
pub(super) use pipeline::expression;
pub use serving::tenant_quota;

/// A table config as it was posted, without its schema.
#[derive(Clone, Debug, PartialEq)]
pub struct TableConfig {
    pub name: TableName,
    pub table_type: TableType,
    time_column: Option<String>,
    is_dimension_table: bool,
    replication: u32,
    peer_download: bool,
    sorted_column: Option<String>,
    inverted: Vec<Marked>,
    no_dictionary: Vec<Marked>,
    column_indexes: ColumnIndexes,
    partitionings: ColumnPartitionings,
    search: search::Search,
    star_trees: Vec<StarTreeSpec>,
    retention: Retention,
    batch: BatchSpec,
    streams: Vec<StreamSpec>,
    flush: FlushLimits,
    pipeline: pipeline::Pipeline,
    keyed: Option<KeyedSpec>,
    ingest: IngestRules,
    tasks: Vec<TaskSpec>,
    serving: serving::Serving,
    placement: Placement,
}

/// A column that the config names, and where.
#[derive(Clone, Debug, PartialEq)]
struct Marked {
    path: String,
    column: String,
}

/// A table as it was posted, together with its schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub config: TableConfig,
    pub spec: TableSpec,
}

pub fn parse_table_config(text: &str) -> Result<Parsed<TableConfig>, Violations> {
    parse_table_config_with(text, UnknownKeys::Collect)
}

pub fn parse_table_config_with(
    text: &str,
    unknown: UnknownKeys,
) -> Result<Parsed<TableConfig>, Violations> {
    let object = parse(text)?;
    let mut report = Report::default();
    let config = read(Node::new(&object, ""), &mut report);
    if unknown == UnknownKeys::Refuse {
        report.refuse_unknown();
    }
    report.finish(config)
}

/// The config and how it fits its schema: the faults of both at once. `None`: there is no schema.
pub fn parse_table(
    text: &str,
    schema: Option<&Schema>,
    id: TableId,
    unknown: UnknownKeys,
) -> Result<Parsed<Table>, Violations> {
    let object = parse(text)?;
    let mut report = Report::default();
    let config = read(Node::new(&object, ""), &mut report);
    if unknown == UnknownKeys::Refuse {
        report.refuse_unknown();
    }
    let Some(config) = config else {
        return report.finish(None);
    };
    let Some(schema) = schema else {
        let what = format!(
            "schema `{}` does not exist; POST it to /schemas first",
            config.name
        );
        report.fault("tableName", what);
        return report.finish(None);
    };
    fit::check(schema, &config, &mut report);
    let spec = fit::spec(schema, &config, id);
    report.finish(Some(Table { config, spec }))
}

/// The name alone, of a config that may be wrong elsewhere.
pub fn table_name(text: &str) -> Option<TableName> {
    let object = parse(text).ok()?;
    let named = name_and_type(Node::new(&object, ""), &mut Report::default());
    named.map(|(name, _)| name)
}

fn read(node: Node<'_>, report: &mut Report) -> Option<TableConfig> {
    let named = name_and_type(node, report);
    let empty = Map::new();
    let section = |key: &'static str, report: &mut Report| {
        Node::new(node.object(key, report).unwrap_or(&empty), key)
    };
    let segments = section("segmentsConfig", report);
    let indexes = section("tableIndexConfig", report);
    let ingestion = section("ingestionConfig", report);
    node.only(&keys::TABLE, report);
    segments.only(&keys::SEGMENTS, report);
    indexes.only(&keys::INDEXES, report);
    ingestion.only(&keys::INGESTION, report);
    let batch = batch::read(segments, ingestion, report);
    unsupported::check(node, report);

    let is_realtime = named
        .as_ref()
        .is_some_and(|(_, t)| *t == TableType::Realtime);
    let maps = stream::stream_maps(indexes, ingestion, report);
    if is_realtime && maps.as_ref().is_ok_and(Vec::is_empty) {
        let path = "ingestionConfig.streamIngestionConfig";
        report.fault(path, "a REALTIME table needs a stream");
    }
    let (streams, flush) = stream::stream_specs(&maps.unwrap_or_default(), report);
    let (mut inverted, mut no_dictionary) = (Vec::new(), Vec::new());
    field_configs(node, &mut inverted, &mut no_dictionary, report);
    let column_indexes = ColumnIndexes::read(node, indexes, report);
    let partitionings = ColumnPartitionings::read(indexes, report);
    inverted.extend(marked(indexes, "invertedIndexColumns", report));
    no_dictionary.extend(marked(indexes, "noDictionaryColumns", report));
    let search = search::read(node, indexes, report);
    let star_trees = star_tree::read(indexes, report);
    let sorted_column = sorted_column(indexes, report);
    let pipeline = pipeline::read(ingestion, report);
    let time_column = segments.text("timeColumnName", report).map(str::to_owned);
    let keyed = keyed::read(node, is_realtime, time_column.as_deref(), report);
    let is_dimension_table = node.flag("isDimTable", report).unwrap_or(false);
    if is_dimension_table && is_realtime {
        report.fault("isDimTable", "a dimension table is OFFLINE");
    }
    let replication = replication(segments, report);
    let peer_download = peer_download(segments, report);
    let retention = retention(node, segments, report);
    let (name, table_type) = named?;
    Some(TableConfig {
        placement: placement::read(node, table_type, replication, keyed.is_some(), report),
        name,
        table_type,
        time_column,
        is_dimension_table,
        replication,
        peer_download,
        sorted_column,
        inverted,
        no_dictionary,
        column_indexes,
        partitionings,
        search,
        star_trees,
        retention,
        batch,
        streams,
        flush,
        pipeline,
        keyed,
        ingest: ingest_rules::read(node, report),
        tasks: tasks::read(node, is_realtime, report),
        serving: serving::read(node, report),
    })
}

fn marked(indexes: Node<'_>, key: &str, report: &mut Report) -> Vec<Marked> {
    let path = indexes.path(key);
    let columns = indexes.texts(key, report).into_iter();
    let mark = |column: &str| Marked {
        path: path.clone(),
        column: column.to_owned(),
    };
    columns.map(mark).collect()
}

fn sorted_column(indexes: Node<'_>, report: &mut Report) -> Option<String> {
    let sorted = indexes.texts("sortedColumn", report);
    if sorted.len() > 1 {
        let path = "tableIndexConfig.sortedColumn";
        report.fault(path, "a table has one sorted column");
    }
    sorted.first().map(|name| (*name).to_owned())
}

fn replication(segments: Node<'_>, report: &mut Report) -> u32 {
    const MAX: i64 = 64;
    for key in ["replication", "replicasPerPartition"] {
        if let Some(copies) = segments.number(key, report) {
            if !(1..=MAX).contains(&copies) {
                let what = format!("{copies} is not between 1 and {MAX}");
                report.fault(&segments.path(key), what);
            }
            return copies.clamp(1, MAX) as u32;
        }
    }
    1
}

/// Segments go between servers as all else does, whichever scheme is named.
fn peer_download(segments: Node<'_>, report: &mut Report) -> bool {
    const KEY: &str = "peerSegmentDownloadScheme";
    match segments.text(KEY, report) {
        None => false,
        Some(scheme) if ["http", "https"].contains(&scheme.to_lowercase().as_str()) => true,
        Some(other) => {
            let what = format!("`{other}` is neither http nor https");
            report.fault(&segments.path(KEY), what);
            false
        }
    }
}

fn name_and_type(node: Node<'_>, report: &mut Report) -> Option<(TableName, TableType)> {
    if node.get("tableName").is_none() {
        report.fault("tableName", "missing");
    }
    let name = node.text("tableName", report)?;
    let (name, suffix) = match TableName::parse_physical(name) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.fault("tableName", error);
            return None;
        }
    };
    let table_type = match node.text("tableType", report) {
        Some("OFFLINE") => TableType::Offline,
        Some("REALTIME") => TableType::Realtime,
        Some(other) => {
            report.fault(
                "tableType",
                format!("`{other}` is neither OFFLINE nor REALTIME"),
            );
            return None;
        }
        None => match suffix {
            Some(table_type) => table_type,
            None => {
                report.fault("tableType", "missing: OFFLINE or REALTIME");
                return None;
            }
        },
    };
    Some((name, table_type))
}

fn field_configs(
    node: Node<'_>,
    inverted: &mut Vec<Marked>,
    no_dictionary: &mut Vec<Marked>,
    report: &mut Report,
) {
    for (at, field) in node
        .objects("fieldConfigList", report)
        .into_iter()
        .enumerate()
    {
        let path = format!("fieldConfigList[{at}]");
        let field = Node::new(field, &path);
        field.only(&keys::FIELD, report);
        if field.get("name").is_none() {
            report.fault(&field.path("name"), "missing");
        }
        let Some(name) = field.text("name", report) else {
            continue;
        };
        let mark = |key: &str| Marked {
            path: field.path(key),
            column: name.to_owned(),
        };
        match field.text("encodingType", report) {
            Some("RAW") => no_dictionary.push(mark("name")),
            None | Some("DICTIONARY") => {}
            Some(other) => {
                let what = format!("`{other}` is neither DICTIONARY nor RAW");
                report.fault(&field.path("encodingType"), what);
            }
        }
        for key in ["compressionCodec", "tierOverwrites"] {
            if field.says_something(key) {
                report.warn_without_effect(&field.path(key));
            }
        }
        let mut kinds: Vec<String> = field
            .texts("indexTypes", report)
            .into_iter()
            .map(str::to_lowercase)
            .collect();
        kinds.extend(field.text("indexType", report).map(str::to_lowercase));
        if let Some(indexes) = field.object("indexes", report) {
            let is_on = |(_, options): &(&String, &Json)| options["disabled"] != Json::Bool(true);
            kinds.extend(indexes.iter().filter(is_on).map(|(kind, _)| kind.clone()));
        }
        for kind in kinds {
            match kind.as_str() {
                "inverted" => inverted.push(mark("name")),
                "sorted" | "dictionary" | "forward" | "null" => {}
                "range" | "bloom" | "timestamp" => {}
                "text" | "json" => {}
                other => report.warn_without_effect(&format!("{path}: index `{other}`")),
            }
        }
    }
}

fn retention(node: Node<'_>, segments: Node<'_>, report: &mut Report) -> Retention {
    let is_set = |key: &str| segments.get(key).is_some_and(|value| value != "");
    let (value_is_set, unit_is_set) = (is_set("retentionTimeValue"), is_set("retentionTimeUnit"));
    let value = value_is_set.then(|| segments.number("retentionTimeValue", report));
    let value = value.flatten();
    let unit = segments
        .text("retentionTimeUnit", report)
        .filter(|_| unit_is_set);
    let mut age_max_ms = None;
    match (value, unit) {
        (None, None) => {}
        (Some(value), Some(unit)) => match unit_ms(unit) {
            Some(unit_ms) => age_max_ms = value.checked_mul(unit_ms).filter(|age| *age > 0),
            None => report.fault(
                "segmentsConfig.retentionTimeUnit",
                format!("`{unit}` is no unit: MINUTES, HOURS or DAYS"),
            ),
        },
        // What is wrong with it was said.
        _ if value_is_set && unit_is_set => {}
        (None, Some(_)) => report.fault("segmentsConfig.retentionTimeValue", "missing"),
        (Some(_), None) => report.fault("segmentsConfig.retentionTimeUnit", "missing"),
    }
    if let Some(value) = value.filter(|value| *value <= 0) {
        let what = format!("{value} is no time");
        report.fault("segmentsConfig.retentionTimeValue", what);
    }
    let empty = Map::new();
    let metadata = node.object("metadata", report).unwrap_or(&empty);
    let metadata = Node::new(metadata, "metadata");
    let custom = metadata.object("customConfigs", report).unwrap_or(&empty);
    let custom = Node::new(custom, "metadata.customConfigs");
    let rows_max = custom.number("tannin.retention.rows", report);
    if let Some(rows) = rows_max.filter(|rows| *rows <= 0) {
        let path = custom.path("tannin.retention.rows");
        report.fault(&path, format!("{rows} is no number of rows"));
    }
    Retention {
        age_max_ms,
        rows_max: rows_max.and_then(|rows| u64::try_from(rows).ok()),
    }
}

fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit.to_uppercase().as_str() {
        "MILLISECONDS" => 1,
        "SECONDS" => 1_000,
        "MINUTES" => 60_000,
        "HOURS" => 3_600_000,
        "DAYS" => 86_400_000,
        _ => return None,
    })
}
