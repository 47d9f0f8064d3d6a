//! Counts, sums and ends of numbers in one segment.

use datafusion::common::Result;
use segment::BLOCK_ROWS;
use segment::view::{Codes, Nulls, RawValues, SparseValues, Zone};

use super::aggregate::{Aggregate, Kind, Width};
use super::fold::{
    self, Figures, Picked, Slots, figures_double, figures_long, join_double, join_long,
};
use super::input::{Input, Lookup, Numbers};
use super::most::{Measure, Rank};
use super::number::BlockRows;
use super::states::{Join, States};
use crate::columns::longs;
use crate::predicate::constants;
use crate::rows::BlockMask;

#[derive(Debug)]
pub(super) struct Totals<'a> {
    input: Input<'a>,
    /// What is asked for of the values.
    joins: Vec<Join>,
    /// Values of each group; `None`: as many as rows.
    counts: Option<Vec<u64>>,
    state: State,
    /// Where the values of the rows are, and their groups; kept from block to block.
    indices: Vec<u32>,
    groups: Vec<u32>,
}

#[derive(Debug)]
enum State {
    None,
    Long(Join, Vec<i64>),
    Double(Join, Vec<f64>),
    /// More than one way to join the same numbers.
    Longs(Vec<Figures<i64>>),
    Doubles(Vec<Figures<f64>>),
}

impl State {
    const fn width(&self) -> Option<Width> {
        match self {
            Self::None => None,
            Self::Long(..) | Self::Longs(_) => Some(Width::Long),
            Self::Double(..) | Self::Doubles(_) => Some(Width::Double),
        }
    }

    /// Values are added up and no more.
    const fn only_adds(&self) -> bool {
        matches!(self, Self::Long(Join::Add, _) | Self::Double(Join::Add, _))
    }
}

