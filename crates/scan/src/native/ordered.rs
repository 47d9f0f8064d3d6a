//! Distinct values by the codes of a dictionary: for each code the groups of its rows.
//!
//! Segments are joined value by value, as their dictionaries ascend, so that nothing is hashed and
//! what is read lies side by side. Several threads take ranges of values.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::common::{Result, internal_datafusion_err};

use super::dictionary::OrderedValues;
use super::distinct::Share;
use super::plan::Output;

#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) dictionary: ArrayRef,
    values: OrderedValues,
    /// Where the groups of each code begin, and the end of the last.
    starts: Vec<u32>,
    /// A group may come more than once for a code.
    groups: Vec<u32>,
}

/// With fewer pairs than one for so many codes, only codes that occur are kept.
const CODES_PER_PAIR: usize = 8;

/// Pairs of a group and a code, given as often as they are asked for, in the same order.
pub(super) trait Pairs {
    fn count_at_most(&self) -> usize;

    fn each(&self, each: impl FnMut(u32, u32));
}

impl Pairs for Vec<(u32, u32)> {
    fn count_at_most(&self) -> usize {
        self.len()
    }

    fn each(&self, mut each: impl FnMut(u32, u32)) {
        self.iter().for_each(|(group, code)| each(*group, *code));
    }
}

impl Ordered {
    pub(super) fn new(dictionary: (ArrayRef, OrderedValues), pairs: &impl Pairs) -> Result<Self> {
        let count = pairs.count_at_most();
        if count * CODES_PER_PAIR >= dictionary.1.len() {
            return Ok(Self::dense(dictionary, pairs));
        }
        Self::sparse(&dictionary.0, pairs)
    }

    /// Of few pairs: only the codes that occur are kept.
    fn sparse(values: &ArrayRef, pairs: &impl Pairs) -> Result<Self> {
        let mut packed = Vec::with_capacity(pairs.count_at_most());
        pairs.each(|group, code| packed.push(u64::from(code) << 32 | u64::from(group)));
        packed.sort_unstable();
        packed.dedup();
        let (mut codes, mut starts) = (Vec::new(), Vec::new());
        for (at, pair) in (0..).zip(&packed) {
            let code = (pair >> 32) as u32;
            if codes.last() != Some(&code) {
                codes.push(code);
                starts.push(at);
            }
        }
        starts.push(packed.len() as u32);
        let dictionary = take(values, &UInt32Array::from(codes), None)?;
        Ok(Self {
            values: compared(&dictionary)?,
            dictionary,
            starts,
            groups: packed.into_iter().map(|pair| pair as u32).collect(),
        })
    }

    fn dense((dictionary, values): (ArrayRef, OrderedValues), pairs: &impl Pairs) -> Self {
        let mut starts = vec![0u32; values.len() + 1];
        pairs.each(|_, code| starts[code as usize + 1] += 1);
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut groups = vec![0; sum as usize];
        let mut next = starts.clone();
        pairs.each(|group, code| {
            let next = &mut next[code as usize];
            groups[*next as usize] = group;
            *next += 1;
        });
        Self {
            dictionary,
            values,
            starts,
            groups,
        }
    }

    /// Of pairs of a group and an index among `values`.
    pub(super) fn of_members(values: &ArrayRef, pairs: &[(u32, u32)]) -> Result<Self> {
        let all = compared(values)?;
        let mut items: Vec<u32> = pairs.iter().map(|(_, item)| *item).collect();
        items.sort_unstable();
        items.dedup();
        let mut by_value: Vec<u32> = (0..items.len() as u32).collect();
        by_value.sort_by(|a, b| {
            let value = |at: &u32| all.at(items[*at as usize]);
            value(a).cmp(&value(b))
        });
        // Of each item its place in the order; equal ones have the same.
        let mut places = vec![0; items.len()];
        let mut codes: Vec<u32> = Vec::with_capacity(items.len());
        for at in by_value {
            let item = items[at as usize];
            let last = codes.last().map(|last| all.at(*last));
            if last != Some(all.at(item)) {
                codes.push(item);
            }
            places[at as usize] = codes.len() as u32 - 1;
        }
        let dictionary = take(values, &UInt32Array::from(codes), None)?;
        let pairs = pairs.iter().map(|(group, item)| {
            let at = items.partition_point(|other| other < item);
            (*group, places[at])
        });
        let pairs: Vec<(u32, u32)> = pairs.collect();
        let ordered = (ArrayRef::clone(&dictionary), compared(&dictionary)?);
        Ok(Self::dense(ordered, &pairs))
    }

    /// Pairs of a group and a value.
    pub(super) fn pairs(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        (self.starts.capacity() + self.groups.capacity()) * 4
    }

    fn groups_at(&self, code: u32) -> &[u32] {
        let code = code as usize;
        &self.groups[self.starts[code] as usize..self.starts[code + 1] as usize]
    }

    /// The first code from `code` on, and before `end`, that has groups; `end`: there is none.
    #[inline(always)]
    fn next_used(&self, mut code: u32, end: u32) -> u32 {
        while code < end && self.starts[code as usize] == self.starts[code as usize + 1] {
            code += 1;
        }
        code
    }

