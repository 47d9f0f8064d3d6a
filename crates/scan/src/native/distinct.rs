//! Distinct values of each group, counted exactly.
//!
//! The sets of several segments are joined by value, parts of the values at a time, so that several
//! threads can do it: by the order of dictionaries ([`super::ordered`]) where there is one, else by
//! hash.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use hashbrown::{HashSet, HashTable};

use super::aggregate::Aggregate;
use super::number::of_bits;
use super::ordered::{self, Ordered};
use super::plan::Output;
use super::states::Texts;
use super::table::{Factor, PairSet, hash_of};
use super::values::ValueColumn;

/// Bits of a set that is one bit for each group and value.
const BITS_MAX: u64 = 1 << 30;

type Fixed = foldhash::fast::FixedState;

/// Sets of groups: those of one segment, or of all.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    part: Option<Part>,
    joined: Joined,
}

#[derive(Debug)]
pub(super) enum Part {
    Ordered(Ordered),
    Values(Members),
    /// Group and value, a whole number.
    Raw {
        pairs: Vec<(u32, i64)>,
        data_type: DataType,
    },
}

#[derive(Debug)]
pub(super) struct Members {
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
    fn ordered(&self) -> Option<&Ordered> {
        match self {
            Self::Ordered(ordered) => Some(ordered),
            _ => None,
        }
    }

    /// The values that members are among.
    fn array(&self) -> Option<&ArrayRef> {
        match self {
            Self::Ordered(ordered) => Some(&ordered.dictionary),
            Self::Values(members) => Some(members.values.array()),
            Self::Raw { .. } => None,
        }
    }

    /// Pairs of a group and a value as a whole number.
    fn raw(&self) -> Result<Vec<(u32, i64)>> {
        match self {
            Self::Raw { pairs, .. } => Ok(pairs.clone()),
            Self::Ordered(ordered) => {
                let (values, pairs) = ordered.members()?;
                with_longs(&values, &pairs)
            }
            Self::Values(members) => with_longs(members.values.array(), &members.pairs),
        }
    }
}

fn with_longs(values: &ArrayRef, pairs: &[(u32, u32)]) -> Result<Vec<(u32, i64)>> {
    let longs = cast(values, &DataType::Int64)?;
    let longs = longs.as_primitive::<Int64Type>().values();
    let pairs = pairs.iter();
    Ok(pairs
        .map(|(group, item)| (*group, longs[*item as usize]))
        .collect())
}

/// Parts in the place of those that have another form than the others.
pub(super) fn alike(sets: &[&Distinct]) -> Result<Vec<Option<Distinct>>> {
    let parts = || sets.iter().filter_map(|own| own.part.as_ref());
    let raw = parts().find_map(|part| match part {
        Part::Raw { data_type, .. } => Some(data_type),
        _ => None,
    });
    let is_ordered = parts().any(|part| part.ordered().is_some());
    let other = |own: &&Distinct| {
        let part = match (own.part.as_ref(), raw) {
            (None | Some(Part::Raw { .. }), _) => return Ok(None),
            (Some(Part::Values(members)), None) if is_ordered => {
                Part::Ordered(Ordered::of_members(members.values.array(), &members.pairs)?)
            }
            (Some(_), None) => return Ok(None),
            (Some(part), Some(data_type)) => Part::Raw {
                pairs: part.raw()?,
                data_type: data_type.clone(),
            },
        };
        Ok(Some(Distinct::of(part)))
    };
    sets.iter().map(other).collect()
}

impl Members {
    pub(super) fn new(values: ValueColumn, pairs: Vec<(u32, u32)>) -> Self {
        let mut hashes = vec![0; values.array().len()];
        values.hash_into(&mut hashes);
        Self {
            pairs,
            values,
            hashes,
        }
    }
}

impl Distinct {
    pub(super) fn of(part: Part) -> Self {
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
            Some(Part::Ordered(ordered)) => ordered.pairs(),
            Some(Part::Values(members)) => members.pairs.len(),
            Some(Part::Raw { pairs, .. }) => pairs.len(),
            None => 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let part = match &self.part {
            Some(Part::Ordered(ordered)) => ordered.memory_bytes(),
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
    pub(super) counts: Vec<u64>,
    /// Group, segment, index of the value there.
    pub(super) members: Vec<(u32, u32, u32)>,
    /// Group and value.
    raw: Vec<(u32, i64)>,
}

impl Share {
    pub(super) fn new(groups: usize) -> Self {
        Self {
            counts: vec![0; groups],
            members: Vec::new(),
            raw: Vec::new(),
        }
    }
}

/// Joins the share `share` of `shares` of all values. `groups_of` has for each part, which are
/// [`alike`], the group of each of its own, among `groups` in all.
pub(super) fn join_share(
    parts: &[&Distinct],
    groups_of: &[Vec<u32>],
    groups: usize,
    (share, shares): (usize, usize),
    output: Output,
) -> Result<Share> {
    let is_own = |hash: u64| ((hash >> 32) * shares as u64) >> 32 == share as u64;
    let parts: Vec<&Part> = parts.iter().filter_map(|part| part.part.as_ref()).collect();
    let ordered = parts.iter().map(|part| part.ordered());
    if let Some(ordered) = ordered.collect::<Option<Vec<_>>>() {
        return Ok(ordered::join(
            &ordered,
            groups_of,
            groups,
            (share, shares),
            output,
        ));
    }
    if parts.iter().any(|part| matches!(part, Part::Raw { .. })) {
        return Ok(join_raw(&parts, groups_of, groups, is_own, output));
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
    let mut joined = Share::new(groups);
    let distinct = firsts.len() as u64;
    let mut seen = match (groups as u64).saturating_mul(distinct) {
        bits if bits <= BITS_MAX => Seen::Bits(vec![0; bits.div_ceil(64) as usize]),
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
                joined.counts[group as usize] += 1;
                if output == Output::States {
                    joined.members.push((group, at, *item));
                }
            }
        }
    }
    Ok(joined)
}

fn members_of(part: &Part) -> Option<&Members> {
    match part {
        Part::Values(members) => Some(members),
        Part::Ordered(_) | Part::Raw { .. } => None,
    }
}

/// The same where values are whole numbers.
fn join_raw(
    parts: &[&Part],
    groups_of: &[Vec<u32>],
    groups: usize,
    is_own: impl Fn(u64) -> bool,
    output: Output,
) -> Share {
    let mut joined = Share::new(groups);
    let mut seen = PairSet::new(Factor::OfJoins);
    for (part, groups_of) in parts.iter().zip(groups_of) {
        let Part::Raw { pairs, .. } = part else {
            continue;
        };
        let own = pairs.iter().filter(|(_, value)| is_own(hash_of(*value)));
        let own = own.map(|(group, value)| (groups_of[*group as usize], *value));
        seen.insert(own, |group, value| {
            joined.counts[group as usize] += 1;
            if output == Output::States {
                joined.raw.push((group, value));
            }
        });
    }
    joined
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
    let arrays = parts.iter().filter_map(|part| part.array());
    let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
    let places = members.iter();
    let places = places.map(|(_, part, item)| (*part as usize, *item as usize));
    Ok(interleave(&arrays, &places.collect::<Vec<_>>())?)
}
