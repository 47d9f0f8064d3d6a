//! `upsertConfig` and `dedupConfig`.

use serde_json::Value as Json;

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::keys;
use crate::keyed::{COMPARED_MAX, DedupSpec, KeyedSpec, MergeStrategy, PartialSpec, UpsertSpec};
use crate::types::DataType;

const UPSERT: &str = "upsertConfig";
const DEDUP: &str = "dedupConfig";

/// About memory, files and speed, which are ours to know.
const WITHOUT_EFFECT: [&str; 12] = [
    "hashFunction",
    "snapshot",
    "enableSnapshot",
    "preload",
    "enablePreload",
    "consistencyMode",
    "upsertViewRefreshIntervalMs",
    "newSegmentTrackingTimeMs",
    "metadataManagerClass",
    "metadataManagerConfigs",
    "enableDeletedKeysCompactionConsistency",
    "ignoreNonDefaultTiers",
];

pub(super) fn read(
    table: Node<'_>,
    is_realtime: bool,
    time_column: Option<&str>,
    report: &mut Report,
) -> Option<KeyedSpec> {
    let upsert = table
        .object(UPSERT, report)
        .and_then(|object| upsert(Node::new(object, UPSERT), time_column, report));
    let dedup = table
        .object(DEDUP, report)
        .and_then(|object| dedup(Node::new(object, DEDUP), time_column, report));
    let keyed = match (upsert, dedup) {
        (Some(_), Some(_)) => {
            report.fault(DEDUP, "a table has upserts or deduplication, not both");
            return None;
        }
        (upsert, dedup) => upsert
            .map(KeyedSpec::Upsert)
            .or(dedup.map(KeyedSpec::Dedup)),
    };
    if keyed.is_some() && !is_realtime {
        let path = if table.get(UPSERT).is_some() {
            UPSERT
        } else {
            DEDUP
        };
        report.fault(path, "of REALTIME tables only, whose rows have an order");
    }
    keyed
}

fn upsert(node: Node<'_>, time_column: Option<&str>, report: &mut Report) -> Option<UpsertSpec> {
    node.only(&keys::UPSERT, report);
    let mode = node.text("mode", report).unwrap_or("FULL").to_uppercase();
    let is_partial = match mode.as_str() {
        "NONE" => return None,
        "FULL" => false,
        "PARTIAL" => true,
        other => {
            report.fault(
                &node.path("mode"),
                format!("`{other}` is not FULL, PARTIAL or NONE"),
            );
            return None;
        }
    };
    for key in [
        "partialUpsertMergerClass",
        "postPartialUpsertTransformConfigs",
    ] {
        if node.says_something(key) {
            report.fault(
                &node.path(key),
                "not supported, and it would change the data",
            );
        }
    }
    without_effect(node, report);
    let mut comparison = node.texts("comparisonColumns", report);
    comparison.extend(node.text("comparisonColumn", report));
    let mut comparison: Vec<String> = comparison.into_iter().map(str::to_owned).collect();
    if comparison.is_empty() {
        comparison.extend(time_column.map(str::to_owned));
    }
    let text = |key: &str, report: &mut Report| node.text(key, report).map(str::to_owned);
    let spec = UpsertSpec {
        ttl: ttl(node, "metadataTTL", report),
        deleted_ttl: ttl(node, "deletedKeysTTL", report),
        delete_column: text("deleteRecordColumn", report),
        out_of_order_column: text("outOfOrderRecordColumn", report),
        drops_out_of_order: node.flag("dropOutOfOrderRecord", report).unwrap_or(false),
        partial: is_partial.then(|| partial(node, report)),
        drops_replaced: node
            .flag("enableCommitTimeCompaction", report)
            .unwrap_or(false),
        comparison,
    };
    if spec.comparison.len() > COMPARED_MAX {
        let what = format!("they are more than {COMPARED_MAX}");
        report.fault(&node.path("comparisonColumns"), what);
    }
    if spec.drops_out_of_order && spec.out_of_order_column.is_some() {
        let path = node.path("outOfOrderRecordColumn");
        report.fault(&path, "rows out of order are dropped, and cannot be marked");
    }
    Some(spec)
}

fn partial(node: Node<'_>, report: &mut Report) -> PartialSpec {
    let key = "partialUpsertStrategies";
    let mut columns = Vec::new();
    for (column, name) in node.object(key, report).into_iter().flatten() {
        let path = format!("{}.{column}", node.path(key));
        let strategy = name.as_str().and_then(|name| strategy(name, &path, report));
        match (strategy, name) {
            (Some(strategy), _) => columns.push((column.clone(), strategy)),
            (None, Json::String(_)) => {}
            (None, other) => report.fault(&path, format!("a string was expected, not {other}")),
        }
    }
    let path = node.path("defaultPartialUpsertStrategy");
    let default = node.text("defaultPartialUpsertStrategy", report);
    let default = default.and_then(|name| strategy(name, &path, report));
    PartialSpec {
        default: default.unwrap_or(MergeStrategy::Overwrite),
        columns,
    }
}

fn strategy(name: &str, path: &str, report: &mut Report) -> Option<MergeStrategy> {
    let mut known = MergeStrategy::ALL.iter();
    let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
    if found.is_none() {
        let known = MergeStrategy::ALL.map(|(known, _)| known).join(", ");
        report.fault(path, format!("`{name}` is none of {known}"));
    }
    found.map(|(_, strategy)| *strategy)
}

