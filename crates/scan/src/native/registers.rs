//! The registers of sketches, one for each of few groups.
//!
//! Those of many groups do not fit into a core's caches together. Then the rows of each group wait
//! until there are so many that they are worth to have the group's registers near while they are
//! raised. What waits are numbers of values: what these do to registers is read from a table that
//! is not near either, and many such reads should be on their way at once.

use index::sketch::{HyperLogLog, REGISTERS, Raise};

use super::fold::Slots;

/// The registers of so many groups are near enough at any time.
const NEAR_GROUPS: usize = 32;
/// Rows of a group that wait at most: two for each cache line of its registers.
const WAITING_MAX: usize = 512;
const LOOKED_UP_AT_ONCE: usize = 128;
/// Rows of one group behind each other that need not wait.
const LONG_RUN: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Registers {
    registers: Vec<[u8; REGISTERS]>,
    /// For each group; none where the registers of all are near.
    waiting: Vec<Waiting>,
}

/// Numbers of a group.
#[derive(Debug)]
struct Waiting {
    length: usize,
    numbers: [u32; WAITING_MAX],
}

impl Registers {
    pub(super) const GROUPS_MAX: usize = 256;

    pub(super) fn memory_bytes(&self) -> usize {
        self.registers.capacity() * REGISTERS + self.waiting.capacity() * size_of::<Waiting>()
    }

    /// No more than [`Self::GROUPS_MAX`].
    pub(super) fn grow(&mut self, groups: usize) {
        let groups = groups.max(self.registers.len());
        self.registers.resize(groups, [0; REGISTERS]);
        if groups > NEAR_GROUPS {
            self.waiting.resize_with(groups, || Waiting {
                length: 0,
                numbers: [0; WAITING_MAX],
            });
        }
    }

    /// `raise` is what a number does to registers. It may be asked after this; see [`Self::flush`].
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        slots: Slots<'_>,
        numbers: &[u32],
        raise: impl Fn(u32) -> Raise + Copy,
    ) {
        let Some(groups) = slots.groups() else {
            return apply(&mut self.registers[0], numbers, raise);
        };
        if self.waiting.is_empty() {
            looked_up(numbers, raise, |first, raises| {
                for (group, raise) in groups[first..].iter().zip(raises) {
                    raise.apply(&mut self.registers[*group as usize]);
                }
            });
        } else if slots.repeat() {
            let mut rest = numbers;
            for run in groups.chunk_by(|a, b| a == b) {
                let (own, others) = rest.split_at(run.len());
                self.add_run(run[0] as usize, own, raise);
                rest = others;
            }
        } else {
            for (group, number) in groups.iter().zip(numbers) {
                let group = *group as usize;
                let waiting = &mut self.waiting[group];
                waiting.numbers[waiting.length % WAITING_MAX] = *number;
                waiting.length += 1;
                if waiting.length == WAITING_MAX {
                    waiting.length = 0;
                    apply(&mut self.registers[group], &waiting.numbers, raise);
                }
            }
        }
    }

    #[inline(always)]
    fn add_run(&mut self, group: usize, numbers: &[u32], raise: impl Fn(u32) -> Raise + Copy) {
        let (waiting, registers) = (&mut self.waiting[group], &mut self.registers[group]);
        if numbers.len() >= LONG_RUN {
            return apply(registers, numbers, raise);
        }
        if waiting.length + numbers.len() >= WAITING_MAX {
            apply(registers, &waiting.numbers[..waiting.length], raise);
            waiting.length = 0;
        }
        waiting.numbers[waiting.length..][..numbers.len()].copy_from_slice(numbers);
        waiting.length += numbers.len();
    }

    /// Nothing waits any more: numbers may mean something else from now on.
    pub(super) fn flush(&mut self, raise: impl Fn(u32) -> Raise + Copy) {
        for (waiting, registers) in self.waiting.iter_mut().zip(&mut self.registers) {
            let numbers = &waiting.numbers[..waiting.length];
            apply(registers, numbers, raise);
            waiting.length = 0;
        }
    }

    /// The sketches of the groups at `used`. Nothing waits.
    pub(super) fn finish(self, used: &[u32]) -> Vec<HyperLogLog> {
        debug_assert!(self.waiting.iter().all(|waiting| waiting.length == 0));
        let of = |group: &u32| HyperLogLog::of_registers(&self.registers[*group as usize]);
        used.iter().map(of).collect()
    }
}

#[inline(always)]
fn apply(registers: &mut [u8; REGISTERS], numbers: &[u32], raise: impl Fn(u32) -> Raise) {
    looked_up(numbers, raise, |_, raises| {
        raises.iter().for_each(|raise| raise.apply(registers));
    });
}

/// Calls `each` with what numbers do to registers, and the place of the first of these numbers. In
/// a loop of their own, far more of the reads are on their way at once.
#[inline(always)]
fn looked_up(numbers: &[u32], raise: impl Fn(u32) -> Raise, mut each: impl FnMut(usize, &[Raise])) {
    let mut raises = [Raise::NOTHING; LOOKED_UP_AT_ONCE];
    let chunks = numbers.chunks(LOOKED_UP_AT_ONCE);
    for (numbers, first) in chunks.zip((0..).step_by(LOOKED_UP_AT_ONCE)) {
        for (looked_up, number) in raises.iter_mut().zip(numbers) {
            *looked_up = raise(*number);
        }
        each(first, &raises[..numbers.len()]);
    }
}

#[cfg(test)]
mod tests {
    use index::sketch::hash_i64;

    use super::*;
    use crate::native::fold::RowGroups;

    #[test]
    fn rows_that_wait_count_as_others_do() {
        let raise = |number: u32| Raise::of(hash_i64(i64::from(number) / 3));
        for (groups, run) in [(2u32, 1), (32, 1), (33, 1), (256, 1), (40, 5), (40, 100)] {
            let rows = WAITING_MAX as i64 * 1030 + 77;
            let mut registers = Registers::default();
            registers.grow(groups as usize);
            let mut expected = vec![HyperLogLog::default(); groups as usize];
            for first in (0..rows).step_by(4096) {
                let values: Vec<i64> = (first..rows.min(first + 4096)).collect();
                let group = |value: i64| ((value / run).pow(2) % i64::from(groups)) as u32;
                let slots: Vec<u32> = values.iter().map(|value| group(*value)).collect();
                let hashes = values.iter().map(|value| hash_i64(value / 3));
                for (slot, hash) in slots.iter().zip(hashes.clone()) {
                    expected[*slot as usize].add(hash);
                }
                let numbers: Vec<u32> = values.iter().map(|value| *value as u32).collect();
                let slots = Slots::Each(RowGroups::new(&slots, groups as usize));
                registers.add(slots, &numbers, raise);
            }
            registers.flush(raise);
            let used: Vec<u32> = (0..groups).rev().collect();
            let found = registers.finish(&used);
            let counts = |own: Vec<HyperLogLog>| own.iter().map(HyperLogLog::count).collect();
            let (mut found, expected): (Vec<u64>, Vec<u64>) = (counts(found), counts(expected));
            found.reverse();
            assert_eq!(found, expected);
        }
    }
}
