//! States of one aggregate, one for each group: those of a segment, and of all segments joined.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Float64Array, Int64Array, UInt64Array, new_null_array,
};
use arrow::compute::interleave;
use datafusion::common::{Result, internal_err};
use index::sketch::HyperLogLog;

use super::aggregate::{Aggregate, Kind, Width};
use super::distinct::Distinct;
use super::general::Columns;
use super::pairs::PairMoments;
use super::plan::Output;
use super::samples::Samples;

/// How a value changes an accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    Add,
    Least,
    Greatest,
}

#[derive(Debug)]
pub(super) enum States {
    Counts(Vec<u64>),
    Longs {
        join: Join,
        values: Vec<i64>,
        counts: Vec<u64>,
    },
    Doubles {
        join: Join,
        values: Vec<f64>,
        counts: Vec<u64>,
    },
    Texts(Texts),
    Moments(Vec<Moments>),
    Distinct(Distinct),
    Sketches(Vec<HyperLogLog>),
    Samples(Samples),
    Pairs(Vec<PairMoments>),
    General(Columns),
}

/// The least or greatest text of each group: in which array, and where there.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) least: bool,
    pub(super) arrays: Vec<ArrayRef>,
    pub(super) best: Vec<Option<(u32, u32)>>,
}

/// Count, mean and the sum of squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    pub(super) fn join(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * (others / self.count as f64);
        self.squares += other.squares + distance * distance * own * (others / self.count as f64);
    }
}

impl Kind {
    pub(super) const fn join(self) -> Join {
        match self {
            Self::Min => Join::Least,
            Self::Max => Join::Greatest,
            _ => Join::Add,
        }
    }
}

