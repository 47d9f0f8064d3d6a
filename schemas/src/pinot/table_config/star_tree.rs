//! `tableIndexConfig.starTreeIndexConfigs` and `enableDefaultStarTree`.

use super::super::Schema;
use super::super::reader::{Node, Report};
use crate::table::{
    ColumnSpec, StarTreeAggregate, StarTreeFunction, StarTreeSpec, TimeGranularity, star_tree,
};
use crate::types::{DataType, FieldRole};

const LIST: &str = "tableIndexConfig.starTreeIndexConfigs";
const KEYS: [&str; 5] = [
    "dimensionsSplitOrder",
    "skipStarNodeCreationForDimensions",
    "functionColumnPairs",
    "aggregationConfigs",
    "maxLeafRecords",
];
/// Of them only the column and the function have a meaning here.
const AGGREGATION_KEYS: [&str; 8] = [
    "columnName",
    "aggregationFunction",
    "functionParameters",
    "compressionCodec",
    "deriveNumDocsPerChunk",
    "indexVersion",
    "targetMaxChunkSize",
    "targetDocsPerChunk",
];
const LEAF_ROWS_MAX: u32 = 10_000;
/// Between the function and the column of a pair.
const SEPARATOR: &str = "__";

/// The trees that the config asks for; names are checked against the schema later.
pub(super) fn read(indexes: Node<'_>, report: &mut Report) -> Vec<StarTreeSpec> {
    let mut trees = Vec::new();
    let configs = indexes.objects("starTreeIndexConfigs", report);
    for (at, config) in configs.into_iter().enumerate() {
        let path = path_of(at);
        let config = Node::new(config, &path);
        config.only(&KEYS, report);
        trees.push(tree(config, report));
    }
    if indexes.flag("enableDefaultStarTree", report) == Some(true) {
        trees.push(StarTreeSpec {
            by_cardinality: true,
            ..empty()
        });
    }
    trees
}

fn empty() -> StarTreeSpec {
    StarTreeSpec {
        dimensions: Vec::new(),
        by_cardinality: false,
        no_star: Vec::new(),
        aggregates: Vec::new(),
        leaf_rows_max: LEAF_ROWS_MAX,
    }
}

fn path_of(at: usize) -> String {
    format!("{LIST}[{at}]")
}

fn tree(config: Node<'_>, report: &mut Report) -> StarTreeSpec {
    let names = |key: &str, report: &mut Report| {
        let names = config.texts(key, report).into_iter();
        names.map(str::to_owned).collect::<Vec<String>>()
    };
    let dimensions = names("dimensionsSplitOrder", report);
    let no_star = names("skipStarNodeCreationForDimensions", report);
    let mut aggregates = Vec::new();
    let pairs = config.path("functionColumnPairs");
    for pair in config.texts("functionColumnPairs", report) {
        let Some((function, column)) = pair.split_once(SEPARATOR) else {
            report.fault(&pairs, format!("`{pair}` is not of the form SUM__column"));
            continue;
        };
        add(function, column, &pairs, &mut aggregates, report);
    }
    let configs = config.objects("aggregationConfigs", report);
    for (at, aggregation) in configs.into_iter().enumerate() {
        let path = format!("{}[{at}]", config.path("aggregationConfigs"));
        let aggregation = Node::new(aggregation, &path);
        aggregation.only(&AGGREGATION_KEYS, report);
        for key in &AGGREGATION_KEYS[2..] {
            if aggregation.says_something(key) {
                report.warn_without_effect(&aggregation.path(key));
            }
        }
        let function = aggregation.text("aggregationFunction", report);
        let column = aggregation.text("columnName", report).unwrap_or("*");
        match function {
            Some(function) => add(function, column, &path, &mut aggregates, report),
            None => report.fault(&aggregation.path("aggregationFunction"), "missing"),
        }
    }
    let leaf_rows_max = config.number("maxLeafRecords", report);
    let leaf_rows_max = match leaf_rows_max.map(u32::try_from) {
        Some(Ok(most @ 1..)) => most,
        Some(Err(_)) => {
            let path = config.path("maxLeafRecords");
            report.fault(&path, "it is no number of records");
            LEAF_ROWS_MAX
        }
        Some(Ok(0)) | None => LEAF_ROWS_MAX,
    };
    StarTreeSpec {
        dimensions,
        no_star,
        aggregates,
        leaf_rows_max,
        ..empty()
    }
}

fn add(
    function: &str,
    column: &str,
    path: &str,
    aggregates: &mut Vec<StarTreeAggregate>,
    report: &mut Report,
) {
    let Some(function) = function_of(function) else {
        let what = format!(
            "`{function}` is not kept in star-trees; COUNT, SUM, MIN, MAX, AVG, DISTINCTCOUNTHLL \
             and PERCENTILETDIGEST are"
        );
        report.fault(path, what);
        return;
    };
    let column = match function {
        StarTreeFunction::Count => None,
        _ => Some(column.to_owned()),
    };
    let aggregate = StarTreeAggregate { function, column };
    if !aggregates.contains(&aggregate) {
        aggregates.push(aggregate);
    }
}

/// As Pinot reads names of functions: neither case nor underscores matter.
fn function_of(name: &str) -> Option<StarTreeFunction> {
    Some(match name.replace('_', "").to_uppercase().as_str() {
        "COUNT" => StarTreeFunction::Count,
        "SUM" => StarTreeFunction::Sum,
        "MIN" => StarTreeFunction::Min,
        "MAX" => StarTreeFunction::Max,
        "AVG" => StarTreeFunction::Avg,
        "DISTINCTCOUNTHLL" => StarTreeFunction::DistinctCountHll,
        "PERCENTILETDIGEST" => StarTreeFunction::PercentileTDigest,
        _ => return None,
    })
}

