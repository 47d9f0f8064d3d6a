//! Hash tables of whole numbers, for very many of them.
//!
//! Slots are probed one after the other, from where the hash says; a block of values asks for its
//! slots before it looks at the first, so that the memory's answers overlap.

const BATCH: usize = 32;
const EMPTY: u32 = u32::MAX;
const FEWEST: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Slot {
    value: i64,
    /// The number of the value, or the group; [`EMPTY`] = nobody is here.
    own: u32,
}

const NOBODY: Slot = Slot {
    value: 0,
    own: EMPTY,
};

#[inline(always)]
pub(super) fn hash_of(value: i64) -> u64 {
    hash_by(value, 0x9e37_79b9_7f4a_7c15)
}

#[inline(always)]
fn hash_by(value: i64, factor: u64) -> u64 {
    let product = u128::from(value as u64) * u128::from(factor);
    (product as u64) ^ (product >> 64) as u64
}

/// Factors of hashes. What comes out of one table comes in the order of its hashes: put into
/// another with the same factor, all would crowd in one place.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Factor {
    OfSegments = 0xd6e8_feb8_6659_fd93,
    OfJoins = 0xa076_1d64_78bd_642f,
}

#[inline(always)]
fn ask_for(slots: &[Slot], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let slot: *const Slot = &raw const slots[at];
        // SAFETY: a prefetch changes nothing; the slot is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slot.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, at);
}

/// Values numbered in the order in which they appear.
#[derive(Debug)]
pub(super) struct Numbers {
    slots: Vec<Slot>,
    shift: u32,
    /// Numbers that were given beforehand to what is no value.
    pub(super) values: Vec<i64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            shift: u64::BITS,
            values: Vec::new(),
        }
    }
}

impl Numbers {
    /// Takes the next number for something that is no value. Before the first value only.
    pub(super) fn reserve_one(&mut self) {
        debug_assert!(self.slots.is_empty());
        self.values.push(0);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.values.capacity() * 8
    }

    /// Calls `each` with the index and the number of each value.
    #[inline(always)]
    pub(super) fn number(&mut self, values: &[i64], mut each: impl FnMut(usize, u32)) {
        for (batch, values) in values.chunks(BATCH).enumerate() {
            self.make_room(values.len());
            let mut places = [0usize; BATCH];
            for (place, value) in places.iter_mut().zip(values) {
                *place = (hash_of(*value) >> self.shift) as usize;
                ask_for(&self.slots, *place);
            }
            for (at, (value, place)) in values.iter().zip(places).enumerate() {
                each(batch * BATCH + at, self.number_at(*value, place));
            }
        }
    }

    /// The number of a value that was numbered.
    pub(super) fn find(&self, value: i64) -> Option<u32> {
        let last = self.slots.len().checked_sub(1)?;
        let mut place = (hash_of(value) >> self.shift) as usize;
        loop {
            let slot = &self.slots[place & last];
            if slot.own == EMPTY || slot.value == value {
                return (slot.own != EMPTY).then_some(slot.own);
            }
            place += 1;
        }
    }

    #[inline(always)]
    fn number_at(&mut self, value: i64, mut place: usize) -> u32 {
        let last = self.slots.len() - 1;
        loop {
            let slot = &mut self.slots[place & last];
            if slot.own == EMPTY {
                let own = self.values.len() as u32;
                *slot = Slot { value, own };
                self.values.push(value);
                return own;
            }
            if slot.value == value {
                return slot.own;
            }
            place += 1;
        }
    }

    fn make_room(&mut self, more: usize) {
        let wanted = (self.values.len() + more) * 2;
        if wanted <= self.slots.len() {
            return;
        }
        let old = std::mem::take(&mut self.slots);
        (self.slots, self.shift) = room(wanted, old.len());
        let last = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.own != EMPTY) {
            let mut place = (hash_of(slot.value) >> self.shift) as usize;
            while self.slots[place & last].own != EMPTY {
                place += 1;
            }
            self.slots[place & last] = slot;
        }
    }
}

