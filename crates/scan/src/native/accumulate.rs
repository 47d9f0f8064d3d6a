//! Accumulators of one aggregate in one segment: the rows that count, and what is kept of them.

use datafusion::common::Result;
use schemas::TableSpec;
use segment::SegmentView;
use segment::view::Nulls;

use super::counted::{MATRIX_ALWAYS, MATRIX_MAX, Matrix, RowNumbers};
use super::fold::Slots;
use super::input::Input;
use super::keys::Key;
use super::number::BlockRows;
use super::plan::{Aggregate, Kind, Width};
use super::samples::{Sample, Samples};
use super::sets::Sets;
use super::sketches::Sketches;
use super::states::{Moments, States, Texts};
use super::totals::Totals;
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
        best: Vec<u32>,
        least: bool,
        numbers: Vec<u32>,
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
    Matrix(Matrix<'a>),
    Numbers(RowNumbers<'a>),
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
    /// `groups` is the most that there can be, as far as it is known; no more than `rows` rows
    /// come.
    pub(super) fn new(
        aggregate: &Aggregate,
        view: &'a SegmentView,
        spec: &TableSpec,
        compiler: &Compiler<'a, '_>,
        (groups, rows): (Option<usize>, u64),
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
                Self::kept(aggregate, filtered, (groups, rows), key, input)?
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
        (groups, rows): (Option<usize>, u64),
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
            (Kind::ApproxDistinct, _) => Kept::Sketches(Sketches::new(key()?, groups, rows)),
            (Kind::Percentile { .. }, _) => {
                let key = key()?;
                let cells = groups.map(|groups| (groups as u64).saturating_mul(key.domain));
                let most = MATRIX_MAX.min(rows.saturating_mul(4).max(MATRIX_ALWAYS));
                let is_small = cells.is_some_and(|cells| cells <= most);
                if key.is_known() && is_small {
                    Kept::Matrix(Matrix::new(key))
                } else if key.first().is_some() {
                    Kept::Numbers(RowNumbers::new(key))
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
            Kept::Ends { best, .. } => best.capacity() * 4,
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.memory_bytes(),
            Kept::Sketches(sketches) => sketches.memory_bytes(),
            Kept::Moments { sums, .. } => sums.capacity() * size_of::<Shifted>(),
            Kept::Matrix(matrix) => matrix.memory_bytes(),
            Kept::Numbers(numbers) => numbers.memory_bytes(),
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
            // No argument is an entry.
            entries: None,
            ..rows
        };
        let added = self.kept.add(rows, slots);
        (self.rows, self.groups) = (left, groups);
        added
    }

    fn grow(&mut self, groups: usize) {
        match &mut self.kept {
            Kept::Totals(totals) => totals.grow(groups),
            Kept::Ends { best, .. } => best.resize(groups.max(best.len()), u32::MAX),
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.grow(groups),
            Kept::Sketches(sketches) => sketches.grow(groups),
            Kept::Moments { sums, .. } => sums.resize(groups.max(sums.len()), Shifted::default()),
            Kept::Matrix(matrix) => matrix.grow(groups),
            Kept::Numbers(_) => {}
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
                    let better = *own == u32::MAX || (number < *own) == least;
                    if better && Some(u64::from(number)) != null {
                        *own = number;
                    }
                });
            }
            Self::Matrix(matrix) => matrix.add(rows, slots)?,
            Self::Numbers(numbers) => numbers.add(rows, slots)?,
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
                let known = numbers.clone().filter(|n| *n != u32::MAX);
                let known: Vec<u64> = known.map(u64::from).collect();
                let mut places = (0u32..).map(|place| (0, place));
                let best = numbers.map(|number| (number != u32::MAX).then(|| places.next())?);
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
            Self::Matrix(matrix) => States::Samples(matrix.finish(used)?),
            Self::Numbers(numbers) => States::Samples(numbers.finish(used, row_counts.len())),
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
