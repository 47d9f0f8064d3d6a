//! The groups that can be among the few with the most rows, or with the greatest sum, mean or end,
//! found before the groups of segments are joined.
//!
//! Of some groups all rows are counted first; the last of the best few of them sets a mark. A group
//! that reaches it in all reaches its share of it in some segment; a mean or an end that reaches it
//! does so in some segment as a whole. So only groups that do are looked for in the other segments,
//! by the order of their dictionaries. What is left out has less than the few others, however its
//! equals are ordered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use segment::view::{DictionaryColumn, DocCounts, SeenTexts};

use super::dictionary::{OrderedValues, Value};
use super::table::Numbers;

/// So few groups are joined without a choice.
const GROUPS_MIN: usize = 256;
/// More than one group in so many is not worth looking for.
const SHARE_MIN: usize = 4;

const NOWHERE: u32 = u32::MAX;

/// Rows of each group of a segment.
#[derive(Debug)]
pub(super) enum RowCounts<'a> {
    /// Groups behind the last that was found have none.
    Counted(Vec<u64>),
    /// As the dictionary tells them.
    Stored(DocCounts<'a>),
}

impl RowCounts<'_> {
    pub(super) fn of(&self, group: u32) -> u64 {
        match self {
            Self::Counted(counts) => counts.get(group as usize).copied().unwrap_or(0),
            Self::Stored(counts) => u64::from(counts.get(group)),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Counted(counts) => counts.capacity() * 8,
            Self::Stored(_) => 0,
        }
    }

    /// The groups that have at least so many rows, with their rows.
    pub(super) fn each(&self, least: u64, mut each: impl FnMut(u32, u64)) {
        match self {
            Self::Counted(counts) => (0u32..).zip(counts).for_each(|(group, rows)| {
                if *rows >= least {
                    each(group, *rows);
                }
            }),
            Self::Stored(counts) => counts.each(|group, rows| {
                if u64::from(rows) >= least {
                    each(group, u64::from(rows));
                }
            }),
        }
    }

    /// The groups that have rows.
    pub(super) fn used(&self) -> Vec<u32> {
        let mut used = Vec::new();
        self.each(1, |group, _| used.push(group));
        used
    }
}

/// What of each group the first in an order are chosen by, beside its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Of numbers whose sum in no segment is below 0.
    Sum,
    Mean,
    Greatest,
    Least,
}

/// What the first groups in an order are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Rows,
    /// The aggregate at `at` of a run of those that read the same.
    Aggregate {
        run: usize,
        at: usize,
        rank: Rank,
    },
}

/// What the groups of a segment have, and of how many values. Of [`Rank::Least`] it is negated.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) rank: Rank,
    pub(super) numbers: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

/// What doubles may have lost.
const SLACK: f64 = 1e-9;

/// How the code of a value is found.
#[derive(Debug)]
enum Search<'p> {
    /// Codes ascend with the values.
    Ordered,
    Hashed(SeenTexts<'p>),
    /// There are few.
    Each,
}

/// A segment whose groups are codes of a dictionary, or have one each.
#[derive(Debug)]
pub(super) struct Counts<'p> {
    rows: &'p RowCounts<'p>,
    /// Of each group its code; `None`: they are the same.
    codes: Option<&'p Numbers>,
    values: OrderedValues,
    search: Search<'p>,
    /// The code behind those of values.
    null: Option<u32>,
    measure: Option<Measure>,
}

impl<'p> Counts<'p> {
    /// `None`: values of this type are not compared here.
    pub(super) fn new(
        rows: &'p RowCounts<'p>,
        codes: Option<&'p Numbers>,
        dictionary: &DictionaryColumn<'p>,
        null: Option<u32>,
    ) -> Option<Self> {
        let search = match (dictionary.is_ordered(), dictionary.texts()) {
            (true, _) => Search::Ordered,
            (false, Some(texts)) => Search::Hashed(texts),
            (false, None) => Search::Each,
        };
        Some(Self {
            rows,
            codes,
            values: OrderedValues::of(&dictionary.array())?,
            search,
            null,
            measure: None,
        })
    }

    pub(super) fn with(self, measure: Option<Measure>) -> Self {
        Self { measure, ..self }
    }

