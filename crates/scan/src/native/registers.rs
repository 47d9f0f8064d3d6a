//! The registers of sketches, one for each of few groups.
//!
//! Those of many groups do not fit into a core's caches together. Then rows wait until there are so
//! many that they are worth to be put in the order of their groups, so that one group's registers
//! stay near while they are raised.

use index::sketch::{HyperLogLog, REGISTERS, Raise};

use super::fold::Slots;

/// The registers of so many groups are near enough at any time.
const NEAR_GROUPS: usize = 24;
/// Rows that wait at most, and a block more.
const WAITING_MAX: usize = 1 << 18;

#[derive(Debug, Default)]
pub(super) struct Registers {
    registers: Vec<[u8; REGISTERS]>,
    /// Of the rows that wait.
    groups: Vec<u8>,
    raises: Vec<Raise>,
    /// The same in the order of groups.
    sorted: Vec<Raise>,
}

impl Registers {
    pub(super) const GROUPS_MAX: usize = 256;

    pub(super) fn memory_bytes(&self) -> usize {
        let waiting = self.raises.capacity() + self.sorted.capacity();
        self.registers.capacity() * REGISTERS
            + self.groups.capacity()
            + waiting * size_of::<Raise>()
    }

    /// No more than [`Self::GROUPS_MAX`].
    pub(super) fn grow(&mut self, groups: usize) {
        let groups = groups.max(self.registers.len());
        self.registers.resize(groups, [0; REGISTERS]);
    }

    pub(super) fn add(&mut self, slots: Slots<'_>, raises: &[Raise]) {
        match slots.groups() {
            None => {
                let own = &mut self.registers[0];
                raises.iter().for_each(|raise| raise.apply(own));
            }
            Some(groups) if self.registers.len() <= NEAR_GROUPS => {
                for (group, raise) in groups.iter().zip(raises) {
                    raise.apply(&mut self.registers[*group as usize]);
                }
            }
            Some(groups) => {
                self.groups.extend(groups.iter().map(|group| *group as u8));
                self.raises.extend_from_slice(raises);
                if self.raises.len() >= WAITING_MAX {
                    self.flush();
                }
            }
        }
    }

    fn flush(&mut self) {
        let mut next = [0; Self::GROUPS_MAX];
        self.groups
            .iter()
            .for_each(|group| next[usize::from(*group)] += 1);
        let mut first = 0;
        for next in &mut next {
            first += std::mem::replace(next, first);
        }
        self.sorted.resize(self.raises.len(), Raise::NOTHING);
        for (group, raise) in self.groups.iter().zip(&self.raises) {
            let next = &mut next[usize::from(*group)];
            self.sorted[*next] = *raise;
            *next += 1;
        }
        let mut first = 0;
        for (registers, end) in self.registers.iter_mut().zip(next) {
            let own = &self.sorted[first..end];
            own.iter().for_each(|raise| raise.apply(registers));
            first = end;
        }
        self.groups.clear();
        self.raises.clear();
    }

    /// The sketches of the groups at `used`.
    pub(super) fn finish(mut self, used: &[u32]) -> Vec<HyperLogLog> {
        self.flush();
        let of = |group: &u32| HyperLogLog::of_registers(&self.registers[*group as usize]);
        used.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use index::sketch::hash_i64;

    use super::*;
    use crate::native::fold::RowGroups;

    #[test]
    fn rows_that_wait_count_as_others_do() {
        for groups in [2u32, 24, 25, 256] {
            let rows = WAITING_MAX as i64 * 2 + 77;
            let mut registers = Registers::default();
            registers.grow(groups as usize);
            let mut expected = vec![HyperLogLog::default(); groups as usize];
            for first in (0..rows).step_by(4096) {
                let values: Vec<i64> = (first..rows.min(first + 4096)).collect();
                let group = |value: i64| ((value * value) % i64::from(groups)) as u32;
                let slots: Vec<u32> = values.iter().map(|value| group(*value)).collect();
                let hashes = values.iter().map(|value| hash_i64(value / 3));
                for (slot, hash) in slots.iter().zip(hashes.clone()) {
                    expected[*slot as usize].add(hash);
                }
                let raises: Vec<Raise> = hashes.map(Raise::of).collect();
                let slots = Slots::Each(RowGroups::new(&slots, groups as usize));
                registers.add(slots, &raises);
            }
            let used: Vec<u32> = (0..groups).rev().collect();
            let found = registers.finish(&used);
            let counts = |own: Vec<HyperLogLog>| own.iter().map(HyperLogLog::count).collect();
            let (mut found, expected): (Vec<u64>, Vec<u64>) = (counts(found), counts(expected));
            found.reverse();
            assert_eq!(found, expected);
        }
    }
}
