//! The groups of one partition: an open table over their keys, and the totals of each.

use std::ops::RangeInclusive;

use super::super::aggregate::{Aggregate, Kind, Width};
use super::super::states::{Join, States};
use super::Layout;
use super::rows::{Arguments, Place};

/// Words of a group's keys.
pub(super) const KEY_WORDS: RangeInclusive<usize> = 1..=4;

const EMPTY: u32 = u32::MAX;
const FEWEST: usize = 64;
/// Rows whose groups are found before their values are added up.
const CHUNK: usize = 256;

/// Folds a word into a hash. Partitions are its first bits, places in the tables the next.
#[inline(always)]
pub(super) fn hash(hash: u64, word: u64) -> u64 {
    let product = u128::from(word ^ hash.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)
        * u128::from(0xd6e8_feb8_6659_fd93_u64);
    (product as u64) ^ (product >> 64) as u64
}

#[derive(Debug)]
pub(super) struct Partition {
    key_words: usize,
    stride: usize,
    partition_bits: u32,
    /// About as many groups as there will be.
    expected: usize,
    slots: Vec<u32>,
    /// Of group after group.
    keys: Vec<u64>,
    rows: Vec<u64>,
    totals: Vec<Total>,
}

/// One aggregate of all groups.
#[derive(Debug)]
struct Total {
    /// `None`: rows are counted.
    place: Option<Place>,
    join: Join,
    state: State,
    /// Values of each group; `None`: as many as rows.
    counts: Option<Vec<u64>>,
}

#[derive(Debug)]
enum State {
    None,
    Long(Vec<i64>),
    Double(Vec<f64>),
}

impl Partition {
    pub(super) fn new(
        layout: &Layout,
        aggregates: &[Aggregate],
        arguments: &Arguments<'_>,
    ) -> Self {
        let totals = aggregates.iter().enumerate().map(|(at, aggregate)| {
            let place = arguments.place(at);
            Total {
                place,
                join: aggregate.kind.join(),
                state: match (aggregate.kind, aggregate.width) {
                    (Kind::Count, _) => State::None,
                    (_, Width::Double) => State::Double(Vec::new()),
                    _ => State::Long(Vec::new()),
                },
                counts: place.and_then(|place| place.bit).map(|_| Vec::new()),
            }
        });
        Self::of(layout, totals.collect())
    }

