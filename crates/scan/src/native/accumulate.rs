//! Accumulators of one aggregate in one segment, and their states as DataFusion lays them out.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use schemas::TableSpec;
use segment::SegmentView;
use segment::view::{Nulls, RawValues};

use super::fold::{self, Slots, empty_double, empty_long, join_double, join_long};
use super::input::{Input, Numbers};
use super::number::BlockRows;
use super::plan::{Aggregate, Kind, Width};
use crate::columns::longs;
use crate::predicate::{Compiled, Compiler, Conjunct, Inputs};
use crate::rows::BlockMask;

#[derive(Debug)]
enum Filter<'a> {
    None,
    Never,
    Rows(Vec<Conjunct<'a>>),
}

#[derive(Debug)]
pub(super) struct Accumulator<'a> {
    kind: Kind,
    input: Input<'a>,
    nulls: Option<Nulls<'a>>,
    filter: Filter<'a>,
    /// Values of each group; `None`: as many as rows.
    counts: Option<Vec<u64>>,
    state: State,
}

#[derive(Debug)]
enum State {
    None,
    Long(Vec<i64>),
    Double(Vec<f64>),
}

impl State {
    const fn width(&self) -> Option<Width> {
        match self {
            Self::None => None,
            Self::Long(_) => Some(Width::Long),
            Self::Double(_) => Some(Width::Double),
        }
    }
}

