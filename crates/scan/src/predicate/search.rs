//! Predicates that an index of texts or documents answers: TEXT_MATCH, JSON_MATCH, and whatever
//! is asked of JSON_EXTRACT_INDEX.
//!
//! The index must have been made as the table asks now; otherwise, and where the query forbids it,
//! the function itself is evaluated, with the same answer.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::concat;
use arrow::datatypes::{Field, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, NotExpr};
use functions::{Call, ExtractQuestion, JsonExtractIndex, JsonMatch, TextMatch, TextQuestion};
use index::json::{JsonFilter, JsonIndexReader};
use index::text::{TextIndexReader, TextMatcher, TextQuery};
use roaring::RoaringBitmap;
use schemas::arrow::{JSON_KEY, TEXT_KEY};
use schemas::proto::IndexKind;
use segment::view::{ColumnView, IndexReader, Nulls};
use serde_json::Value;

use super::candidate::{ByIndex, Candidate, Lists};
use super::tree::Tree;
use super::{Compiler, evaluate, rebased};
use crate::columns::{Source, Stored, external, source};

/// What a leaf asks of one column.
#[derive(Debug)]
enum Question {
    Text(TextQuestion),
    Json(JsonFilter),
    /// Some predicate of the value at a path.
    Extract(ExtractQuestion, Arc<dyn PhysicalExpr>),
}

#[derive(Debug)]
struct Asked {
    /// Index of the column.
    column: usize,
    question: Question,
    negated: bool,
}

impl Asked {
    fn of(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Self>> {
        let not = expr.downcast_ref::<NotExpr>();
        let inner = not.map_or(expr, |not| not.arg());
        let negated = not.is_some();
        let asked = |call: &Call<'_>, question| Self {
            column: call.column.index(),
            question,
            negated,
        };
        if let Some(call) = Call::of::<TextMatch>(inner.as_ref()) {
            let question = TextQuestion::of(&call.texts())?;
            return Ok(Some(asked(&call, Question::Text(question))));
        }
        if let Some(call) = Call::of::<JsonMatch>(inner.as_ref()) {
            let filter = JsonMatch::filter(&call.texts())?;
            return Ok(Some(asked(&call, Question::Json(filter))));
        }
        extraction(expr)
    }
}