    fn of(layout: &Layout, totals: Vec<Total>) -> Self {
        Self {
            key_words: layout.key_words,
            stride: layout.stride,
            partition_bits: layout.partition_bits,
            expected: layout.groups,
            slots: Vec::new(),
            keys: Vec::new(),
            rows: Vec::new(),
            totals,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let totals = self.totals.iter().map(|total| {
            let counts = total.counts.as_ref().map_or(0, Vec::capacity);
            let values = match &total.state {
                State::None => 0,
                State::Long(values) => values.capacity(),
                State::Double(values) => values.capacity(),
            };
            (counts + values) * 8
        });
        let own = self.slots.capacity() * 4 + (self.keys.capacity() + self.rows.capacity()) * 8;
        own + totals.sum::<usize>()
    }

    /// Takes rows of the partition.
    pub(super) fn add(&mut self, rows: &[u64]) {
        match self.key_words {
            1 => self.add_keyed::<1>(rows),
            2 => self.add_keyed::<2>(rows),
            3 => self.add_keyed::<3>(rows),
            _ => self.add_keyed::<4>(rows),
        }
    }

    fn add_keyed<const WORDS: usize>(&mut self, rows: &[u64]) {
        let mut groups = [0u32; CHUNK];
        for chunk in rows.chunks(CHUNK * self.stride) {
            let count = chunk.len() / self.stride;
            self.make_room::<WORDS>(count);
            for (group, row) in groups.iter_mut().zip(chunk.chunks_exact(self.stride)) {
                let key: [u64; WORDS] = std::array::from_fn(|at| row[at]);
                *group = self.group(key);
            }
            let groups = &groups[..count];
            let known = self.rows.len();
            for total in &mut self.totals {
                total.add(groups, known, chunk, (self.key_words, self.stride));
            }
        }
    }

    #[inline(always)]
    fn group<const WORDS: usize>(&mut self, key: [u64; WORDS]) -> u32 {
        let last = self.slots.len() - 1;
        let mut place = self.place(&key);
        let (known, _) = self.keys.as_chunks::<WORDS>();
        loop {
            let own = self.slots[place & last];
            if own == EMPTY {
                let group = self.rows.len() as u32;
                self.slots[place & last] = group;
                self.keys.extend_from_slice(&key);
                self.rows.push(1);
                return group;
            }
            if known[own as usize] == key {
                self.rows[own as usize] += 1;
                return own;
            }
            place += 1;
        }
    }

    #[inline(always)]
    fn place<const WORDS: usize>(&self, key: &[u64; WORDS]) -> usize {
        let hash = key.iter().fold(0, |own, word| hash(own, *word));
        let bits = self.slots.len().trailing_zeros();
        ((hash << self.partition_bits) >> (u64::BITS - bits)) as usize
    }

    fn make_room<const WORDS: usize>(&mut self, more: usize) {
        let wanted = (self.rows.len() + more) * 2;
        if wanted <= self.slots.len() {
            return;
        }
        if self.slots.is_empty() {
            self.keys.reserve(self.expected * WORDS);
            self.rows.reserve(self.expected);
        }
        let slots = wanted
            .max(self.slots.len() * 2)
            .max(self.expected * 2)
            .max(FEWEST);
        self.slots = vec![EMPTY; slots.next_power_of_two()];
        let last = self.slots.len() - 1;
        let (keys, _) = self.keys.as_chunks::<WORDS>();
        for (group, key) in (0u32..).zip(keys) {
            let mut place = self.place(key);
            while self.slots[place & last] != EMPTY {
                place += 1;
            }
            self.slots[place & last] = group;
        }
    }

    /// The words of all groups' keys, and their states.
    pub(super) fn finish(self) -> (Vec<u64>, Vec<States>) {
        let rows = self.rows;
        let states = self.totals.into_iter().map(|total| {
            let counts = total.counts.unwrap_or_else(|| rows.clone());
            let join = total.join;
            match total.state {
                State::None => States::Counts(counts),
                State::Long(values) => States::Longs {
                    join,
                    values,
                    counts,
                },
                State::Double(values) => States::Doubles {
                    join,
                    values,
                    counts,
                },
            }
        });
        (self.keys, states.collect())
    }
}

impl Total {
    /// Adds the rows' values to their groups, of which there are `known` in all.
    fn add(
        &mut self,
        groups: &[u32],
        known: usize,
        rows: &[u64],
        (key_words, stride): (usize, usize),
    ) {
        let Some(place) = self.place else {
            return;
        };
        let pairs = || groups.iter().zip(rows.chunks_exact(stride));
        let is_there = |row: &[u64]| match place.bit {
            Some(bit) => row[stride - 1] >> bit & 1 != 0,
            None => true,
        };
        if let Some(counts) = &mut self.counts {
            counts.resize(known, 0);
            for (group, row) in pairs() {
                counts[*group as usize] += u64::from(is_there(row));
            }
        }
        let Some(value) = place.value.map(|value| key_words + value) else {
            return;
        };
        let join = self.join;
        match &mut self.state {
            State::None => {}
            State::Long(values) => {
                values.resize(known, join.empty_long());
                for (group, row) in pairs().filter(|(_, row)| is_there(row)) {
                    let own = &mut values[*group as usize];
                    *own = join.long(*own, row[value] as i64);
                }
            }
            State::Double(values) => {
                values.resize(known, join.empty_double());
                for (group, row) in pairs().filter(|(_, row)| is_there(row)) {
                    let own = &mut values[*group as usize];
                    *own = join.double(*own, f64::from_bits(row[value]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn groups_are_those_of_another_table() {
        let layout = Layout {
            key_words: 2,
            stride: 2,
            partition_bits: 3,
            groups: 100,
        };
        let mut partition = Partition::of(&layout, Vec::new());
        let mut known: HashMap<[u64; 2], u64> = HashMap::new();
        for round in 0..3u64 {
            let rows: Vec<u64> = (0..5000u64)
                .flat_map(|n| [n * n % 701, ((n * 7 + round) % 5) << 60])
                .collect();
            for row in rows.as_chunks::<2>().0 {
                *known.entry(*row).or_default() += 1;
            }
            partition.add(&rows);
        }
        let keys = partition.keys.as_chunks::<2>().0;
        let found: HashMap<[u64; 2], u64> = keys
            .iter()
            .copied()
            .zip(partition.rows.iter().copied())
            .collect();
        assert_eq!(found, known);
    }
}
