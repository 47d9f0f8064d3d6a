//! Distinct values of each group, counted exactly.
//!
//! A segment numbers the values of the argument as it does those of a key, and keeps for each group
//! the set of numbers. Sets of several segments are joined by value, parts of the values at a time,
//! so that several threads can do it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use hashbrown::{HashSet, HashTable};
use segment::view::RawColumn;

use super::fold::Slots;
use super::keys::Key;
use super::number::{BlockRows, of_bits};
use super::plan::{Aggregate, Output};
use super::states::Texts;
use super::table::{Factor, PairSet, hash_of};
use super::values::ValueColumn;
use crate::columns::longs;
use crate::rows::BlockMask;

/// Bits of a set that is one bit for each group and number.
const BITS_MAX: u64 = 1 << 27;

type Fixed = foldhash::fast::FixedState;

/// The sets of a segment while it is read.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    key: Key<'a>,
    groups: usize,
    found: Found,
    numbers: Vec<u64>,
}

#[derive(Debug)]
enum Found {
    /// One bit for each number, group after group.
    Bits(Vec<u64>),
    /// `group * domain + number`
    Hashed(HashSet<u64, Fixed>),
    /// Whole numbers themselves.
    Pairs(PairSet),
}

impl<'a> Sets<'a> {
    /// `groups` is the most that there can be, as far as it is known.
    pub(super) fn new(key: Key<'a>, groups: Option<usize>) -> Self {
        let bits =
            groups.map(|groups| (groups as u64).saturating_mul(key.domain.next_multiple_of(64)));
        let found = match bits {
            _ if key.raw().is_some() => Found::Pairs(PairSet::new(Factor::OfSegments)),
            Some(bits) if bits <= BITS_MAX => Found::Bits(Vec::new()),
            _ => Found::Hashed(HashSet::default()),
        };
        Self {
            key,
            groups: 0,
            found,
            numbers: Vec::new(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.found {
            Found::Bits(words) => words.capacity() * 8,
            Found::Hashed(set) => set.capacity() * 9,
            Found::Pairs(pairs) => pairs.memory_bytes(),
        };
        own + self.key.memory_bytes() + self.numbers.capacity() * 8
    }

    pub(super) fn grow(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
        if let Found::Bits(words) = &mut self.found {
            let wanted = self.groups * self.key.domain.div_ceil(64) as usize;
            words.resize(wanted.max(words.len()), 0);
        }
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        if let (Found::Pairs(pairs), Some((raw, nulls))) = (&mut self.found, self.key.raw()) {
            add_pairs(pairs, rows, slots, &raw, rows.nulls(nulls));
            return Ok(());
        }
        self.key.numbers_into(rows, &mut self.numbers)?;
        let domain = self.key.domain;
        match &mut self.found {
            Found::Bits(words) => {
                let each = domain.div_ceil(64) as usize;
                let mut set = |group: usize, number: u64| {
                    words[group * each + number as usize / 64] |= 1 << (number % 64);
                };
                slots.with(&self.numbers, &mut set);
            }
            Found::Hashed(found) => {
                let mut add = |group: usize, number: u64| {
                    found.insert(group as u64 * domain + number);
                };
                slots.with(&self.numbers, &mut add);
            }
            Found::Pairs(_) => return internal_err!("numbers that are no values"),
        }
        Ok(())
    }

    /// The sets of the groups at `used`; null is in none.
    pub(super) fn finish(self, used: &[u32]) -> Result<Distinct> {
        let domain = self.key.domain;
        // Of each group its place among those that are used.
        let mut place = vec![u32::MAX; self.groups];
        for (at, group) in (0u32..).zip(used) {
            if let Some(place) = place.get_mut(*group as usize) {
                *place = at;
            }
        }
        let mut pairs: Vec<(u32, u64)> = Vec::new();
        match &self.found {
            Found::Pairs(found) => {
                let pairs = found
                    .iter()
                    .map(|(group, value)| (place[group as usize], value));
                let data_type = self.key.input_type();
                return Ok(Distinct::of(Part::Raw {
                    pairs: pairs.filter(|(group, _)| *group != u32::MAX).collect(),
                    data_type,
                }));
            }
            Found::Bits(words) => {
                let each = domain.div_ceil(64) as usize;
                for (group, words) in words.chunks_exact(each.max(1)).enumerate() {
                    for (at, word) in words.iter().enumerate() {
                        let mut word = *word;
                        while word != 0 {
                            let number = at as u64 * 64 + u64::from(word.trailing_zeros());
                            pairs.push((place[group], number));
                            word &= word - 1;
                        }
                    }
                }
            }
            Found::Hashed(found) => {
                let split = |number: &u64| (place[(number / domain) as usize], number % domain);
                pairs.extend(found.iter().map(split));
            }
        }
        // Numbers that occur, each once.
        let mut numbers: Vec<u64> = Vec::new();
        let mut items = match domain <= BITS_MAX {
            true => Items::Table(vec![u32::MAX; domain as usize]),
            false => Items::Map(hashbrown::HashMap::default()),
        };
        let pairs: Vec<(u32, u32)> = pairs
            .into_iter()
            .map(|(group, number)| (group, items.of(number, &mut numbers)))
            .collect();
        let values = ValueColumn::new(self.key.values(&numbers)?)?;
        let mut hashes = vec![0; numbers.len()];
        values.hash_into(&mut hashes);
        let pairs = pairs.into_iter();
        let is_value =
            |(group, item): &(u32, u32)| *group != u32::MAX && !values.is_null(*item as usize);
        Ok(Distinct::of(Part::Values(Members {
            pairs: pairs.filter(is_value).collect(),
            values,
            hashes,
        })))
    }
}

fn add_pairs(
    pairs: &mut PairSet,
    rows: BlockRows<'_>,
    slots: Slots<'_>,
    raw: &RawColumn<'_>,
    nulls: Option<BlockMask>,
) {
    let values = longs(raw.values(rows.range()), rows.picked);
    let row = |at: usize| rows.picked.map_or(at as u32, |picked| picked[at]);
    let is_null = |at: usize| nulls.as_ref().is_some_and(|nulls| nulls.contains(row(at)));
    let values = values.iter().copied().enumerate();
    let values = values.filter(|(at, _)| !is_null(*at));
    match slots.groups() {
        None => pairs.insert(values.map(|(_, value)| (0, value)), |_, _| {}),
        Some(groups) => pairs.insert(values.map(|(at, value)| (groups[at], value)), |_, _| {}),
    }
}

#[derive(Debug)]
enum Items {
    Table(Vec<u32>),
    Map(hashbrown::HashMap<u64, u32, Fixed>),
}

impl Items {
    fn of(&mut self, number: u64, numbers: &mut Vec<u64>) -> u32 {
        let item = match self {
            Self::Table(table) => &mut table[number as usize],
            Self::Map(map) => map.entry(number).or_insert(u32::MAX),
        };
        if *item == u32::MAX {
            *item = numbers.len() as u32;
            numbers.push(number);
        }
        *item
    }
}

/// Sets of groups: those of one segment, or of all.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    part: Option<Part>,
    joined: Joined,
}

#[derive(Debug)]
enum Part {
    Values(Members),
    /// Group and value, a whole number.
    Raw {
        pairs: Vec<(u32, i64)>,
        data_type: DataType,
    },
}

#[derive(Debug)]
struct Members {
    /// Group, and index of the value.
    pairs: Vec<(u32, u32)>,
    values: ValueColumn,
    hashes: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct Joined {
    counts: Vec<u64>,
    /// For states: the values of each group, one group after the other.
    lists: Option<(Vec<u32>, ArrayRef)>,
}

impl Part {
    /// Groups with values as whole numbers.
    fn raw(&self) -> Result<Cow<'_, [(u32, i64)]>> {
        Ok(match self {
            Self::Raw { pairs, .. } => Cow::Borrowed(pairs),
            Self::Values(members) => {
                let longs = cast(members.values.array(), &DataType::Int64)?;
                let longs = longs.as_primitive::<Int64Type>().values();
                let pairs = members.pairs.iter();
                Cow::Owned(
                    pairs
                        .map(|(group, item)| (*group, longs[*item as usize]))
                        .collect(),
                )
            }
        })
    }
}

impl Distinct {
    fn of(part: Part) -> Self {
        Self {
            part: Some(part),
            joined: Joined::default(),
        }
    }