/// An expression whose only input is one call of JSON_EXTRACT_INDEX, however often.
fn extraction(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Asked>> {
    let mut calls: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let replaced = Arc::clone(expr).transform_down(|node| {
        if Call::of::<JsonExtractIndex>(node.as_ref()).is_none() {
            return Ok(Transformed::no(node));
        }
        if !calls.contains(&node) {
            calls.push(node);
        }
        let value: Arc<dyn PhysicalExpr> = Arc::new(Column::new("value", usize::MAX));
        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
    })?;
    let [call] = &calls[..] else {
        return Ok(None);
    };
    let columns = datafusion::physical_expr::utils::collect_columns(&replaced.data);
    let Some(call) = Call::of::<JsonExtractIndex>(call.as_ref()) else {
        return Ok(None);
    };
    if columns.iter().any(|column| column.index() != usize::MAX) {
        return Ok(None);
    }
    let question = ExtractQuestion::of("JSON_EXTRACT_INDEX", &call.texts())?;
    Ok((!question.result.is_array).then(|| Asked {
        column: call.column.index(),
        question: Question::Extract(question, replaced.data),
        negated: false,
    }))
}

/// The answering index, opened, with what is asked of it.
enum Search {
    Text(Arc<TextIndexReader>, TextQuery),
    Json(Arc<JsonIndexReader>, JsonFilter),
    Extract(Arc<JsonIndexReader>, ExtractQuestion, Arc<dyn PhysicalExpr>),
}

impl<'a> Compiler<'a, '_> {
    /// Whether an index answers some leaf: then its neighbours over the same column are decided
    /// apart from it.
    pub(super) fn is_searched(&self, tree: &Tree) -> Result<bool> {
        match tree {
            Tree::Leaf(leaf) => Ok(self.search(&leaf.expr)?.is_some()),
            Tree::All(branches) | Tree::Any(branches) => {
                for branch in branches {
                    if self.is_searched(branch)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// The rows of a leaf that an index answers; `None`: none does.
    pub(super) fn searched(&self, tree: &Tree) -> Result<Option<Candidate<'a>>> {
        let Tree::Leaf(leaf) = tree else {
            return Ok(None);
        };
        let Some((asked, search)) = self.search(&leaf.expr)? else {
            return Ok(None);
        };
        let field = self.table_schema.field(asked.0);
        let kind = match &search {
            Search::Text(..) => "text",
            Search::Json(..) | Search::Extract(..) => "json",
        };
        let nulls = self.nulls_of(field)?;
        let found = self.found(search, asked.1)?;
        let told = format!("{kind}({})", field.name());
        Ok(Some(Candidate {
            estimate: found.len() as f64,
            is_exact: nulls.is_none() && self.view.valid().is_none(),
            by_index: Some(ByIndex {
                told,
                documents: Lists::Found(found),
                nulls,
            }),
            ..self.evaluated(tree)?
        }))
    }

    pub(super) fn nulls_of(&self, field: &Field) -> Result<Option<Nulls<'a>>> {
        let source = source(self.view, self.spec, field, self.null_mode)?;
        Ok(match source {
            Source::Stored(Stored { nulls, .. }) => nulls,
            _ => None,
        })
    }

    fn search(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Option<((usize, bool), Search)>> {
        if self.view.is_consuming() {
            return Ok(None);
        }
        let Some(asked) = Asked::of(expr)? else {
            return Ok(None);
        };
        let field = self.table_schema.field(asked.column);
        let metadata = field.metadata();
        let search = match asked.question {
            Question::Text(question) => self
                .index::<TextIndexReader>(field, IndexKind::Text, TEXT_KEY)?
                .map(|reader| {
                    let query = question.parse(metadata, reader.analyzer())?;
                    Ok::<_, datafusion::common::DataFusionError>(Search::Text(reader, query))
                })
                .transpose()?,
            Question::Json(filter) => self
                .index(field, IndexKind::Json, JSON_KEY)?
                .map(|reader| Search::Json(reader, filter)),
            Question::Extract(question, expr) => self
                .index(field, IndexKind::Json, JSON_KEY)?
                .map(|reader| Search::Extract(reader, question, expr)),
        };
        Ok(search.map(|search| ((asked.column, asked.negated), search)))
    }

    /// The index over a column, made as its field says.
    pub(super) fn index<R: IndexReader>(
        &self,
        field: &Field,
        kind: IndexKind,
        key: &str,
    ) -> Result<Option<Arc<R>>> {
        let Some(parameters) = parameters(field.metadata(), key) else {
            return Ok(None);
        };
        if !self.options.uses(field.name(), kind) {
            return Ok(None);
        }
        let mut indexes = self.view.indexes().iter();
        let index = indexes.find(|index| {
            index.key().is_of(R::KIND, field.name()) && index.key().parameters == parameters
        });
        let reader = index.map(|index| self.view.open_index::<R>(index));
        reader.transpose().map_err(external)
    }

    fn found(&self, search: Search, negated: bool) -> Result<RoaringBitmap> {
        let found = match search {
            Search::Text(reader, query) => reader.search(&query).map_err(external)?,
            Search::Json(reader, filter) => reader.search(&filter).map_err(external)?,
            Search::Extract(reader, question, expr) => extracted(&reader, &question, &expr)?,
        };
        if !negated {
            return Ok(found);
        }
        let mut rest = RoaringBitmap::new();
        rest.insert_range((Bound::Included(0), Bound::Excluded(self.view.row_count())));
        Ok(rest - found)
    }
}

fn parameters(metadata: &HashMap<String, String>, key: &str) -> Option<Value> {
    serde_json::from_str(metadata.get(key)?).ok()
}

/// Documents whose value satisfies a predicate, which is judged once for each value.
fn extracted(
    reader: &JsonIndexReader,
    question: &ExtractQuestion,
    expr: &Arc<dyn PhysicalExpr>,
) -> Result<RoaringBitmap> {
    let extracted = reader.values(&question.path, question.filter.as_ref());
    let extracted = extracted.map_err(external)?;
    let values: Vec<Option<String>> = extracted.values.into_iter().map(Some).collect();
    let count = values.len();
    // What stands for documents without a value comes last, as their code does.
    let absent = question.result.array(vec![question.default.clone()])?;
    let values = match count {
        0 => absent,
        _ => concat(&[question.result.array(values)?.as_ref(), absent.as_ref()])?,
    };
    let schema = Arc::new(Schema::new(vec![Field::new(
        "value",
        values.data_type().clone(),
        true,
    )]));
    let expr = rebased(expr, &[usize::MAX])?;
    let matches = evaluate(&expr, &schema, vec![values], count + 1)?;
    let documents = (0u32..).zip(&extracted.codes);
    let documents = documents.filter(|(_, code)| matches[**code as usize]);
    let documents = documents.map(|(document, _)| document);
    Ok(RoaringBitmap::from_sorted_iter(documents).expect("documents are counted up"))
}

/// Which codes of a consuming column match, from the chunks that are indexed and, for the last
/// values, from the values. `None`: it is no question for them.
pub(super) fn by_chunks(
    expr: &Arc<dyn PhysicalExpr>,
    field: &Field,
    column: &ColumnView<'_>,
    cardinality: u32,
) -> Option<Vec<bool>> {
    let parameters = parameters(field.metadata(), TEXT_KEY)?;
    let chunks = column.text_chunks(&parameters)?;
    let asked = Asked::of(expr).ok()??;
    let Question::Text(question) = asked.question else {
        return None;
    };
    let analyzer = functions::analyzer(field.metadata());
    let query = question.parse(field.metadata(), &analyzer).ok()?;
    let mut matches = vec![asked.negated; cardinality as usize];
    let mut judged = 0;
    for chunk in chunks.iter() {
        for document in chunk.index.search(&query).ok()? {
            // The view may be older than the chunk.
            if let Some(hit) = matches.get_mut((chunk.codes.start + document) as usize) {
                *hit = !asked.negated;
            }
        }
        judged = chunk.codes.end;
    }
    let mut matcher = TextMatcher::new(&query, &analyzer);
    for code in judged..cardinality {
        if matcher.matches([column.consuming_text(code)?]) {
            matches[code as usize] = !asked.negated;
        }
    }
    Some(matches)
}
