//! What Pinot's `ingestionConfig` does to records between the decoder and the columns.
//!
//! Expressions are kept as texts; here only what no engine is needed for is checked.

use serde_json::{Map, Value as Json};

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::keys;
use crate::decoding::{Collections, NestedSpec, PipelineSpec, RollUp, RollUpFunction, SourceField};
use crate::table::ColumnSpec;
use crate::types::{DataType, FieldRole};

const INGESTION: &str = "ingestionConfig";

/// The pipeline and what of it belongs to columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pipeline {
    spec: PipelineSpec,
    transforms: Vec<Transform>,
}

#[derive(Clone, Debug, PartialEq)]
struct Transform {
    path: String,
    column: String,
    expression: String,
}

pub(super) fn read(ingestion: Node<'_>, report: &mut Report) -> Pipeline {
    let filter = ingestion.object("filterConfig", report).and_then(|filter| {
        let filter = Node::new(filter, "ingestionConfig.filterConfig");
        filter.only(&["filterFunction"], report);
        expression(filter, "filterFunction", report)
    });
    let spec = PipelineSpec {
        sources: sources(ingestion, report),
        nested: ingestion
            .object("complexTypeConfig", report)
            .and_then(|nested| self::nested(nested, report)),
        filter,
        roll_up: roll_up(ingestion, report),
        continue_on_error: ingestion.flag("continueOnError", report) == Some(true),
        check_time: ingestion.flag("rowTimeValueCheck", report) == Some(true),
    };
    Pipeline {
        spec,
        transforms: transforms(ingestion, report),
    }
}

/// An expression that we can run, or a fault.
pub(in super::super) fn expression(
    node: Node<'_>,
    key: &str,
    report: &mut Report,
) -> Option<String> {
    let text = node.text(key, report)?.trim();
    if text.is_empty() {
        return None;
    }
    if let Some(script) = groovy(text) {
        let hint = instead_of(script);
        let what = format!("scripts in Groovy are not run; write an expression of SQL{hint}");
        report.fault(&node.path(key), what);
        return None;
    }
    Some(text.to_owned())
}

/// The script of `Groovy({…}, a, b)`.
fn groovy(text: &str) -> Option<&str> {
    let (name, rest) = text.split_once('(')?;
    name.trim().eq_ignore_ascii_case("groovy").then_some(rest)
}

/// What people mostly use Groovy for, and what does the same here.
fn instead_of(script: &str) -> &'static str {
    const KNOWN: [(&str, &str); 10] = [
        ("toLowerCase", ": `lower(x)` is the nearest function"),
        ("toUpperCase", ": `upper(x)` is the nearest function"),
        (
            "substring",
            ": `substr(x, from, to)` is the nearest function",
        ),
        ("split", ": `split(x, ',')` is the nearest function"),
        (
            "replace",
            ": `replace(x, from, to)` is the nearest function",
        ),
        ("trim", ": `trim(x)` is the nearest function"),
        (
            "parse",
            ": `fromDateTime(x, pattern)` is the nearest function",
        ),
        (
            "format",
            ": `toDateTime(x, pattern)` is the nearest function",
        ),
        ("Math.round", ": `round(x)` is the nearest function"),
        ("?", ": `CASE WHEN a THEN b ELSE c END` is the nearest"),
    ];
    let mut known = KNOWN.iter();
    let found = known.find(|(word, _)| script.contains(word));
    found.map_or(
        ": `CASE WHEN`, arithmetic and the functions of the reference",
        |(_, hint)| hint,
    )
}

