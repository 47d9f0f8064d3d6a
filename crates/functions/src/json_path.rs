//! JSONPATHSTRING, JSONPATHLONG, JSONPATHDOUBLE, JSONPATHARRAY, JSONPATHEXISTS, JSONFORMAT: a value
//! at a path of a document, as [`crate::JsonExtractScalar`] finds it, of one type each.

use std::cell::RefCell;
use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use index::json::JsonPath;
use serde_json::Value;

use crate::arguments::wrong;
use crate::docs::{Example, Section};
use crate::json_extract_scalar::{list, scalar};
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Out, Rows, TEXT};

/// Paths of one call, each read once.
#[derive(Default)]
struct Paths {
    known: RefCell<HashMap<String, JsonPath>>,
}

impl Paths {
    fn with<T>(&self, name: &str, path: &str, use_it: impl FnOnce(&JsonPath) -> T) -> Result<T> {
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(use_it(known));
        }
        let fault = |what: &str| wrong(format!("{name}: {what}"));
        let parsed = JsonPath::parse(path).map_err(|found| fault(&found.what))?;
        let result = use_it(&parsed);
        self.known.borrow_mut().insert(path.to_owned(), parsed);
        Ok(result)
    }
}

fn nothing(name: &str, path: &str) -> DataFusionError {
    wrong(format!(
        "{name}: a document has nothing at `{path}`; a default as the third argument would do"
    ))
}

/// The value, or the default; without one a document that has nothing there is a fault.
fn valued<T: Out + Clone>(rows: &Rows, of: fn(String) -> Option<T>) -> Result<ArrayRef> {
    let otherwise = match rows.literal(2)? {
        Some(text) => of(text.to_owned()),
        None => None,
    };
    let paths = Paths::default();
    rows.try_map2(|document: &str, path: &str| {
        let found = paths.with(rows.name(), path, |path| scalar(document, path))?;
        match found.and_then(of).or(otherwise.clone()) {
            None if !rows.has(2) => Err(nothing(rows.name(), path)),
            value => Ok(value),
        }
    })
}

fn number(text: String) -> Option<f64> {
    text.trim().parse().ok()
}

fn whole(text: String) -> Option<i64> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| Some(number(text.to_owned())? as i64))
}

fn of_type(
    name: &str,
    gives: DataType,
    body: fn(&Rows) -> Result<ArrayRef>,
    (what, example): (&str, Example),
) -> Plain {
    let shown = name.to_uppercase().replace('_', "");
    Plain::new(name, &[Takes::Text; 3], gives, body)
        .optional(1)
        .alias(format!("{name}_fast"))
        .alias(format!("{name}_first_match"))
        .alias(format!("{name}_fory"))
        .says(
            Section::Json,
            &format!("{shown}(document, 'path' [, default])"),
            &format!(
                "{what} at a path. Where there is none the default, or an error. The names with \
                 FAST, FIRSTMATCH and FORY behind it are the same."
            ),
            &[example],
        )
}

/// Of this document.
const DOCUMENT: &str = r#"'{"a":{"b":7},"c":[1,2]}'"#;

fn example(call: &str, path: &str, value: &'static str) -> Example {
    (format!("{call}({DOCUMENT}, '{path}')").leak(), value)
}

fn lists(rows: &Rows) -> Result<ArrayRef> {
    let paths = Paths::default();
    rows.try_map2(|document: &str, path: &str| {
        let found = paths.with(rows.name(), path, |path| list(document, path))?;
        Ok(Some(found.unwrap_or_default()))
    })
}

fn json_path_string() -> Plain {
    of_type(
        "json_path_string",
        TEXT,
        |rows| valued(rows, Some),
        ("The text", example("JSONPATHSTRING", "$.a.b", "7")),
    )
}

fn json_path_long() -> Plain {
    of_type(
        "json_path_long",
        DataType::Int64,
        |rows| valued(rows, whole),
        ("The whole number", example("JSONPATHLONG", "$.a.b", "7")),
    )
}

fn json_path_double() -> Plain {
    of_type(
        "json_path_double",
        DataType::Float64,
        |rows| valued(rows, number),
        ("The number", example("JSONPATHDOUBLE", "$.a.b", "7.0")),
    )
}

