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

use datafusion::common::{Result, internal_err};
use segment::view::{DictionaryColumn, DocCounts, SeenTexts};

use super::dictionary::{OrderedValues, Value};
use super::fold::{self, Slots};
use super::table::Numbers;

/// So few groups are joined without a choice.
const GROUPS_MIN: usize = 256;
/// More than one group in so many is not worth looking for.
const SHARE_MIN: usize = 4;

const NOWHERE: u64 = u64::MAX;

/// Rows of each group of a segment.
#[derive(Debug)]
pub(super) enum RowCounts<'a> {
    /// Groups behind the last that was found have none.
    Counted(Vec<u64>),
    /// As the dictionary tells them.
    Stored(DocCounts<'a>),
    /// Only whether there are some: a bit for each.
    Marked(Vec<u64>),
}

impl RowCounts<'_> {
    pub(super) fn of(&self, group: u32) -> u64 {
        match self {
            Self::Counted(counts) => counts.get(group as usize).copied().unwrap_or(0),
            Self::Stored(counts) => u64::from(counts.get(group)),
            Self::Marked(bits) => {
                let word = bits.get(group as usize / 64).copied().unwrap_or(0);
                word >> (group % 64) & 1
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Counted(counts) => counts.capacity() * 8,
            Self::Stored(_) => 0,
            Self::Marked(bits) => bits.capacity() * 8,
        }
    }

    /// Adds rows of a block, of one of `groups`.
    pub(super) fn add(&mut self, slots: Slots<'_>, rows: usize, groups: usize) -> Result<()> {
        match self {
            Self::Counted(counts) => {
                counts.resize(groups.max(counts.len()), 0);
                fold::count(slots, rows, counts);
            }
            Self::Marked(bits) => {
                bits.resize(groups.div_ceil(64).max(bits.len()), 0);
                let mut mark = |group: u32| bits[group as usize / 64] |= 1 << (group % 64);
                match slots.groups() {
                    None => mark(0),
                    Some(own) => own.iter().for_each(|group| mark(*group)),
                }
            }
            Self::Stored(_) => return internal_err!("rows that are counted already"),
        }
        Ok(())
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
            Self::Marked(_) if least > 1 => {}
            Self::Marked(bits) => (0u32..).step_by(64).zip(bits).for_each(|(first, word)| {
                let mut left = *word;
                while left != 0 {
                    each(first + left.trailing_zeros(), 1);
                    left &= left - 1;
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

/// A key whose numbers are the codes of a dictionary.
#[derive(Debug)]
pub(super) struct KeyCodes<'p> {
    values: OrderedValues,
    search: Search<'p>,
    /// The code behind those of values.
    null: Option<u32>,
    /// Codes are below it.
    domain: u64,
}

impl<'p> KeyCodes<'p> {
    /// `None`: values of this type are not compared here.
    pub(super) fn new(
        dictionary: &DictionaryColumn<'p>,
        null: Option<u32>,
        domain: u64,
    ) -> Option<Self> {
        let search = match (dictionary.is_ordered(), dictionary.texts()) {
            (true, _) => Search::Ordered,
            (false, Some(texts)) => Search::Hashed(texts),
            (false, None) => Search::Each,
        };
        Some(Self {
            values: OrderedValues::of(&dictionary.array())?,
            search,
            null,
            domain,
        })
    }

    fn at(&self, code: u32) -> Value<'_> {
        match self.null == Some(code) {
            true => Value::Null,
            false => self.values.at(code),
        }
    }

    /// The code of a value. Those before `from` are less, which is told where codes ascend.
    fn find(&self, value: Value<'_>, from: &mut u32) -> Option<u32> {
        match (&self.search, value) {
            (_, Value::Null) => self.null,
            (Search::Ordered, _) => {
                let found = self.values.find(value, *from);
                *from = found.unwrap_or_else(|next| next);
                found.ok()
            }
            (Search::Hashed(texts), Value::Bytes(bytes)) => texts.find(bytes),
            _ => {
                let mut codes = 0..self.values.len() as u32;
                codes.find(|code| self.values.at(*code) == value)
            }
        }
    }
}

/// A segment whose groups are codes of dictionaries, joined to one number, or have one each.
#[derive(Debug)]
pub(super) struct Counts<'p> {
    rows: &'p RowCounts<'p>,
    /// Of each group its number; `None`: they are the same.
    numbers: Option<&'p Numbers>,
    keys: Vec<KeyCodes<'p>>,
    measure: Option<Measure>,
}

impl<'p> Counts<'p> {
    /// `None`: there are no keys, or they cannot be compared.
    pub(super) fn new(
        rows: &'p RowCounts<'p>,
        numbers: Option<&'p Numbers>,
        keys: Option<Vec<KeyCodes<'p>>>,
    ) -> Option<Self> {
        Some(Self {
            rows,
            numbers,
            keys: keys.filter(|keys| !keys.is_empty())?,
            measure: None,
        })
    }

    pub(super) fn with(self, measure: Option<Measure>) -> Self {
        Self { measure, ..self }
    }

    /// Groups that have rows, or could have some.
    fn groups(&self) -> usize {
        let mut all = 0;
        match (self.numbers, &self.keys[..]) {
            (Some(numbers), _) => return numbers.values.len(),
            (None, [key]) => return key.values.len(),
            (None, _) => self.rows.each(1, |_, _| all += 1),
        }
        all
    }

    fn number(&self, group: u32) -> u64 {
        self.numbers
            .map_or(u64::from(group), |all| all.values[group as usize] as u64)
    }

    /// Calls `each` with the numbers that have at least so many rows, and with their rows.
    fn each(&self, least: u64, mut each: impl FnMut(u64, u64)) {
        self.rows
            .each(least, |group, rows| each(self.number(group), rows));
    }

    /// Calls `each` with each group that has rows, and its number.
    fn each_group(&self, mut each: impl FnMut(u32, u64)) {
        self.rows
            .each(1, |group, _| each(group, self.number(group)));
    }

    /// The value of each key of a number, put behind `values`.
    fn values_into<'v>(&'v self, mut number: u64, values: &mut Vec<Value<'v>>) {
        let first = values.len();
        for key in self.keys.iter().rev() {
            values.push(key.at((number % key.domain) as u32));
            number /= key.domain;
        }
        values[first..].reverse();
    }

    /// The number of these values. Those whose first value is before that of `from` are less.
    fn find(&self, values: &[Value<'_>], from: &mut u32) -> Option<u64> {
        let mut keys = self.keys.iter().zip(values);
        let (key, value) = keys.next()?;
        let first = u64::from(key.find(*value, from)?);
        keys.try_fold(first, |number, (key, value)| {
            let code = key.find(*value, &mut 0)?;
            Some(number * key.domain + u64::from(code))
        })
    }

    /// The group of a number.
    fn group(&self, number: u64) -> Option<u32> {
        match self.numbers {
            None => Some(number as u32),
            Some(numbers) => numbers.find(number as i64),
        }
    }

    /// Rows of a number.
    fn of(&self, number: u64) -> u64 {
        self.group(number).map_or(0, |group| self.rows.of(group))
    }

    /// Of all groups.
    fn rows(&self) -> u64 {
        let mut all = 0;
        self.each(1, |_, rows| all += rows);
        all
    }

    /// Some of the numbers with the most rows, and all rows.
    fn most(&self, few: usize) -> (Vec<u64>, u64) {
        let mut best = BinaryHeap::with_capacity(few + 1);
        let (mut least, mut all) = (1, 0);
        self.each(1, |number, rows| {
            all += rows;
            if rows < least {
                return;
            }
            best.push(Reverse((rows, number)));
            if best.len() > few {
                best.pop();
                least = best.peek().map_or(1, |Reverse((rows, _))| rows + 1);
            }
        });
        let best = best.into_iter().map(|Reverse((_, number))| number);
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
            let (first, rows): (Vec<Vec<u64>>, Vec<u64>) = first.unzip();
            (rows_of_last(segments, &first, few)?, rows)
        }
        Limit::Mark(mark) => (mark as u64, segments.iter().map(Counts::rows).collect()),
    };
    let all: u64 = rows.iter().sum();
    let mut reach = Vec::with_capacity(segments.len());
    let mut found = 0;
    for (own, rows) in segments.iter().zip(rows) {
        let share = u128::from(mark.checked_sub(1)?) * u128::from(rows) / u128::from(all.max(1));
        let mut numbers = Vec::new();
        own.each(share as u64 + 1, |number, _| numbers.push(number));
        found += numbers.len();
        if found > groups / SHARE_MIN {
            return None;
        }
        reach.push(numbers);
    }
    Some(kept(segments, &reach))
}

/// The rows of the last of the `few` with the most among those that were picked; `None`: there are
/// fewer.
fn rows_of_last(segments: &[Counts<'_>], picked: &[Vec<u64>], few: usize) -> Option<u64> {
    let numbers = joined(segments, picked);
    let mut totals: Vec<u64> = (0..numbers.first().map_or(0, Vec::len))
        .map(|value| total(segments, &numbers, value))
        .collect();
    let last = few.checked_sub(1).filter(|last| *last < totals.len())?;
    let (_, mark, _) = totals.select_nth_unstable_by_key(last, |total| Reverse(*total));
    Some(*mark)
}

/// The groups of the numbers that reach what is wanted in some segment.
fn kept(segments: &[Counts<'_>], reach: &[Vec<u64>]) -> Vec<Vec<u32>> {
    let numbers = joined(segments, reach);
    let kept = segments.iter().zip(numbers).map(|(own, numbers)| {
        let known = numbers.into_iter().filter(|number| *number != NOWHERE);
        let groups = known.filter_map(|number| own.group(number));
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
        own.each_group(|group, number| all.push((measure.numbers[group as usize], number)));
        all
    };
    let each = segments.iter().zip(&measures);
    let all: Vec<Vec<(f64, u64)>> = each.map(|(own, measure)| own_all(own, measure)).collect();
    let mark = match limit {
        Limit::First(few) => measure_of_last(segments, &measures, &all, (rank, few))?,
        Limit::Mark(mark) if rank == Rank::Least => -mark,
        Limit::Mark(mark) => mark,
    };
    let mark = mark - mark.abs() * SLACK;
    let sums: Vec<f64> = all
        .iter()
        .map(|own| own.iter().map(|(has, _)| has).sum())
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
        let reached = own.iter().filter(|(has, _)| *has >= share);
        let numbers: Vec<u64> = reached.map(|(_, number)| *number).collect();
        found += numbers.len();
        if found > groups / SHARE_MIN {
            return None;
        }
        reach.push(numbers);
    }
    Some(kept(segments, &reach))
}

/// What the last of the first `few` has, of all that each segment has; `None`: there are fewer.
fn measure_of_last(
    segments: &[Counts<'_>],
    measures: &[&Measure],
    all: &[Vec<(f64, u64)>],
    (rank, few): (Rank, usize),
) -> Option<f64> {
    let first = all.iter().map(|own| {
        let mut own = own.clone();
        if own.len() > few {
            own.select_nth_unstable_by(few, |a, b| b.0.total_cmp(&a.0));
            own.truncate(few);
        }
        own.into_iter().map(|(_, number)| number).collect()
    });
    let numbers = joined(segments, &first.collect::<Vec<Vec<u64>>>());
    let mut totals: Vec<f64> = (0..numbers.first()?.len())
        .map(|value| {
            let parts = segments.iter().zip(measures).zip(&numbers);
            let parts = parts.filter_map(|((own, measure), numbers)| {
                let number = Some(numbers[value]).filter(|number| *number != NOWHERE)?;
                let group = own.group(number)?;
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

/// The numbers of all picked groups in each segment, by their values in order.
fn joined(segments: &[Counts<'_>], picked: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let width = segments.first().map_or(0, |own| own.keys.len());
    let mut values: Vec<Value<'_>> = Vec::new();
    // Where the values are, the segment, and the number there.
    let mut all: Vec<(usize, usize, u64)> = Vec::new();
    for (at, (own, numbers)) in segments.iter().zip(picked).enumerate() {
        for number in numbers {
            all.push((values.len(), at, *number));
            own.values_into(*number, &mut values);
        }
    }
    let of = |first: usize| &values[first..first + width];
    all.sort_unstable_by(|a, b| of(a.0).cmp(of(b.0)));
    let mut numbers = vec![Vec::new(); segments.len()];
    let mut firsts = Vec::new();
    for same in all.chunk_by(|a, b| of(a.0) == of(b.0)) {
        numbers.iter_mut().for_each(|own| own.push(NOWHERE));
        for (_, at, number) in same {
            numbers[*at][firsts.len()] = *number;
        }
        firsts.push(same[0].0);
    }
    for (own, numbers) in segments.iter().zip(&mut numbers) {
        let mut from = 0;
        for (first, number) in firsts.iter().zip(numbers) {
            if *number == NOWHERE {
                *number = own.find(of(*first), &mut from).unwrap_or(NOWHERE);
            }
        }
    }
    numbers
}

fn total(segments: &[Counts<'_>], numbers: &[Vec<u64>], value: usize) -> u64 {
    let each = segments.iter().zip(numbers);
    let each = each.filter(|(_, numbers)| numbers[value] != NOWHERE);
    each.map(|(own, numbers)| own.of(numbers[value])).sum()
}

#[cfg(test)]
mod tests;
