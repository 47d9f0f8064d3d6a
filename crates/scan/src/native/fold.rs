//! The loops over values and groups.
//!
//! Groups are checked once, when [`RowGroups`] is made; inside, nothing is checked. Few groups get
//! several lanes each, so that an update does not wait for the one before it.

use segment::BLOCK_ROWS;
use segment::view::Codes;

use super::states::Join;

/// Groups up to this many are updated in lanes.
const LANED_GROUPS_MAX: usize = 64;
const LANES: usize = 4;
/// Independent sums of a run of values that all belong to one group.
const RUNS: usize = 8;

/// Where each value goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slots<'a> {
    /// All to the first.
    One,
    /// One for each value.
    Each(RowGroups<'a>),
}

/// Groups, all of them below `limit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowGroups<'a> {
    groups: &'a [u32],
    limit: usize,
    /// Of [`NEIGHBOURS`] values so many have the group of the one before.
    alike: usize,
}

/// Values that are looked at to see whether they have the groups of those before, and how many of
/// them must.
const NEIGHBOURS: usize = 32;
const NEIGHBOURS_ALIKE: usize = 28;

fn neighbours_alike(groups: &[u32]) -> usize {
    let step = groups.len() / NEIGHBOURS;
    if step <= 1 {
        return 0;
    }
    let alike = |at: &usize| groups[*at] == groups[*at + 1];
    let looked_at = (0..groups.len() - 1).step_by(step);
    looked_at.filter(alike).count()
}

impl<'a> RowGroups<'a> {
    pub(super) fn new(groups: &'a [u32], limit: usize) -> Self {
        let greatest = groups.iter().copied().max();
        let past = greatest.map_or(0, |last| last as usize + 1);
        assert!(past <= limit, "group {past} of {limit}");
        Self {
            groups,
            limit,
            alike: neighbours_alike(groups),
        }
    }

    /// Most values have the group of the one before, as in a segment that is in the order of its
    /// groups.
    fn in_runs(&self) -> bool {
        self.alike >= NEIGHBOURS_ALIKE
    }

    /// Some of them, in their order.
    fn of_some(self, groups: &[u32]) -> RowGroups<'_> {
        RowGroups { groups, ..self }
    }
}

impl<'a> Slots<'a> {
    /// The slot of each value; `None`: all have the first.
    pub(super) fn groups(self) -> Option<&'a [u32]> {
        match self {
            Self::One => None,
            Self::Each(RowGroups { groups, .. }) => Some(groups),
        }
    }

    /// Half of the values or more have the slot of the one before.
    pub(super) fn repeat(self) -> bool {
        matches!(self, Self::Each(own) if own.alike >= NEIGHBOURS / 2)
    }

    /// Calls `each` with the slot of each value.
    #[inline(always)]
    pub(super) fn with<T: Copy>(self, values: &[T], mut each: impl FnMut(usize, T)) {
        match self {
            Self::One => values.iter().for_each(|value| each(0, *value)),
            Self::Each(RowGroups { groups, .. }) => {
                let pairs = groups.iter().zip(values);
                pairs.for_each(|(group, value)| each(*group as usize, *value));
            }
        }
    }

    /// Leaves out of `indices`, one for each value, those that are not to be kept. The slots of
    /// the others are made in `kept`.
    pub(super) fn keep<'k>(
        self,
        indices: &mut Vec<u32>,
        kept: &'k mut Vec<u32>,
        keep: impl Fn(u32) -> bool,
    ) -> Slots<'k> {
        let Self::Each(own) = self else {
            indices.retain(|index| keep(*index));
            return Slots::One;
        };
        let groups = own.groups;
        assert_eq!(groups.len(), indices.len(), "one group for each value");
        kept.clear();
        kept.resize(groups.len(), 0);
        let mut count = 0;
        // Without a branch: what is not kept is overwritten by the next.
        for (at, group) in groups.iter().enumerate() {
            let index = indices[at];
            indices[count] = index;
            kept[count] = *group;
            count += usize::from(keep(index));
        }
        indices.truncate(count);
        kept.truncate(count);
        Slots::Each(own.of_some(kept))
    }

    /// The slots of the values at `places`, made in `kept`.
    pub(super) fn at<'k>(self, places: &[u32], kept: &'k mut Vec<u32>) -> Slots<'k> {
        let Self::Each(own) = self else {
            return Slots::One;
        };
        kept.clear();
        kept.extend(places.iter().map(|at| own.groups[*at as usize]));
        Slots::Each(own.of_some(kept))
    }
}