impl States {
    /// Of groups without values.
    pub(super) fn empty(aggregate: &Aggregate, groups: usize) -> Result<Self> {
        if let Some(general) = &aggregate.general {
            return Ok(Self::General(Columns::empty(general, groups)?));
        }
        let join = aggregate.kind.join();
        Ok(match (aggregate.kind, aggregate.width) {
            (Kind::Count, _) => Self::Counts(vec![0; groups]),
            (Kind::Distinct, _) => Self::Distinct(Distinct::empty(groups)),
            (Kind::ApproxDistinct, _) => Self::Sketches(vec![HyperLogLog::default(); groups]),
            (Kind::Spread { .. }, _) => Self::Moments(vec![Moments::default(); groups]),
            (Kind::Percentile { .. }, _) => Self::Samples(Samples::empty(groups)),
            (Kind::Pair(_), _) => Self::Pairs(vec![PairMoments::default(); groups]),
            (_, Width::Own) => Self::Texts(Texts {
                least: join == Join::Least,
                arrays: Vec::new(),
                best: vec![None; groups],
            }),
            (_, Width::Long) => Self::Longs {
                join,
                values: vec![join.empty_long(); groups],
                counts: vec![0; groups],
            },
            (_, Width::Double) => Self::Doubles {
                join,
                values: vec![join.empty_double(); groups],
                counts: vec![0; groups],
            },
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Counts(counts) => counts.capacity() * 8,
            Self::Longs { values, .. } => values.capacity() * 16,
            Self::Doubles { values, .. } => values.capacity() * 16,
            Self::Texts(texts) => texts.best.capacity() * 12 + texts.arrays.len() * 64,
            Self::Moments(moments) => moments.capacity() * 24,
            Self::Distinct(distinct) => distinct.memory_bytes(),
            Self::Sketches(sketches) => {
                let own = sketches.capacity() * size_of::<HyperLogLog>();
                own + sketches
                    .iter()
                    .map(HyperLogLog::memory_bytes)
                    .sum::<usize>()
            }
            Self::Samples(samples) => samples.memory_bytes(),
            Self::Pairs(pairs) => pairs.capacity() * size_of::<PairMoments>(),
            Self::General(columns) => columns.memory_bytes(),
        }
    }

    /// Joins the other's state at `row` to the group, for each `(row, group)`.
    pub(super) fn join(&mut self, other: &Self, rows: &[(u32, u32)]) -> Result<()> {
        let pairs = || {
            rows.iter()
                .map(|(row, group)| (*row as usize, *group as usize))
        };
        match (self, other) {
            (Self::Counts(own), Self::Counts(others)) => {
                pairs().for_each(|(row, group)| own[group] += others[row]);
            }
            (
                Self::Longs {
                    join,
                    values,
                    counts,
                },
                Self::Longs {
                    values: others,
                    counts: other_counts,
                    ..
                },
            ) => {
                for (row, group) in pairs() {
                    values[group] = join.long(values[group], others[row]);
                    counts[group] += other_counts[row];
                }
            }
            (
                Self::Doubles {
                    join,
                    values,
                    counts,
                },
                Self::Doubles {
                    values: others,
                    counts: other_counts,
                    ..
                },
            ) => {
                for (row, group) in pairs() {
                    values[group] = join.double(values[group], others[row]);
                    counts[group] += other_counts[row];
                }
            }
            (Self::Texts(own), Self::Texts(others)) => own.join(others, rows),
            (Self::Moments(own), Self::Moments(others)) => {
                pairs().for_each(|(row, group)| own[group].join(others[row]));
            }
            (Self::Sketches(own), Self::Sketches(others)) => {
                pairs().for_each(|(row, group)| own[group].merge(&others[row]));
            }
            (Self::Samples(own), Self::Samples(others)) => own.join(others, rows),
            (Self::Pairs(own), Self::Pairs(others)) => {
                pairs().for_each(|(row, group)| own[group].join(others[row]));
            }
            (Self::General(own), Self::General(others)) => own.join(others, rows)?,
            // Joined by value, with all groups at once.
            (Self::Distinct(_), Self::Distinct(_)) => {}
            _ => return internal_err!("states of two kinds"),
        }
        Ok(())
    }

    /// Nothing more is joined: what is asked for as `output` comes to its last form.
    pub(super) fn settle(&mut self, output: Output) -> Result<()> {
        match self {
            Self::Sketches(sketches) if output == Output::Values => {
                *self = Self::Counts(sketches.iter().map(HyperLogLog::count).collect());
                Ok(())
            }
            Self::General(columns) => columns.settle(output),
            _ => Ok(()),
        }
    }

    /// Final values of the groups; `None` = all.
    pub(super) fn values(&self, aggregate: &Aggregate, groups: Option<&[u32]>) -> Result<ArrayRef> {
        Ok(match self {
            Self::Counts(counts) => longs(pick(counts, groups).map(|count| Some(count as i64))),
            Self::Distinct(distinct) => {
                longs(pick(distinct.counts(), groups).map(|count| Some(count as i64)))
            }
            Self::Longs { counts, .. } | Self::Doubles { counts, .. }
                if aggregate.kind == Kind::Count =>
            {
                longs(pick(counts, groups).map(|count| Some(count as i64)))
            }
            Self::Longs { values, counts, .. } => {
                let pairs = pick(values, groups).zip(pick(counts, groups));
                let pairs = pairs.map(|(value, n)| (n > 0).then_some((value, n)));
                let linear = aggregate.linear;
                match aggregate.kind {
                    Kind::Avg => doubles(
                        pairs.map(|own| own.map(|(sum, n)| linear.exact_sum(sum, n) / n as f64)),
                    ),
                    Kind::Sum => longs(pairs.map(|own| own.map(|(sum, n)| linear.sum(sum, n)))),
                    _ => longs(pairs.map(|own| own.map(|(value, _)| linear.value(value)))),
                }
            }
            Self::Doubles { values, counts, .. } => {
                let pairs = pick(values, groups).zip(pick(counts, groups));
                let is_avg = aggregate.kind == Kind::Avg;
                doubles(pairs.map(|(value, n)| {
                    let divisor = if is_avg { n as f64 } else { 1.0 };
                    (n > 0).then_some(value / divisor)
                }))
            }
            Self::Texts(texts) => texts.array(aggregate, groups)?,
            Self::Moments(moments) => {
                doubles(pick(moments, groups).map(|own| spread(own, aggregate.kind)))
            }
            Self::Sketches(sketches) => {
                let counts = each(sketches.len(), groups).map(|at| sketches[at].count());
                Arc::new(UInt64Array::from_iter_values(counts))
            }
            Self::Samples(samples) => samples.values(aggregate.kind, groups),
            Self::Pairs(pairs) => {
                let Kind::Pair(of) = aggregate.kind else {
                    return internal_err!("pairs of numbers for one number");
                };
                doubles(pick(pairs, groups).map(|own| own.value(of)))
            }
            Self::General(columns) => match columns.of(groups)?.pop() {
                Some(values) => values,
                None => return internal_err!("an aggregate without a column"),
            },
        })
    }

    /// State columns of the groups, as DataFusion lays them out; `None` = all.
    pub(super) fn states(
        &self,
        aggregate: &Aggregate,
        groups: Option<&[u32]>,
    ) -> Result<Vec<ArrayRef>> {
        let with_count = |counts: &[u64], sum: ArrayRef| {
            // Without values the count is null like the sum: 0 would make their quotient NaN.
            let counts = pick(counts, groups).map(|n| (n > 0).then_some(n));
            vec![Arc::new(counts.collect::<UInt64Array>()) as ArrayRef, sum]
        };
        let is_avg = aggregate.kind == Kind::Avg;
        Ok(match self {
            Self::Longs { values, counts, .. } if is_avg => {
                let pairs = pick(values, groups).zip(pick(counts, groups));
                let sum = |sum, n| aggregate.linear.exact_sum(sum, n);
                let sums = doubles(pairs.map(|(own, n)| (n > 0).then(|| sum(own, n))));
                with_count(counts, sums)
            }
            Self::Doubles { values, counts, .. } if is_avg => {
                let pairs = pick(values, groups).zip(pick(counts, groups));
                let sums = doubles(pairs.map(|(sum, n)| (n > 0).then_some(sum)));
                with_count(counts, sums)
            }
            Self::Moments(moments) => {
                let of = |of: fn(Moments) -> f64| doubles(pick(moments, groups).map(of).map(Some));
                let counts = pick(moments, groups).map(|own| own.count);
                vec![
                    Arc::new(UInt64Array::from_iter_values(counts)),
                    of(|own| own.mean),
                    of(|own| own.squares),
                ]
            }
            Self::Distinct(distinct) => vec![distinct.lists(aggregate, groups)?],
            Self::Sketches(sketches) => {
                let mut states = BinaryBuilder::new();
                let mut state = Vec::new();
                for at in each(sketches.len(), groups) {
                    state.clear();
                    match sketches.len() {
                        // There may be no keys at all.
                        1 => sketches[at].write_registers(&mut state),
                        _ => sketches[at].clone().write_state(&mut state),
                    }
                    states.append_value(&state);
                }
                vec![Arc::new(states.finish())]
            }
            Self::Samples(samples) => samples.states(aggregate.kind, groups)?,
            Self::General(columns) => columns.of(groups)?,
            Self::Pairs(pairs) => pair_states(pairs, aggregate.kind, groups)?,
            others => vec![others.values(aggregate, groups)?],
        })
    }
}

fn pair_states(pairs: &[PairMoments], kind: Kind, groups: Option<&[u32]>) -> Result<Vec<ArrayRef>> {
    let Kind::Pair(of) = kind else {
        return internal_err!("pairs of numbers for one number");
    };
    let counts = pick(pairs, groups).map(|own| own.count);
    let mut columns = vec![Arc::new(UInt64Array::from_iter_values(counts)) as ArrayRef];
    let width = PairMoments::default().state(of).len();
    for at in 0..width {
        let values = pick(pairs, groups).map(|own| Some(own.state(of)[at]));
        columns.push(doubles(values));
    }
    Ok(columns)
}

fn spread(own: Moments, kind: Kind) -> Option<f64> {
    let Kind::Spread { sample, root } = kind else {
        return None;
    };
    let divisor = own
        .count
        .checked_sub(u64::from(sample))
        .filter(|n| *n > 0)?;
    let variance = own.squares / divisor as f64;
    Some(if root { variance.sqrt() } else { variance })
}

impl Texts {
    fn value(&self, at: (u32, u32)) -> &[u8] {
        use arrow::array::AsArray;
        let (array, row) = (&self.arrays[at.0 as usize], at.1 as usize);
        match array.as_string_view_opt() {
            Some(texts) => texts.value(row).as_bytes(),
            None => array.as_binary_view().value(row),
        }
    }

