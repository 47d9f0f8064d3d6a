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
use super::input::{Input, Lookup, read};
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
    input: Input<'a>,
    nulls: Option<Nulls<'a>>,
    filter: Filter<'a>,
    totals: Totals,
    scratch: Scratch,
}

/// What is known of each group.
#[derive(Debug)]
struct Totals {
    kind: Kind,
    /// Values of each group; `None`: as many as rows.
    counts: Option<Vec<u64>>,
    state: State,
}

/// Kept from block to block.
#[derive(Debug, Default)]
struct Scratch {
    /// Rows that are left, and their groups.
    rows: Vec<u32>,
    row_groups: Vec<u32>,
    /// Where the values of these rows are, and their groups.
    indices: Vec<u32>,
    groups: Vec<u32>,
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
            input,
            nulls,
            filter,
            totals: Totals {
                kind: aggregate.kind,
                counts: may_skip.then(Vec::new),
                state,
            },
            scratch: Scratch::default(),
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.totals.memory_bytes()
    }

    /// Adds the rows of a block; with several groups, `groups` has one for each row.
    pub(super) fn add(
        &mut self,
        rows: BlockRows<'_>,
        slots: Slots<'_>,
        group_count: usize,
    ) -> Result<()> {
        self.totals.grow(group_count);
        if matches!(self.input, Input::Rows) && self.totals.counts.is_none() {
            return Ok(());
        }
        let Some(mask) = self.left(rows)? else {
            return self.add_all(rows, slots);
        };
        if mask.is_empty() {
            return Ok(());
        }
        let mut left = std::mem::take(&mut self.scratch.rows);
        let mut groups = std::mem::take(&mut self.scratch.row_groups);
        rows.each_into(&mut left, |row| row);
        let slots = slots.keep(&mut left, &mut groups, |row| mask.contains(row));
        let rows = BlockRows {
            picked: Some(&left),
            mask: &mask,
            ..rows
        };
        let added = self.add_all(rows, slots);
        (self.scratch.rows, self.scratch.row_groups) = (left, groups);
        added
    }

    /// The rows without those that are null and those that the aggregate's own filter leaves out.
    /// `None`: all.
    fn left(&self, rows: BlockRows<'_>) -> Result<Option<BlockMask>> {
        let nulls = match self.input {
            // Null is looked up too: the expression may make a value of it.
            Input::Lookup { .. } => None,
            _ => rows.nulls(self.nulls),
        };
        if nulls.is_none() && matches!(self.filter, Filter::None) {
            return Ok(None);
        }
        let mut left = rows.mask.clone();
        if let Some(nulls) = nulls {
            left.and_not(&nulls);
        }
        match &self.filter {
            Filter::None => {}
            Filter::Never => left = BlockMask::none(rows.len),
            Filter::Rows(conjuncts) => {
                for conjunct in conjuncts {
                    if !left.is_empty() {
                        conjunct.apply(rows.start, &mut left)?;
                    }
                }
            }
        }
        Ok((left.words != rows.mask.words).then_some(left))
    }

    fn add_all(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        let Scratch {
            indices, groups, ..
        } = &mut self.scratch;
        let totals = &mut self.totals;
        match &self.input {
            Input::Rows => totals.count(slots, rows.count()),
            Input::Raw(raw) => {
                let values = raw.values(rows.range());
                totals.add(slots, rows.count(), rows.picked, values);
            }
            Input::Lookup(lookup) => {
                lookup.indices_into(self.nulls, rows, indices);
                totals.look_up(lookup, slots, indices, groups);
            }
            Input::Evaluated { inputs, sources } => {
                let (numbers, valid) = read((inputs, sources), rows, totals.state.width())?;
                let mut slots = slots;
                let mut picked = None;
                let mut count = rows.count();
                if let Some(valid) = valid {
                    indices.clear();
                    indices.extend(0..count as u32);
                    slots = slots.keep(indices, groups, |at| valid[at as usize]);
                    count = indices.len();
                    picked = Some(indices.as_slice());
                }
                match &numbers {
                    Some(values) => totals.add(slots, count, picked, values.as_raw()),
                    None => totals.count(slots, count),
                }
            }
        }
        Ok(())
    }

    /// State columns of the groups at `used`, in the types of the partial aggregate.
    pub(super) fn states(
        &mut self,
        used: &[u32],
        row_counts: &[u64],
        types: &[DataType],
    ) -> Result<Vec<ArrayRef>> {
        self.totals.states(used, row_counts, types)
    }
}

impl Totals {
    fn memory_bytes(&self) -> usize {
        let state = match &self.state {
            State::None => 0,
            State::Long(values) => values.capacity() * 8,
            State::Double(values) => values.capacity() * 8,
        };
        let counts = self.counts.as_ref();
        state + counts.map_or(0, |counts| counts.capacity() * 8)
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

    fn count(&mut self, slots: Slots<'_>, count: usize) {
        if let Some(counts) = &mut self.counts {
            fold::count(slots, count, counts);
        }
    }

    fn look_up(
        &mut self,
        lookup: &Lookup<'_>,
        slots: Slots<'_>,
        indices: &mut Vec<u32>,
        groups: &mut Vec<u32>,
    ) {
        if let (State::Long(sums), Some(counts)) = (&mut self.state, &mut self.counts)
            && let Some((base, table)) = &lookup.counted
            && fold::counts_with_sums(sums.len())
        {
            return fold::sum_and_count(slots, indices, (*base, table), sums, counts);
        }
        let slots = match lookup.may_be_null {
            true => slots.keep(indices, groups, |index| lookup.valid[index as usize]),
            false => slots,
        };
        let values = lookup.values.as_raw();
        self.add(slots, indices.len(), Some(indices), values);
    }

    /// `picked` leads to the `count` values.
    fn add(
        &mut self,
        slots: Slots<'_>,
        count: usize,
        picked: Option<&[u32]>,
        values: RawValues<'_>,
    ) {
        self.count(slots, count);
        let rows = picked;
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

    fn states(
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
