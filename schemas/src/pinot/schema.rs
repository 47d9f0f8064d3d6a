//! Pinot's schema.

use serde_json::{Map, Value as Json, json};

use super::reader::{Node, Report, parse};
use super::{Parsed, Schema, UnknownKeys, Violations, table_config};
use crate::decoding::TooLong;
use crate::ids::TableName;
use crate::table::ColumnSpec;
use crate::types::{DataType, FieldRole, Value, uuid_bytes, uuid_text};

const KEYS: [&str; 9] = [
    "schemaName",
    "enableColumnBasedNullHandling",
    "dimensionFieldSpecs",
    "metricFieldSpecs",
    "dateTimeFieldSpecs",
    "complexFieldSpecs",
    "timeFieldSpec",
    "primaryKeyColumns",
    "description",
];
const FIELD_KEYS: [&str; 17] = [
    "name",
    "dataType",
    "fieldType",
    "singleValueField",
    "notNull",
    "maxLength",
    "maxLengthExceedStrategy",
    "allowTrailingZeros",
    "defaultNullValue",
    "transformFunction",
    "virtualColumnProvider",
    "description",
    "tags",
    "format",
    "granularity",
    "sampleValue",
    "defaultNullValueString",
];

pub fn parse_schema(text: &str) -> Result<Parsed<Schema>, Violations> {
    parse_schema_with(text, UnknownKeys::Collect)
}

pub fn parse_schema_with(text: &str, unknown: UnknownKeys) -> Result<Parsed<Schema>, Violations> {
    let object = parse(text)?;
    let node = Node::new(&object, "");
    let mut report = Report::default();
    node.only(&KEYS, &mut report);
    let schema = read(node, &mut report);
    if unknown == UnknownKeys::Refuse {
        report.refuse_unknown();
    }
    report.finish(schema)
}

fn read(node: Node<'_>, report: &mut Report) -> Option<Schema> {
    let name = name(node, report);
    let mut columns = Vec::new();
    let lists = [
        ("dimensionFieldSpecs", FieldRole::Dimension),
        ("metricFieldSpecs", FieldRole::Metric),
        ("dateTimeFieldSpecs", FieldRole::DateTime),
    ];
    for (key, role) in lists {
        for (at, field) in node.objects(key, report).into_iter().enumerate() {
            let path = format!("{key}[{at}]");
            columns.extend(column(Node::new(field, &path), role, report));
        }
    }
    for unsupported in ["complexFieldSpecs", "timeFieldSpec"] {
        let present = node
            .get(unsupported)
            .is_some_and(|v| v.as_array().is_none_or(|l| !l.is_empty()));
        if present {
            report.fault(
                unsupported,
                "not supported; use dimensionFieldSpecs or dateTimeFieldSpecs",
            );
        }
    }
    if columns.is_empty() {
        report.fault("dimensionFieldSpecs", "the schema has no column");
    }
    for (at, column) in columns.iter().enumerate() {
        if columns[..at]
            .iter()
            .any(|other: &ColumnSpec| other.name == column.name)
        {
            report.fault("$", format!("column `{}` is defined twice", column.name));
        }
    }
    let primary_key: Vec<String> = node
        .texts("primaryKeyColumns", report)
        .into_iter()
        .map(str::to_owned)
        .collect();
    for key in &primary_key {
        if !columns.iter().any(|column| column.name == *key) {
            report.fault("primaryKeyColumns", format!("there is no column `{key}`"));
        }
    }
    Some(Schema {
        name: name?,
        columns,
        primary_key,
    })
}

fn name(node: Node<'_>, report: &mut Report) -> Option<TableName> {
    if node.get("schemaName").is_none() {
        report.fault("schemaName", "missing");
    }
    match node.text("schemaName", report)?.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            report.fault("schemaName", error);
            None
        }
    }
}

fn column(node: Node<'_>, role: FieldRole, report: &mut Report) -> Option<ColumnSpec> {
    node.only(&FIELD_KEYS, report);
    let name = node.text("name", report);
    if node.get("name").is_none() {
        report.fault(&node.path("name"), "missing");
    }
    if name.is_some_and(|name| name.is_empty() || name.starts_with('$')) {
        report.fault(
            &node.path("name"),
            "a column name is not empty and does not begin with `$`",
        );
    }
    let multi_value = node.flag("singleValueField", report) == Some(false);
    if multi_value && role != FieldRole::Dimension {
        let what = "only a dimension has several values a row";
        report.fault(&node.path("singleValueField"), what);
    }
    refuse_unsupported(node, report);
    let data_type = data_type(node, report);
    let length_max = node.number("maxLength", report);
    let not_null = node.flag("notNull", report).unwrap_or(false);
    let format = node.text("format", report).map(str::to_owned);
    let transform = table_config::expression(node, "transformFunction", report);
    let (name, data_type) = (name?, data_type?);
    let mut spec = ColumnSpec::new(name, data_type, role);
    spec.multi_value = multi_value;
    spec.not_null = not_null;
    spec.time_format = format;
    spec.transform = transform;
    spec.too_long = too_long(node, data_type, report);
    if let Some(length) = length_max {
        match u32::try_from(length) {
            Ok(length @ 1..) => spec.length_max = length,
            _ => report.fault(&node.path("maxLength"), format!("{length} is no length")),
        }
    }
    if let Some(default) = node.get("defaultNullValue") {
        match default_value(default, data_type) {
            Some(value) => spec.default = value,
            None => report.fault(
                &node.path("defaultNullValue"),
                format!("{default} is no {data_type}"),
            ),
        }
    }
    Some(spec)
}