/// Empty slots for so many, and how far hashes are shifted for them.
fn room(wanted: usize, before: usize) -> (Vec<Slot>, u32) {
    let slots = wanted.max(before * 4).max(FEWEST).next_power_of_two();
    (vec![NOBODY; slots], u64::BITS - slots.trailing_zeros())
}

/// A set of values for each group.
#[derive(Debug)]
pub(super) struct PairSet {
    slots: Vec<Slot>,
    shift: u32,
    count: usize,
    factor: u64,
}

impl PairSet {
    pub(super) fn new(factor: Factor) -> Self {
        Self {
            slots: Vec::new(),
            shift: 0,
            count: 0,
            factor: factor as u64,
        }
    }

    /// Of a value together with a group.
    #[inline(always)]
    fn hash(&self, group: u32, value: i64) -> u64 {
        hash_by(
            value ^ (i64::from(group) << 40) ^ i64::from(group),
            self.factor,
        )
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// Adds pairs; calls `new` with the group and value of each that was not there.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        pairs: impl Iterator<Item = (u32, i64)>,
        mut new: impl FnMut(u32, i64),
    ) {
        let mut pairs = pairs.fuse();
        let mut batch = [(0u32, 0i64, 0usize); BATCH];
        loop {
            let mut filled = 0;
            self.make_room();
            for slot in &mut batch {
                let Some((group, value)) = pairs.next() else {
                    break;
                };
                let place = (self.hash(group, value) >> self.shift) as usize;
                ask_for(&self.slots, place);
                *slot = (group, value, place);
                filled += 1;
            }
            for (group, value, place) in &batch[..filled] {
                if self.insert_at(*group, *value, *place) {
                    new(*group, *value);
                }
            }
            if filled < BATCH {
                return;
            }
        }
    }

    #[inline(always)]
    fn insert_at(&mut self, group: u32, value: i64, mut place: usize) -> bool {
        let last = self.slots.len() - 1;
        loop {
            let slot = &mut self.slots[place & last];
            if slot.own == EMPTY {
                *slot = Slot { value, own: group };
                self.count += 1;
                return true;
            }
            if slot.value == value && slot.own == group {
                return false;
            }
            place += 1;
        }
    }

    fn make_room(&mut self) {
        let wanted = (self.count + BATCH) * 2;
        if wanted <= self.slots.len() {
            return;
        }
        let old = std::mem::take(&mut self.slots);
        (self.slots, self.shift) = room(wanted, old.len());
        let last = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.own != EMPTY) {
            let mut place = (self.hash(slot.own, slot.value) >> self.shift) as usize;
            while self.slots[place & last].own != EMPTY {
                place += 1;
            }
            self.slots[place & last] = slot;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, i64)> {
        let taken = self.slots.iter().filter(|slot| slot.own != EMPTY);
        taken.map(|slot| (slot.own, slot.value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn numbers_and_pairs_are_those_of_other_tables() {
        let values: Vec<i64> = (0..50_000i64)
            .map(|n| match n % 4 {
                0 => n % 300,
                1 => (n * n) << 40,
                2 => -n,
                _ => i64::MIN + n % 7,
            })
            .collect();
        let mut table = Numbers::default();
        table.reserve_one();
        let mut known: HashMap<i64, u32> = HashMap::new();
        for block in values.chunks(999) {
            table.number(block, |at, number| {
                let next = known.len() as u32 + 1;
                assert_eq!(*known.entry(block[at]).or_insert(next), number);
            });
        }
        assert_eq!(table.values.len(), known.len() + 1);
        let mut set = PairSet::new(Factor::OfSegments);
        let mut expected = HashSet::new();
        for (from, block) in values.chunks(777).enumerate() {
            let pairs = block.iter().map(|value| (from as u32 % 5, *value));
            set.insert(pairs, |group, value| {
                assert!(expected.insert((group, value)))
            });
        }
        assert_eq!(set.iter().collect::<HashSet<_>>(), expected);
    }
}
