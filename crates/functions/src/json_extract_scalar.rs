//! `JSON_EXTRACT_SCALAR(column, 'path', 'type' [, default])`: the value at a path of a document.
//!
//! Objects and arrays are texts of JSON. A document without the path, or with null there, gives
//! the default, or null.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use index::json::{JsonPath, Step};
use serde_json::Value;

use crate::arguments::{Texts, check_column, literals, planned, wrong};
use crate::docs::{Section, documentation};
use crate::json_extract_index::ExtractQuestion;

const NAME: &str = "json_extract_scalar";

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonExtractScalar {
    signature: Signature,
    aliases: Vec<String>,
    docs: Documentation,
}

impl Default for JsonExtractScalar {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
            aliases: vec!["jsonextractscalar".to_owned()],
            docs: documentation(
                Section::Json,
                "JSONEXTRACTSCALAR(column, 'path', 'type' [, default])",
                "The value at a path of a document; see [text and JSON](text-and-json.md).",
                &[(
                    "JSONEXTRACTSCALAR('{\"a\":{\"b\":7}}', '$.a.b', 'INT')",
                    "7",
                )],
            ),
        }
    }
}

fn question(arguments: &[Option<String>]) -> Result<ExtractQuestion> {
    if arguments.len() > 3 {
        let message = "JSON_EXTRACT_SCALAR takes a column, a path, a type and a default";
        return Err(wrong(message));
    }
    ExtractQuestion::of("JSON_EXTRACT_SCALAR", arguments)
}

impl ScalarUDFImpl for JsonExtractScalar {
    fn name(&self) -> &str {
        NAME
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.docs)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(column) = args.arg_fields.first() else {
            return Err(wrong(
                "JSON_EXTRACT_SCALAR takes a column, a path and a type",
            ));
        };
        check_column("JSON_EXTRACT_SCALAR", column)?;
        let result = question(&planned(args.scalar_arguments))?
            .result
            .arrow_type();
        Ok(Arc::new(Field::new(NAME, result, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let question = question(&literals("JSON_EXTRACT_SCALAR", &args)?)?;
        let texts = Texts::of(&args)?;
        let (path, result) = (&question.path, question.result);
        let array = match result.is_array {
            true => {
                let rows = texts.map(|documents| documents.iter().find_map(|one| list(one, path)));
                result.lists(rows.into_iter().map(Option::flatten).collect())?
            }
            false => {
                let values = texts.map(|documents| {
                    let found = documents.iter().find_map(|one| scalar(one, path));
                    found.or_else(|| question.default.clone())
                });
                result.array(values.into_iter().map(Option::flatten).collect())?
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

pub(crate) fn scalar(document: &str, path: &JsonPath) -> Option<String> {
    let document: Value = serde_json::from_str(document).ok()?;
    let mut found = at(&document, path);
    if !path.is_single() && !found.is_empty() {
        let all = found.into_iter().cloned().collect();
        return Some(Value::Array(all).to_string());
    }
    text(found.pop()?)
}

pub(crate) fn list(document: &str, path: &JsonPath) -> Option<Vec<String>> {
    let document: Value = serde_json::from_str(document).ok()?;
    let found = at(&document, path);
    let elements = match found.as_slice() {
        [Value::Array(elements)] => elements.iter().collect(),
        _ => found,
    };
    Some(elements.into_iter().filter_map(text).collect())
}

fn at<'a>(document: &'a Value, path: &JsonPath) -> Vec<&'a Value> {
    let mut found = vec![document];
    for step in path.steps() {
        found = found
            .into_iter()
            .flat_map(|value| match (step, value) {
                (Step::Field(name), Value::Object(fields)) => {
                    fields.get(name).into_iter().collect()
                }
                (Step::Element(place), Value::Array(elements)) => {
                    elements.get(*place as usize).into_iter().collect()
                }
                (Step::EachElement, Value::Array(elements)) => elements.iter().collect(),
                (Step::EachElement, Value::Object(fields)) => fields.values().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    found
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