    /// The values that occur, and the pairs of a group and an index among them.
    pub(super) fn members(&self) -> Result<(ArrayRef, Vec<(u32, u32)>)> {
        let mut codes = Vec::new();
        let mut pairs = Vec::with_capacity(self.groups.len());
        for code in 0..self.values.len() as u32 {
            let groups = self.groups_at(code);
            if !groups.is_empty() {
                pairs.extend(groups.iter().map(|group| (*group, codes.len() as u32)));
                codes.push(code);
            }
        }
        let values = take(&self.dictionary, &UInt32Array::from(codes), None)?;
        Ok((values, pairs))
    }
}

fn compared(array: &ArrayRef) -> Result<OrderedValues> {
    let values = OrderedValues::of(array);
    values.ok_or_else(|| internal_datafusion_err!("values that have no order"))
}

/// As [`super::distinct::join_share`]; the shares are ranges of values.
pub(super) fn join(
    parts: &[&Ordered],
    groups_of: &[Vec<u32>],
    groups: usize,
    (share, shares): (usize, usize),
    output: Output,
) -> Share {
    let mut joined = Joined {
        parts,
        groups_of,
        last: vec![0; groups],
        number: 0,
        share: Share::new(groups),
        output,
    };
    let low = cut(parts, (share, shares));
    let high = cut(parts, (share + 1, shares));
    let kinds = parts.iter().map(|part| &part.values);
    let longs = kinds.clone().map(|values| match values {
        OrderedValues::Longs(longs) => Some(&longs[..]),
        _ => None,
    });
    let ints = kinds.map(|values| match values {
        OrderedValues::Ints(ints) => Some(&ints[..]),
        _ => None,
    });
    if let Some(longs) = longs.collect::<Option<Vec<&[i64]>>>() {
        joined.ascend(low, &high, |part, code| longs[part][code as usize]);
    } else if let Some(ints) = ints.collect::<Option<Vec<&[i32]>>>() {
        joined.ascend(low, &high, |part, code| ints[part][code as usize]);
    } else {
        joined.ascend(low, &high, |part, code| parts[part].values.at(code));
    }
    joined.share
}

/// The first code of each part in the share; past the last share, their ends.
fn cut(parts: &[&Ordered], (share, shares): (usize, usize)) -> Vec<u32> {
    let greatest = parts.iter().max_by_key(|part| part.values.len());
    let end = |part: &&Ordered| part.values.len() as u32;
    match greatest {
        Some(greatest) if share < shares && greatest.values.len() > 0 => {
            let at = greatest.values.len() as u64 * share as u64 / shares as u64;
            let value = greatest.values.at(at as u32);
            let first = |part: &&Ordered| match share {
                0 => 0,
                _ => part.values.find(value, 0).unwrap_or_else(|next| next),
            };
            parts.iter().map(first).collect()
        }
        _ => parts.iter().map(end).collect(),
    }
}

struct Joined<'p> {
    parts: &'p [&'p Ordered],
    groups_of: &'p [Vec<u32>],
    /// Of each group the number of the last value that was counted.
    last: Vec<u32>,
    number: u32,
    share: Share,
    output: Output,
}

impl Joined<'_> {
    /// Goes through all codes from `at` to `ends`, by value.
    #[inline(always)]
    fn ascend<V: Ord + Copy>(
        &mut self,
        mut at: Vec<u32>,
        ends: &[u32],
        value: impl Fn(usize, u32) -> V,
    ) {
        let parts = self.parts;
        if let [only] = parts {
            let mut code = only.next_used(at[0], ends[0]);
            while code < ends[0] {
                self.number += 1;
                self.count(0, code);
                code = only.next_used(code + 1, ends[0]);
            }
            return;
        }
        // The value of the next code that occurs.
        let head = |part: usize, code: &mut u32| {
            *code = parts[part].next_used(*code, ends[part]);
            (*code < ends[part]).then(|| value(part, *code))
        };
        let heads = at.iter_mut().enumerate();
        let mut heads: Vec<Option<V>> = heads.map(|(part, code)| head(part, code)).collect();
        while let Some(least) = heads.iter().copied().flatten().min() {
            self.number += 1;
            for (part, own) in heads.iter_mut().enumerate() {
                if *own == Some(least) {
                    self.count(part, at[part]);
                    at[part] += 1;
                    *own = head(part, &mut at[part]);
                }
            }
        }
    }

    /// Counts the value for its groups, once for each.
    #[inline(always)]
    fn count(&mut self, part: usize, code: u32) {
        let groups_of = &self.groups_of[part];
        for group in self.parts[part].groups_at(code) {
            let group = groups_of[*group as usize];
            let last = &mut self.last[group as usize];
            if *last != self.number {
                *last = self.number;
                self.share.counts[group as usize] += 1;
                if self.output == Output::States {
                    self.share.members.push((group, part as u32, code));
                }
            }
        }
    }
}
