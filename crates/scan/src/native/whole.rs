//! What is known of all rows of a segment without a look at them, for aggregates without keys and
//! filters: from how many rows hold each value of a dictionary, and from the zones of numbers.
//!
//! Invariant: it is what the rows of the view would have given. Nothing is told where some of them
//! may be hidden.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use parking_lot::Mutex;
use schemas::proto::{Explain, IndexKind};
use segment::SegmentView;
use segment::view::{DocCounts, Values};

use super::accumulate::Accumulator;
use super::aggregate::{Aggregate, Kind, Width};
use super::exec::NativeAggregateExec;
use super::fold::Figures;
use super::states::{Join, States};
use crate::columns::{Source, Stored, source};
use crate::filter::SegmentFilter;
use crate::predicate::Compiler;

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
        if !filter.is_unfiltered() {
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
        if let Some(figures) = figures(first, &compiler)? {
            let states = run.iter().map(|own| figures.states(own)).collect();
            return Ok(Told::States(Mutex::new(states)));
        }
        let most = (Some(1), u64::from(rows));
        let mut own = Accumulator::new(run, &compiler, most)?;
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
    ) -> Option<Result<Accumulator<'static>>> {
        let Told::States(states) = &self.0[at] else {
            return None;
        };
        let states = match is_first {
            true => Ok(std::mem::take(&mut *states.lock())),
            false => run.iter().map(|own| States::empty(own, 1)).collect(),
        };
        Some(states.map(Accumulator::told))
    }
}

/// Of all numbers of a column.
struct Numbers {
    count: u64,
    kind: NumbersOf,
}

enum NumbersOf {
    /// The sum as it is, not wrapped.
    Longs(i128, Figures<i64>),
    Doubles(Figures<f64>),
}

impl Numbers {
    fn states(&self, aggregate: &Aggregate) -> States {
        let (join, counts) = (aggregate.kind.join(), vec![self.count]);
        let long = |sum: i128, ends: &Figures<i64>| match join {
            Join::Add => sum as i64,
            join => ends.of(join),
        };
        let value = match &self.kind {
            NumbersOf::Longs(sum, ends) if aggregate.width == Width::Long => {
                return States::Longs {
                    join,
                    values: vec![long(*sum, ends)],
                    counts,
                };
            }
            NumbersOf::Longs(sum, _) if join == Join::Add => *sum as f64,
            NumbersOf::Longs(_, ends) => ends.of(join) as f64,
            NumbersOf::Doubles(figures) => figures.of(join),
        };
        States::Doubles {
            join,
            values: vec![value],
            counts,
        }
    }
}

/// What the rows of each value of a dictionary give together, without nulls and for plain numbers:
/// nothing is copied for it. `None`: it is not as simple as that.
fn figures(aggregate: &Aggregate, compiler: &Compiler<'_, '_>) -> Result<Option<Numbers>> {
    let is_total = matches!(
        aggregate.kind,
        Kind::Sum | Kind::Avg | Kind::Min | Kind::Max
    );
    let argument = aggregate.argument.as_ref().filter(|_| is_total);
    let Some(column) = argument.and_then(|own| own.downcast_ref::<Column>()) else {
        return Ok(None);
    };
    let field = compiler.table_schema.field(column.index());
    let source = source(compiler.view, compiler.spec, field, compiler.null_mode)?;
    let Source::Stored(Stored {
        column,
        nulls: None,
    }) = source
    else {
        return Ok(None);
    };
    let Values::Dictionary(dictionary) = column.values() else {
        return Ok(None);
    };
    let (counts, array) = (dictionary.doc_counts(), dictionary.array());
    let kind = match array.data_type() {
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>().values();
            of_longs(counts, |code| i64::from(values[code]))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            of_longs(counts, |code| values[code])
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            of_doubles(counts, |code| values[code])
        }
        _ => return Ok(None),
    };
    let count = counts.sum(0..counts.len() as u32);
    Ok(Some(Numbers { count, kind }))
}

fn of_longs(counts: DocCounts<'_>, value: impl Fn(usize) -> i64) -> NumbersOf {
    let (mut sum, mut ends) = (0, Figures::<i64>::EMPTY);
    counts.each(|code, rows| {
        if rows > 0 {
            let value = value(code as usize);
            sum += i128::from(value) * i128::from(rows);
            ends.least = ends.least.min(value);
            ends.greatest = ends.greatest.max(value);
        }
    });
    NumbersOf::Longs(sum, ends)
}

fn of_doubles(counts: DocCounts<'_>, value: impl Fn(usize) -> f64) -> NumbersOf {
    let mut figures = Figures::<f64>::EMPTY;
    counts.each(|code, rows| {
        if rows > 0 {
            let value = value(code as usize);
            figures.sum += value * f64::from(rows);
            figures.least = Join::Least.double(figures.least, value);
            figures.greatest = Join::Greatest.double(figures.greatest, value);
        }
    });
    NumbersOf::Doubles(figures)
}
