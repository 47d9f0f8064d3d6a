//! Distinct values of each group, counted approximately.
//!
//! Values are numbered as those of a key are, and each number is hashed once; whole numbers that
//! have no numbers of their own are hashed row by row.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::hash_utils::{HLL_RANDOM_STATE, create_hashes};
use index::sketch::{HyperLogLog, REGISTERS, hash_i32, hash_i64, register_of};

use super::fold::Slots;
use super::keys::Key;
use super::number::BlockRows;
use crate::columns::longs;

/// Groups up to this many have their registers from the start.
const DENSE_GROUPS_MAX: usize = 256;

const UNKNOWN: u64 = 0;
/// In the place of the hash of null.
const NULL: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Sketches<'a> {
    key: Key<'a>,
    /// By number.
    known: Vec<u64>,
    kept: Kept,
    numbers: Vec<u64>,
    missing: Vec<u64>,
}

#[derive(Debug)]
enum Kept {
    /// The registers of all groups, one group after the other.
    Registers(Vec<u8>),
    Each(Vec<HyperLogLog>),
}

impl<'a> Sketches<'a> {
    pub(super) fn new(key: Key<'a>, groups: Option<usize>) -> Self {
        let few = groups.is_some_and(|groups| groups <= DENSE_GROUPS_MAX);
        Self {
            key,
            known: Vec::new(),
            kept: match few {
                true => Kept::Registers(Vec::new()),
                false => Kept::Each(Vec::new()),
            },
            numbers: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.kept {
            Kept::Registers(registers) => registers.capacity(),
            // Looked at in full only once in a while.
            Kept::Each(sketches) => sketches.iter().map(HyperLogLog::memory_bytes).sum(),
        };
        own + self.key.memory_bytes() + self.known.capacity() * 8
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match &mut self.kept {
            Kept::Registers(registers) => {
                registers.resize((groups * REGISTERS).max(registers.len()), 0);
            }
            Kept::Each(sketches) => {
                sketches.resize_with(groups.max(sketches.len()), HyperLogLog::default);
            }
        }
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        if let Some((raw, nulls)) = self.key.raw()
            && rows.nulls(nulls).is_none()
        {
            let values = longs(raw.values(rows.range()), rows.picked);
            match self.key.input_type() {
                DataType::Int32 => self.kept.add(slots, &values, |v| hash_i32(v as i32)),
                _ => self.kept.add(slots, &values, hash_i64),
            }
            return Ok(());
        }
        self.key.numbers_into(rows, &mut self.numbers)?;
        self.learn()?;
        let known = &self.known;
        self.kept
            .add(slots, &self.numbers, |number| known[number as usize]);
        Ok(())
    }

    /// Hashes the values of numbers that are seen for the first time.
    fn learn(&mut self) -> Result<()> {
        let past = match self.key.seen() {
            Some(seen) => (self
                .numbers
                .iter()
                .copied()
                .max()
                .map_or(0, |n| n as usize + 1))
            .max(seen),
            None => self.key.domain as usize,
        };
        // Zeroed memory that nobody looks at costs nothing.
        if self.known.is_empty() {
            self.known = vec![UNKNOWN; past];
        }
        self.known.resize(past.max(self.known.len()), UNKNOWN);
        self.missing.clear();
        for number in &self.numbers {
            let known = &mut self.known[*number as usize];
            if *known == UNKNOWN {
                *known = NULL;
                self.missing.push(*number);
            }
        }
        if self.missing.is_empty() {
            return Ok(());
        }
        let values = self.key.values(&self.missing)?;
        let mut hashes = vec![0; values.len()];
        create_hashes([&values], &HLL_RANDOM_STATE, &mut hashes)?;
        let nulls = values.logical_nulls();
        for (at, (number, hash)) in self.missing.iter().zip(hashes).enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at)) {
                self.known[*number as usize] = hash;
            }
        }
        Ok(())
    }

    /// The sketches of the groups at `used`.
    pub(super) fn finish(self, used: &[u32]) -> Vec<HyperLogLog> {
        match self.kept {
            Kept::Registers(registers) => {
                let (groups, _) = registers.as_chunks::<REGISTERS>();
                let of = |group: &u32| HyperLogLog::of_registers(&groups[*group as usize]);
                used.iter().map(of).collect()
            }
            Kept::Each(mut sketches) => {
                let take = |group: &u32| std::mem::take(&mut sketches[*group as usize]);
                used.iter().map(take).collect()
            }
        }
    }
}

impl Kept {
    #[inline(always)]
    fn add<T: Copy>(&mut self, slots: Slots<'_>, values: &[T], hash: impl Fn(T) -> u64) {
        match self {
            Self::Registers(registers) => slots.with(values, |group, value| {
                let hash = hash(value);
                if hash != NULL {
                    let (index, rank) = register_of(hash);
                    let register = &mut registers[group * REGISTERS + index];
                    *register = (*register).max(rank);
                }
            }),
            Self::Each(sketches) => slots.with(values, |group, value| {
                let hash = hash(value);
                if hash != NULL {
                    sketches[group].add(hash);
                }
            }),
        }
    }
}
