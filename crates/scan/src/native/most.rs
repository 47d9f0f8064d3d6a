//! The groups that can be among the few with the most rows, or with the greatest sum, mean or end,
//! or that have as much as a condition asks for, found before the groups of segments are joined.
//!
//! A condition sets a mark. Without one, of some groups all rows are counted first, and the last of
//! the best few of them sets it. A group
//! that reaches it in all reaches its share of it in some segment; a mean or an end that reaches it
//! does so in some segment as a whole. So only groups that do are looked for in the other segments,
//! by the order of their dictionaries. What is left out has less than the mark, however equals are
//! ordered.

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

/// Which groups are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// So many that have the most, and all that have as much as the last.
    First(usize),
    /// All that have so much.
    Mark(f64),
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

    /// Of all groups.
    fn rows(&self) -> u64 {
        let mut all = 0;
        self.each(1, |_, rows| all += rows);
        all
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

/// The groups of each segment that are worth joining, when only those within the limit are wanted;
/// `None`: all of them. The groups kept have all their rows, as far as they can be among these.
pub(super) fn left(segments: &[Counts<'_>], limit: Limit) -> Option<Vec<Vec<u32>>> {
    let groups: usize = segments.iter().map(Counts::groups).sum();
    if groups < GROUPS_MIN {
        return None;
    }
    if segments.iter().any(|own| own.measure.is_some()) {
        return left_by_measure(segments, limit, groups);
    }
    let (mark, rows) = match limit {
        Limit::First(few) => {
            let first = segments.iter().map(|own| own.most(few));
            let (first, rows): (Vec<Vec<u32>>, Vec<u64>) = first.unzip();
            (rows_of_last(segments, &first, few)?, rows)
        }
        Limit::Mark(mark) => (mark as u64, segments.iter().map(Counts::rows).collect()),
    };
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

/// The rows of the last of the `few` with the most among those that were picked; `None`: there are
/// fewer.
fn rows_of_last(segments: &[Counts<'_>], picked: &[Vec<u32>], few: usize) -> Option<u64> {
    let codes = joined(segments, picked);
    let mut totals: Vec<u64> = (0..codes.first().map_or(0, Vec::len))
        .map(|value| total(segments, &codes, value))
        .collect();
    let last = few.checked_sub(1).filter(|last| *last < totals.len())?;
    let (_, mark, _) = totals.select_nth_unstable_by_key(last, |total| Reverse(*total));
    Some(*mark)
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
fn left_by_measure(segments: &[Counts<'_>], limit: Limit, groups: usize) -> Option<Vec<Vec<u32>>> {
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
    let mark = match limit {
        Limit::First(few) => measure_of_last(segments, &measures, &all, (rank, few))?,
        Limit::Mark(mark) if rank == Rank::Least => -mark,
        Limit::Mark(mark) => mark,
    };
    let mark = mark - mark.abs() * SLACK;
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

/// What the last of the first `few` has, of all that each segment has; `None`: there are fewer.
fn measure_of_last(
    segments: &[Counts<'_>],
    measures: &[&Measure],
    all: &[Vec<(f64, u32)>],
    (rank, few): (Rank, usize),
) -> Option<f64> {
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
            let parts = segments.iter().zip(measures).zip(&codes);
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
    Some(*mark)
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
mod tests;
