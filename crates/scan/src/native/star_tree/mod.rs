//! Groups of a segment from its star-tree instead of from its rows.
//!
//! Invariant: used only where the rows give the same answer; [`fit`] sees to it. Percentiles of
//! digests are as near as a digest is, either way.

mod fit;
mod read;

use std::sync::{Arc, OnceLock};

use datafusion::common::{DataFusionError, Result};
use schemas::proto::Explain;
use segment::SegmentView;
use segment::view::{IndexKind, StarTree};

use self::fit::Fit;
pub(super) use self::fit::{is_begin_of, is_same_in};
use super::exec::NativeAggregateExec;
use super::worker::Part;
use crate::columns::external;
use crate::predicate::Story;

/// A tree pays when it has to look at one record for so many rows, or for more.
const ROWS_PER_RECORD: u32 = 4;

/// The trees that answer for segments, each looked for by the first worker that comes there.
pub(super) struct Trees<'a> {
    operator: &'a NativeAggregateExec,
    segments: &'a [SegmentView],
    chosen: Vec<OnceLock<Result<Option<Chosen>, Arc<DataFusionError>>>>,
}

/// A tree that answers, and its records that do.
#[derive(Debug)]
pub(super) struct Chosen {
    tree: Arc<StarTree>,
    fit: Fit,
    records: Vec<u32>,
}

impl<'a> Trees<'a> {
    pub(super) fn new(operator: &'a NativeAggregateExec, segments: &'a [SegmentView]) -> Self {
        let without = operator.shared.options.without_star_trees || operator.entries.is_some();
        let segments_with_trees = match without {
            true => 0,
            false => segments.len(),
        };
        Self {
            operator,
            segments,
            chosen: (0..segments_with_trees).map(|_| OnceLock::new()).collect(),
        }
    }

    /// `None`: the blocks of the segment must be read.
    pub(super) fn of(&self, segment: usize) -> Result<Option<&Chosen>> {
        let Some(chosen) = self.chosen.get(segment) else {
            return Ok(None);
        };
        let view = &self.segments[segment];
        let chosen = chosen.get_or_init(|| self.choose(view).map_err(Arc::new));
        match chosen {
            Ok(chosen) => Ok(chosen.as_ref()),
            Err(error) => Err(DataFusionError::Shared(Arc::clone(error))),
        }
    }

    /// The smallest tree that can tell. Counts the segment if there is one.
    fn choose(&self, view: &SegmentView) -> Result<Option<Chosen>> {
        // Rows that newer ones have replaced are in every record.
        if view.valid().is_some() {
            return Ok(None);
        }
        let mut trees = Vec::new();
        for index in view.indexes() {
            if index.key().kind == IndexKind::StarTree {
                trees.push(view.open_index::<StarTree>(index).map_err(external)?);
            }
        }
        trees.sort_by_key(|tree| tree.tree.records());
        let records_max = (view.row_count() / ROWS_PER_RECORD).max(1);
        for tree in trees {
            let Some(fit) = Fit::new(self.operator, view, &tree)? else {
                continue;
            };
            let Some(found) = tree.tree.find(&fit.question, records_max as usize) else {
                continue;
            };
            let mut chosen = Chosen {
                tree,
                fit,
                records: found.records,
            };
            self.count(view, &mut chosen, found.looked_at);
            return Ok(Some(chosen));
        }
        Ok(None)
    }

    fn count(&self, view: &SegmentView, chosen: &mut Chosen, looked_at: u64) {
        let operator = self.operator;
        let (counters, description) = (&operator.shared.counters, &operator.description);
        let dimensions = chosen.tree.dimensions.iter();
        let names: Vec<String> = dimensions.map(ToString::to_string).collect();
        let name = format!("star_tree({})", names.join(","));
        let records = chosen.records.len() as u64;
        if let Some(story) = Story::begin(view, &description.table_name, &operator.shared.options) {
            let numbers = (records.max(looked_at), records);
            story.end_by_tree((&name, &description.filters), numbers, counters);
        }
        counters.index(name);
        let (records, looked_at) = match operator.shared.options.explain() {
            Explain::Plan => {
                chosen.records.clear();
                (0, 0)
            }
            _ => (records, looked_at),
        };
        counters.update(|stats| {
            stats.segments_queried += 1;
            stats.segments_processed += 1;
            stats.docs_total += u64::from(view.row_count());
            stats.entries_scanned_in_filter += looked_at;
            stats.docs_scanned += records;
            stats.entries_scanned_post_filter += records * operator.columns();
            stats.segments_matched += u64::from(records > 0);
        });
    }
}

impl Chosen {
    /// The groups of the segment. `None`: no row matches.
    pub(super) fn part(&self, operator: &NativeAggregateExec) -> Result<Option<Part>> {
        if self.records.is_empty() {
            return Ok(None);
        }
        read::part(&self.tree, &self.fit, &self.records, &operator.aggregates).map(Some)
    }
}