    /// Groups that there could be.
    fn groups(&self) -> usize {
        self.codes
            .map_or(self.values.len(), |codes| codes.values.len())
    }

    /// Calls `each` with the codes that have at least so many rows, and with their rows.
    fn each(&self, least: u64, mut each: impl FnMut(u32, u64)) {
        match self.codes {
            None => self.rows.each(least, each),
            Some(codes) => self.rows.each(least, |group, rows| {
                each(codes.values[group as usize] as u32, rows)
            }),
        }
    }

    /// Calls `each` with each group that has rows, and its code, but for that of null.
    fn each_group(&self, mut each: impl FnMut(u32, u32)) {
        self.rows.each(1, |group, _| {
            let code = self
                .codes
                .map_or(group, |codes| codes.values[group as usize] as u32);
            if Some(code) != self.null {
                each(group, code);
            }
        });
    }

    /// The code of a value. Those before `from` are less, which is told where codes ascend.
    fn find(&self, value: Value<'_>, from: &mut u32) -> Option<u32> {
        match (&self.search, value) {
            (Search::Ordered, _) => {
                let found = self.values.find(value, *from);
                *from = found.map_or_else(|next| next, |code| code + 1);
                found.ok()
            }
            (Search::Hashed(texts), Value::Bytes(bytes)) => texts.find(bytes),
            _ => {
                let mut codes = 0..self.values.len() as u32;
                codes.find(|code| self.values.at(*code) == value)
            }
        }
    }

    /// The group of a code.
    fn group(&self, code: u32) -> Option<u32> {
        match self.codes {
            None => Some(code),
            Some(codes) => codes.find(i64::from(code)),
        }
    }

    /// Rows of a code.
    fn of(&self, code: u32) -> u64 {
        self.group(code).map_or(0, |group| self.rows.of(group))
    }

    /// Some of the codes with the most rows, and all rows.
    fn most(&self, few: usize) -> (Vec<u32>, u64) {
        let mut best = BinaryHeap::with_capacity(few + 1);
        let (mut least, mut all) = (1, 0);
        self.each(1, |code, rows| {
            all += rows;
            if rows < least || Some(code) == self.null {
                return;
            }
            best.push(Reverse((rows, code)));
            if best.len() > few {
                best.pop();
                least = best.peek().map_or(1, |Reverse((rows, _))| rows + 1);
            }
        });
        let best = best.into_iter().map(|Reverse((_, code))| code);
        (best.collect(), all)
    }
}