/// Folds `count` values `value(0..count)` into their accumulators. `empty` changes nothing when it
/// is joined to an accumulator.
#[inline(always)]
fn fold<T: Copy>(
    slots: Slots<'_>,
    count: usize,
    accumulators: &mut [T],
    empty: T,
    value: impl Fn(usize) -> T,
    join: impl Fn(T, T) -> T,
) {
    match slots {
        Slots::One => {
            accumulators[0] = fold_run(0..count, accumulators[0], empty, value, join);
        }
        Slots::Each(own) => {
            let RowGroups { groups, limit, .. } = own;
            assert_eq!(groups.len(), count, "one group for each value");
            let known = accumulators.len();
            assert!(limit <= known, "{limit} groups and {known} accumulators");
            if own.in_runs() {
                let mut from = 0;
                for run in groups.chunk_by(|a, b| a == b) {
                    let slot = &mut accumulators[run[0] as usize];
                    let past = from + run.len();
                    *slot = fold_run(from..past, *slot, empty, &value, &join);
                    from = past;
                }
            } else if accumulators.len() <= LANED_GROUPS_MAX {
                let mut lanes = [empty; LANED_GROUPS_MAX * LANES];
                for (at, group) in groups.iter().enumerate() {
                    let lane = *group as usize * LANES + at % LANES;
                    // SAFETY: every group is below `limit`, which is at most `accumulators.len()`,
                    // which is at most LANED_GROUPS_MAX.
                    let slot = unsafe { lanes.get_unchecked_mut(lane) };
                    *slot = join(*slot, value(at));
                }
                let lanes = lanes.as_chunks::<LANES>().0;
                for (accumulator, lanes) in accumulators.iter_mut().zip(lanes) {
                    *accumulator = lanes.iter().copied().fold(*accumulator, &join);
                }
            } else {
                for (at, group) in groups.iter().enumerate() {
                    // SAFETY: every group is below `limit`, which is at most `accumulators.len()`.
                    let slot = unsafe { accumulators.get_unchecked_mut(*group as usize) };
                    *slot = join(*slot, value(at));
                }
            }
        }
    }
}

/// Folds values that all belong to one accumulator.
#[inline(always)]
fn fold_run<T: Copy>(
    run: std::ops::Range<usize>,
    accumulator: T,
    empty: T,
    value: impl Fn(usize) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    if run.len() < RUNS {
        return run.fold(accumulator, |sum, at| join(sum, value(at)));
    }
    let mut lanes = [empty; RUNS];
    let whole = run.start + run.len() / RUNS * RUNS;
    for from in (run.start..whole).step_by(RUNS) {
        for (lane, own) in lanes.iter_mut().enumerate() {
            *own = join(*own, value(from + lane));
        }
    }
    for at in whole..run.end {
        lanes[0] = join(lanes[0], value(at));
    }
    lanes.into_iter().fold(accumulator, join)
}

/// Counts the values of each group.
pub(super) fn count(slots: Slots<'_>, rows: usize, counts: &mut [u64]) {
    match slots {
        Slots::One => counts[0] += rows as u64,
        each => fold(each, rows, counts, 0, |_| 1, |count, one| count + one),
    }
}

/// A number that is below 2^32, counted: the sum of so many as a block has rows keeps the count in
/// the upper 16 bits and the sum in the lower 48.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted(u64);

