//! Leaving a segment out by its bloom filters, before any of its columns is read.

use std::sync::Arc;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use index::bloom::{BloomReader, hash};
use schemas::proto::IndexKind;
use segment::view::{Index, IndexKind as Stored};

use super::Compiler;
use super::tree::Tree;
use crate::columns::external;
use crate::ranges::of_expr;

impl Compiler<'_, '_> {
    /// Whether no row can match, as bloom filters tell.
    pub(super) fn is_absent(&self, tree: &Tree) -> Result<bool> {
        let has_any = |index: &Arc<Index>| index.key().kind == Stored::Bloom;
        if !self.view.indexes().iter().any(has_any) {
            return Ok(false);
        }
        self.lacks(tree)
    }

    fn lacks(&self, tree: &Tree) -> Result<bool> {
        match tree {
            Tree::Leaf(leaf) => self.lacks_values(&leaf.expr),
            Tree::All(branches) => {
                for branch in branches {
                    if self.lacks(branch)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Tree::Any(branches) => {
                for branch in branches {
                    if !self.lacks(branch)? {
                        return Ok(false);
                    }
                }
                Ok(!branches.is_empty())
            }
        }
    }

    fn lacks_values(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
        let Some(column) = equality(expr.as_ref()) else {
            return Ok(false);
        };
        let name = column.name();
        let mut indexes = self.view.indexes().iter();
        let found = indexes.find(|index| index.key().is_of(Stored::Bloom, name));
        let Some(found) = found.filter(|_| self.options.uses(name, IndexKind::Bloom)) else {
            return Ok(false);
        };
        let own = self.table_schema.field(column.index()).data_type();
        let hashes = match of_expr(expr.as_ref(), own) {
            Some(set) if set.ranges().iter().all(|(low, high)| low == high) => {
                let keys = set.ranges().iter();
                keys.map(|(key, _)| hash(&key.to_le_bytes())).collect()
            }
            Some(_) => return Ok(false),
            None => match texts(expr.as_ref()) {
                Some(texts) => texts.into_iter().map(hash).collect::<Vec<u64>>(),
                None => return Ok(false),
            },
        };
        let reader = self.view.open_index::<BloomReader>(found);
        let reader = reader.map_err(external)?;
        if hashes.iter().any(|hash| reader.may_have(*hash)) {
            return Ok(false);
        }
        self.counters.index(format!("bloom({name})"));
        Ok(true)
    }
}

/// The column that is compared with one value or with a list of them.
fn equality(expr: &dyn PhysicalExpr) -> Option<&Column> {
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return list.expr().downcast_ref().filter(|_| !list.negated());
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    if *binary.op() != Operator::Eq {
        return None;
    }
    let sides = [binary.left(), binary.right()];
    sides.into_iter().find_map(|side| side.downcast_ref())
}

fn texts(expr: &dyn PhysicalExpr) -> Option<Vec<&[u8]>> {
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return list.list().iter().map(|item| text(item.as_ref())).collect();
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let side = match binary.left().is::<Column>() {
        true => binary.right(),
        false => binary.left(),
    };
    Some(vec![text(side.as_ref())?])
}

/// A null is equal to nothing, but this is no place to say so.
fn text(side: &dyn PhysicalExpr) -> Option<&[u8]> {
    match side.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) => text.as_deref().map(str::as_bytes),
        ScalarValue::BinaryView(bytes) | ScalarValue::Binary(bytes) => bytes.as_deref(),
        _ => None,
    }
}