    fn join(&mut self, others: &Self, rows: &[(u32, u32)]) {
        let first = self.arrays.len() as u32;
        self.arrays.extend(others.arrays.iter().map(Arc::clone));
        for (row, group) in rows {
            let Some((array, at)) = others.best[*row as usize] else {
                continue;
            };
            self.improve(*group as usize, (first + array, at));
        }
    }

    /// Keeps what was found, if it is better than what is known.
    pub(super) fn improve(&mut self, group: usize, found: (u32, u32)) {
        let better = match self.best[group] {
            None => true,
            Some(own) if self.least => self.value(found) < self.value(own),
            Some(own) => self.value(found) > self.value(own),
        };
        if better {
            self.best[group] = Some(found);
        }
    }

    fn array(&self, aggregate: &Aggregate, groups: Option<&[u32]>) -> Result<ArrayRef> {
        let null = new_null_array(&aggregate.result, 1);
        let mut arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        arrays.push(null.as_ref());
        let none = (arrays.len() - 1, 0);
        let places = pick(&self.best, groups);
        let places =
            places.map(|at| at.map_or(none, |(array, row)| (array as usize, row as usize)));
        Ok(interleave(&arrays, &places.collect::<Vec<_>>())?)
    }
}

/// Indices of the groups; `None` = all `count`.
pub(super) fn each(count: usize, groups: Option<&[u32]>) -> impl Iterator<Item = usize> + '_ {
    let count = groups.map_or(count, <[u32]>::len);
    (0..count).map(move |at| groups.map_or(at, |groups| groups[at] as usize))
}

pub(super) fn pick<'a, T: Copy>(
    values: &'a [T],
    groups: Option<&'a [u32]>,
) -> impl Iterator<Item = T> + 'a {
    each(values.len(), groups).map(|at| values[at])
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn doubles(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}