impl Counted {
    /// Adds nothing and counts nothing.
    pub(super) const NOTHING: Self = Self(0);

    const COUNT_AT: u32 = 48;

    pub(super) fn new(number: u32) -> Self {
        Self((1 << Self::COUNT_AT) | u64::from(number))
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// Whether [`sum_and_count`] can be used for so many groups.
pub(super) const fn counts_with_sums(groups: usize) -> bool {
    groups <= LANED_GROUPS_MAX
}

/// Adds up and counts the numbers of a block at once; each is `base` plus what is in `table` at its
/// index.
pub(super) fn sum_and_count(
    slots: Slots<'_>,
    indices: &[u32],
    (base, table): (i64, &[Counted]),
    sums: &mut [i64],
    counts: &mut [u64],
) {
    assert!(indices.len() <= BLOCK_ROWS as usize, "more than a block");
    assert!(counts_with_sums(sums.len()) && counts.len() == sums.len());
    let mut both = [Counted::NOTHING; LANED_GROUPS_MAX];
    let both = &mut both[..sums.len()];
    let number = |at: usize| table[indices[at] as usize];
    fold(
        slots,
        indices.len(),
        both,
        Counted::NOTHING,
        number,
        Counted::plus,
    );
    for ((both, sum), all) in both.iter().zip(sums).zip(counts) {
        let count = both.0 >> Counted::COUNT_AT;
        let more = (both.0 & ((1 << Counted::COUNT_AT) - 1)) as i64;
        *sum = sum.wrapping_add(more.wrapping_add(base.wrapping_mul(count as i64)));
        *all += count;
    }
}

/// The sum of the values of a block as they are stored.
pub(super) fn sum_of_stored(stored: Codes<'_>) -> u64 {
    assert!(stored.len() <= BLOCK_ROWS as usize, "more than a block");
    match stored {
        // So many of these fit into 32 bits, of which vectors hold more.
        Codes::U8(values) => values
            .iter()
            .map(|value| u32::from(*value))
            .sum::<u32>()
            .into(),
        Codes::U16(values) => values
            .iter()
            .map(|value| u32::from(*value))
            .sum::<u32>()
            .into(),
        Codes::U32(values) => values.iter().map(|value| u64::from(*value)).sum(),
    }
}

impl Join {
    pub(super) const fn empty_long(self) -> i64 {
        match self {
            Self::Least => i64::MAX,
            Self::Greatest => i64::MIN,
            Self::Add => 0,
        }
    }

    /// The ends of the total order: NaN is greater than every number.
    pub(super) const fn empty_double(self) -> f64 {
        match self {
            Self::Least => f64::from_bits(0x7fff_ffff_ffff_ffff),
            Self::Greatest => f64::from_bits(0xffff_ffff_ffff_ffff),
            Self::Add => 0.0,
        }
    }

    #[inline]
    pub(super) fn long(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Least => a.min(b),
            Self::Greatest => a.max(b),
            Self::Add => a.wrapping_add(b),
        }
    }

    #[inline]
    pub(super) fn double(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Least => lesser(a, b),
            Self::Greatest => greater(a, b),
            Self::Add => a + b,
        }
    }
}

#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if b.total_cmp(&a).is_lt() { b } else { a }
}

#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if b.total_cmp(&a).is_gt() { b } else { a }
}

/// Values of a block and which of them are meant; `None` = all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked<'a, T> {
    pub(super) values: &'a [T],
    pub(super) rows: Option<&'a [u32]>,
}

pub(super) fn join_long<T: Copy>(
    how: Join,
    slots: Slots<'_>,
    picked: Picked<'_, T>,
    state: &mut [i64],
    of: impl Fn(T) -> i64 + Copy,
) {
    let empty = how.empty_long();
    match how {
        Join::Least => join_picked(slots, picked, state, empty, of, i64::min),
        Join::Greatest => join_picked(slots, picked, state, empty, of, i64::max),
        Join::Add => join_picked(slots, picked, state, empty, of, i64::wrapping_add),
    }
}