fn dedup(node: Node<'_>, time_column: Option<&str>, report: &mut Report) -> Option<DedupSpec> {
    node.only(&keys::DEDUP, report);
    if node.flag("dedupEnabled", report) != Some(true) {
        return None;
    }
    without_effect(node, report);
    let own = node.text("dedupTimeColumn", report);
    Some(DedupSpec {
        time_column: own.or(time_column).map(str::to_owned),
        ttl: ttl(node, "metadataTTL", report),
    })
}

fn without_effect(node: Node<'_>, report: &mut Report) {
    for key in WITHOUT_EFFECT {
        if node.says_something(key) {
            report.warn_without_effect(&node.path(key));
        }
    }
}

/// 0 is none, as in Pinot. Parts of a unit count as a whole one.
fn ttl(node: Node<'_>, key: &str, report: &mut Report) -> Option<i64> {
    let value = node.get(key)?;
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok());
    match number {
        Some(number) if (0.0..9e15).contains(&number) => {
            Some(number.ceil() as i64).filter(|n| *n > 0)
        }
        _ => {
            report.fault(&node.path(key), format!("{value} is no time to live"));
            None
        }
    }
}

/// Whether the schema has what the rules need.
pub(super) fn check(schema: &Schema, keyed: &KeyedSpec, report: &mut Report) {
    let section = match keyed {
        KeyedSpec::Upsert(_) => UPSERT,
        KeyedSpec::Dedup(_) => DEDUP,
    };
    if schema.primary_key.is_empty() {
        report.fault(section, "needs `primaryKeyColumns` in the schema");
    }
    for name in &schema.primary_key {
        let column = schema.columns.iter().find(|column| column.name == *name);
        let found = match column {
            Some(column) if column.multi_value => "has several values a row",
            Some(column) if column.data_type == DataType::BigDecimal => "is a BIG_DECIMAL",
            _ => continue,
        };
        report.fault(section, format!("key column `{name}` {found}"));
    }
    match keyed {
        KeyedSpec::Upsert(upsert) => check_upsert(schema, upsert, report),
        KeyedSpec::Dedup(dedup) => {
            let path = format!("{DEDUP}.dedupTimeColumn");
            match &dedup.time_column {
                Some(name) => wants(schema, (&path, name), &COMPARED[..3], report),
                None if dedup.ttl.is_some() => report.fault(&path, "missing: what is the TTL of?"),
                None => {}
            }
        }
    }
}

/// Those with an age, then other numbers, then those of which there is one only.
const COMPARED: [DataType; 6] = [
    DataType::Timestamp,
    DataType::Long,
    DataType::Int,
    DataType::Double,
    DataType::Float,
    DataType::String,
];

fn check_upsert(schema: &Schema, upsert: &UpsertSpec, report: &mut Report) {
    let path = format!("{UPSERT}.comparisonColumns");
    // A time to live is counted in whole units.
    let has_ttl = upsert.ttl.is_some() || upsert.deleted_ttl.is_some();
    let are_several = upsert.comparison.len() > 1;
    let known = match (has_ttl, are_several) {
        (true, _) => &COMPARED[..3],
        (false, true) => &COMPARED[..5],
        (false, false) => &COMPARED[..],
    };
    if has_ttl && are_several {
        let what =
            "of several columns there is no age: `metadataTTL` and `deletedKeysTTL` want one";
        report.fault(&path, what);
    }
    for name in &upsert.comparison {
        wants(schema, (&path, name), known, report);
    }
    if has_ttl && upsert.comparison.is_empty() {
        report.fault(&path, "missing: what is the TTL of?");
    }
    let flags = [
        ("deleteRecordColumn", &upsert.delete_column),
        ("outOfOrderRecordColumn", &upsert.out_of_order_column),
    ];
    for (key, name) in flags {
        if let Some(name) = name {
            let path = format!("{UPSERT}.{key}");
            wants(schema, (&path, name), &[DataType::Boolean], report);
        }
    }
    for (name, strategy) in upsert.partial.iter().flat_map(|partial| &partial.columns) {
        let path = format!("{UPSERT}.partialUpsertStrategies.{name}");
        let Some(column) = schema.columns.iter().find(|column| column.name == *name) else {
            report.fault(&path, format!("there is no column `{name}`"));
            continue;
        };
        if schema.primary_key.contains(name) || upsert.comparison.contains(name) {
            report.fault(
                &path,
                "a column of the key or of the comparison is never merged",
            );
        }
        let fits = match strategy {
            MergeStrategy::Append | MergeStrategy::Union => column.multi_value,
            MergeStrategy::Increment => {
                let type_fits = column.data_type != DataType::BigDecimal;
                !column.multi_value && type_fits && column.data_type.is_numeric()
            }
            MergeStrategy::Max | MergeStrategy::Min => !column.multi_value,
            _ => true,
        };
        if !fits {
            report.fault(&path, "the column is not of the kind that can be merged so");
        }
    }
}

fn wants(schema: &Schema, (path, name): (&str, &str), known: &[DataType], report: &mut Report) {
    match schema.columns.iter().find(|column| column.name == name) {
        None => report.fault(path, format!("there is no column `{name}`")),
        Some(column) if column.multi_value => {
            report.fault(path, format!("column `{name}` has several values a row"));
        }
        Some(column) if !known.contains(&column.data_type) => {
            let known: Vec<String> = known.iter().map(DataType::to_string).collect();
            let what = format!(
                "column `{name}` is {}, not {}",
                column.data_type,
                known.join(" or ")
            );
            report.fault(path, what);
        }
        Some(_) => {}
    }
}
