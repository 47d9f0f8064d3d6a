//! Rows by whether a column has a value: no value is looked at.
//!
//! SQL's nulls are told from values; where nulls are defaults, another column tells whether a value
//! was missing.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr};
use schemas::arrow::tested_by;
use schemas::proto::IndexKind;
use segment::view::Nulls;

use super::candidate::Candidate;
use super::conjunct::Access;
use super::tree::Tree;
use super::{Compiler, Decided, evaluate, rebased};
use crate::ranges::RangeSet;

impl<'a> Compiler<'a, '_> {
    /// Where it is asked whether another column has a value.
    pub(super) fn by_missing(
        &self,
        tree: &Tree,
        schema: &SchemaRef,
        index: usize,
        nulls: Option<Nulls<'a>>,
    ) -> Result<Decided<'a>> {
        let name = schema.field(0).name();
        let name = tested_by(name).unwrap_or(name);
        let expr = rebased(&tree.expr(self.table_schema)?, &[index])?;
        let is_missing: ArrayRef = Arc::new(BooleanArray::from(vec![false, true]));
        let verdicts = evaluate(&expr, schema, vec![is_missing], 2)?;
        let set = match verdicts[0] {
            true => RangeSet::all(),
            false => RangeSet::none(),
        };
        let decided = self.by_nulls(tree, &set, verdicts[1], (nulls, name));
        Ok(decided.unwrap_or(Decided::Parts))
    }

    /// Where it is asked whether the column itself is null.
    pub(super) fn by_null_test(
        &self,
        tree: &Tree,
        (nulls, name): (Option<Nulls<'a>>, &str),
    ) -> Option<Decided<'a>> {
        let Tree::Leaf(leaf) = tree else {
            return None;
        };
        let is_null = leaf.expr.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
        let is_not_null = leaf.expr.downcast_ref::<IsNotNullExpr>();
        let tested = is_null.or(is_not_null.map(IsNotNullExpr::arg))?;
        let set = match is_null {
            Some(_) => RangeSet::none(),
            None => RangeSet::all(),
        };
        tested
            .is::<Column>()
            .then(|| self.by_nulls(tree, &set, is_null.is_some(), (nulls, name)))?
    }

    /// Where only null matters.
    pub(super) fn by_nulls(
        &self,
        tree: &Tree,
        set: &RangeSet,
        null_matches: bool,
        (nulls, name): (Option<Nulls<'a>>, &str),
    ) -> Option<Decided<'a>> {
        let is_whole = *set == RangeSet::all();
        let nulls = match (nulls, set.is_empty(), is_whole) {
            (None, true, _) => return Some(Decided::Never),
            (None, _, true) => return Some(Decided::Always),
            (Some(nulls), true, _) | (Some(nulls), _, true) => nulls,
            _ => return None,
        };
        if is_whole == null_matches {
            return Some(if is_whole {
                Decided::Always
            } else {
                Decided::Never
            });
        }
        if !self.options.uses(name, IndexKind::Null) {
            return Some(Decided::Parts);
        }
        let count = f64::from(nulls.count());
        let estimate = match null_matches {
            true => count,
            false => f64::from(self.view.row_count()) - count,
        };
        Some(Decided::Rows(Box::new(Candidate {
            told: format!("null({name})"),
            text: self.text(tree),
            scan: Access::Nulls {
                nulls,
                are_wanted: null_matches,
            },
            estimate,
            is_exact: self.view.valid().is_none(),
            row_ns: 0.01,
            by_index: None,
        })))
    }
}