fn transforms(ingestion: Node<'_>, report: &mut Report) -> Vec<Transform> {
    let mut transforms: Vec<Transform> = Vec::new();
    let objects = ingestion.objects("transformConfigs", report);
    for (at, object) in objects.into_iter().enumerate() {
        let path = format!("{INGESTION}.transformConfigs[{at}]");
        let node = Node::new(object, &path);
        node.only(&["columnName", "transformFunction"], report);
        let column = required(node, "columnName", report);
        if node.get("transformFunction").is_none() {
            report.fault(&node.path("transformFunction"), "missing");
        }
        let text = expression(node, "transformFunction", report);
        let (Some(column), Some(expression)) = (column, text) else {
            continue;
        };
        if transforms.iter().any(|other| other.column == column) {
            let what = format!("`{column}` has a transform already");
            report.fault(&node.path("columnName"), what);
        }
        transforms.push(Transform {
            path: node.path("columnName"),
            column,
            expression,
        });
    }
    transforms
}

fn required(node: Node<'_>, key: &str, report: &mut Report) -> Option<String> {
    if node.get(key).is_none() {
        report.fault(&node.path(key), "missing");
    }
    node.text(key, report).map(str::to_owned)
}

fn sources(ingestion: Node<'_>, report: &mut Report) -> Vec<SourceField> {
    let mut sources = Vec::new();
    let objects = ingestion.objects("sourceFieldConfigs", report);
    for (at, object) in objects.into_iter().enumerate() {
        let path = format!("{INGESTION}.sourceFieldConfigs[{at}]");
        let node = Node::new(object, &path);
        node.only(&["name", "dataType", "singleValueField"], report);
        let name = required(node, "name", report);
        let text = required(node, "dataType", report);
        let data_type = text.and_then(|text| match text.parse::<DataType>() {
            Ok(data_type) => Some(data_type),
            Err(error) => {
                report.fault(&node.path("dataType"), error);
                None
            }
        });
        let multi_value = node.flag("singleValueField", report) == Some(false);
        if let (Some(name), Some(data_type)) = (name, data_type) {
            sources.push(SourceField {
                name,
                data_type,
                multi_value,
            });
        }
    }
    sources
}

fn nested(object: &Map<String, Json>, report: &mut Report) -> Option<NestedSpec> {
    let node = Node::new(object, "ingestionConfig.complexTypeConfig");
    node.only(&keys::COMPLEX_TYPE, report);
    if object.is_empty() {
        return None;
    }
    let collections = match node.text("collectionNotUnnestedToJson", report) {
        None | Some("NON_PRIMITIVE") => Collections::NonPrimitive,
        Some("NONE") => Collections::None,
        Some("ALL") => Collections::All,
        Some(other) => {
            let what = format!("`{other}` is not one of NONE, NON_PRIMITIVE, ALL");
            report.fault(&node.path("collectionNotUnnestedToJson"), what);
            Collections::default()
        }
    };
    let mut rename = Vec::new();
    for (prefix, to) in node
        .object("prefixesToRename", report)
        .into_iter()
        .flatten()
    {
        match to.as_str() {
            Some(to) => rename.push((prefix.clone(), to.to_owned())),
            None => report.fault(&node.path("prefixesToRename"), "strings were expected"),
        }
    }
    let unnest = node.texts("fieldsToUnnest", report);
    Some(NestedSpec {
        delimiter: node.text("delimiter", report).unwrap_or(".").to_owned(),
        unnest: unnest.into_iter().map(str::to_owned).collect(),
        collections,
        rename,
    })
}

fn roll_up(ingestion: Node<'_>, report: &mut Report) -> Vec<RollUp> {
    let mut all = Vec::new();
    let objects = ingestion.objects("aggregationConfigs", report);
    for (at, object) in objects.into_iter().enumerate() {
        let path = format!("{INGESTION}.aggregationConfigs[{at}]");
        let node = Node::new(object, &path);
        node.only(&["columnName", "aggregationFunction"], report);
        let column = required(node, "columnName", report);
        let call = required(node, "aggregationFunction", report);
        let (Some(column), Some(call)) = (column, call) else {
            continue;
        };
        match aggregate(&call) {
            Some((function, source)) => all.push(RollUp {
                column,
                function,
                source,
            }),
            None => {
                let what = format!(
                    "`{call}` is not rolled up here: COUNT(*), SUM(x), MIN(x), MAX(x), \
                     DISTINCTCOUNTHLL(x), DISTINCTCOUNTHLLPLUS(x), DISTINCTCOUNTTHETASKETCH(x), \
                     PERCENTILETDIGEST(x)"
                );
                report.fault(&node.path("aggregationFunction"), what);
            }
        }
    }
    all
}