impl<'a> Totals<'a> {
    /// Counts rows, all of them unless some are `filtered` out.
    pub(super) fn rows(filtered: bool) -> Self {
        Self {
            input: Input::Rows,
            joins: Vec::new(),
            counts: filtered.then(Vec::new),
            state: State::None,
            indices: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Of aggregates that read the same.
    pub(super) fn new(
        aggregates: &[Aggregate],
        input: Input<'a>,
        nulls: Option<Nulls<'a>>,
        filtered: bool,
    ) -> Self {
        let may_skip =
            nulls.is_some() || filtered || matches!(input, Input::Lookup(_) | Input::Evaluated(_));
        let joins: Vec<Join> = aggregates.iter().map(|own| own.kind.join()).collect();
        let state = match (aggregates[0].kind, aggregates[0].width, &joins[..]) {
            (Kind::Count, ..) => State::None,
            (_, Width::Double, [join]) => State::Double(*join, Vec::new()),
            (_, Width::Double, _) => State::Doubles(Vec::new()),
            (.., [join]) => State::Long(*join, Vec::new()),
            _ => State::Longs(Vec::new()),
        };
        Self {
            input,
            joins,
            counts: may_skip.then(Vec::new),
            state,
            indices: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Values are looked up by their codes, null too.
    pub(super) fn looks_up(&self) -> bool {
        matches!(self.input, Input::Lookup(_))
    }

    /// Only rows are counted, and all of them.
    pub(super) fn is_of_rows(&self) -> bool {
        matches!(self.input, Input::Rows) && self.counts.is_none()
    }

    /// Whether [`Self::resume`] can take what the other has.
    pub(super) fn continues(&self, other: &Totals<'_>) -> bool {
        self.counts.is_some() == other.counts.is_some() && self.state.width() == other.state.width()
    }

    /// Goes on with the sums of another segment, whose groups have the same numbers.
    pub(super) fn resume(&mut self, other: Totals<'_>) {
        self.counts = other.counts;
        self.state = other.state;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let state = match &self.state {
            State::None => 0,
            State::Long(_, values) => values.capacity() * 8,
            State::Double(_, values) => values.capacity() * 8,
            State::Longs(figures) => figures.capacity() * size_of::<Figures<i64>>(),
            State::Doubles(figures) => figures.capacity() * size_of::<Figures<f64>>(),
        };
        let counts = self.counts.as_ref();
        state + counts.map_or(0, |counts| counts.capacity() * 8)
    }

    pub(super) fn grow(&mut self, groups: usize) {
        if let Some(counts) = &mut self.counts {
            counts.resize(groups.max(counts.len()), 0);
        }
        match &mut self.state {
            State::None => {}
            State::Long(join, values) => {
                values.resize(groups.max(values.len()), join.empty_long());
            }
            State::Double(join, values) => {
                values.resize(groups.max(values.len()), join.empty_double());
            }
            State::Longs(figures) => {
                figures.resize(groups.max(figures.len()), Figures::<i64>::EMPTY)
            }
            State::Doubles(figures) => {
                figures.resize(groups.max(figures.len()), Figures::<f64>::EMPTY);
            }
        }
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        let mut indices = std::mem::take(&mut self.indices);
        let mut groups = std::mem::take(&mut self.groups);
        match &self.input {
            Input::Rows => {
                if let Some(counts) = &mut self.counts {
                    fold::count(slots, rows.count(), counts);
                }
            }
            Input::Raw(raw, zones) => {
                let zones = zones.filter(|_| self.has_zones(slots));
                let zone = zones.and_then(|column| column.zone(rows.start / BLOCK_ROWS));
                if !self.state.add_zone(rows.picked.is_none(), zone) {
                    match raw.sparse().filter(|_| self.state.only_adds()) {
                        Some(sparse) if sparse.default == 0 => {
                            let (state, kept) = (&mut self.state, (&mut indices, &mut groups));
                            add_sparse(state, sparse, rows, slots, kept);
                        }
                        _ => self.state.add(slots, rows.picked, raw.values(rows.range())),
                    }
                }
                self.count(slots, rows.count());
            }
            Input::Lookup(lookup) => {
                lookup.indices_into(rows, &mut indices);
                let (counts, state) = (&mut self.counts, &mut self.state);
                look_up(lookup, slots, (counts, state), &mut indices, &mut groups);
            }
            Input::Evaluated(own) => {
                let (numbers, valid) = own.read(rows, self.state.width())?;
                let mut slots = slots;
                let mut picked = None;
                let mut count = rows.count();
                if let Some(valid) = valid {
                    indices.clear();
                    indices.extend(0..count as u32);
                    slots = slots.keep(&mut indices, &mut groups, |at| valid[at as usize]);
                    count = indices.len();
                    picked = Some(indices.as_slice());
                }
                if let Some(values) = &numbers {
                    self.state.add(slots, picked, values.as_raw());
                }
                self.count(slots, count);
            }
        }
        (self.indices, self.groups) = (indices, groups);
        Ok(())
    }

    /// What each group has, `None`: some with rows has nothing, or what is no measure.
    pub(super) fn measure(&self, (at, rank): (usize, Rank), rows: &[u64]) -> Option<Measure> {
        let join = match rank {
            Rank::Sum | Rank::Mean => Join::Add,
            Rank::Greatest => Join::Greatest,
            Rank::Least => Join::Least,
        };
        if self.joins.get(at) != Some(&join) {
            return None;
        }
        let counts = self.counts.as_deref().unwrap_or(rows);
        let known = rows.iter().zip(counts);
        if counts.len() < rows.len() || known.into_iter().any(|(rows, n)| *rows > 0 && *n == 0) {
            return None;
        }
        let mut numbers: Vec<f64> = match &self.state {
            State::None => return None,
            State::Long(_, values) => values.iter().map(|value| *value as f64).collect(),
            State::Double(_, values) => values.clone(),
            State::Longs(figures) => figures.iter().map(|own| own.of(join) as f64).collect(),
            State::Doubles(figures) => figures.iter().map(|own| own.of(join)).collect(),
        };
        if numbers.len() < rows.len() {
            return None;
        }
        for ((number, rows), count) in numbers.iter_mut().zip(rows).zip(counts) {
            match rank {
                Rank::Sum | Rank::Greatest => {}
                Rank::Least => *number = -*number,
                Rank::Mean => *number /= (*count).max(1) as f64,
            }
            let fits = number.is_finite() && (rank != Rank::Sum || *number >= 0.0);
            if *rows > 0 && !fits {
                return None;
            }
        }
        Some(Measure {
            rank,
            numbers,
            counts: counts.to_vec(),
        })
    }

    /// Adds all `rows` of the segment, `null` of them without a value, to the only group; `false`:
    /// they must be read for that.
    pub(super) fn add_whole(&mut self, rows: u32, null: u32) -> Result<bool> {
        self.grow(1);
        let counted = match &self.input {
            Input::Rows => rows - null,
            Input::Raw(_, Some(column)) if null == 0 && self.has_zones(Slots::One) => {
                let zones = (0..rows.div_ceil(BLOCK_ROWS)).map(|block| column.zone(block));
                for zone in zones {
                    if !self.state.add_zone(true, zone) {
                        return Ok(false);
                    }
                }
                rows
            }
            Input::Lookup(lookup) => {
                let valid = lookup.valid.iter().zip(lookup.weights()).enumerate();
                let some = valid.filter(|(_, (valid, weight))| **valid && *weight > 0);
                let mut counted = 0;
                for (at, (_, weight)) in some {
                    counted += weight;
                    self.state.add_times(&lookup.values, at, weight);
                }
                counted
            }
            Input::Evaluated(own) if constants(&own.sources).is_some() => {
                let mask = BlockMask::all(1);
                let one = BlockRows::all(0, &mask);
                let (numbers, valid) = own.read(one, self.state.width())?;
                let is_null = valid.is_some_and(|valid| !valid[0]);
                if let Some(numbers) = numbers.filter(|_| !is_null) {
                    self.state.add_times(&numbers, 0, rows);
                }
                if is_null { 0 } else { rows }
            }
            _ => return Ok(false),
        };
        if let Some(counts) = &mut self.counts {
            counts[0] += u64::from(counted);
        }
        Ok(true)
    }

    /// The ends of blocks may tell what is asked for.
    fn has_zones(&self, slots: Slots<'_>) -> bool {
        matches!(slots, Slots::One) && !self.joins.contains(&Join::Add)
    }

    fn count(&mut self, slots: Slots<'_>, rows: usize) {
        if let Some(counts) = &mut self.counts {
            fold::count(slots, rows, counts);
        }
    }

    /// States of the groups at `used`, which have so many rows: one for each aggregate.
    pub(super) fn finish(self, used: &[u32], row_counts: &[u64]) -> Vec<States> {
        let counts = self.counts.as_deref().unwrap_or(row_counts);
        let used = || used.iter().map(|group| *group as usize);
        let counts: Vec<u64> = used().map(|group| counts[group]).collect();
        let longs = |join, values| States::Longs {
            join,
            values,
            counts: counts.clone(),
        };
        let doubles = |join, values| States::Doubles {
            join,
            values,
            counts: counts.clone(),
        };
        let joins = self.joins.into_iter();
        match &self.state {
            State::None => vec![States::Counts(counts)],
            State::Long(join, values) => {
                vec![longs(*join, used().map(|group| values[group]).collect())]
            }
            State::Double(join, values) => {
                vec![doubles(*join, used().map(|group| values[group]).collect())]
            }
            State::Longs(figures) => {
                let of = |join| used().map(|group| figures[group].of(join)).collect();
                joins.map(|join| longs(join, of(join))).collect()
            }
            State::Doubles(figures) => {
                let of = |join| used().map(|group| figures[group].of(join)).collect();
                joins.map(|join| doubles(join, of(join))).collect()
            }
        }
    }
}

/// Adds the values that are not 0, which all others are.
fn add_sparse(
    state: &mut State,
    sparse: SparseValues<'_>,
    rows: BlockRows<'_>,
    slots: Slots<'_>,
    (indices, groups): (&mut Vec<u32>, &mut Vec<u32>),
) {
    let SparseValues {
        positions, values, ..
    } = sparse;
    let first = positions.partition_point(|row| *row < rows.start);
    let positions = &positions[first..];
    let own = positions.partition_point(|row| *row < rows.start + rows.len);
    let own = (first as u32..).zip(&positions[..own]);
    // Of each value that is meant its index, and the place of its row among the rows.
    let mut places = Vec::new();
    indices.clear();
    match rows.picked {
        None => own.for_each(|(index, row)| {
            indices.push(index);
            places.push(row - rows.start);
        }),
        // Each row once: its place is told by how many are picked before it.
        Some(picked) if picked.len() == rows.mask.count() as usize => {
            let before = rows.mask.before();
            for (index, row) in own {
                let row = row - rows.start;
                if rows.mask.contains(row) {
                    indices.push(index);
                    places.push(rows.mask.rank(row, &before));
                }
            }
        }
        Some(picked) => {
            let mut at = 0;
            for (index, row) in own {
                let row = row - rows.start;
                at += picked[at..].partition_point(|picked| *picked < row);
                // A row may be picked more than once.
                while picked.get(at) == Some(&row) {
                    indices.push(index);
                    places.push(at as u32);
                    at += 1;
                }
            }
        }
    }
    state.add(slots.at(&places, groups), Some(indices), values);
}

/// Adds the values behind `indices`, and counts them.
fn look_up(
    lookup: &Lookup<'_>,
    slots: Slots<'_>,
    (counts, state): (&mut Option<Vec<u64>>, &mut State),
    indices: &mut Vec<u32>,
    groups: &mut Vec<u32>,
) {
    if let (Some((base, table)), State::Long(Join::Add, sums), Some(counts)) =
        (&lookup.counted, &mut *state, &mut *counts)
        && fold::counts_with_sums(sums.len())
    {
        return fold::sum_and_count(slots, indices, (*base, table), sums, counts);
    }
    let mut slots = slots;
    if lookup.may_be_null {
        slots = slots.keep(indices, groups, |index| lookup.valid[index as usize]);
    }
    if let Some(counts) = counts {
        fold::count(slots, indices.len(), counts);
    }
    state.add(slots, Some(indices), lookup.values.as_raw());
}

/// Joins the end of a block, of whose values all are meant or else some; `false`: that does not
/// tell.
fn add_end_long(join: Join, state: &mut i64, end: i64, are_all: bool) -> bool {
    let joined = join.long(*state, end);
    let is_known = are_all || joined == *state;
    if is_known {
        *state = joined;
    }
    is_known
}

/// As [`add_end_long`]; zones do not tell one zero from the other.
fn add_end_double(join: Join, state: &mut f64, end: f64, are_all: bool) -> bool {
    let joined = join.double(*state, end);
    let is_known = end != 0.0 && (are_all || joined.to_bits() == state.to_bits());
    if is_known {
        *state = joined;
    }
    is_known
}

impl State {
    /// Joins the values of a block by its ends alone, all of them or else some; `false`: they must
    /// be read. For one group of which no sum is asked for.
    fn add_zone(&mut self, are_all: bool, zone: Option<Zone>) -> bool {
        use Join::{Greatest, Least};
        match (self, zone) {
            (Self::Long(join, state), Some(Zone::I64 { min, max })) => {
                let end = if *join == Least { min } else { max };
                add_end_long(*join, &mut state[0], end, are_all)
            }
            (Self::Longs(state), Some(Zone::I64 { min, max })) => {
                let own = &mut state[0];
                add_end_long(Least, &mut own.least, min, are_all)
                    && add_end_long(Greatest, &mut own.greatest, max, are_all)
            }
            (Self::Double(join, state), Some(Zone::F64 { min, max })) => {
                let end = if *join == Least { min } else { max };
                add_end_double(*join, &mut state[0], end, are_all)
            }
            (Self::Doubles(state), Some(Zone::F64 { min, max })) => {
                let own = &mut state[0];
                add_end_double(Least, &mut own.least, min, are_all)
                    && add_end_double(Greatest, &mut own.greatest, max, are_all)
            }
            _ => false,
        }
    }

    /// Joins the number at `at` to the first group, `times` times.
    fn add_times(&mut self, numbers: &Numbers, at: usize, times: u32) {
        match (self, numbers) {
            (Self::None, _) => {}
            (Self::Long(Join::Add, state), Numbers::Long(values)) => {
                let more = values[at].wrapping_mul(i64::from(times));
                state[0] = state[0].wrapping_add(more);
            }
            (Self::Long(join, state), Numbers::Long(values)) => {
                state[0] = join.long(state[0], values[at]);
            }
            (Self::Longs(state), Numbers::Long(values)) => {
                let (own, value) = (&mut state[0], values[at]);
                own.sum = own.sum.wrapping_add(value.wrapping_mul(i64::from(times)));
                own.least = own.least.min(value);
                own.greatest = own.greatest.max(value);
            }
            (Self::Double(Join::Add, state), Numbers::Double(values)) => {
                state[0] += values[at] * f64::from(times);
            }
            (Self::Double(join, state), Numbers::Double(values)) => {
                state[0] = join.double(state[0], values[at]);
            }
            (Self::Doubles(state), Numbers::Double(values)) => {
                let (own, value) = (&mut state[0], values[at]);
                own.sum += value * f64::from(times);
                own.least = Join::Least.double(own.least, value);
                own.greatest = Join::Greatest.double(own.greatest, value);
            }
            // Numbers are of the state's width.
            _ => {}
        }
    }

    /// Adds up all values of a block to the first group, if that is all that is asked for and they
    /// are stored as differences from one of them.
    fn add_stored(&mut self, values: RawValues<'_>) -> bool {
        let (base, stored) = match values {
            RawValues::U8 { base, values } => (base, Codes::U8(values)),
            RawValues::U16 { base, values } => (base, Codes::U16(values)),
            RawValues::U32 { base, values } => (base, Codes::U32(values)),
            _ => return false,
        };
        let sum = || {
            let bases = i128::from(base) * stored.len() as i128;
            bases + i128::from(fold::sum_of_stored(stored))
        };
        match self {
            Self::Long(Join::Add, state) => state[0] = state[0].wrapping_add(sum() as i64),
            Self::Double(Join::Add, state) => state[0] += sum() as f64,
            _ => return false,
        }
        true
    }

    /// Joins the values; `rows` are among them, `None` = all.
    fn add(&mut self, slots: Slots<'_>, rows: Option<&[u32]>, values: RawValues<'_>) {
        if matches!(slots, Slots::One) && rows.is_none() && self.add_stored(values) {
            return;
        }
        macro_rules! long {
            ($values:expr, $of:expr) => {{
                let (values, of) = ($values, $of);
                let picked = Picked { values, rows };
                match self {
                    Self::None => {}
                    Self::Long(join, state) => join_long(*join, slots, picked, state, of),
                    Self::Longs(state) => figures_long(slots, picked, state, of),
                    Self::Double(join, state) => {
                        join_double(*join, slots, picked, state, |v| of(v) as f64);
                    }
                    Self::Doubles(state) => {
                        figures_double(slots, picked, state, |v| of(v) as f64);
                    }
                }
            }};
        }
        match values {
            RawValues::U8 { base, values } => long!(values, |v| base + i64::from(v)),
            RawValues::U16 { base, values } => long!(values, |v| base + i64::from(v)),
            RawValues::U32 { base, values } => {
                long!(values, |v| base.wrapping_add(i64::from(v)));
            }
            RawValues::Bits { base, bits } => {
                let values = &bits.bytes();
                self.add(slots, rows, RawValues::U8 { base, values });
            }
            RawValues::I32(values) => long!(values, i64::from),
            RawValues::I64(values) => long!(values, |v: i64| v),
            RawValues::F32(_) | RawValues::F64(_) | RawValues::Scaled { .. } => {
                self.add_doubles(slots, rows, values);
            }
            other => {
                let values = longs(other, None);
                long!(values.as_slice(), |v: i64| v);
            }
        }
    }

    /// The same for floats.
    fn add_doubles(&mut self, slots: Slots<'_>, rows: Option<&[u32]>, values: RawValues<'_>) {
        macro_rules! double {
            ($values:expr, $of:expr) => {{
                let picked = Picked {
                    values: $values,
                    rows,
                };
                match self {
                    Self::Double(join, state) => join_double(*join, slots, picked, state, $of),
                    Self::Doubles(state) => figures_double(slots, picked, state, $of),
                    Self::None | Self::Long(..) | Self::Longs(_) => {}
                }
            }};
        }
        match values {
            RawValues::F64(values) => double!(values, f64::from),
            RawValues::F32(values) => double!(values, f64::from),
            // A sum may be a little off, an end may not.
            RawValues::Scaled {
                divisor,
                base,
                stored,
            } if self.only_adds() => {
                let share = 1.0 / divisor;
                match stored {
                    Codes::U8(values) => double!(values, |v| (base + f64::from(v)) * share),
                    Codes::U16(values) => double!(values, |v| (base + f64::from(v)) * share),
                    Codes::U32(values) => double!(values, |v| (base + f64::from(v)) * share),
                }
            }
            RawValues::Scaled {
                divisor,
                base,
                stored,
            } => match stored {
                Codes::U8(values) => double!(values, |v| (base + f64::from(v)) / divisor),
                Codes::U16(values) => double!(values, |v| (base + f64::from(v)) / divisor),
                Codes::U32(values) => double!(values, |v| (base + f64::from(v)) / divisor),
            },
            _ => {}
        }
    }
}
