//! The loops over values and groups.
//!
//! Entry points check lengths; inside, nothing is checked. Few groups get several lanes each, so
//! that an update does not wait for the one before it.

use super::plan::Kind;

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
    /// One for each value; all are below the number of accumulators, which the fold asserts.
    Each(&'a [u32]),
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
            let mut runs = [empty; RUNS];
            let whole = count / RUNS * RUNS;
            for from in (0..whole).step_by(RUNS) {
                for (lane, run) in runs.iter_mut().enumerate() {
                    *run = join(*run, value(from + lane));
                }
            }
            for at in whole..count {
                runs[0] = join(runs[0], value(at));
            }
            accumulators[0] = runs.into_iter().fold(accumulators[0], &join);
        }
        Slots::Each(groups) => {
            assert_eq!(groups.len(), count, "one group for each value");
            check(groups, accumulators.len());
            if accumulators.len() <= LANED_GROUPS_MAX {
                let mut lanes = [empty; LANED_GROUPS_MAX * LANES];
                for (at, group) in groups.iter().enumerate() {
                    let lane = *group as usize * LANES + at % LANES;
                    // SAFETY: every group is below `accumulators.len()`, which was checked and is
                    // at most LANED_GROUPS_MAX.
                    let slot = unsafe { lanes.get_unchecked_mut(lane) };
                    *slot = join(*slot, value(at));
                }
                let lanes = lanes.as_chunks::<LANES>().0;
                for (accumulator, lanes) in accumulators.iter_mut().zip(lanes) {
                    *accumulator = lanes.iter().copied().fold(*accumulator, &join);
                }
            } else {
                for (at, group) in groups.iter().enumerate() {
                    // SAFETY: every group is below `accumulators.len()`, which was checked.
                    let slot = unsafe { accumulators.get_unchecked_mut(*group as usize) };
                    *slot = join(*slot, value(at));
                }
            }
        }
    }
}

fn check(groups: &[u32], limit: usize) {
    let past = groups
        .iter()
        .copied()
        .max()
        .map_or(0, |last| last as usize + 1);
    assert!(past <= limit, "group {past} of {limit}");
}

/// Counts the values of each group.
pub(super) fn count(slots: Slots<'_>, rows: usize, counts: &mut [u64]) {
    match slots {
        Slots::One => counts[0] += rows as u64,
        each => fold(each, rows, counts, 0, |_| 1, |count, one| count + one),
    }
}

pub(super) const fn empty_long(kind: Kind) -> i64 {
    match kind {
        Kind::Min => i64::MAX,
        Kind::Max => i64::MIN,
        Kind::Count | Kind::Sum | Kind::Avg => 0,
    }
}

/// The ends of the total order: NaN is greater than every number.
pub(super) const fn empty_double(kind: Kind) -> f64 {
    match kind {
        Kind::Min => f64::from_bits(0x7fff_ffff_ffff_ffff),
        Kind::Max => f64::from_bits(0xffff_ffff_ffff_ffff),
        Kind::Count | Kind::Sum | Kind::Avg => 0.0,
    }
}

pub(super) fn join_long<T: Copy>(
    kind: Kind,
    slots: Slots<'_>,
    count: usize,
    rows: Option<&[u32]>,
    state: &mut [i64],
    values: &[T],
    of: impl Fn(T) -> i64 + Copy,
) {
    let empty = empty_long(kind);
    macro_rules! with {
        ($join:expr) => {
            match rows {
                None => {
                    let values = &values[..count];
                    fold(slots, count, state, empty, |at| of(values[at]), $join);
                }
                Some(rows) => {
                    fold(
                        slots,
                        count,
                        state,
                        empty,
                        |at| of(values[rows[at] as usize]),
                        $join,
                    );
                }
            }
        };
    }
    match kind {
        Kind::Min => with!(|a: i64, b: i64| a.min(b)),
        Kind::Max => with!(|a: i64, b: i64| a.max(b)),
        Kind::Count | Kind::Sum | Kind::Avg => with!(|a: i64, b: i64| a.wrapping_add(b)),
    }
}

pub(super) fn join_double<T: Copy>(
    kind: Kind,
    slots: Slots<'_>,
    count: usize,
    rows: Option<&[u32]>,
    state: &mut [f64],
    values: &[T],
    of: impl Fn(T) -> f64 + Copy,
) {
    let empty = empty_double(kind);
    macro_rules! with {
        ($join:expr) => {
            match rows {
                None => {
                    let values = &values[..count];
                    fold(slots, count, state, empty, |at| of(values[at]), $join);
                }
                Some(rows) => {
                    fold(
                        slots,
                        count,
                        state,
                        empty,
                        |at| of(values[rows[at] as usize]),
                        $join,
                    );
                }
            }
        };
    }
    match kind {
        Kind::Min => with!(|a: f64, b: f64| if b.total_cmp(&a).is_lt() { b } else { a }),
        Kind::Max => with!(|a: f64, b: f64| if b.total_cmp(&a).is_gt() { b } else { a }),
        Kind::Count | Kind::Sum | Kind::Avg => with!(|a: f64, b: f64| a + b),
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
                Slots::Each(&slots),
                slots.len(),
                &mut found,
                0,
                value,
                |a, b| a + b,
            );
            assert_eq!(found, expected);
        }
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
        count(Slots::Each(&[0, 2, 2]), 3, &mut counts);
        assert_eq!(counts, [1, 0, 2]);
    }

    #[test]
    #[should_panic(expected = "group 4 of 3")]
    fn a_group_that_is_not_there_is_refused() {
        count(Slots::Each(&[0, 3]), 2, &mut [0; 3]);
    }
}