impl<'a> Accumulator<'a> {
    pub(super) fn new(
        aggregate: &Aggregate,
        view: &'a SegmentView,
        spec: &TableSpec,
        compiler: &Compiler<'a, '_>,
    ) -> Result<Self> {
        let filter = match &aggregate.filter {
            None => Filter::None,
            Some(filter) => match compiler.compile(std::slice::from_ref(filter))? {
                Compiled::Never => Filter::Never,
                Compiled::Rows(conjuncts) if conjuncts.is_empty() => Filter::None,
                Compiled::Rows(conjuncts) => Filter::Rows(conjuncts),
            },
        };
        let (input, nulls) = match &aggregate.argument {
            None => (Input::Rows, None),
            Some(argument) => {
                let inputs = Inputs::of(argument, compiler.table_schema)?;
                let sources = inputs.sources(view, spec, compiler.null_mode)?;
                Input::new(inputs, sources, aggregate)?
            }
        };
        let may_skip = nulls.is_some()
            || !matches!(filter, Filter::None)
            || matches!(input, Input::Lookup { .. } | Input::Evaluated { .. });
        let state = match (aggregate.kind, aggregate.width) {
            (Kind::Count, _) => State::None,
            (_, Width::Long) => State::Long(Vec::new()),
            (_, Width::Double) => State::Double(Vec::new()),
        };
        Ok(Self {
            kind: aggregate.kind,
            input,
            nulls,
            filter,
            counts: may_skip.then(Vec::new),
            state,
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let state = match &self.state {
            State::None => 0,
            State::Long(values) => values.capacity() * 8,
            State::Double(values) => values.capacity() * 8,
        };
        state
            + self
                .counts
                .as_ref()
                .map_or(0, |counts| counts.capacity() * 8)
    }

    fn grow(&mut self, groups: usize) {
        if let Some(counts) = &mut self.counts {
            counts.resize(groups.max(counts.len()), 0);
        }
        match &mut self.state {
            State::None => {}
            State::Long(values) => values.resize(groups.max(values.len()), empty_long(self.kind)),
            State::Double(values) => {
                values.resize(groups.max(values.len()), empty_double(self.kind));
            }
        }
    }

    /// Adds the rows of a block; with several groups, `groups` has one for each row.
    pub(super) fn add(
        &mut self,
        rows: BlockRows<'_>,
        groups: Slots<'_>,
        group_count: usize,
    ) -> Result<()> {
        self.grow(group_count);
        if matches!(self.input, Input::Rows) && self.counts.is_none() {
            return Ok(());
        }
        let (numbers, mut keep) = self.input.read(rows, self.nulls, self.state.width())?;
        self.leave_out(rows, &mut keep)?;
        let kept: Vec<u32> = match &keep {
            Some(keep) => (0u32..)
                .zip(keep)
                .filter(|(_, keep)| **keep)
                .map(|(at, _)| at)
                .collect(),
            None => Vec::new(),
        };
        if keep.is_some() && kept.is_empty() {
            return Ok(());
        }
        let mut kept_groups = Vec::new();
        let (slots, count) = match (&keep, groups) {
            (None, _) => (groups, rows.count()),
            (Some(_), Slots::One) => (Slots::One, kept.len()),
            (Some(_), Slots::Each(groups)) => {
                kept_groups.extend(kept.iter().map(|at| groups[*at as usize]));
                (Slots::Each(&kept_groups), kept.len())
            }
        };
        if let Some(counts) = &mut self.counts {
            fold::count(slots, count, counts);
        }
        let kept = keep.is_some().then_some(kept.as_slice());
        match numbers {
            Some(Numbers::Long(values)) => {
                let values = RawValues::I64(&values);
                self.join(rows.len, None, kept, values, slots, count);
            }
            Some(Numbers::Double(values)) => {
                let values = RawValues::F64(&values);
                self.join(rows.len, None, kept, values, slots, count);
            }
            None => {
                if let Input::Raw(raw) = &self.input {
                    let values = raw.values(rows.start..rows.start + rows.len);
                    self.join(rows.len, rows.picked, kept, values, slots, count);
                }
            }
        }
        Ok(())
    }

    /// Leaves nulls out, and rows that the aggregate's own filter does.
    fn leave_out(&self, rows: BlockRows<'_>, keep: &mut Option<Vec<bool>>) -> Result<()> {
        let is_lookup = matches!(self.input, Input::Lookup { .. });
        let range = rows.start..rows.start + rows.len;
        if let Some(nulls) = self.nulls
            && !is_lookup
            && nulls.any_in(range)
        {
            let keep = keep.get_or_insert_with(|| vec![true; rows.count()]);
            for (at, keep) in keep.iter_mut().enumerate() {
                *keep &= !nulls.is_null(rows.doc(at));
            }
        }
        let mask = match &self.filter {
            Filter::None => return Ok(()),
            Filter::Never => BlockMask::none(rows.len),
            Filter::Rows(conjuncts) => {
                let mut mask = match rows.picked {
                    None => BlockMask::all(rows.len),
                    Some(picked) => {
                        let mut mask = BlockMask::none(rows.len);
                        picked.iter().for_each(|row| mask.set(*row));
                        mask
                    }
                };
                for conjunct in conjuncts {
                    if mask.count() > 0 {
                        conjunct.apply(rows.start, &mut mask)?;
                    }
                }
                mask
            }
        };
        let keep = keep.get_or_insert_with(|| vec![true; rows.count()]);
        for (at, keep) in keep.iter_mut().enumerate() {
            *keep &= mask.contains(rows.doc(at) - rows.start);
        }
        Ok(())
    }

    /// `picked` leads from a row to its value, `kept` from a kept row to a row.
    fn join(
        &mut self,
        len: u32,
        picked: Option<&[u32]>,
        kept: Option<&[u32]>,
        values: RawValues<'_>,
        slots: Slots<'_>,
        count: usize,
    ) {
        let both: Vec<u32>;
        let rows = match (picked, kept) {
            (None, rows) | (rows, None) => rows,
            (Some(picked), Some(kept)) => {
                both = kept.iter().map(|at| picked[*at as usize]).collect();
                Some(both.as_slice())
            }
        };
        let kind = self.kind;
        match &mut self.state {
            State::None => {}
            State::Long(state) => match values {
                RawValues::U8 { base, values } => {
                    join_long(kind, slots, count, rows, state, values, |v| {
                        base + i64::from(v)
                    });
                }
                RawValues::U16 { base, values } => {
                    join_long(kind, slots, count, rows, state, values, |v| {
                        base + i64::from(v)
                    });
                }
                RawValues::U32 { base, values } => {
                    let of = |v: u32| base.wrapping_add(i64::from(v));
                    join_long(kind, slots, count, rows, state, values, of);
                }
                RawValues::I32(values) => {
                    join_long(kind, slots, count, rows, state, values, i64::from);
                }
                RawValues::I64(values) => {
                    join_long(kind, slots, count, rows, state, values, |v| v);
                }
                other => {
                    let values = longs(other, None);
                    debug_assert_eq!(values.len(), len as usize);
                    join_long(kind, slots, count, rows, state, &values, |v| v);
                }
            },
            State::Double(state) => match values {
                RawValues::F64(values) => {
                    join_double(kind, slots, count, rows, state, values, |v| v);
                }
                RawValues::F32(values) => {
                    join_double(kind, slots, count, rows, state, values, f64::from);
                }
                other => {
                    let values = longs(other, None);
                    join_double(kind, slots, count, rows, state, &values, |v| v as f64);
                }
            },
        }
    }

    /// State columns of the groups at `used`, in the types of the partial aggregate.
    pub(super) fn states(
        &mut self,
        used: &[u32],
        row_counts: &[u64],
        types: &[DataType],
    ) -> Result<Vec<ArrayRef>> {
        self.grow(row_counts.len());
        let counts = self.counts.as_deref().unwrap_or(row_counts);
        let counts = || used.iter().map(|group| counts[*group as usize]);
        let values: ArrayRef = match &self.state {
            State::None => Arc::new(Int64Array::from_iter_values(counts().map(|n| n as i64))),
            State::Long(values) => {
                let values = used.iter().map(|group| values[*group as usize]);
                let seen = counts()
                    .zip(values)
                    .map(|(n, value)| (n > 0).then_some(value));
                Arc::new(seen.collect::<Int64Array>())
            }
            State::Double(values) => {
                let values = used.iter().map(|group| values[*group as usize]);
                let seen = counts()
                    .zip(values)
                    .map(|(n, value)| (n > 0).then_some(value));
                Arc::new(seen.collect::<Float64Array>())
            }
        };
        if self.kind == Kind::Avg {
            // Without values the count is null like the sum: 0 would make their quotient NaN.
            let counts = counts().map(|n| (n > 0).then_some(n));
            let counts: ArrayRef = Arc::new(counts.collect::<UInt64Array>());
            return Ok(vec![cast(&counts, &types[0])?, cast(&values, &types[1])?]);
        }
        Ok(vec![cast(&values, &types[0])?])
    }
}