/// The groups of each segment that are worth joining, when only the `few` with the most rows in
/// all are wanted and those that have as many; `None`: all of them. The groups kept have all their
/// rows, as far as they can be among these.
pub(super) fn left(segments: &[Counts<'_>], few: usize) -> Option<Vec<Vec<u32>>> {
    let groups: usize = segments.iter().map(Counts::groups).sum();
    if groups < GROUPS_MIN {
        return None;
    }
    if segments.iter().any(|own| own.measure.is_some()) {
        return left_by_measure(segments, few, groups);
    }
    let (first, rows): (Vec<Vec<u32>>, Vec<u64>) = segments.iter().map(|own| own.most(few)).unzip();
    let codes = joined(segments, &first);
    let mut totals: Vec<u64> = (0..codes.first().map_or(0, Vec::len))
        .map(|value| total(segments, &codes, value))
        .collect();
    let last = few.checked_sub(1)?;
    if totals.len() < few {
        return None;
    }
    let (_, mark, _) = totals.select_nth_unstable_by_key(last, |total| Reverse(*total));
    let mark = *mark;
    let all: u64 = rows.iter().sum();
    let mut reach = Vec::with_capacity(segments.len());
    let mut found = 0;
    for (own, rows) in segments.iter().zip(rows) {
        let share = u128::from(mark.checked_sub(1)?) * u128::from(rows) / u128::from(all.max(1));
        let mut codes = Vec::new();
        own.each(share as u64 + 1, |code, _| {
            if Some(code) != own.null {
                codes.push(code);
            }
        });
        found += codes.len();
        if found > groups / SHARE_MIN {
            return None;
        }
        reach.push(codes);
    }
    Some(kept(segments, &reach))
}

/// The groups of the codes that reach what is wanted in some segment, and those of null.
fn kept(segments: &[Counts<'_>], reach: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let codes = joined(segments, reach);
    let kept = segments.iter().zip(codes).map(|(own, codes)| {
        let codes = codes.into_iter().chain(own.null);
        let known = codes.filter(|code| *code != NOWHERE);
        let groups = known.filter_map(|code| own.group(code));
        groups.filter(|group| own.rows.of(*group) > 0).collect()
    });
    kept.collect()
}

/// As [`left`], by what else is known of each group of every segment.
fn left_by_measure(segments: &[Counts<'_>], few: usize, groups: usize) -> Option<Vec<Vec<u32>>> {
    let measures = segments.iter().map(|own| own.measure.as_ref());
    let measures = measures.collect::<Option<Vec<&Measure>>>()?;
    let rank = measures.first()?.rank;
    let own_all = |own: &Counts<'_>, measure: &Measure| {
        let mut all = Vec::new();
        own.each_group(|group, code| all.push((measure.numbers[group as usize], code)));
        all
    };
    let each = segments.iter().zip(&measures);
    let all: Vec<Vec<(f64, u32)>> = each.map(|(own, measure)| own_all(own, measure)).collect();
    let first = all.iter().map(|own| {
        let mut own = own.clone();
        if own.len() > few {
            own.select_nth_unstable_by(few, |a, b| b.0.total_cmp(&a.0));
            own.truncate(few);
        }
        own.into_iter().map(|(_, code)| code).collect()
    });
    let codes = joined(segments, &first.collect::<Vec<Vec<u32>>>());
    let mut totals: Vec<f64> = (0..codes.first()?.len())
        .map(|value| {
            let parts = segments.iter().zip(&measures).zip(&codes);
            let parts = parts.filter_map(|((own, measure), codes)| {
                let group = own
                    .group(codes[value])
                    .filter(|_| codes[value] != NOWHERE)?;
                let is_there = own.rows.of(group) > 0;
                let at = group as usize;
                is_there.then(|| (measure.numbers[at], measure.counts[at]))
            });
            rank.total(parts)
        })
        .collect();
    let last = few.checked_sub(1).filter(|last| *last < totals.len())?;
    let (_, mark, _) = totals.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    let mark = *mark - mark.abs() * SLACK;
    let sums: Vec<f64> = all
        .iter()
        .map(|own| own.iter().map(|(number, _)| number).sum())
        .collect();
    let whole: f64 = sums.iter().sum();
    if rank == Rank::Sum && (mark <= 0.0 || !whole.is_finite()) {
        return None;
    }
    let mut found = 0;
    let mut reach = Vec::with_capacity(segments.len());
    for (own, sum) in all.iter().zip(sums) {
        let share = match rank {
            Rank::Sum => mark * (sum / whole) * (1.0 - SLACK),
            _ => mark,
        };
        let codes = own.iter().filter(|(number, _)| *number >= share);
        let codes: Vec<u32> = codes.map(|(_, code)| *code).collect();
        found += codes.len();
        if found > groups / SHARE_MIN {
            return None;
        }
        reach.push(codes);
    }
    Some(kept(segments, &reach))
}

impl Rank {
    /// Of what is in each segment.
    fn total(self, parts: impl Iterator<Item = (f64, u64)>) -> f64 {
        match self {
            Self::Sum => parts.map(|(sum, _)| sum).sum(),
            Self::Greatest | Self::Least => {
                parts.map(|(end, _)| end).fold(f64::NEG_INFINITY, f64::max)
            }
            Self::Mean => {
                let (sum, count) = parts.fold((0.0, 0), |(sum, count), (mean, own)| {
                    (sum + mean * own as f64, count + own)
                });
                sum / count as f64
            }
        }
    }
}

/// The codes of all picked values in each segment, value by value in their order.
fn joined(segments: &[Counts<'_>], picked: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut all: Vec<(Value<'_>, usize, u32)> = Vec::new();
    for (at, (own, codes)) in segments.iter().zip(picked).enumerate() {
        all.extend(codes.iter().map(|code| (own.values.at(*code), at, *code)));
    }
    all.sort_unstable();
    let mut codes = vec![Vec::new(); segments.len()];
    let mut values = Vec::new();
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        values.push(same[0].0);
        codes.iter_mut().for_each(|codes| codes.push(NOWHERE));
        for (_, at, code) in same {
            codes[*at][values.len() - 1] = *code;
        }
    }
    for (own, codes) in segments.iter().zip(&mut codes) {
        let mut from = 0;
        for (value, code) in values.iter().zip(codes) {
            match *code {
                NOWHERE => *code = own.find(*value, &mut from).unwrap_or(NOWHERE),
                known => from = known + 1,
            }
        }
    }
    codes
}

fn total(segments: &[Counts<'_>], codes: &[Vec<u32>], value: usize) -> u64 {
    let each = segments.iter().zip(codes);
    let each = each.filter(|(_, codes)| codes[value] != NOWHERE);
    each.map(|(own, codes)| own.of(codes[value])).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn mix(value: u64) -> u64 {
        let product = u128::from(value ^ 0x9e37_79b9) * 0xd6e8_feb8_6659_fd93;
        (product >> 64) as u64 ^ product as u64
    }

    /// Values of one segment in the order of its codes, each with its rows.
    fn segment(seed: u64, skew: u64, is_ordered: bool) -> Vec<(i64, u64)> {
        let mut values: Vec<(i64, u64)> = (0..900u64)
            .filter(|value| !mix(seed ^ (value << 20)).is_multiple_of(3))
            .map(|value| {
                let rows = 3_000 / (1 + value * skew) + mix(seed + value) % 4;
                ((mix(value) >> 1) as i64, rows)
            })
            .collect();
        if is_ordered {
            values.sort_unstable();
        }
        values
    }

    #[test]
    fn the_few_with_the_most_rows_keep_all_of_them() {
        for (skew, few, parts) in [(1, 10, 4), (1, 1, 2), (3, 25, 7), (1, 100, 1)] {
            let segments: Vec<Vec<(i64, u64)>> = (0..parts)
                .map(|at| segment(at * 77, skew, at != 2))
                .collect();
            let mut totals: HashMap<i64, u64> = HashMap::new();
            for (value, rows) in segments.iter().flatten() {
                *totals.entry(*value).or_default() += rows;
            }
            let mut ranks: Vec<u64> = totals.values().copied().collect();
            ranks.sort_unstable_by_key(|rows| Reverse(*rows));
            // In some the groups have come in another order than that of their codes.
            let codes = segments.iter().enumerate().map(|(at, own)| {
                let mut codes = Numbers::default();
                let backwards: Vec<i64> = (0..own.len() as i64).rev().collect();
                codes.number(&backwards, |_, _| {});
                (at % 3 == 1).then_some(codes)
            });
            let codes: Vec<Option<Numbers>> = codes.collect();
            let code = |at: usize, group: usize| match &codes[at] {
                None => group,
                Some(codes) => codes.values[group] as usize,
            };
            let rows = segments.iter().enumerate().map(|(at, own)| {
                let rows = (0..own.len()).map(|group| own[code(at, group)].1);
                RowCounts::Counted(rows.collect())
            });
            let rows: Vec<RowCounts<'_>> = rows.collect();
            let counts: Vec<Counts<'_>> = segments
                .iter()
                .zip(&rows)
                .enumerate()
                .map(|(at, (own, rows))| Counts {
                    rows,
                    codes: codes[at].as_ref(),
                    values: OrderedValues::Longs(own.iter().map(|(value, _)| *value).collect()),
                    search: if at == 2 {
                        Search::Each
                    } else {
                        Search::Ordered
                    },
                    null: None,
                    measure: None,
                })
                .collect();
            let left = left(&counts, few).unwrap();
            let kept: usize = left.iter().map(Vec::len).sum();
            let groups: usize = segments.iter().map(Vec::len).sum();
            assert!(kept < groups / 2, "{kept} of {groups}");
            let mut found: HashMap<i64, u64> = HashMap::new();
            for (at, (own, kept)) in segments.iter().zip(&left).enumerate() {
                for group in kept {
                    let (value, rows) = own[code(at, *group as usize)];
                    *found.entry(value).or_default() += rows;
                }
            }
            for (value, rows) in &totals {
                match found.get(value) {
                    Some(found) if *rows >= ranks[few - 1] => assert_eq!(found, rows),
                    Some(found) => assert!(found <= rows),
                    None => assert!(*rows < ranks[few - 1]),
                }
            }
        }
    }

    /// What each group has in a segment, where it has rows.
    fn number(rank: Rank, seed: u64, value: i64) -> f64 {
        let drawn = mix(seed ^ value as u64);
        let own = (mix(value as u64) % 1000) as f64 + (drawn % 50) as f64;
        match rank {
            // A few have much more than all others.
            Rank::Sum => own * if value % 40 == 0 { 30.0 } else { 1.0 },
            _ => own - 300.0,
        }
    }

    #[test]
    fn the_few_with_the_greatest_sums_means_and_ends_keep_all_of_them() {
        for rank in [Rank::Sum, Rank::Mean, Rank::Greatest, Rank::Least] {
            let segments: Vec<Vec<(i64, u64)>> = (0..4)
                .map(|at| segment(at * 77, 1, true).into_iter())
                .map(|own| own.filter(|(_, rows)| *rows > 0).collect())
                .collect();
            let numbers: Vec<Vec<f64>> = (0u64..)
                .zip(&segments)
                .map(|(seed, own)| own.iter().map(|(v, _)| number(rank, seed, *v)).collect())
                .collect();
            let rows = segments
                .iter()
                .map(|own| own.iter().map(|(_, rows)| *rows).collect());
            let rows: Vec<RowCounts<'_>> = rows.map(RowCounts::Counted).collect();
            let parts = segments.iter().zip(&numbers).zip(&rows);
            let counts = parts.map(|((own, numbers), rows)| Counts {
                rows,
                codes: None,
                values: OrderedValues::Longs(own.iter().map(|(value, _)| *value).collect()),
                search: Search::Ordered,
                null: None,
                measure: Some(Measure {
                    rank,
                    numbers: numbers.clone(),
                    counts: own.iter().map(|(_, rows)| *rows).collect(),
                }),
            });
            let counts: Vec<Counts<'_>> = counts.collect();
            let left = left(&counts, 10).unwrap();
            let mut parts: HashMap<i64, Vec<(f64, u64)>> = HashMap::new();
            let mut kept: HashMap<i64, usize> = HashMap::new();
            for ((own, numbers), left) in segments.iter().zip(&numbers).zip(&left) {
                for ((value, rows), number) in own.iter().zip(numbers) {
                    parts.entry(*value).or_default().push((*number, *rows));
                }
                for group in left {
                    *kept.entry(own[*group as usize].0).or_default() += 1;
                }
            }
            assert!(kept.len() < parts.len() / 2, "{rank:?}: {}", kept.len());
            let total = |value: &i64| rank.total(parts[value].iter().copied());
            let mut best: Vec<i64> = parts.keys().copied().collect();
            best.sort_unstable_by(|a, b| total(b).total_cmp(&total(a)));
            for value in &best[..10] {
                let all = parts[value].len();
                assert_eq!(kept.get(value), Some(&all), "{rank:?}");
            }
        }
    }

    #[test]
    fn null_is_kept_and_what_is_alike_is_not_chosen_from() {
        let rows = RowCounts::Counted((0..2_001).map(|at| 5 + at / 2_000 * 100).collect());
        let of = |rows| Counts {
            rows,
            codes: None,
            values: OrderedValues::Longs((0..2_000).collect()),
            search: Search::Ordered,
            null: Some(2_000),
            measure: None,
        };
        assert_eq!(left(&[of(&rows)], 3), None);
        let rows = RowCounts::Counted((0..2_001).map(|at| 5 + at % 500).collect());
        let kept = vec![499, 999, 1499, 1999, 2000];
        assert_eq!(left(&[of(&rows)], 4), Some(vec![kept.clone()]));
        // No row of the second one matched.
        let none = RowCounts::Counted(Vec::new());
        assert_eq!(
            left(&[of(&rows), of(&none)], 4),
            Some(vec![kept, Vec::new()])
        );
    }
}