/// Faults of trees that do not fit the columns.
pub(super) fn check(
    schema: &Schema,
    no_dictionary: impl Fn(&str) -> bool,
    trees: &[StarTreeSpec],
    report: &mut Report,
) {
    let trees = trees.iter().filter(|tree| !tree.by_cardinality);
    for (at, tree) in trees.enumerate() {
        let path = path_of(at);
        let order = format!("{path}.dimensionsSplitOrder");
        if tree.dimensions.is_empty() {
            report.fault(&order, "missing");
        }
        if tree.dimensions.len() > star_tree::DIMENSIONS_MAX {
            let (count, limit) = (tree.dimensions.len(), star_tree::DIMENSIONS_MAX);
            report.fault(&order, format!("{count} dimensions are more than {limit}"));
        }
        for (at, name) in tree.dimensions.iter().enumerate() {
            if tree.dimensions[..at].contains(name) {
                report.fault(&order, format!("`{name}` is there twice"));
            }
            let reason = match star_tree::time_bucket(name) {
                Some((column, _)) => not_a_time(schema, column),
                None => not_a_dimension(schema, name, no_dictionary(name)),
            };
            if let Some(reason) = reason {
                report.fault(&order, reason);
            }
        }
        for name in &tree.no_star {
            if !tree.dimensions.contains(name) {
                let path = format!("{path}.skipStarNodeCreationForDimensions");
                report.fault(&path, format!("`{name}` is no dimension of the tree"));
            }
        }
        for aggregate in &tree.aggregates {
            if let Some(reason) = not_aggregated(schema, aggregate) {
                report.fault(&format!("{path}.functionColumnPairs"), reason);
            }
        }
    }
}

fn find<'a>(schema: &'a Schema, name: &str) -> Result<&'a ColumnSpec, String> {
    let mut columns = schema.columns.iter();
    let found = columns.find(|column| column.name == name);
    found.ok_or_else(|| format!("there is no column `{name}`"))
}

fn not_a_time(schema: &Schema, name: &str) -> Option<String> {
    match find(schema, name) {
        Err(reason) => Some(reason),
        Ok(column) if column.data_type == DataType::Timestamp && !column.multi_value => None,
        Ok(column) => {
            let data_type = column.data_type;
            Some(format!(
                "`{name}` is {data_type}: only TIMESTAMP has buckets of time"
            ))
        }
    }
}

fn not_a_dimension(schema: &Schema, name: &str, no_dictionary: bool) -> Option<String> {
    let column = match find(schema, name) {
        Err(reason) => return Some(reason),
        Ok(column) => column,
    };
    if column.multi_value {
        return Some(format!(
            "`{name}` has several values a row: it is no dimension"
        ));
    }
    match column.data_type {
        DataType::Float | DataType::Double | DataType::BigDecimal => {
            let data_type = column.data_type;
            Some(format!("`{name}` is {data_type}, which is no dimension"))
        }
        DataType::String | DataType::Json | DataType::Bytes if no_dictionary => Some(format!(
            "`{name}` has no dictionary, which a dimension needs"
        )),
        _ => None,
    }
}

fn not_aggregated(schema: &Schema, aggregate: &StarTreeAggregate) -> Option<String> {
    let name = aggregate.column.as_ref()?;
    let column = match find(schema, name) {
        Err(reason) => return Some(reason),
        Ok(column) => column,
    };
    if column.multi_value {
        return Some(format!(
            "`{name}` has several values a row: it is not aggregated"
        ));
    }
    let fits = match aggregate.function {
        StarTreeFunction::Count => true,
        StarTreeFunction::DistinctCountHll => column.data_type != DataType::BigDecimal,
        StarTreeFunction::Min | StarTreeFunction::Max => {
            is_number(column.data_type) || column.data_type == DataType::Timestamp
        }
        _ => is_number(column.data_type),
    };
    (!fits).then(|| {
        let (function, data_type) = (aggregate.function, column.data_type);
        format!("{function} of `{name}`, which is {data_type}, is not kept in star-trees")
    })
}

fn is_number(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::Int | DataType::Long | DataType::Float | DataType::Double
    )
}

/// What the default tree is made of: every column that can be a dimension, the time by days, counts
/// and the sums of all metrics.
pub(super) fn fill_default(
    schema: &Schema,
    time_column: Option<&str>,
    no_dictionary: impl Fn(&str) -> bool,
    tree: &mut StarTreeSpec,
) {
    if !tree.by_cardinality {
        return;
    }
    let is_dimension = |column: &&ColumnSpec| {
        column.role == FieldRole::Dimension
            && not_a_dimension(schema, &column.name, no_dictionary(&column.name)).is_none()
    };
    let dimensions = schema.columns.iter().filter(is_dimension);
    tree.dimensions = dimensions.map(|column| column.name.clone()).collect();
    if let Some(time) = time_column.filter(|time| not_a_time(schema, time).is_none()) {
        let day = TimeGranularity::Day;
        tree.dimensions.push(star_tree::bucket_name(time, day));
    }
    tree.aggregates = vec![StarTreeAggregate {
        function: StarTreeFunction::Count,
        column: None,
    }];
    let metrics = schema.columns.iter().filter(|column| {
        column.role == FieldRole::Metric && !column.multi_value && is_number(column.data_type)
    });
    tree.aggregates
        .extend(metrics.map(|column| StarTreeAggregate {
            function: StarTreeFunction::Sum,
            column: Some(column.name.clone()),
        }));
}
