//! Range indexes, bloom filters and time buckets of single columns: Pinot's lists in
//! `tableIndexConfig`, and its `fieldConfigList`.

use serde_json::{Map, Value as Json};

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::Marked;
use crate::table::{BloomFilterSpec, ColumnSpec, TimeGranularity};
use crate::types::DataType;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ColumnIndexes {
    range: Vec<Marked>,
    bloom: Vec<(Marked, BloomFilterSpec)>,
    /// Dictionaries that store what their values do not share.
    prefixes: Vec<Marked>,
    timestamp: Vec<(Marked, Vec<TimeGranularity>)>,
}

impl ColumnIndexes {
    pub(super) fn read(node: Node<'_>, indexes: Node<'_>, report: &mut Report) -> Self {
        let mut found = Self {
            range: super::marked(indexes, "rangeIndexColumns", report),
            ..Self::default()
        };
        let configs = indexes.object("bloomFilterConfigs", report);
        let path = indexes.path("bloomFilterConfigs");
        for (column, options) in configs.into_iter().flatten() {
            let mark = Marked {
                path: path.clone(),
                column: column.clone(),
            };
            let spec = bloom_spec(options, &format!("{path}.{column}"), report);
            found.bloom.push((mark, spec));
        }
        for mark in super::marked(indexes, "bloomFilterColumns", report) {
            let is_new = found
                .bloom
                .iter()
                .all(|(known, _)| known.column != mark.column);
            if is_new {
                found.bloom.push((mark, BloomFilterSpec::default()));
            }
        }
        let fields = node.object_list("fieldConfigList");
        for (at, field) in fields.into_iter().enumerate() {
            let path = format!("fieldConfigList[{at}]");
            found.field(Node::new(field, &path), report);
        }
        found
    }

    fn field(&mut self, field: Node<'_>, report: &mut Report) {
        let Some(name) = field.get("name").and_then(Json::as_str) else {
            return;
        };
        let mark = |key: &str| Marked {
            path: field.path(key),
            column: name.to_owned(),
        };
        let types = field.get("indexTypes").and_then(Json::as_array);
        let types = types.into_iter().flatten().chain(field.get("indexType"));
        let names = |kind: &str| {
            let is_kind = |name: &Json| {
                let name = name.as_str();
                name.is_some_and(|name| name.eq_ignore_ascii_case(kind))
            };
            types.clone().any(is_kind)
        };
        let empty = Map::new();
        let indexes = field
            .get("indexes")
            .and_then(Json::as_object)
            .unwrap_or(&empty);
        let of = |kind: &str| {
            let options = indexes.get(kind);
            options.filter(|options| options["disabled"] != Json::Bool(true))
        };
        if let Some(options) = indexes.get("dictionary").and_then(Json::as_object) {
            let path = field.path("indexes.dictionary");
            let options = Node::new(options, &path);
            if options.flag("sharedPrefixes", report) == Some(true) {
                self.prefixes
                    .push(mark("indexes.dictionary.sharedPrefixes"));
            }
        }
        if names("range") || of("range").is_some() {
            self.range.push(mark("name"));
        }
        if let Some(options) = of("bloom") {
            let spec = bloom_spec(options, &field.path("indexes.bloom"), report);
            self.bloom.push((mark("name"), spec));
        } else if names("bloom") {
            self.bloom.push((mark("name"), BloomFilterSpec::default()));
        }
        let path = field.path("timestampConfig");
        let config = field.object("timestampConfig", report);
        let config = config.map(|config| Node::new(config, &path));
        let listed = config
            .map(|config| granularities(config, report))
            .unwrap_or_default();
        if !listed.is_empty() {
            self.timestamp.push((mark("timestampConfig"), listed));
        } else if names("timestamp") {
            let what = "an index TIMESTAMP needs timestampConfig.granularities";
            report.fault(&field.path("indexTypes"), what);
        }
    }

    pub(super) fn check(&self, schema: &Schema, report: &mut Report) {
        let all = self.range.iter().map(|mark| (mark, "a range index"));
        let all = all.chain(self.bloom.iter().map(|(mark, _)| (mark, "a bloom filter")));
        let all = all.chain(
            self.timestamp
                .iter()
                .map(|(mark, _)| (mark, "time buckets")),
        );
        let prefixes = self.prefixes.iter();
        let all = all.chain(prefixes.map(|mark| (mark, "texts that share prefixes")));
        for (mark, what) in all {
            let column = schema
                .columns
                .iter()
                .find(|column| column.name == mark.column);
            let Some(column) = column else {
                report.fault(&mark.path, format!("there is no column `{}`", mark.column));
                continue;
            };
            let data_type = column.data_type;
            let goes = match what {
                "time buckets" => data_type == DataType::Timestamp,
                "texts that share prefixes" => {
                    matches!(
                        data_type,
                        DataType::String | DataType::Json | DataType::Bytes
                    )
                }
                "a bloom filter" => data_type != DataType::BigDecimal,
                _ => !matches!(data_type, DataType::BigDecimal | DataType::Json),
            };
            if !goes {
                let name = &mark.column;
                let what = format!("column `{name}` is {data_type}, which has no {what}");
                report.fault(&mark.path, what.replace("no a ", "no "));
            }
        }
    }

    pub(super) fn set(&self, columns: &mut [ColumnSpec]) {
        for column in columns {
            let is_meant = |mark: &Marked| mark.column == column.name;
            column.range_index |= self.range.iter().any(is_meant);
            column.shared_prefixes |= self.prefixes.iter().any(is_meant);
            let bloom = self.bloom.iter().find(|(mark, _)| is_meant(mark));
            let timestamp = self.timestamp.iter().find(|(mark, _)| is_meant(mark));
            if let Some((_, spec)) = bloom {
                column.bloom_filter = Some(*spec);
            }
            if let Some((_, granularities)) = timestamp {
                column.timestamp_index.clone_from(granularities);
            }
        }
    }
}

fn bloom_spec(options: &Json, path: &str, report: &mut Report) -> BloomFilterSpec {
    let mut spec = BloomFilterSpec::default();
    let Some(options) = options.as_object() else {
        report.fault(path, "an object was expected");
        return spec;
    };
    let options = Node::new(options, path);
    options.only(&["fpp", "maxSizeInBytes", "loadOnHeap", "disabled"], report);
    if let Some(share) = options.get("fpp") {
        let number = share.as_f64().or_else(|| share.as_str()?.parse().ok());
        match number.filter(|share| *share > 0.0 && *share < 1.0) {
            Some(share) => spec.false_positives = share,
            None => report.fault(
                &options.path("fpp"),
                "a number between 0 and 1 was expected",
            ),
        }
    }
    // Pinot's 0 is no limit.
    if let Some(bytes) = options
        .number("maxSizeInBytes", report)
        .filter(|bytes| *bytes > 0)
    {
        spec.bytes_max = bytes as u64;
    }
    spec
}

fn granularities(config: Node<'_>, report: &mut Report) -> Vec<TimeGranularity> {
    config.only(&["granularities"], report);
    let names = config.texts("granularities", report);
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match TimeGranularity::named(name) {
            Some(granularity) if !found.contains(&granularity) => found.push(granularity),
            Some(_) => {}
            None => {
                let known = "MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR";
                let what = format!("`{name}` is no granularity: {known}");
                report.fault(&config.path("granularities"), what);
            }
        }
    }
    found
}