/// They change what is stored, and we do not have them yet.
fn refuse_unsupported(node: Node<'_>, report: &mut Report) {
    for key in ["virtualColumnProvider", "allowTrailingZeros"] {
        if node.says_something(key) {
            report.fault(&node.path(key), "not supported yet");
        }
    }
}

fn too_long(node: Node<'_>, data_type: DataType, report: &mut Report) -> TooLong {
    let key = "maxLengthExceedStrategy";
    match (node.text(key, report), data_type) {
        (None, _) | (Some("TRIM_LENGTH"), DataType::String) => TooLong::Usual,
        (Some("ERROR"), _) => TooLong::Error,
        (Some("SUBSTITUTE_DEFAULT_VALUE"), _) => TooLong::Default,
        (Some("NO_ACTION"), _) => TooLong::Keep,
        (Some("TRIM_LENGTH"), _) => {
            let what = format!("only a STRING is cut, not {data_type}");
            report.fault(&node.path(key), what);
            TooLong::Usual
        }
        (Some(other), _) => {
            let what = format!(
                "`{other}` is not one of TRIM_LENGTH, ERROR, SUBSTITUTE_DEFAULT_VALUE, NO_ACTION"
            );
            report.fault(&node.path(key), what);
            TooLong::Usual
        }
    }
}

fn data_type(node: Node<'_>, report: &mut Report) -> Option<DataType> {
    if node.get("dataType").is_none() {
        report.fault(&node.path("dataType"), "missing");
    }
    let text = node.text("dataType", report)?;
    if let Ok(data_type) = text.parse() {
        return Some(data_type);
    }
    let nearest = DataType::ALL
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&text.to_uppercase(), known.name()),
                known.name(),
            )
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((similarity, name)) if similarity > 0.8 => format!("; did you mean {name}?"),
        _ => String::new(),
    };
    report.fault(
        &node.path("dataType"),
        format!("`{text}` is no data type here{hint}"),
    );
    None
}

fn default_value(value: &Json, data_type: DataType) -> Option<Value> {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match data_type {
        DataType::Int => text.parse::<i32>().ok().map(|v| Value::Long(i64::from(v))),
        DataType::Long | DataType::Timestamp => text.parse().ok().map(Value::Long),
        DataType::Float | DataType::Double => text.parse().ok().map(Value::Double),
        DataType::Boolean => match text.as_str() {
            "true" | "1" => Some(Value::Boolean(true)),
            "false" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        DataType::BigDecimal => text.parse::<f64>().is_ok().then_some(Value::String(text)),
        DataType::String | DataType::Json => Some(Value::String(text)),
        DataType::Uuid => {
            let canonical = uuid_text(uuid_bytes(&text)?);
            Some(Value::String(canonical.map(char::from).iter().collect()))
        }
        DataType::Bytes => {
            let pairs = (0..text.len()).step_by(2);
            let bytes = pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
            bytes.collect::<Option<Vec<u8>>>().map(Value::Bytes)
        }
    }
}

/// The schema in Pinot's form, for tables that were not made from it.
pub fn schema_json(name: &TableName, columns: &[ColumnSpec], primary_key: &[String]) -> Json {
    let of = |role: FieldRole| -> Vec<Json> {
        columns
            .iter()
            .filter(|column| column.role == role)
            .map(field_json)
            .collect()
    };
    let mut schema = Map::new();
    schema.insert("schemaName".to_owned(), json!(name.as_str()));
    schema.insert("enableColumnBasedNullHandling".to_owned(), json!(true));
    let lists = [
        ("dimensionFieldSpecs", FieldRole::Dimension),
        ("metricFieldSpecs", FieldRole::Metric),
        ("dateTimeFieldSpecs", FieldRole::DateTime),
    ];
    for (key, role) in lists {
        schema.insert(key.to_owned(), json!(of(role)));
    }
    if !primary_key.is_empty() {
        schema.insert("primaryKeyColumns".to_owned(), json!(primary_key));
    }
    Json::Object(schema)
}

fn field_json(column: &ColumnSpec) -> Json {
    let mut field = json!({ "name": column.name, "dataType": column.data_type.name() });
    if column.multi_value {
        field["singleValueField"] = json!(false);
    }
    if column.role == FieldRole::DateTime {
        let format = column.time_format.as_deref().unwrap_or("TIMESTAMP");
        field["format"] = json!(format);
        field["granularity"] = json!("1:MILLISECONDS");
    }
    field
}
