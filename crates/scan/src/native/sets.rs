//! Distinct values of each group while a segment is read.
//!
//! A segment numbers the values of the argument as it does those of a key, and keeps for each group
//! the set of numbers, or for each row its number and its group where sets would be far apart.

use arrow::array::ArrayRef;
use datafusion::common::{Result, internal_err};
use hashbrown::HashSet;
use segment::view::{DictionaryColumn, RawColumn};

use super::dictionary::OrderedValues;
use super::distinct::{Distinct, Members, Part};
use super::fold::Slots;
use super::keys::Key;
use super::number::BlockRows;
use super::ordered::{Ordered, Pairs};
use super::table::{Factor, PairSet};
use super::values::ValueColumn;
use crate::columns::longs;
use crate::rows::BlockMask;

/// Bits of a set that is one bit for each group and number.
const BITS_MAX: u64 = 1 << 27;
/// More than these are too far apart to be set row by row, where there is another way.
const NEAR_BITS_MAX: u64 = 1 << 23;

type Fixed = foldhash::fast::FixedState;

/// The sets of a segment while it is read.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    key: Key<'a>,
    groups: usize,
    found: Found,
    numbers: Vec<u32>,
    /// The dictionary whose codes the numbers are, if they ascend with its values.
    ordered: Option<(ArrayRef, OrderedValues)>,
}

#[derive(Debug)]
enum Found {
    /// One bit for each number, group after group.
    Bits(Vec<u64>),
    /// `group * domain + number`
    Hashed(HashSet<u64, Fixed>),
    /// Whole numbers themselves.
    Pairs(PairSet),
    /// The number and the group of each row.
    Rows { numbers: Vec<u32>, groups: Vec<u32> },
}

impl<'a> Sets<'a> {
    /// `groups` is the most that there can be, as far as it is known.
    pub(super) fn new(key: Key<'a>, groups: Option<usize>) -> Self {
        let bits =
            groups.map(|groups| (groups as u64).saturating_mul(key.domain.next_multiple_of(64)));
        let dictionary = key.dictionary().filter(|own| own.is_ordered());
        let dictionary = dictionary.map(DictionaryColumn::array);
        let ordered =
            dictionary.and_then(|own| OrderedValues::of(&own).map(|values| (own, values)));
        let found = match bits {
            _ if key.raw().is_some() => Found::Pairs(PairSet::new(Factor::OfSegments)),
            Some(bits) if bits <= NEAR_BITS_MAX => Found::Bits(Vec::new()),
            _ if ordered.is_some() => Found::Rows {
                numbers: Vec::new(),
                groups: Vec::new(),
            },
            Some(bits) if bits <= BITS_MAX => Found::Bits(Vec::new()),
            _ => Found::Hashed(HashSet::default()),
        };
        Self {
            key,
            groups: 0,
            found,
            numbers: Vec::new(),
            ordered,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.found {
            Found::Bits(words) => words.capacity() * 8,
            Found::Hashed(set) => set.capacity() * 9,
            Found::Pairs(pairs) => pairs.memory_bytes(),
            Found::Rows { numbers, groups } => (numbers.capacity() + groups.capacity()) * 4,
        };
        own + self.key.memory_bytes() + self.numbers.capacity() * 4
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
        self.add_numbers(slots)
    }

    /// Adds all `rows` of the segment to the only group; `false`: they must be read for that.
    pub(super) fn add_whole(&mut self, rows: u32) -> Result<bool> {
        let Some(numbers) = self.key.numbers_of_all(rows) else {
            return Ok(false);
        };
        self.numbers = numbers;
        self.add_numbers(Slots::One)?;
        Ok(true)
    }

    fn add_numbers(&mut self, slots: Slots<'_>) -> Result<()> {
        let domain = self.key.domain;
        match &mut self.found {
            Found::Bits(words) => {
                let each = domain.div_ceil(64) as usize;
                let mut set = |group: usize, number: u32| {
                    words[group * each + number as usize / 64] |= 1 << (number % 64);
                };
                slots.with(&self.numbers, &mut set);
            }
            Found::Hashed(found) => {
                let mut add = |group: usize, number: u32| {
                    found.insert(group as u64 * domain + u64::from(number));
                };
                slots.with(&self.numbers, &mut add);
            }
            Found::Rows { numbers, groups } => {
                numbers.extend_from_slice(&self.numbers);
                match slots.groups() {
                    Some(own) => groups.extend_from_slice(own),
                    None => groups.resize(numbers.len(), 0),
                }
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
        if let Some(ordered) = self.ordered {
            let pairs = Placed {
                found: &self.found,
                domain,
                place: &place,
                null: self.key.null_number(),
            };
            return Ok(Distinct::of(Part::Ordered(Ordered::new(ordered, &pairs)?)));
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
            found => found.each_number(domain, |group, number| {
                pairs.push((place[group as usize], u64::from(number)));
            }),
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
        let pairs = pairs.into_iter();
        let is_value =
            |(group, item): &(u32, u32)| *group != u32::MAX && !values.is_null(*item as usize);
        let pairs = pairs.filter(is_value).collect();
        Ok(Distinct::of(Part::Values(Members::new(values, pairs))))
    }
}

/// What was found of the groups that have a place.
struct Placed<'f> {
    found: &'f Found,
    domain: u64,
    place: &'f [u32],
    /// The number that is no value.
    null: Option<u64>,
}

impl Pairs for Placed<'_> {
    fn count_at_most(&self) -> usize {
        self.found.count()
    }

    fn each(&self, mut each: impl FnMut(u32, u32)) {
        self.found.each_number(self.domain, |group, number| {
            let place = self.place[group as usize];
            if place != u32::MAX && Some(u64::from(number)) != self.null {
                each(place, number);
            }
        });
    }
}

impl Found {
    /// Pairs, some more than once.
    fn count(&self) -> usize {
        match self {
            Self::Bits(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
            Self::Hashed(found) => found.len(),
            Self::Rows { numbers, .. } => numbers.len(),
            Self::Pairs(_) => 0,
        }
    }

    /// Each group with each of its numbers, some more than once.
    fn each_number(&self, domain: u64, mut each: impl FnMut(u32, u32)) {
        match self {
            Self::Bits(words) => {
                let wide = domain.div_ceil(64).max(1) as usize;
                for (group, words) in (0u32..).zip(words.chunks_exact(wide)) {
                    for (at, word) in (0u32..).zip(words) {
                        let mut word = *word;
                        while word != 0 {
                            each(group, at * 64 + word.trailing_zeros());
                            word &= word - 1;
                        }
                    }
                }
            }
            Self::Hashed(found) => found
                .iter()
                .for_each(|number| each((number / domain) as u32, (number % domain) as u32)),
            Self::Rows { numbers, groups } => {
                let pairs = groups.iter().zip(numbers);
                pairs.for_each(|(group, number)| each(*group, *number));
            }
            // Their values have no numbers.
            Self::Pairs(_) => {}
        }
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