pub(super) fn join_double<T: Copy>(
    how: Join,
    slots: Slots<'_>,
    picked: Picked<'_, T>,
    state: &mut [f64],
    of: impl Fn(T) -> f64 + Copy,
) {
    let empty = how.empty_double();
    match how {
        Join::Least => join_picked(slots, picked, state, empty, of, lesser),
        Join::Greatest => join_picked(slots, picked, state, empty, of, greater),
        Join::Add => join_picked(slots, picked, state, empty, of, |a, b| a + b),
    }
}

/// The sum and the ends of the values of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures<T> {
    pub(super) sum: T,
    pub(super) least: T,
    pub(super) greatest: T,
}

impl<T: Copy> Figures<T> {
    pub(super) const fn of(&self, join: Join) -> T {
        match join {
            Join::Add => self.sum,
            Join::Least => self.least,
            Join::Greatest => self.greatest,
        }
    }

    const fn of_one(value: T) -> Self {
        Self {
            sum: value,
            least: value,
            greatest: value,
        }
    }
}

impl Figures<i64> {
    pub(super) const EMPTY: Self = Self {
        sum: Join::Add.empty_long(),
        least: Join::Least.empty_long(),
        greatest: Join::Greatest.empty_long(),
    };
}

impl Figures<f64> {
    pub(super) const EMPTY: Self = Self {
        sum: Join::Add.empty_double(),
        least: Join::Least.empty_double(),
        greatest: Join::Greatest.empty_double(),
    };
}

/// As [`join_long`], in all ways at once.
pub(super) fn figures_long<T: Copy>(
    slots: Slots<'_>,
    picked: Picked<'_, T>,
    state: &mut [Figures<i64>],
    of: impl Fn(T) -> i64 + Copy,
) {
    let joins = (i64::wrapping_add, i64::min, i64::max);
    join_figures(slots, picked, state, Figures::<i64>::EMPTY, of, joins);
}

/// As [`join_double`], in all ways at once.
pub(super) fn figures_double<T: Copy>(
    slots: Slots<'_>,
    picked: Picked<'_, T>,
    state: &mut [Figures<f64>],
    of: impl Fn(T) -> f64 + Copy,
) {
    let joins = (|a, b| a + b, lesser, greater);
    join_figures(slots, picked, state, Figures::<f64>::EMPTY, of, joins);
}

#[inline(always)]
fn join_figures<T: Copy, S: Copy>(
    slots: Slots<'_>,
    picked: Picked<'_, T>,
    state: &mut [Figures<S>],
    empty: Figures<S>,
    of: impl Fn(T) -> S + Copy,
    (add, lesser, greater): (
        impl Fn(S, S) -> S + Copy,
        impl Fn(S, S) -> S + Copy,
        impl Fn(S, S) -> S + Copy,
    ),
) {
    if let (Slots::One, Some(own)) = (slots, state.first_mut()) {
        // One after the other these loops become vectors.
        let from_mut = std::slice::from_mut;
        join_picked(slots, picked, from_mut(&mut own.sum), empty.sum, of, add);
        join_picked(
            slots,
            picked,
            from_mut(&mut own.least),
            empty.least,
            of,
            lesser,
        );
        let greatest = from_mut(&mut own.greatest);
        return join_picked(slots, picked, greatest, empty.greatest, of, greater);
    }
    let one = |value| Figures::of_one(of(value));
    join_picked(slots, picked, state, empty, one, |a, b| Figures {
        sum: add(a.sum, b.sum),
        least: lesser(a.least, b.least),
        greatest: greater(a.greatest, b.greatest),
    });
}

