//! `JSON_EXTRACT_INDEX(column, 'path', 'type' [, default [, 'filter']])`: the value at a path, as
//! the column's JSON index knows it.
//!
//! It is that of the first record that has one and, with a filter, fulfils it; the filter is
//! JSON_MATCH's. A document without one gives the default, or null. Types that end in `_ARRAY`
//! take the values of all its records.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use index::json::{JsonExtractor, JsonFilter, JsonPath};

use crate::arguments::{Texts, check_column, literals, planned, wrong};
use crate::docs::{Section, documentation};
use crate::json_match::{flattening, parse};
use crate::typed::ResultType;

const NAME: &str = "json_extract_index";

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonExtractIndex {
    signature: Signature,
    aliases: Vec<String>,
    docs: Documentation,
}

impl Default for JsonExtractIndex {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
            aliases: vec!["jsonextractindex".to_owned()],
            docs: documentation(
                Section::Json,
                "JSONEXTRACTINDEX(column, 'path', 'type' [, default [, 'filter']])",
                "The value at a path as the column's JSON index knows it; see [text and \
                 JSON](text-and-json.md).",
                &[(
                    "JSONEXTRACTINDEX('{\"a\":[{\"b\":7}]}', '$.a[0].b', 'LONG')",
                    "7",
                )],
            ),
        }
    }
}

/// What is asked of every document.
#[derive(Debug)]
pub struct ExtractQuestion {
    pub path: JsonPath,
    pub result: ResultType,
    pub default: Option<String>,
    pub filter: Option<JsonFilter>,
}

impl ExtractQuestion {
    /// From the arguments behind the column.
    pub fn of(name: &str, arguments: &[Option<String>]) -> Result<Self> {
        let [Some(path), Some(result), optional @ ..] = arguments else {
            return Err(wrong(format!(
                "{name} takes a column, a path and a type: {name}(doc, '$.a.b', 'STRING')"
            )));
        };
        if optional.len() > 2 {
            return Err(wrong(format!(
                "{name} takes at most a default and a filter behind the type"
            )));
        }
        let path =
            JsonPath::parse(path).map_err(|fault| wrong(format!("{name}: {}", fault.what)))?;
        let filter = optional.get(1).cloned().flatten();
        Ok(Self {
            path,
            result: ResultType::parse(result)?,
            default: optional.first().cloned().flatten(),
            filter: filter.map(|filter| parse(&filter)).transpose()?,
        })
    }
}

impl ScalarUDFImpl for JsonExtractIndex {
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
                "JSON_EXTRACT_INDEX takes a column, a path and a type",
            ));
        };
        check_column("JSON_EXTRACT_INDEX", column)?;
        let question = ExtractQuestion::of("JSON_EXTRACT_INDEX", &planned(args.scalar_arguments))?;
        if !question.result.is_array && !question.path.is_single() {
            return Err(wrong(
                "JSON_EXTRACT_INDEX: a path with [*] gives several values; take a type such as \
                 STRING_ARRAY",
            ));
        }
        let result = question.result.arrow_type();
        Ok(Arc::new(Field::new(NAME, result, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = literals("JSON_EXTRACT_INDEX", &args)?;
        let question = ExtractQuestion::of("JSON_EXTRACT_INDEX", &arguments)?;
        let flattening = flattening(args.arg_fields[0].metadata());
        let filter = question.filter.as_ref();
        let mut extractor = JsonExtractor::new(&question.path, filter, &flattening);
        let texts = Texts::of(&args)?;
        let array = match question.result.is_array {
            true => {
                let rows = texts.map(|documents| {
                    let all = documents.iter();
                    all.flat_map(|one| extractor.values(one))
                        .collect::<Vec<_>>()
                });
                question.result.lists(rows)?
            }
            false => {
                let values = texts.map(|documents| {
                    let found = documents.iter().find_map(|one| extractor.value(one));
                    found.or_else(|| question.default.clone())
                });
                question
                    .result
                    .array(values.into_iter().map(Option::flatten).collect())?
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}
