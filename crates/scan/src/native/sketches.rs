//! Distinct values of each group, counted approximately.
//!
//! Values are numbered as those of a key are, and each number is hashed once; whole numbers that
//! have no numbers of their own are hashed row by row.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
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
    kept: Kept,
    numbers: Vec<u32>,
    missing: Vec<u64>,
    /// All numbers are known.
    complete: bool,
    /// Rows that may come.
    rows: u64,
}

#[derive(Debug)]
enum Kept {
    /// The registers of all groups, one group after the other.
    Registers {
        registers: Vec<u8>,
        known: Vec<Raise>,
        /// Of a block.
        raises: Vec<Raise>,
    },
    Each {
        sketches: Vec<HyperLogLog>,
        /// Hashes by number.
        known: Vec<u64>,
    },
}

/// What a value does to the registers: the register above, and 8 bits of what it is raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raise(u32);

impl Raise {
    const UNKNOWN: Self = Self(0);
    /// Raises a register to nothing.
    const NULL: Self = Self(1 << 8);

    #[inline(always)]
    fn of(hash: u64) -> Self {
        let (index, rank) = register_of(hash);
        Self((index as u32) << 8 | u32::from(rank))
    }
}

impl<'a> Sketches<'a> {
    /// `groups` is the most that there can be, as far as it is known; no more than `rows` rows
    /// come.
    pub(super) fn new(key: Key<'a>, groups: Option<usize>, rows: u64) -> Self {
        let few = groups.is_some_and(|groups| groups <= DENSE_GROUPS_MAX);
        Self {
            key,
            kept: match few {
                true => Kept::Registers {
                    registers: Vec::new(),
                    known: Vec::new(),
                    raises: Vec::new(),
                },
                false => Kept::Each {
                    sketches: Vec::new(),
                    known: Vec::new(),
                },
            },
            numbers: Vec::new(),
            missing: Vec::new(),
            complete: false,
            rows,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.kept {
            Kept::Registers {
                registers, known, ..
            } => registers.capacity() + known.capacity() * 4,
            // Looked at in full only once in a while.
            Kept::Each { sketches, known } => {
                let sketches = sketches.iter().map(HyperLogLog::memory_bytes);
                sketches.sum::<usize>() + known.capacity() * 8
            }
        };
        own + self.key.memory_bytes()
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match &mut self.kept {
            Kept::Registers { registers, .. } => {
                registers.resize((groups * REGISTERS).max(registers.len()), 0);
            }
            Kept::Each { sketches, .. } => {
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
        if !self.complete {
            self.learn()?;
        }
        self.kept.add_numbers(slots, &self.numbers);
        Ok(())
    }

    /// Hashes the values of numbers that are seen for the first time.
    fn learn(&mut self) -> Result<()> {
        let domain = self.key.domain;
        // Where most will be seen, all of them at once is sooner done.
        self.complete = self.key.is_known() && domain <= self.rows;
        self.missing.clear();
        if self.complete {
            self.kept.make_room(domain as usize);
            self.missing.extend(0..domain);
        } else {
            let greatest = self.numbers.iter().copied().max();
            let past = greatest.map_or(0, |number| number as usize + 1);
            let all = self.key.seen().unwrap_or(domain as usize);
            self.kept.make_room(past.max(all));
            for number in &self.numbers {
                if self.kept.is_new(*number) {
                    self.missing.push(u64::from(*number));
                }
            }
        }
        if self.missing.is_empty() {
            return Ok(());
        }
        let values = match self.key.dictionary() {
            // The last number may be null's, the others are codes.
            Some(dictionary) if self.complete => dictionary.array(),
            _ => self.key.values(&self.missing)?,
        };
        let mut hashes = vec![0; values.len()];
        create_hashes([&values], &HLL_RANDOM_STATE, &mut hashes)?;
        let nulls = values.logical_nulls();
        for (at, number) in self.missing.iter().enumerate() {
            let is_null = |nulls: &NullBuffer| nulls.is_null(at);
            let hash = match hashes.get(at) {
                Some(hash) if !nulls.as_ref().is_some_and(is_null) => *hash,
                _ => NULL,
            };
            self.kept.know(*number as usize, hash);
        }
        Ok(())
    }

    /// The sketches of the groups at `used`.
    pub(super) fn finish(self, used: &[u32]) -> Vec<HyperLogLog> {
        match self.kept {
            Kept::Registers { registers, .. } => {
                let (groups, _) = registers.as_chunks::<REGISTERS>();
                let of = |group: &u32| HyperLogLog::of_registers(&groups[*group as usize]);
                used.iter().map(of).collect()
            }
            Kept::Each { mut sketches, .. } => {
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
            Self::Registers { registers, .. } => slots.with(values, |group, value| {
                raise(registers, group, Raise::of(hash(value)));
            }),
            Self::Each { sketches, .. } => {
                slots.with(values, |group, value| sketches[group].add(hash(value)));
            }
        }
    }

    fn add_numbers(&mut self, slots: Slots<'_>, numbers: &[u32]) {
        match self {
            Self::Registers {
                registers,
                known,
                raises,
            } => {
                // In two loops, so that more of the memory's answers overlap.
                raises.clear();
                raises.extend(numbers.iter().map(|number| known[*number as usize]));
                slots.with(raises, |group, by| raise(registers, group, by));
            }
            Self::Each { sketches, known } => slots.with(numbers, |group, number| {
                let hash = known[number as usize];
                if hash != NULL {
                    sketches[group].add(hash);
                }
            }),
        }
    }

    /// Numbers are below `past`. Zeroed memory that nobody looks at costs nothing.
    fn make_room(&mut self, past: usize) {
        match self {
            Self::Registers { known, .. } => {
                known.resize(past.max(known.len()), Raise::UNKNOWN);
            }
            Self::Each { known, .. } => known.resize(past.max(known.len()), UNKNOWN),
        }
    }

    /// Nothing is known of the number. Asked again, it is taken for null.
    fn is_new(&mut self, number: u32) -> bool {
        let number = number as usize;
        let is_new = match self {
            Self::Registers { known, .. } => known[number] == Raise::UNKNOWN,
            Self::Each { known, .. } => known[number] == UNKNOWN,
        };
        if is_new {
            self.know(number, NULL);
        }
        is_new
    }

    fn know(&mut self, number: usize, hash: u64) {
        match self {
            Self::Registers { known, .. } if hash == NULL => known[number] = Raise::NULL,
            Self::Registers { known, .. } => known[number] = Raise::of(hash),
            Self::Each { known, .. } => known[number] = hash,
        }
    }
}

#[inline(always)]
fn raise(registers: &mut [u8], group: usize, by: Raise) {
    let register = &mut registers[group * REGISTERS + (by.0 >> 8) as usize];
    let rank = by.0 as u8;
    // Seldom: mostly the register was raised before.
    if *register < rank {
        *register = rank;
    }
}
