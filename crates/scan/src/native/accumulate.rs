//! Accumulators of one aggregate in one segment: the rows that count, and what is kept of them.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use schemas::TableSpec;
use segment::SegmentView;
use segment::view::Nulls;

use super::distinct::Sets;
use super::fold::Slots;
use super::input::Input;
use super::keys::Key;
use super::number::BlockRows;
use super::plan::{Aggregate, Kind, Width};
use super::samples::{Sample, Samples};
use super::sketches::Sketches;
use super::states::{Moments, States, Texts};
use super::totals::Totals;
use crate::predicate::{Compiled, Compiler, Conjunct, Inputs};
use crate::rows::BlockMask;

/// Counts of a matrix with one for each group and value.
const MATRIX_MAX: u64 = 1 << 22;

#[derive(Debug)]
enum Filter<'a> {
    None,
    Never,
    Rows(Vec<Conjunct<'a>>),
}

#[derive(Debug)]
pub(super) struct Accumulator<'a> {
    kept: Kept<'a>,
    /// Rows to leave out.
    nulls: Option<Nulls<'a>>,
    filter: Filter<'a>,
    rows: Vec<u32>,
    groups: Vec<u32>,
}

#[derive(Debug)]
enum Kept<'a> {
    Totals(Totals<'a>),
    /// The number of the least or greatest value of each group.
    Ends {
        key: Key<'a>,
        best: Vec<u64>,
        least: bool,
        numbers: Vec<u64>,
    },
    /// The same where numbers do not tell: all distinct values.
    EndsOf {
        sets: Sets<'a>,
        least: bool,
    },
    Distinct(Sets<'a>),
    Sketches(Sketches<'a>),
    Moments {
        input: Input<'a>,
        sums: Vec<Shifted>,
    },
    /// How often each value came.
    Matrix {
        key: Key<'a>,
        counts: Vec<u32>,
        numbers: Vec<u64>,
    },
    Samples {
        input: Input<'a>,
        values: Vec<(u32, f64)>,
        groups: usize,
    },
}

/// Sums of the distances from the group's first value, and of their squares.
#[derive(Clone, Copy, Debug, Default)]
struct Shifted {
    count: u64,
    first: f64,
    sum: f64,
    squares: f64,
}

impl Shifted {
    #[inline]
    fn add(&mut self, value: f64) {
        if self.count == 0 {
            self.first = value;
        }
        self.count += 1;
        let distance = value - self.first;
        self.sum += distance;
        self.squares += distance * distance;
    }

    fn moments(&self) -> Moments {
        let count = self.count as f64;
        let mean = if self.count > 0 {
            self.sum / count
        } else {
            0.0
        };
        Moments {
            count: self.count,
            mean: self.first + mean,
            squares: (self.squares - self.sum * mean).max(0.0),
        }
    }
}

impl<'a> Accumulator<'a> {
    /// `groups` is the most that there can be, as far as it is known.
    pub(super) fn new(
        aggregate: &Aggregate,
        view: &'a SegmentView,
        spec: &TableSpec,
        compiler: &Compiler<'a, '_>,
        groups: Option<usize>,
    ) -> Result<Self> {
        let filter = match &aggregate.filter {
            None => Filter::None,
            Some(filter) => match compiler.compile(std::slice::from_ref(filter))? {
                Compiled::Never => Filter::Never,
                Compiled::Rows(conjuncts) if conjuncts.is_empty() => Filter::None,
                Compiled::Rows(conjuncts) => Filter::Rows(conjuncts),
            },
        };
        let (kept, nulls) = match &aggregate.argument {
            None => (
                Kept::Totals(Totals::rows(!matches!(filter, Filter::None))),
                None,
            ),
            Some(argument) => {
                let table = compiler.table_schema;
                let mode = compiler.null_mode;
                let key = || Key::new(argument, compiler);
                let input = || {
                    let inputs = Inputs::of(argument, table)?;
                    let sources = inputs.sources(view, spec, mode)?;
                    Input::new(inputs, sources, aggregate)
                };
                let filtered = !matches!(filter, Filter::None);
                Self::kept(aggregate, filtered, groups, key, input)?
            }
        };
        Ok(Self {
            kept,
            nulls,
            filter,
            rows: Vec::new(),
            groups: Vec::new(),
        })
    }

    fn kept(
        aggregate: &Aggregate,
        filtered: bool,
        groups: Option<usize>,
        key: impl Fn() -> Result<Key<'a>>,
        input: impl Fn() -> Result<(Input<'a>, Option<Nulls<'a>>)>,
    ) -> Result<(Kept<'a>, Option<Nulls<'a>>)> {
        let least = aggregate.kind == Kind::Min;
        let kept = match (aggregate.kind, aggregate.width) {
            (Kind::Distinct, _) => Kept::Distinct(Sets::new(key()?, groups)),
            (Kind::Min | Kind::Max, Width::Own) => {
                let key = key()?;
                match key.is_ordered() {
                    true => Kept::Ends {
                        key,
                        best: Vec::new(),
                        least,
                        numbers: Vec::new(),
                    },
                    false => Kept::EndsOf {
                        sets: Sets::new(key, groups),
                        least,
                    },
                }
            }
            (Kind::ApproxDistinct, _) => Kept::Sketches(Sketches::new(key()?, groups)),
            (Kind::Percentile { .. }, _) => {
                let key = key()?;
                let cells = groups.map(|groups| (groups as u64).saturating_mul(key.domain));
                if key.is_known() && cells.is_some_and(|cells| cells <= MATRIX_MAX) {
                    let (counts, numbers) = (Vec::new(), Vec::new());
                    Kept::Matrix {
                        key,
                        counts,
                        numbers,
                    }
                } else {
                    let (input, nulls) = input()?;
                    let (values, groups) = (Vec::new(), 0);
                    let kept = Kept::Samples {
                        input,
                        values,
                        groups,
                    };
                    return Ok((kept, nulls));
                }
            }
            (Kind::Spread { .. }, _) => {
                let (input, nulls) = input()?;
                let sums = Vec::new();
                return Ok((Kept::Moments { input, sums }, nulls));
            }
            _ => {
                let (input, nulls) = input()?;
                let may_skip = filtered || nulls.is_some();
                let totals = Totals::new(aggregate, input, nulls, may_skip);
                // Null is looked up too: the expression may make a value of it.
                let nulls = nulls.filter(|_| !totals.looks_up());
                return Ok((Kept::Totals(totals), nulls));
            }
        };
        Ok((kept, None))
    }

    /// Whether [`Self::resume`] can take what the other has.
    pub(super) fn continues(&self, other: &Accumulator<'_>) -> bool {
        match (&self.kept, &other.kept) {
            (Kept::Totals(own), Kept::Totals(others)) => own.continues(others),
            _ => false,
        }
    }

    /// Goes on with the sums of another segment, whose groups have the same numbers.
    pub(super) fn resume(&mut self, other: Accumulator<'_>) {
        if let (Kept::Totals(own), Kept::Totals(others)) = (&mut self.kept, other.kept) {
            own.resume(others);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match &self.kept {
            Kept::Totals(totals) => totals.memory_bytes(),
            Kept::Ends { best, .. } => best.capacity() * 8,
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.memory_bytes(),
            Kept::Sketches(sketches) => sketches.memory_bytes(),
            Kept::Moments { sums, .. } => sums.capacity() * size_of::<Shifted>(),
            Kept::Matrix { counts, .. } => counts.capacity() * 4,
            Kept::Samples { values, .. } => values.capacity() * 16,
        }
    }

    /// Adds the rows of a block; with several groups, `groups` has one for each row.
    pub(super) fn add(
        &mut self,
        rows: BlockRows<'_>,
        slots: Slots<'_>,
        group_count: usize,
    ) -> Result<()> {
        self.grow(group_count);
        if matches!(&self.kept, Kept::Totals(totals) if totals.is_of_rows()) {
            return Ok(());
        }
        let Some(mask) = self.left(rows)? else {
            return self.kept.add(rows, slots);
        };
        if mask.is_empty() {
            return Ok(());
        }
        let mut left = std::mem::take(&mut self.rows);
        let mut groups = std::mem::take(&mut self.groups);
        rows.each_into(&mut left, |row| row);
        let slots = slots.keep(&mut left, &mut groups, |row| mask.contains(row));
        let rows = BlockRows {
            picked: Some(&left),
            mask: &mask,
            ..rows
        };
        let added = self.kept.add(rows, slots);
        (self.rows, self.groups) = (left, groups);
        added
    }

    fn grow(&mut self, groups: usize) {
        match &mut self.kept {
            Kept::Totals(totals) => totals.grow(groups),
            Kept::Ends { best, .. } => best.resize(groups.max(best.len()), u64::MAX),
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.grow(groups),
            Kept::Sketches(sketches) => sketches.grow(groups),
            Kept::Moments { sums, .. } => sums.resize(groups.max(sums.len()), Shifted::default()),
            Kept::Matrix { key, counts, .. } => {
                let wanted = groups * key.domain as usize;
                counts.resize(wanted.max(counts.len()), 0);
            }
            Kept::Samples { groups: own, .. } => *own = groups.max(*own),
        }
    }

    /// The rows without those that are null and those that the aggregate's own filter leaves out.
    /// `None`: all.
    fn left(&self, rows: BlockRows<'_>) -> Result<Option<BlockMask>> {
        let nulls = rows.nulls(self.nulls);
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

    /// States of the groups at `used`, which have so many rows.
    pub(super) fn finish(mut self, used: &[u32], row_counts: &[u64]) -> Result<States> {
        self.grow(row_counts.len());
        self.kept.finish(used, row_counts)
    }
}

impl Kept<'_> {
    fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        match self {
            Self::Totals(totals) => totals.add(rows, slots)?,
            Self::EndsOf { sets, .. } | Self::Distinct(sets) => sets.add(rows, slots)?,
            Self::Sketches(sketches) => sketches.add(rows, slots)?,
            Self::Ends {
                key,
                best,
                least,
                numbers,
            } => {
                key.numbers_into(rows, numbers)?;
                let null = key.null_number();
                let least = *least;
                slots.with(numbers, |group, number| {
                    let own = &mut best[group];
                    let better = *own == u64::MAX || (number < *own) == least;
                    if better && Some(number) != null {
                        *own = number;
                    }
                });
            }
            Self::Matrix {
                key,
                counts,
                numbers,
            } => {
                key.numbers_into(rows, numbers)?;
                let domain = key.domain as usize;
                slots.with(numbers, |group, number| {
                    counts[group * domain + number as usize] += 1;
                });
            }
            Self::Moments { input, sums } => {
                input.each_double(rows, slots, |group, value| sums[group].add(value))?;
            }
            Self::Samples { input, values, .. } => {
                let mut add = |group: usize, value| values.push((group as u32, value));
                input.each_double(rows, slots, &mut add)?;
            }
        }
        Ok(())
    }

    fn finish(self, used: &[u32], row_counts: &[u64]) -> Result<States> {
        Ok(match self {
            Self::Totals(totals) => totals.finish(used, row_counts),
            Self::Distinct(sets) => States::Distinct(sets.finish(used)?),
            Self::EndsOf { sets, least } => {
                States::Texts(sets.finish(used)?.ends(used.len(), least))
            }
            Self::Sketches(sketches) => States::Sketches(sketches.finish(used)),
            Self::Ends {
                key, best, least, ..
            } => {
                let numbers = used.iter().map(|group| best[*group as usize]);
                let known: Vec<u64> = numbers.clone().filter(|n| *n != u64::MAX).collect();
                let mut places = (0u32..).map(|place| (0, place));
                let best = numbers.map(|number| (number != u64::MAX).then(|| places.next())?);
                States::Texts(Texts {
                    least,
                    best: best.collect(),
                    arrays: vec![key.values(&known)?],
                })
            }
            Self::Moments { sums, .. } => {
                let moments = used.iter().map(|group| sums[*group as usize].moments());
                States::Moments(moments.collect())
            }
            Self::Matrix { key, counts, .. } => States::Samples(counted(&key, &counts, used)?),
            Self::Samples { values, groups, .. } => {
                let mut place = vec![0; groups];
                for (at, group) in used.iter().enumerate() {
                    place[*group as usize] = at;
                }
                let mut lengths = vec![0; used.len()];
                for (group, _) in &values {
                    lengths[place[*group as usize]] += 1;
                }
                let mut samples: Vec<Vec<f64>> =
                    lengths.into_iter().map(Vec::with_capacity).collect();
                for (group, value) in values {
                    samples[place[group as usize]].push(value);
                }
                let groups = samples.into_iter().map(Sample::Plain).collect();
                States::Samples(Samples { groups })
            }
        })
    }
}

/// The values of each group in ascending order, from how often each number came.
fn counted(key: &Key<'_>, counts: &[u32], used: &[u32]) -> Result<Samples> {
    let domain = key.domain as usize;
    let rows = || used.iter().map(|group| *group as usize * domain);
    let of = |from: usize| &counts[from..from + domain];
    let mut came = vec![false; domain];
    for from in rows() {
        for (came, count) in came.iter_mut().zip(of(from)) {
            *came |= *count > 0;
        }
    }
    let numbers: Vec<u64> = (0u64..)
        .zip(came)
        .filter(|(_, came)| *came)
        .map(|(n, _)| n)
        .collect();
    let values = cast(&key.values(&numbers)?, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let mut order: Vec<(f64, usize)> = (0..numbers.len())
        .filter(|at| values.is_valid(*at))
        .map(|at| (values.value(at), numbers[at] as usize))
        .collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let groups = rows().map(|from| {
        let counts = of(from);
        let each = order
            .iter()
            .map(|(value, number)| (*value, u64::from(counts[*number])));
        Sample::Counted(each.filter(|(_, count)| *count > 0).collect())
    });
    Ok(Samples {
        groups: groups.collect(),
    })
}