fn aggregate(call: &str) -> Option<(RollUpFunction, Option<String>)> {
    let (name, rest) = call.split_once('(')?;
    let arguments = rest.trim_end().strip_suffix(')')?;
    // Behind it stands how large a sketch shall be: ours have one size.
    let source = arguments.split(',').next()?.trim().trim_matches('"');
    let function = match name.trim().to_uppercase().replace('_', "").as_str() {
        "COUNT" => return Some((RollUpFunction::Count, None)),
        "SUM" => RollUpFunction::Sum,
        "MIN" => RollUpFunction::Min,
        "MAX" => RollUpFunction::Max,
        "DISTINCTCOUNTHLL" | "DISTINCTCOUNTHLLPLUS" => RollUpFunction::DistinctCountHll,
        "DISTINCTCOUNTTHETASKETCH" | "DISTINCTCOUNTRAWTHETASKETCH" => {
            RollUpFunction::DistinctCountThetaSketch
        }
        "PERCENTILETDIGEST" => RollUpFunction::PercentileTDigest,
        _ => return None,
    };
    (!source.is_empty()).then(|| (function, Some(source.to_owned())))
}

impl Pipeline {
    /// Every row is one message.
    pub(super) fn keeps_messages(&self) -> bool {
        let nested = self.spec.nested.as_ref();
        self.spec.roll_up.is_empty() && nested.is_none_or(|nested| nested.unnest.is_empty())
    }

    pub(super) fn check(&self, schema: &Schema, report: &mut Report) {
        let column = |name: &str| schema.columns.iter().find(|column| column.name == name);
        for transform in &self.transforms {
            match column(&transform.column) {
                None => {
                    let what = format!("there is no column `{}`", transform.column);
                    report.fault(&transform.path, what);
                }
                Some(ColumnSpec {
                    transform: Some(own),
                    ..
                }) if *own != transform.expression => {
                    let what = "the schema gives the column another transform";
                    report.fault(&transform.path, what);
                }
                Some(_) => {}
            }
        }
        for one in &self.spec.roll_up {
            let path = format!("{INGESTION}.aggregationConfigs");
            match column(&one.column) {
                None => report.fault(&path, format!("there is no column `{}`", one.column)),
                Some(found) if found.role != FieldRole::Metric => {
                    let what = format!("`{}` is no metric", one.column);
                    report.fault(&path, what);
                }
                Some(found)
                    if one.function == RollUpFunction::Count
                        && found.data_type != DataType::Long =>
                {
                    let what = format!("`{}` counts rows and is LONG", one.column);
                    report.fault(&path, what);
                }
                Some(found) if one.function.is_sketch() != (found.data_type == DataType::Bytes) => {
                    let what = format!(
                        "sketches are BYTES, `{}` is {}",
                        one.column, found.data_type
                    );
                    report.fault(&path, what);
                }
                Some(_) => {}
            }
        }
        if !self.spec.roll_up.is_empty() {
            let metrics = schema
                .columns
                .iter()
                .filter(|c| c.role == FieldRole::Metric);
            for metric in metrics {
                if !self
                    .spec
                    .roll_up
                    .iter()
                    .any(|one| one.column == metric.name)
                {
                    let what = format!("the metric `{}` is not rolled up", metric.name);
                    report.fault(&format!("{INGESTION}.aggregationConfigs"), what);
                }
            }
        }
    }

    pub(super) fn apply(&self, columns: &mut [ColumnSpec]) -> PipelineSpec {
        for transform in &self.transforms {
            let column = columns.iter_mut().find(|c| c.name == transform.column);
            if let Some(column) = column {
                column.transform = Some(transform.expression.clone());
            }
        }
        self.spec.clone()
    }
}
