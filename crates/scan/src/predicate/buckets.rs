//! Predicates over times that keep whole buckets of a timestamp index: its codes are narrower than
//! the times, and how many rows each has is known.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMillisecondType;
use datafusion::common::Result;
use schemas::proto::IndexKind;
use segment::calendar::Unit;
use segment::view::DictionaryColumn;

use super::Compiler;
use super::candidate::Candidate;
use super::codes::CodeSet;
use super::conjunct::Access;
use super::counted::counted;
use super::tree::Tree;
use crate::columns::{Stored, external};
use crate::ranges::RangeSet;

impl<'a> Compiler<'a, '_> {
    pub(super) fn by_bucket(
        &self,
        tree: &Tree,
        set: &RangeSet,
        null_matches: bool,
        (stored, name): (&Stored<'a>, &str),
    ) -> Result<Option<Candidate<'a>>> {
        let Some((buckets, codes)) = self.in_buckets(set, stored, name)? else {
            return Ok(None);
        };
        let nulls = stored.nulls;
        let held = counted(&codes, buckets.doc_counts());
        Ok(Some(Candidate {
            told: format!("timestamp({name})"),
            text: self.text(tree),
            estimate: held.documents,
            is_exact: held.is_exact && nulls.is_none() && self.view.valid().is_none(),
            row_ns: codes.cost(buckets.cardinality()),
            scan: Access::Codes {
                codes: Some(codes),
                column: buckets,
                nulls,
                null_matches,
                zones: None,
            },
            by_index: None,
        }))
    }

    /// The codes that hold just the times of `set`, in the index with the fewest of them.
    fn in_buckets(
        &self,
        set: &RangeSet,
        stored: &Stored<'a>,
        name: &str,
    ) -> Result<Option<(DictionaryColumn<'a>, CodeSet)>> {
        if !self.options.uses(name, IndexKind::Timestamp) {
            return Ok(None);
        }
        for granularity in stored.column.granularities() {
            let Some(buckets) = stored.column.buckets(granularity).map_err(external)? else {
                continue;
            };
            let starts = buckets.array();
            let starts = starts.as_primitive::<TimestampMillisecondType>().values();
            let codes = whole_buckets(set, starts, Unit::from(granularity));
            if let Some(codes) = codes.and_then(|codes| CodeSet::new(&codes, buckets.cardinality()))
            {
                return Ok(Some((buckets, codes)));
            }
        }
        Ok(None)
    }
}

/// `None`: some bucket is kept in part.
fn whole_buckets(set: &RangeSet, starts: &[i64], unit: Unit) -> Option<RangeSet> {
    let mut codes = Vec::new();
    for (code, start) in (0..).zip(starts) {
        let end = unit.next_boundary(start.checked_add(1)?)?;
        if set.covers(*start, end - 1) {
            codes.push((code, code));
        } else if set.overlaps(*start, end - 1) {
            return None;
        }
    }
    Some(RangeSet::of_any(codes))
}
