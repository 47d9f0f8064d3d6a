//! Expressions over values out of documents: where a JSON index knows what JSON_EXTRACT_INDEX
//! gives, that is an input of the expression, and the documents are none.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use functions::{Call, ExtractQuestion, JsonExtractIndex};
use index::json::JsonIndexReader;
use schemas::arrow::JSON_KEY;
use schemas::proto::IndexKind;

use super::{Compiler, Inputs, columns_of};
use crate::columns::{Source, external, source};
use crate::extracted::ExtractedColumn;

/// Whether documents are read for the expression.
pub(crate) fn extracts(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    expr.exists(|node| Ok(Call::of::<JsonExtractIndex>(node.as_ref()).is_some()))
}

impl<'a> Compiler<'a, '_> {
    /// The expression over what it reads in this segment, and where that comes from.
    pub(crate) fn inputs(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<(Inputs, Vec<Source<'a>>)> {
        let plain = || {
            let inputs = Inputs::of(expr, self.table_schema)?;
            let sources = inputs.sources(self.view, self.spec, self.null_mode)?;
            Ok((inputs, sources))
        };
        if self.view.is_consuming() || !extracts(expr)? {
            return plain();
        }
        let table = self.table_schema.fields();
        let mut calls: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let mut found: Vec<(FieldRef, ExtractedColumn<'a>)> = Vec::new();
        let replaced = Arc::clone(expr).transform_down(|node| {
            let known = calls.iter().position(|call| call.as_ref() == node.as_ref());
            let at = match (known, Call::of::<JsonExtractIndex>(node.as_ref())) {
                (Some(at), _) => at,
                (None, None) => return Ok(Transformed::no(node)),
                (None, Some(call)) => {
                    let Some(column) = self.extracted(&call)? else {
                        return Ok(Transformed::no(node));
                    };
                    let data_type = column.values().data_type().clone();
                    let field = Field::new(node.to_string(), data_type, true);
                    calls.push(Arc::clone(&node));
                    found.push((Arc::new(field), column));
                    calls.len() - 1
                }
            };
            let column = Column::new(found[at].0.name(), table.len() + at);
            let column: Arc<dyn PhysicalExpr> = Arc::new(column);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        if found.is_empty() {
            return plain();
        }
        let fields = table.iter().chain(found.iter().map(|(field, _)| field));
        let schema = Schema::new(fields.cloned().collect::<Vec<_>>());
        let sources = columns_of(&replaced.data).into_iter().map(|index| {
            match index.checked_sub(table.len()) {
                Some(at) => Ok(Source::Extracted(found[at].1.clone())),
                None => source(self.view, self.spec, &table[index], self.null_mode),
            }
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        Ok((Inputs::of(&replaced.data, &schema)?, sources))
    }

    /// `None`: no index knows it.
    fn extracted(&self, call: &Call<'_>) -> Result<Option<ExtractedColumn<'a>>> {
        let field = self.table_schema.field(call.column.index());
        let Some(reader) = self.index::<JsonIndexReader>(field, IndexKind::Json, JSON_KEY)? else {
            return Ok(None);
        };
        let texts = call.texts();
        let ExtractQuestion {
            path,
            result,
            default,
            filter,
        } = ExtractQuestion::of("JSON_EXTRACT_INDEX", &texts)?;
        if result.is_array {
            return Ok(None);
        }
        // Path and filter, which tell what is found.
        let asked = format!("{:?} {:?}", texts.first(), texts.get(3));
        let found = reader.shared_values(&asked, &path, filter.as_ref());
        let found = found.map_err(external)?;
        self.counters.index(format!("json({})", field.name()));
        let values = found.values.iter().map(|value| Some(value.clone()));
        let values = result.array(values.chain([default]).collect())?;
        let nulls = self.nulls_of(field)?;
        Ok(Some(ExtractedColumn::new(found, values, nulls)))
    }
}
