//! Accumulators of aggregates that read the same in one segment: the rows that count, and what is
//! kept of them.

use datafusion::common::{Result, internal_err};
use segment::view::Nulls;

use super::aggregate::{Aggregate, Kind, Width};
use super::counted::{MATRIX_ALWAYS, MATRIX_MAX, Matrix, RowNumbers};
use super::fold::Slots;
use super::general::Gathering;
use super::input::{Input, Numbers};
use super::keys::Key;
use super::most::{Measure, Rank, RowCounts};
use super::number::BlockRows;
use super::pairs::Pairs;
use super::samples::{Sample, Samples};
use super::sets::Sets;
use super::sketches::Sketches;
use super::states::{Moments, States, Texts};
use super::totals::Totals;
use crate::predicate::{Compiled, Compiler, Conjunct};
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
    /// Known already, for all aggregates: no row is to be added.
    Told(Vec<States>),
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
    Pairs(Box<Pairs<'a>>),
    General(Box<Gathering<'a>>),
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

    fn add_times(&mut self, value: f64, times: u32) {
        if times == 0 {
            return;
        }
        self.add(value);
        let (distance, more) = (value - self.first, f64::from(times - 1));
        self.count += u64::from(times - 1);
        self.sum += distance * more;
        self.squares += distance * distance * more;
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
    /// What others found.
    pub(super) fn told(states: Vec<States>) -> Self {
        Self {
            kept: Kept::Told(states),
            nulls: None,
            filter: Filter::None,
            rows: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Of `aggregates` that [read the same](Aggregate::reads_with). `groups` is the most that there
    /// can be, as far as it is known; no more than `rows` rows come.
    pub(super) fn new(
        aggregates: &[Aggregate],
        compiler: &Compiler<'a, '_>,
        (groups, rows): (Option<usize>, u64),
    ) -> Result<Self> {
        let aggregate = &aggregates[0];
        let filter = match &aggregate.filter {
            None => Filter::None,
            Some(filter) => match compiler.compile(std::slice::from_ref(filter))? {
                Compiled::Never => Filter::Never,
                Compiled::Rows(conjuncts) if conjuncts.is_empty() => Filter::None,
                Compiled::Rows(conjuncts) => Filter::Rows(conjuncts),
            },
        };
        let (kept, nulls) = match (&aggregate.argument, &aggregate.general) {
            (_, Some(general)) => {
                let gathering = Gathering::new(general, aggregate, compiler)?;
                (Kept::General(Box::new(gathering)), None)
            }
            (None, None) => (
                Kept::Totals(Totals::rows(!matches!(filter, Filter::None))),
                None,
            ),
            (Some(argument), None) => {
                let key = || Key::new(argument, compiler);
                let input_of = |argument| {
                    let (inputs, sources) = compiler.inputs(argument)?;
                    Input::new(inputs, sources, aggregate, compiler.options)
                };
                let input = || input_of(argument);
                let filtered = !matches!(filter, Filter::None);
                match &aggregate.more[..] {
                    [other] => {
                        let pairs = Pairs::new([input()?, input_of(other)?]);
                        (Kept::Pairs(Box::new(pairs)), None)
                    }
                    _ => Self::kept(aggregates, filtered, (groups, rows), key, input)?,
                }
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
        aggregates: &[Aggregate],
        filtered: bool,
        (groups, rows): (Option<usize>, u64),
        key: impl Fn() -> Result<Key<'a>>,
        input: impl Fn() -> Result<(Input<'a>, Option<Nulls<'a>>)>,
    ) -> Result<(Kept<'a>, Option<Nulls<'a>>)> {
        let aggregate = &aggregates[0];
        let least = aggregate.kind == Kind::Min;
        let kept = match (aggregate.kind, aggregate.width) {
            (Kind::Distinct, _) => Kept::Distinct(Sets::new(key()?.in_order(rows), groups)),
            (Kind::Min | Kind::Max, Width::Own) => {
                let key = key()?.in_order(rows);
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
                let totals = Totals::new(aggregates, input, nulls, may_skip);
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
            (Kept::Sketches(own), Kept::Sketches(others)) => own.continues(others),
            _ => false,
        }
    }

    /// Goes on with the sums of another segment, whose groups have the same numbers.
    pub(super) fn resume(&mut self, other: Accumulator<'_>) {
        match (&mut self.kept, other.kept) {
            (Kept::Totals(own), Kept::Totals(others)) => own.resume(others),
            (Kept::Sketches(own), Kept::Sketches(others)) => own.resume(others),
            _ => {}
        }
    }

    /// What each group has by now of the aggregate at `at`; `None`: that is not told, or some group
    /// has nothing.
    pub(super) fn measure(&self, what: (usize, Rank), rows: &RowCounts<'_>) -> Option<Measure> {
        match (&self.kept, rows) {
            (Kept::Totals(totals), RowCounts::Counted(rows)) => totals.measure(what, rows),
            _ => None,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match &self.kept {
            Kept::Told(states) => states.iter().map(States::memory_bytes).sum(),
            Kept::Totals(totals) => totals.memory_bytes(),
            Kept::Ends { best, .. } => best.capacity() * 4,
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.memory_bytes(),
            Kept::Sketches(sketches) => sketches.memory_bytes(),
            Kept::Moments { sums, .. } => sums.capacity() * size_of::<Shifted>(),
            Kept::Matrix(matrix) => matrix.memory_bytes(),
            Kept::Numbers(numbers) => numbers.memory_bytes(),
            Kept::Samples { values, .. } => values.capacity() * 16,
            Kept::Pairs(pairs) => pairs.memory_bytes(),
            Kept::General(gathering) => gathering.memory_bytes(),
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
        match &self.kept {
            Kept::Told(_) => return Ok(()),
            Kept::Totals(totals) if totals.is_of_rows() => return Ok(()),
            _ => {}
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
            Kept::Told(_) => {}
            Kept::Totals(totals) => totals.grow(groups),
            Kept::Ends { best, .. } => best.resize(groups.max(best.len()), u32::MAX),
            Kept::EndsOf { sets, .. } | Kept::Distinct(sets) => sets.grow(groups),
            Kept::Sketches(sketches) => sketches.grow(groups),
            Kept::Moments { sums, .. } => sums.resize(groups.max(sums.len()), Shifted::default()),
            Kept::Matrix(matrix) => matrix.grow(groups),
            Kept::Numbers(_) => {}
            Kept::Samples { groups: own, .. } => *own = groups.max(*own),
            Kept::Pairs(pairs) => pairs.grow(groups),
            Kept::General(gathering) => gathering.grow(groups),
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

    /// Adds all `rows` of the segment to the only group; `false`: they must be read for that. A
    /// filter is not looked at.
    pub(super) fn add_whole(&mut self, rows: u32) -> Result<bool> {
        self.grow(1);
        let null = self.nulls.map_or(0, |nulls| nulls.count());
        self.kept.add_whole(rows, null)
    }

    /// States of the groups at `used`, which have so many rows: one for each aggregate.
    pub(super) fn finish(mut self, used: &[u32], row_counts: &[u64]) -> Result<Vec<States>> {
        self.grow(row_counts.len());
        match self.kept {
            Kept::Told(states) => Ok(states),
            Kept::Totals(totals) => Ok(totals.finish(used, row_counts)),
            kept => Ok(vec![kept.finish(used, row_counts)?]),
        }
    }
}

/// Keeps the least or greatest number of each slot, and never that of null.
fn improve(key: &Key<'_>, slots: Slots<'_>, numbers: &[u32], (best, least): (&mut [u32], bool)) {
    let null = key.null_number();
    slots.with(numbers, |group, number| {
        let own = &mut best[group];
        let better = *own == u32::MAX || (number < *own) == least;
        if better && Some(u64::from(number)) != null {
            *own = number;
        }
    });
}

impl Kept<'_> {
    fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        match self {
            Self::Told(_) => {}
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
                improve(key, slots, numbers, (best, *least));
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
            Self::Pairs(pairs) => pairs.add(rows, slots)?,
            Self::General(gathering) => gathering.add(rows, slots)?,
        }
        Ok(())
    }

    /// Adds all rows, `null` of which have no value, by how many there are of each number.
    fn add_whole(&mut self, rows: u32, null: u32) -> Result<bool> {
        match self {
            Self::Told(_) => {}
            Self::Totals(totals) => return totals.add_whole(rows, null),
            Self::Ends {
                key, best, least, ..
            } => {
                let Some(numbers) = key.numbers_of_all(rows) else {
                    return Ok(false);
                };
                improve(key, Slots::One, &numbers, (best, *least));
            }
            Self::EndsOf { sets, .. } | Self::Distinct(sets) => return sets.add_whole(rows),
            Self::Sketches(sketches) => return sketches.add_whole(rows),
            Self::Matrix(matrix) => return Ok(matrix.add_whole(rows)),
            Self::Moments {
                input: Input::Lookup(lookup),
                sums,
            } => {
                let Numbers::Double(values) = &lookup.values else {
                    return Ok(false);
                };
                let weighted = values.iter().zip(&lookup.valid).zip(lookup.weights());
                for ((value, _), weight) in weighted.filter(|((_, valid), _)| **valid) {
                    sums[0].add_times(*value, weight);
                }
            }
            Self::Moments { .. }
            | Self::Numbers(_)
            | Self::Samples { .. }
            | Self::Pairs(_)
            | Self::General(_) => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, used: &[u32], row_counts: &[u64]) -> Result<States> {
        Ok(match self {
            Self::Told(_) | Self::Totals(_) => {
                return internal_err!("states of several aggregates");
            }
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
            Self::Pairs(pairs) => States::Pairs(pairs.finish(used)),
            Self::General(gathering) => States::General(gathering.finish(used)?),
        })
    }
}