    pub(super) fn empty(groups: usize) -> Self {
        let joined = Joined {
            counts: vec![0; groups],
            lists: None,
        };
        Self { part: None, joined }
    }

    pub(super) fn counts(&self) -> &[u64] {
        &self.joined.counts
    }

    /// Of one segment: groups and values that were found together.
    pub(super) fn members(&self) -> usize {
        match &self.part {
            Some(Part::Values(members)) => members.pairs.len(),
            Some(Part::Raw { pairs, .. }) => pairs.len(),
            None => 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let part = match &self.part {
            Some(Part::Values(members)) => {
                members.pairs.capacity() * 8 + members.hashes.capacity() * 32
            }
            Some(Part::Raw { pairs, .. }) => pairs.capacity() * 16,
            None => 0,
        };
        part + self.joined.counts.capacity() * 8
    }

    /// The least or greatest value of each of so many groups.
    pub(super) fn ends(&self, groups: usize, least: bool) -> Texts {
        let mut texts = Texts {
            least,
            arrays: Vec::new(),
            best: vec![None; groups],
        };
        if let Some(Part::Values(part)) = &self.part {
            texts.arrays.push(Arc::clone(part.values.array()));
            for (group, item) in &part.pairs {
                texts.improve(*group as usize, (0, *item));
            }
        }
        texts
    }

    /// The lists of values of the groups; `None` = all.
    pub(super) fn lists(&self, aggregate: &Aggregate, groups: Option<&[u32]>) -> Result<ArrayRef> {
        let DataType::List(item) = aggregate.states[0].data_type() else {
            return internal_err!("distinct values are no list");
        };
        let no_values = (
            vec![0; self.joined.counts.len() + 1],
            new_empty_array(item.data_type()),
        );
        let (starts, values) = self.joined.lists.as_ref().unwrap_or(&no_values);
        let starts: Vec<i32> = starts.iter().map(|start| *start as i32).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(starts));
        let lists = ListArray::new(Arc::clone(item), offsets, Arc::clone(values), None);
        match groups {
            None => Ok(Arc::new(lists)),
            Some(groups) => {
                let groups = arrow::array::UInt32Array::from(groups.to_vec());
                Ok(arrow::compute::take(&lists, &groups, None)?)
            }
        }
    }
}

/// What one thread found: of the values in its share, how many each group has, and which.
#[derive(Debug)]
pub(super) struct Share {
    counts: Vec<u64>,
    /// Group, segment, index of the value there.
    members: Vec<(u32, u32, u32)>,
    /// Group and value.
    raw: Vec<(u32, i64)>,
}

/// Joins the share `share` of `shares` of all values. `groups_of` has for each part the group of
/// each of its own, among `groups` in all.
pub(super) fn join_share(
    parts: &[&Distinct],
    groups_of: &[Vec<u32>],
    groups: usize,
    (share, shares): (usize, usize),
    output: Output,
) -> Result<Share> {
    let is_own = |hash: u64| ((hash >> 32) * shares as u64) >> 32 == share as u64;
    let parts: Vec<&Part> = parts.iter().filter_map(|part| part.part.as_ref()).collect();
    if parts.iter().any(|part| matches!(part, Part::Raw { .. })) {
        return join_raw(&parts, groups_of, groups, is_own, output);
    }
    let parts: Vec<&Members> = parts.into_iter().filter_map(members_of).collect();
    let mut table: HashTable<(u64, u32)> = HashTable::new();
    let mut firsts: Vec<(u32, u32)> = Vec::new();
    let mut values_of: Vec<Vec<u32>> = Vec::with_capacity(parts.len());
    for (at, part) in (0u32..).zip(&parts) {
        let mut values = vec![u32::MAX; part.hashes.len()];
        for (item, hash) in part.hashes.iter().enumerate() {
            if !is_own(*hash) {
                continue;
            }
            let same = |(known, value): &(u64, u32)| {
                let (other, row) = firsts[*value as usize];
                let other = &parts[other as usize].values;
                *known == *hash && other.equals(row as usize, &part.values, item)
            };
            values[item] = match table.find(*hash, same) {
                Some((_, value)) => *value,
                None => {
                    let value = firsts.len() as u32;
                    firsts.push((at, item as u32));
                    table.insert_unique(*hash, (*hash, value), |(hash, _)| *hash);
                    value
                }
            };
        }
        values_of.push(values);
    }
    let mut counts = vec![0; groups];
    let mut members = Vec::new();
    let distinct = firsts.len() as u64;
    let mut seen = match (groups as u64).saturating_mul(distinct) {
        bits if bits <= BITS_MAX * 8 => Seen::Bits(vec![0; bits.div_ceil(64) as usize]),
        _ => Seen::Hashed(HashSet::default()),
    };
    for ((at, part), groups_of) in (0u32..).zip(&parts).zip(groups_of) {
        let values = &values_of[at as usize];
        for (group, item) in &part.pairs {
            let value = values[*item as usize];
            if value == u32::MAX {
                continue;
            }
            let group = groups_of[*group as usize];
            if seen.insert(u64::from(group) * distinct + u64::from(value)) {
                counts[group as usize] += 1;
                if output == Output::States {
                    members.push((group, at, *item));
                }
            }
        }
    }
    Ok(Share {
        counts,
        members,
        raw: Vec::new(),
    })
}

fn members_of(part: &Part) -> Option<&Members> {
    match part {
        Part::Values(members) => Some(members),
        Part::Raw { .. } => None,
    }
}

/// The same where values are whole numbers.
fn join_raw(
    parts: &[&Part],
    groups_of: &[Vec<u32>],
    groups: usize,
    is_own: impl Fn(u64) -> bool,
    output: Output,
) -> Result<Share> {
    let mut counts = vec![0; groups];
    let mut raw = Vec::new();
    let mut seen = PairSet::new(Factor::OfJoins);
    for (part, groups_of) in parts.iter().zip(groups_of) {
        let pairs = part.raw()?;
        let own = pairs.iter().filter(|(_, value)| is_own(hash_of(*value)));
        let own = own.map(|(group, value)| (groups_of[*group as usize], *value));
        seen.insert(own, |group, value| {
            counts[group as usize] += 1;
            if output == Output::States {
                raw.push((group, value));
            }
        });
    }
    let members = Vec::new();
    Ok(Share {
        counts,
        members,
        raw,
    })
}

#[derive(Debug)]
enum Seen {
    Bits(Vec<u64>),
    Hashed(HashSet<u64, Fixed>),
}

impl Seen {
    /// `false`: it was there already.
    fn insert(&mut self, number: u64) -> bool {
        match self {
            Self::Hashed(seen) => seen.insert(number),
            Self::Bits(words) => {
                let word = &mut words[number as usize / 64];
                let bit = 1 << (number % 64);
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            }
        }
    }
}

/// The shares together, cut into pieces of so many groups each.
pub(super) fn joined(
    parts: &[&Distinct],
    shares: Vec<Share>,
    pieces: &[usize],
    output: Output,
) -> Result<Vec<Distinct>> {
    let parts: Vec<&Part> = parts.iter().filter_map(|part| part.part.as_ref()).collect();
    let mut counts = vec![0u64; pieces.iter().sum()];
    let (mut members, mut raw) = (Vec::new(), Vec::new());
    for share in shares {
        for (count, more) in counts.iter_mut().zip(share.counts) {
            *count += more;
        }
        members.extend(share.members);
        raw.extend(share.raw);
    }
    let values = match output {
        Output::Values => None,
        Output::States => Some(values_in_order(&parts, members, raw)?),
    };
    let mut joined = Vec::with_capacity(pieces.len());
    let (mut from, mut first) = (0, 0);
    for piece in pieces {
        let counts = counts[from..from + piece].to_vec();
        let own: u64 = counts.iter().sum();
        let lists = values.as_ref().map(|values| {
            let mut starts = vec![0u32];
            starts.extend(counts.iter().scan(0, |sum, count| {
                *sum += *count as u32;
                Some(*sum)
            }));
            (starts, values.slice(first, own as usize))
        });
        from += piece;
        first += own as usize;
        joined.push(Distinct {
            part: None,
            joined: Joined { counts, lists },
        });
    }
    Ok(joined)
}

/// The values of all groups, one group after the other.
fn values_in_order(
    parts: &[&Part],
    mut members: Vec<(u32, u32, u32)>,
    mut raw: Vec<(u32, i64)>,
) -> Result<ArrayRef> {
    for part in parts {
        if let Part::Raw { data_type, .. } = part {
            raw.sort_unstable();
            return of_bits(raw.iter().map(|(_, value)| Some(*value)), data_type);
        }
    }
    members.sort_unstable();
    let parts = parts.iter().filter_map(|part| members_of(part));
    let arrays: Vec<&dyn Array> = parts.map(|part| part.values.array().as_ref()).collect();
    let places = members.iter();
    let places = places.map(|(_, part, item)| (*part as usize, *item as usize));
    Ok(interleave(&arrays, &places.collect::<Vec<_>>())?)
}
