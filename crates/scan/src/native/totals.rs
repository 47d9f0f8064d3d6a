//! Counts, sums and ends of numbers in one segment.

use segment::view::{Codes, Nulls, RawValues};

use datafusion::common::Result;

use super::fold::{self, Picked, Slots, join_double, join_long};
use super::input::{Input, Lookup, read};
use super::number::BlockRows;
use super::plan::{Aggregate, Kind, Width};
use super::states::{Join, States};
use crate::columns::longs;

#[derive(Debug)]
pub(super) struct Totals<'a> {
    input: Input<'a>,
    join: Join,
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

impl<'a> Totals<'a> {
    /// Counts rows, all of them unless some are `filtered` out.
    pub(super) fn rows(filtered: bool) -> Self {
        Self {
            input: Input::Rows,
            join: Join::Add,
            counts: filtered.then(Vec::new),
            state: State::None,
            indices: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub(super) fn new(
        aggregate: &Aggregate,
        input: Input<'a>,
        nulls: Option<Nulls<'a>>,
        filtered: bool,
    ) -> Self {
        let may_skip = nulls.is_some()
            || filtered
            || matches!(input, Input::Lookup { .. } | Input::Evaluated { .. });
        let state = match (aggregate.kind, aggregate.width) {
            (Kind::Count, _) => State::None,
            (_, Width::Double) => State::Double(Vec::new()),
            _ => State::Long(Vec::new()),
        };
        Self {
            input,
            join: aggregate.kind.join(),
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
            State::Long(values) => values.capacity() * 8,
            State::Double(values) => values.capacity() * 8,
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
            State::Long(values) => {
                values.resize(groups.max(values.len()), self.join.empty_long());
            }
            State::Double(values) => {
                values.resize(groups.max(values.len()), self.join.empty_double());
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
            Input::Raw(raw) => {
                let values = raw.values(rows.range());
                self.state.add(self.join, slots, rows.picked, values);
                self.count(slots, rows.count());
            }
            Input::Lookup(lookup) => {
                lookup.indices_into(rows, &mut indices);
                let (counts, state) = (&mut self.counts, &mut self.state);
                look_up(
                    lookup,
                    self.join,
                    slots,
                    (counts, state),
                    &mut indices,
                    &mut groups,
                );
            }
            Input::Evaluated { inputs, sources } => {
                let (numbers, valid) = read((inputs, sources), rows, self.state.width())?;
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
                    self.state.add(self.join, slots, picked, values.as_raw());
                }
                self.count(slots, count);
            }
        }
        (self.indices, self.groups) = (indices, groups);
        Ok(())
    }

    fn count(&mut self, slots: Slots<'_>, rows: usize) {
        if let Some(counts) = &mut self.counts {
            fold::count(slots, rows, counts);
        }
    }

    /// States of the groups at `used`, which have so many rows.
    pub(super) fn finish(self, used: &[u32], row_counts: &[u64]) -> States {
        let counts = self.counts.as_deref().unwrap_or(row_counts);
        let counts: Vec<u64> = used.iter().map(|group| counts[*group as usize]).collect();
        let join = self.join;
        match self.state {
            State::None => States::Counts(counts),
            State::Long(values) => States::Longs {
                join,
                values: used.iter().map(|group| values[*group as usize]).collect(),
                counts,
            },
            State::Double(values) => States::Doubles {
                join,
                values: used.iter().map(|group| values[*group as usize]).collect(),
                counts,
            },
        }
    }
}

/// Adds the values behind `indices`, and counts them.
fn look_up(
    lookup: &Lookup<'_>,
    join: Join,
    slots: Slots<'_>,
    (counts, state): (&mut Option<Vec<u64>>, &mut State),
    indices: &mut Vec<u32>,
    groups: &mut Vec<u32>,
) {
    if let (Some((base, table)), State::Long(sums), Some(counts)) =
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
    state.add(join, slots, Some(indices), lookup.values.as_raw());
}

impl State {
    /// Joins the values; `rows` are among them, `None` = all.
    fn add(&mut self, join: Join, slots: Slots<'_>, rows: Option<&[u32]>, values: RawValues<'_>) {
        macro_rules! long {
            ($values:expr, $of:expr) => {
                if let Self::Long(state) = self {
                    let values = $values;
                    join_long(join, slots, Picked { values, rows }, state, $of);
                } else if let Self::Double(state) = self {
                    let (values, of) = ($values, $of);
                    join_double(join, slots, Picked { values, rows }, state, |v| {
                        of(v) as f64
                    });
                }
            };
        }
        macro_rules! double {
            ($values:expr, $of:expr) => {
                if let Self::Double(state) = self {
                    let values = $values;
                    join_double(join, slots, Picked { values, rows }, state, $of);
                }
            };
        }
        match values {
            RawValues::U8 { base, values } => long!(values, |v| base + i64::from(v)),
            RawValues::U16 { base, values } => long!(values, |v| base + i64::from(v)),
            RawValues::U32 { base, values } => {
                long!(values, |v| base.wrapping_add(i64::from(v)));
            }
            RawValues::Bits { base, bits } => {
                let values = &bits.bytes();
                self.add(join, slots, rows, RawValues::U8 { base, values });
            }
            RawValues::I32(values) => long!(values, i64::from),
            RawValues::I64(values) => long!(values, |v: i64| v),
            RawValues::F64(values) => double!(values, f64::from),
            RawValues::F32(values) => double!(values, f64::from),
            // A sum may be a little off, an end may not.
            RawValues::Scaled {
                divisor,
                base,
                stored,
            } if join == Join::Add => {
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
            other => {
                let values = longs(other, None);
                long!(&values, |v: i64| v);
            }
        }
    }
}