fn json_path_array() -> Plain {
    Plain::new("json_path_array", &[Takes::Text; 2], list_of(TEXT), lists)
        .alias("json_path_array_default_empty")
        .says(
            Section::Json,
            "JSONPATHARRAY(document, 'path')",
            "The values at a path, or of the array there; empty if there are none. Also called \
                 JSONPATHARRAYDEFAULTEMPTY.",
            &[example("JSONPATHARRAY", "$.c", "[1, 2]")],
        )
}

fn json_string_to_array() -> Plain {
    Plain::new(
        "json_string_to_array",
        &[Takes::Text],
        list_of(TEXT),
        |rows| {
            let root = JsonPath::parse("$").map_err(|fault| wrong(fault.what))?;
            rows.map(|document: &str| list(document, &root))
        },
    )
    .says(
        Section::Json,
        "JSONSTRINGTOARRAY(document)",
        "The entries of an array; null if it is no JSON.",
        &[("JSONSTRINGTOARRAY('[1,\"a\"]')", "[1, a]")],
    )
}

fn json_path_exists() -> Plain {
    Plain::new(
        "json_path_exists",
        &[Takes::Text; 2],
        DataType::Boolean,
        |rows| {
            let paths = Paths::default();
            rows.try_map2(|document: &str, path: &str| {
                let found = paths.with(rows.name(), path, |path| scalar(document, path))?;
                Ok(Some(found.is_some()))
            })
        },
    )
    .says(
        Section::Json,
        "JSONPATHEXISTS(document, 'path')",
        "Whether the document has a value at a path.",
        &[example("JSONPATHEXISTS", "$.a.x", "false")],
    )
}

fn json_format() -> Plain {
    Plain::new("json_format", &[Takes::Text], TEXT, |rows| {
        rows.map(|document: &str| {
            let value: Value = serde_json::from_str(document).ok()?;
            Some(value.to_string())
        })
    })
    .says(
        Section::Json,
        "JSONFORMAT(document)",
        "The document without white space; null if it is no JSON.",
        &[("JSONFORMAT('{ \"a\" : 1 }')", "{\"a\":1}")],
    )
}

/// `None`: it is no JSON.
fn parsed(document: &str) -> Option<Value> {
    serde_json::from_str(document).ok()
}

fn json_array_length() -> Plain {
    Plain::new(
        "json_array_length",
        &[Takes::Text],
        DataType::Int32,
        |rows| rows.map(|document: &str| Some(parsed(document)?.as_array()?.len() as i32)),
    )
    .alias("jsonb_array_length")
    .says(
        Section::Json,
        "JSON_ARRAY_LENGTH(document)",
        "How many entries an array has; null of anything else.",
        &[("JSON_ARRAY_LENGTH('[1,2,{\"a\":3}]')", "3")],
    )
}

fn json_typeof() -> Plain {
    Plain::new("json_typeof", &[Takes::Text], TEXT, |rows| {
        rows.map(|document: &str| {
            Some(match parsed(document)? {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            })
        })
    })
    .alias("jsonb_typeof")
    .says(
        Section::Json,
        "JSON_TYPEOF(document)",
        "What a document is: `object`, `array`, `string`, `number`, `boolean` or `null`; null if \
         it is no JSON.",
        &[("JSON_TYPEOF('-123.4')", "number")],
    )
}

fn json_object_names() -> Plain {
    Plain::new("json_object_names", &[Takes::Text], list_of(TEXT), |rows| {
        rows.map(|document: &str| {
            let Value::Object(entries) = parsed(document)? else {
                return None;
            };
            Some(
                entries
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>(),
            )
        })
    })
    .says(
        Section::Json,
        "JSON_OBJECT_NAMES(document)",
        "The names in an object, as a list; null of anything else. JSON_OBJECT_KEYS(document) has \
         a row for each.",
        &[("JSON_OBJECT_NAMES('{\"a\":1,\"b\":2}')", "[a, b]")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        json_array_length(),
        json_typeof(),
        json_object_names(),
        json_path_string(),
        json_path_long(),
        json_path_double(),
        json_path_array(),
        json_string_to_array(),
        json_path_exists(),
        json_format(),
    ]
}
