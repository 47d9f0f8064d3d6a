//! Predicates of columns with several values a row: a row matches by any of its entries.
//!
//! What is asked of an entry is solved once for each distinct value, like any predicate; rows come
//! from the inverted index, or from a scan of the entries' codes. A negated predicate keeps the
//! rows none of whose entries match, never those that are null.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::NotExpr;
use query::AnyEntry;
use schemas::proto::IndexKind;
use segment::view::{MultiColumn, Nulls};

use super::candidate::{ByIndex, Candidate, Lists};
use super::codes::CodeSet;
use super::conjunct::Access;
use super::counted::counted;
use super::solve::{Distinct, Solver};
use super::tree::Tree;
use super::{Compiler, Decided};
use crate::columns::{Stored, external};
use crate::rows::BlockMask;

impl<'a> Compiler<'a, '_> {
    pub(super) fn by_entry(
        &self,
        tree: &Tree,
        schema: &Schema,
        multi: MultiColumn<'a>,
        stored: &Stored<'a>,
    ) -> Result<Decided<'a>> {
        let Tree::Leaf(leaf) = tree else {
            return Ok(Decided::Parts);
        };
        let field = schema.field(0);
        let not = leaf.expr.downcast_ref::<NotExpr>();
        let asked = not.map_or(&leaf.expr, |not| not.arg());
        let name = field.name();
        let DataType::List(item) = field.data_type() else {
            return Ok(Decided::Parts);
        };
        if !self.options.uses(name, IndexKind::Dictionary) {
            return Ok(Decided::Parts);
        }
        let item = item.as_ref().clone().with_name(name);
        let entry = Arc::new(Schema::new(vec![item]));
        let Some(asked) = AnyEntry::of_entry(asked.as_ref(), &entry)? else {
            return Ok(Decided::Parts);
        };
        let solver = Solver {
            schema: &entry,
            index: 0,
            has_nulls: false,
            distinct: Some(Distinct::Multi(multi)),
            chunks: None,
            raw: None,
        };
        let Some(solved) = solver.solve(&Tree::of_all(&[asked])?) else {
            return Ok(Decided::Parts);
        };
        let (negated, nulls) = (not.is_some(), stored.nulls);
        let Some(codes) = CodeSet::new(&solved.set, multi.cardinality()) else {
            self.counters.index(format!("dictionary({name})"));
            return Ok(match (negated, nulls) {
                (false, _) => Decided::Never,
                (true, None) => Decided::Always,
                (true, Some(nulls)) => self.without(nulls, name),
            });
        };
        let total = f64::from(self.view.row_count());
        let held = match multi.doc_counts() {
            // A row with several of the codes is counted for each.
            Some(counts) => counted(&codes, counts).documents.min(total),
            None => total / 2.0,
        };
        let by_index = match negated {
            true => None,
            false => self.index_of_entries(&codes, stored, name)?,
        };
        Ok(Decided::Rows(Box::new(Candidate {
            told: format!("dictionary({name})"),
            text: self.text(tree),
            estimate: if negated { total - held } else { held },
            is_exact: false,
            row_ns: 3.0 * codes.cost(multi.cardinality()) + 1.0,
            scan: Access::Entries {
                codes,
                column: multi,
                negated,
                nulls,
            },
            by_index,
        })))
    }

    fn without(&self, nulls: Nulls<'a>, name: &str) -> Decided<'a> {
        let total = f64::from(self.view.row_count());
        Decided::Rows(Box::new(Candidate {
            told: format!("null({name})"),
            text: self.text_of(|| format!("{name} IS NOT NULL")),
            estimate: total - f64::from(nulls.count()),
            is_exact: false,
            row_ns: 0.01,
            scan: Access::Nulls {
                nulls,
                are_wanted: false,
            },
            by_index: None,
        }))
    }

    fn index_of_entries(
        &self,
        codes: &CodeSet,
        stored: &Stored<'a>,
        name: &str,
    ) -> Result<Option<ByIndex<'a>>> {
        if !self.options.uses(name, IndexKind::Inverted) {
            return Ok(None);
        }
        let inverted = stored.column.inverted().map_err(external)?;
        Ok(inverted.map(|reader| ByIndex {
            told: format!("inverted({name})"),
            documents: Lists::Inverted(reader, codes.ranges().to_vec()),
            nulls: stored.nulls,
        }))
    }
}

/// Keeps the rows of the block that have an entry among `codes`, or those that have none. Returns
/// the entries looked at.
pub(super) fn apply(
    codes: &CodeSet,
    column: &MultiColumn<'_>,
    negated: bool,
    start: u32,
    mask: &mut BlockMask,
) -> u64 {
    let entries = column.entries(start..start + mask.len);
    let stored = entries.codes().slice(entries.range());
    let mut words = vec![0; stored.len().div_ceil(64)];
    codes.scan_into(stored, &mut words);
    let mut hits = BlockMask::none(mask.len);
    entries.each_row_of(&words, |row| hits.set(row));
    match negated {
        true => mask.and_not(&hits),
        false => mask.and(&hits),
    }
    stored.len() as u64
}