#[inline(always)]
fn join_picked<T: Copy, S: Copy>(
    slots: Slots<'_>,
    Picked { values, rows }: Picked<'_, T>,
    state: &mut [S],
    empty: S,
    of: impl Fn(T) -> S + Copy,
    join: impl Fn(S, S) -> S + Copy,
) {
    match rows {
        None => fold(slots, values.len(), state, empty, |at| of(values[at]), join),
        Some(rows) => {
            let value = |at: usize| of(values[rows[at] as usize]);
            fold(slots, rows.len(), state, empty, value, join);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_change_nothing() {
        for groups in [1usize, 2, 64, 65, 1000] {
            let slots: Vec<u32> = (0..1003u32).map(|at| at * 7 % groups as u32).collect();
            let mut expected = vec![5i64; groups];
            slots
                .iter()
                .enumerate()
                .for_each(|(at, slot)| expected[*slot as usize] += at as i64);
            let mut found = vec![5i64; groups];
            let value = |at: usize| at as i64;
            fold(
                Slots::Each(RowGroups::new(&slots, groups)),
                slots.len(),
                &mut found,
                0,
                value,
                |a, b| a + b,
            );
            assert_eq!(found, expected);
        }
        // Runs of one length after the other, some of them single.
        let slots: Vec<u32> = (0..2000u32).map(|at| at.isqrt() * 37 % 100).collect();
        assert!(RowGroups::new(&slots, 100).in_runs());
        let mut expected = vec![5i64; 100];
        let pairs = slots.iter().zip(0..);
        pairs.for_each(|(slot, at)| expected[*slot as usize] += at);
        let mut found = vec![5i64; 100];
        let groups = Slots::Each(RowGroups::new(&slots, 100));
        fold(groups, 2000, &mut found, 0, |at| at as i64, |a, b| a + b);
        assert_eq!(found, expected);
        let mut least = [9i64];
        fold(
            Slots::One,
            21,
            &mut least,
            i64::MAX,
            |at| 20 - at as i64,
            i64::min,
        );
        assert_eq!(least, [0]);
        let mut counts = [0u64; 3];
        count(each(&[0, 2, 2], 3), 3, &mut counts);
        assert_eq!(counts, [1, 0, 2]);
    }

    #[test]
    fn what_is_left_out_takes_its_slot_along() {
        let (mut indices, mut kept) = (vec![5, 6, 7, 8], vec![9; 9]);
        let slots = each(&[0, 1, 2, 1], 3).keep(&mut indices, &mut kept, |index| index != 6);
        let mut counts = [0u64; 3];
        count(slots, 3, &mut counts);
        assert_eq!((counts, indices), ([1, 1, 1], vec![5, 7, 8]));
    }

    #[test]
    fn sums_come_with_their_counts() {
        let table = [
            Counted::new(0),
            Counted::new(u32::MAX),
            Counted::new(7),
            Counted::NOTHING,
        ];
        let base = i64::from(i32::MIN);
        let numbers = [0, i64::from(u32::MAX), 7];
        let indices: Vec<u32> = (0..BLOCK_ROWS)
            .map(|at| if at < 3 { at + 1 } else { 1 })
            .collect();
        for groups in [vec![0u32; 4096], (0..4096).map(|at| at % 3).collect()] {
            let mut expected = vec![(10i64, 1u64); 3];
            for (group, index) in groups.iter().zip(&indices) {
                if let Some(number) = numbers.get(*index as usize) {
                    expected[*group as usize].0 += base + number;
                    expected[*group as usize].1 += 1;
                }
            }
            let (mut sums, mut counts) = (vec![10; 3], vec![1; 3]);
            let slots = each(&groups, 3);
            sum_and_count(slots, &indices, (base, &table), &mut sums, &mut counts);
            let found: Vec<(i64, u64)> = sums.into_iter().zip(counts).collect();
            assert_eq!(found, expected);
        }
    }

    fn each(groups: &[u32], limit: usize) -> Slots<'_> {
        Slots::Each(RowGroups::new(groups, limit))
    }

    #[test]
    #[should_panic(expected = "group 4 of 3")]
    fn a_group_that_is_not_there_is_refused() {
        RowGroups::new(&[0, 3], 3);
    }
}
