//! What an aggregate has seen of runs of rows, so that a long frame is computed from few of them.
//!
//! The lowest level has a state for each run of [`RUN`] rows, each level above one for so many
//! states below. Invariant: a state is of all rows of its run and of no others, and states are
//! merged in the order of their rows.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

/// Rows of a run, or states of one above.
const RUN: usize = 32;
/// From so many rows on a range is made of states.
pub(super) const LONG: usize = 4 * RUN;

type Made = Box<dyn Accumulator>;

#[derive(Debug)]
pub(super) struct Partial {
    /// From below; of each level the columns of its states.
    levels: Vec<Vec<ArrayRef>>,
}

impl Partial {
    /// `of_rows`: an accumulator that has seen these rows.
    pub(super) fn new(
        rows: usize,
        accumulator: &dyn Fn() -> Result<Made>,
        of_rows: &dyn Fn(Range<usize>) -> Result<Made>,
    ) -> Result<Self> {
        let mut levels = vec![states(rows, of_rows)?];
        while let Some(below) = levels.last()
            && let Some(count) = below.first().map(|states| states.len())
            && count > RUN
        {
            let merged = |range: Range<usize>| {
                let mut accumulator = accumulator()?;
                accumulator.merge_batch(&slices(below, &range))?;
                Ok(accumulator)
            };
            let above = states(count, &merged)?;
            levels.push(above);
        }
        Ok(Self { levels })
    }

    /// Gives `accumulator` the rows of `range`; those at its ends by `add_rows`.
    pub(super) fn add(
        &self,
        range: Range<usize>,
        accumulator: &mut Made,
        add_rows: &dyn Fn(Range<usize>, &mut Made) -> Result<()>,
    ) -> Result<()> {
        let Some((head, runs, tail)) = parts(&range) else {
            return add_rows(range, accumulator);
        };
        add_rows(head, accumulator)?;
        self.merge(0, runs, accumulator)?;
        add_rows(tail, accumulator)
    }

    /// The states `range` of a level.
    fn merge(&self, level: usize, range: Range<usize>, accumulator: &mut Made) -> Result<()> {
        let merge = |range: &Range<usize>, accumulator: &mut Made| match range.is_empty() {
            true => Ok(()),
            false => accumulator.merge_batch(&slices(&self.levels[level], range)),
        };
        let is_highest = level + 1 == self.levels.len();
        match parts(&range).filter(|_| !is_highest) {
            None => merge(&range, accumulator),
            Some((head, runs, tail)) => {
                merge(&head, accumulator)?;
                self.merge(level + 1, runs, accumulator)?;
                merge(&tail, accumulator)
            }
        }
    }
}

/// What stands before the whole runs of a range, the runs, and what stands behind them. `None`:
/// there are none.
fn parts(range: &Range<usize>) -> Option<(Range<usize>, Range<usize>, Range<usize>)> {
    let runs = range.start.div_ceil(RUN)..range.end / RUN;
    if runs.is_empty() {
        return None;
    }
    let (head, tail) = (range.start..runs.start * RUN, runs.end * RUN..range.end);
    Some((head, runs, tail))
}

fn states(count: usize, of: &dyn Fn(Range<usize>) -> Result<Made>) -> Result<Vec<ArrayRef>> {
    let mut columns: Vec<Vec<ScalarValue>> = Vec::new();
    for start in (0..count).step_by(RUN) {
        let state = of(start..(start + RUN).min(count))?.state()?;
        columns.resize_with(state.len(), Vec::new);
        for (column, value) in columns.iter_mut().zip(state) {
            column.push(value);
        }
    }
    columns
        .into_iter()
        .map(ScalarValue::iter_to_array)
        .collect()
}

fn slices(states: &[ArrayRef], range: &Range<usize>) -> Vec<ArrayRef> {
    let states = states.iter();
    states
        .map(|states| states.slice(range.start, range.len()))
        .collect()
}
