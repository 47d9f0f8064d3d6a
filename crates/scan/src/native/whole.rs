//! What is known of all rows of a segment without a look at them, for aggregates without keys and
//! filters: from how many rows hold each value of a dictionary, and from the zones of numbers.
//!
//! Invariant: it is what the rows would have given. Nothing is told where rows may be hidden, or
//! may yet come.

use std::sync::{Arc, OnceLock};

use datafusion::common::{DataFusionError, Result};
use parking_lot::Mutex;
use schemas::proto::{Explain, IndexKind};
use segment::SegmentView;

use datafusion::physical_expr::utils::collect_columns;

use super::accumulate::Accumulator;
use super::exec::NativeAggregateExec;
use super::plan::Aggregate;
use super::states::States;
use crate::filter::SegmentFilter;

/// Each segment is looked at by the first worker that comes there.
pub(super) struct Wholes<'a> {
    operator: &'a NativeAggregateExec,
    segments: &'a [SegmentView],
    told: Vec<OnceLock<Result<Whole, Arc<DataFusionError>>>>,
}

/// What is known of a segment, for each run of aggregates that read the same.
pub(super) struct Whole(Vec<Told>);

enum Told {
    /// Rows must be read.
    Nothing,
    /// To be taken once.
    States(Mutex<Vec<States>>),
}

impl<'a> Wholes<'a> {
    pub(super) fn new(operator: &'a NativeAggregateExec, segments: &'a [SegmentView]) -> Self {
        let is_possible = operator.keys.is_empty()
            && operator.entries.is_none()
            && operator.shared.options.explain() != Explain::Plan
            && operator.aggregates.iter().any(|own| !own.counts_rows());
        let told = segments.iter().filter(|_| is_possible);
        Self {
            operator,
            segments,
            told: told.map(|_| OnceLock::new()).collect(),
        }
    }

    /// `None`: all that is asked of the segment must be read.
    pub(super) fn of(&self, segment: usize, filter: &SegmentFilter<'_>) -> Result<Option<&Whole>> {
        let view = &self.segments[segment];
        let Some(told) = self.told.get(segment) else {
            return Ok(None);
        };
        if !filter.is_unfiltered() || view.is_consuming() {
            return Ok(None);
        }
        let told = told.get_or_init(|| self.look(view).map_err(Arc::new));
        match told {
            Ok(whole) => Ok(Some(whole)),
            Err(error) => Err(DataFusionError::Shared(Arc::clone(error))),
        }
    }

    fn look(&self, view: &SegmentView) -> Result<Whole> {
        let runs = self.operator.runs();
        let told = runs.map(|run| self.told(run, view));
        told.collect::<Result<_>>().map(Whole)
    }

    fn told(&self, run: &[Aggregate], view: &SegmentView) -> Result<Told> {
        let operator = self.operator;
        let options = &operator.shared.options;
        let [first, ..] = run else {
            return Ok(Told::Nothing);
        };
        let columns = first.argument.iter().flat_map(collect_columns);
        let mut unused = columns.filter(|own| !options.uses(own.name(), IndexKind::Dictionary));
        if first.filter.is_some() || unused.next().is_some() {
            return Ok(Told::Nothing);
        }
        let rows = view.row_count();
        let compiler = operator.compiler(view);
        let most = (Some(1), u64::from(rows));
        let mut own = Accumulator::new(run, view, &operator.spec, &compiler, most)?;
        Ok(match own.add_whole(rows)? {
            true => Told::States(Mutex::new(own.finish(&[0], &[u64::from(rows)])?)),
            false => Told::Nothing,
        })
    }
}

impl Whole {
    /// No row must be read.
    pub(super) fn is_all(&self) -> bool {
        let mut told = self.0.iter();
        told.all(|told| matches!(told, Told::States(_)))
    }

    /// Of the run at `at`, for one who reads the segment; all of it for the one with the first
    /// block.
    pub(super) fn accumulator(
        &self,
        at: usize,
        run: &[Aggregate],
        is_first: bool,
    ) -> Option<Accumulator<'static>> {
        let Told::States(states) = &self.0[at] else {
            return None;
        };
        let states = match is_first {
            true => std::mem::take(&mut *states.lock()),
            false => run.iter().map(|own| States::empty(own, 1)).collect(),
        };
        Some(Accumulator::told(states))
    }
}
