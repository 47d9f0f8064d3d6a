//! `TEXT_MATCH(column, 'query' [, 'options'])`: whether the words of a text match a query.
//!
//! The query's syntax is that of Lucene's classic parser. Words are taken apart as the column's
//! text index does it, or, without one, as the standard analyzer. Options are
//! `defaultOperator=AND`, and of Pinot's others those that change nothing here.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use index::text::{Analyzer, AnalyzerKind, DefaultOperator, TextMatcher, TextQuery};
use schemas::arrow::TEXT_KEY;
use schemas::table::STOP_WORDS;
use serde_json::Value;

use crate::arguments::{Texts, check_column, literals, planned, wrong};
use crate::docs::{Section, documentation};

const NAME: &str = "text_match";

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TextMatch {
    signature: Signature,
    aliases: Vec<String>,
    docs: Documentation,
}

impl Default for TextMatch {
    fn default() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
            aliases: vec!["textmatch".to_owned()],
            docs: documentation(
                Section::Json,
                "TEXT_MATCH(column, 'query' [, 'options'])",
                "Whether the words of a text match a query; see [text and JSON](text-and-json.md).",
                &[("TEXT_MATCH('The quick brown fox', 'quick AND fox')", "true")],
            ),
        }
    }
}

/// What is asked, before it meets an analyzer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuestion {
    query: String,
    /// `None`: as the column says.
    default: Option<DefaultOperator>,
}

impl TextQuestion {
    /// From the arguments behind the column.
    pub fn of(arguments: &[Option<String>]) -> Result<Self> {
        let (query, options) = match arguments {
            [query] => (query, &None),
            [query, options] => (query, options),
            _ => {
                return Err(wrong(
                    "TEXT_MATCH takes a column, a query and, if need be, options",
                ));
            }
        };
        let query = query.clone();
        Ok(Self {
            query: query.ok_or_else(|| wrong("the query of TEXT_MATCH is a text, not NULL"))?,
            default: match options {
                Some(options) => default_operator(options)?,
                None => None,
            },
        })
    }

    /// For a column with this metadata and analyzer.
    pub fn parse(
        &self,
        metadata: &HashMap<String, String>,
        analyzer: &Analyzer,
    ) -> Result<TextQuery> {
        let default = self.default.unwrap_or_else(|| default_of(metadata));
        TextQuery::parse(&self.query, analyzer, default)
            .map_err(|fault| wrong(format!("TEXT_MATCH '{}': {fault}", self.query)))
    }
}

fn default_operator(options: &str) -> Result<Option<DefaultOperator>> {
    let mut default = None;
    for piece in options.split(',').filter(|piece| !piece.trim().is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let value = value.trim().to_lowercase();
        default = match (name.trim().to_lowercase().as_str(), value.as_str()) {
            ("defaultoperator", "and") => Some(DefaultOperator::And),
            ("defaultoperator", "or") => Some(DefaultOperator::Or),
            ("parser", "classic" | "standard") => default,
            ("allowleadingwildcard" | "enablepositionincrements", "true") => default,
            _ => {
                return Err(wrong(format!(
                    "TEXT_MATCH does not know the option `{}`; it knows defaultOperator=AND and \
                     defaultOperator=OR",
                    piece.trim()
                )));
            }
        };
    }
    Ok(default)
}

/// As the column's index takes texts apart.
pub fn analyzer(metadata: &HashMap<String, String>) -> Analyzer {
    parameters(metadata)
        .and_then(|parameters| Analyzer::of_parameters(&parameters))
        .unwrap_or_else(|| Analyzer::new(AnalyzerKind::Standard, STOP_WORDS))
}

fn default_of(metadata: &HashMap<String, String>) -> DefaultOperator {
    let all = parameters(metadata).and_then(|found| found.get("all_terms")?.as_bool());
    match all {
        Some(true) => DefaultOperator::And,
        _ => DefaultOperator::Or,
    }
}

fn parameters(metadata: &HashMap<String, String>) -> Option<Value> {
    serde_json::from_str(metadata.get(TEXT_KEY)?).ok()
}

impl ScalarUDFImpl for TextMatch {
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
            return Err(wrong("TEXT_MATCH takes a column and a query"));
        };
        check_column("TEXT_MATCH", column)?;
        let arguments = planned(args.scalar_arguments);
        if arguments.len() != 1 || arguments[0].is_some() {
            let metadata = column.metadata();
            TextQuestion::of(&arguments)?.parse(metadata, &analyzer(metadata))?;
        }
        Ok(Arc::new(Field::new(
            NAME,
            DataType::Boolean,
            column.is_nullable(),
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let question = TextQuestion::of(&literals("TEXT_MATCH", &args)?)?;
        let metadata = args.arg_fields[0].metadata();
        let analyzer = analyzer(metadata);
        let query = question.parse(metadata, &analyzer)?;
        let mut matcher = TextMatcher::new(&query, &analyzer);
        let verdicts = Texts::of(&args)?.map(|values| matcher.matches(values.iter().copied()));
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(verdicts))))
    }
}
