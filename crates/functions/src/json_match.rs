//! `JSON_MATCH(column, 'filter')`: whether a document fulfils conditions on its paths.
//!
//! Documents are seen as the column's JSON index sees them, or, without one, whole.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use index::json::{Flattening, JsonFilter, JsonMatcher};
use schemas::arrow::JSON_KEY;
use serde_json::Value;

use crate::arguments::{Texts, check_column, literals, planned, wrong};
use crate::docs::{Section, documentation};

const NAME: &str = "json_match";

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonMatch {
    signature: Signature,
    aliases: Vec<String>,
    docs: Documentation,
}

impl Default for JsonMatch {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
            aliases: vec!["jsonmatch".to_owned()],
            docs: documentation(
                Section::Json,
                "JSON_MATCH(column, 'filter')",
                "Whether a document fulfils conditions on its paths; see [text and \
                 JSON](text-and-json.md).",
                &[("JSON_MATCH('{\"a\":1}', '\"$.a\" = 1')", "true")],
            ),
        }
    }
}

impl JsonMatch {
    /// From the arguments behind the column.
    pub fn filter(arguments: &[Option<String>]) -> Result<JsonFilter> {
        match arguments {
            [Some(filter)] => parse(filter),
            _ => Err(wrong(
                "JSON_MATCH takes a column and a filter: JSON_MATCH(doc, '\"$.a\" = ''x''')",
            )),
        }
    }
}

pub(crate) fn parse(filter: &str) -> Result<JsonFilter> {
    JsonFilter::parse(filter).map_err(|fault| wrong(format!("JSON_MATCH '{filter}': {fault}")))
}

/// As the column's index takes documents apart.
pub fn flattening(metadata: &HashMap<String, String>) -> Flattening {
    let parameters = metadata.get(JSON_KEY);
    let parameters = parameters.and_then(|spec| serde_json::from_str::<Value>(spec).ok());
    parameters.map_or_else(Flattening::default, |parameters| {
        Flattening::of_parameters(&parameters)
    })
}

impl ScalarUDFImpl for JsonMatch {
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
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(column) = args.arg_fields.first() else {
            return Err(wrong("JSON_MATCH takes a column and a filter"));
        };
        check_column("JSON_MATCH", column)?;
        let arguments = planned(args.scalar_arguments);
        if arguments.len() != 1 || arguments[0].is_some() {
            Self::filter(&arguments)?;
        }
        Ok(Arc::new(Field::new(
            NAME,
            DataType::Boolean,
            column.is_nullable(),
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let filter = Self::filter(&literals("JSON_MATCH", &args)?)?;
        let flattening = flattening(args.arg_fields[0].metadata());
        let mut matcher = JsonMatcher::new(&filter, &flattening);
        // Of several documents in a row, any may match.
        let verdicts = Texts::of(&args)?
            .map(|documents| documents.iter().any(|document| matcher.matches(document)));
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(verdicts))))
    }
}
