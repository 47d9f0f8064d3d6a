//! Distinct values of each group, counted approximately.
//!
//! Values are numbered as those of a key are, and each number is hashed once: of a dictionary once
//! for all queries. Whole numbers that have no numbers of their own are hashed row by row.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::hash_utils::{HLL_RANDOM_STATE, create_hashes};
use index::sketch::{HyperLogLog, Raise, hash_i32, hash_i64};
use segment::view::DictionaryColumn;

use super::fold::Slots;
use super::keys::Key;
use super::number::BlockRows;
use super::registers::Registers;
use crate::columns::longs;

/// Groups up to this many have their registers from the start.
const DENSE_GROUPS_MAX: usize = Registers::GROUPS_MAX;
/// Groups up to this many have registers, and no hashes, where a segment has those of its values
/// and so many rows for each that most would have registers soon.
const RAISED_GROUPS_MAX: usize = 4096;
const RAISED_ROWS: u64 = 512;

const UNKNOWN: u64 = 0;
/// In the place of the hash of null.
const NULL: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Sketches<'a> {
    key: Key<'a>,
    kept: Kept<'a>,
    numbers: Vec<u32>,
    missing: Vec<u64>,
    /// All numbers are known.
    complete: bool,
    /// Rows that may come.
    rows: u64,
}

#[derive(Debug)]
enum Kept<'a> {
    Registers {
        registers: Registers,
        known: Known<'a>,
        /// Of a block whose values have no numbers.
        raises: Vec<u32>,
        /// What waits are raises, not numbers.
        holds_raises: bool,
    },
    Each {
        sketches: Vec<HyperLogLog>,
        /// Hashes by number.
        known: Vec<u64>,
        /// In their place, as in [`Known::Segment`]: half as much to read.
        raises: Option<&'a [Raise]>,
    },
}

/// What the values of numbers do to registers.
#[derive(Debug)]
enum Known<'a> {
    /// Those of a dictionary; what has a number behind them is null.
    Segment(&'a [Raise]),
    /// The default is that of a number that was not seen.
    Own(Vec<Raise>),
}

impl Known<'_> {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Segment(_) => 0,
            Self::Own(known) => known.capacity() * size_of::<Raise>(),
        }
    }

    fn raises(&self) -> &[Raise] {
        match self {
            Self::Segment(known) => known,
            Self::Own(known) => known,
        }
    }

    fn make_room(&mut self, past: usize) {
        if let Self::Own(known) = self {
            known.resize(past.max(known.len()), Raise::default());
        }
    }

    fn is_new(&self, number: u32) -> bool {
        match self {
            Self::Segment(_) => false,
            Self::Own(known) => known[number as usize] == Raise::default(),
        }
    }

    fn know(&mut self, number: usize, hash: u64) {
        if let Self::Own(known) = self {
            known[number] = match hash {
                NULL => Raise::NOTHING,
                hash => Raise::of(hash),
            };
        }
    }
}

/// What has a number behind those that are known is null.
#[inline(always)]
fn raise_of(known: &[Raise], number: u32) -> Raise {
    let raise = known.get(number as usize).copied();
    raise.unwrap_or(Raise::NOTHING)
}

impl<'a> Sketches<'a> {
    /// `groups` is the most that there can be, as far as it is known; no more than `rows` rows
    /// come.
    pub(super) fn new(key: Key<'a>, groups: Option<usize>, rows: u64) -> Self {
        let at_most = |most| groups.is_some_and(|groups| groups <= most);
        let few = at_most(DENSE_GROUPS_MAX);
        let have_rows = groups.is_some_and(|groups| groups as u64 * RAISED_ROWS <= rows);
        let is_raised = few || (at_most(RAISED_GROUPS_MAX) && have_rows);
        let dictionary = key.dictionary().filter(|_| is_raised && key.domain <= rows);
        let raises = dictionary.and_then(DictionaryColumn::raises);
        Self {
            kept: match few {
                true => Kept::Registers {
                    registers: Registers::default(),
                    known: raises.map_or(Known::Own(Vec::new()), Known::Segment),
                    raises: Vec::new(),
                    holds_raises: false,
                },
                false => Kept::Each {
                    sketches: Vec::new(),
                    known: Vec::new(),
                    raises,
                },
            },
            key,
            numbers: Vec::new(),
            missing: Vec::new(),
            complete: raises.is_some(),
            rows,
        }
    }

    /// Whether [`Self::resume`] can take what the other has.
    pub(super) fn continues(&self, other: &Sketches<'_>) -> bool {
        matches!(
            (&self.kept, &other.kept),
            (Kept::Registers { .. }, Kept::Registers { .. })
                | (Kept::Each { .. }, Kept::Each { .. })
        )
    }

    /// Goes on with the sketches of another segment, whose groups have the same numbers.
    pub(super) fn resume(&mut self, mut other: Sketches<'_>) {
        other.kept.flush();
        match (&mut self.kept, other.kept) {
            (Kept::Registers { registers, .. }, Kept::Registers { registers: own, .. }) => {
                *registers = own;
            }
            (Kept::Each { sketches, .. }, Kept::Each { sketches: own, .. }) => *sketches = own,
            _ => {}
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = match &self.kept {
            Kept::Registers {
                registers, known, ..
            } => registers.memory_bytes() + known.memory_bytes(),
            // Looked at in full only once in a while.
            Kept::Each {
                sketches, known, ..
            } => {
                let sketches = sketches.iter().map(HyperLogLog::memory_bytes);
                sketches.sum::<usize>() + known.capacity() * 8
            }
        };
        own + self.key.memory_bytes()
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match &mut self.kept {
            Kept::Registers { registers, .. } => registers.grow(groups),
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
    pub(super) fn finish(mut self, used: &[u32]) -> Vec<HyperLogLog> {
        self.kept.flush();
        match self.kept {
            Kept::Registers { registers, .. } => registers.finish(used),
            Kept::Each { mut sketches, .. } => {
                let take = |group: &u32| std::mem::take(&mut sketches[*group as usize]);
                used.iter().map(take).collect()
            }
        }
    }
}

impl Kept<'_> {
    /// Nothing waits any more.
    fn flush(&mut self) {
        if let Self::Registers {
            registers,
            known,
            holds_raises,
            ..
        } = self
        {
            match holds_raises {
                true => registers.flush(Raise::of_bits),
                false => registers.flush(|number| raise_of(known.raises(), number)),
            }
        }
    }

    /// What waits, and is something else, does so no more.
    fn turn_to_raises(&mut self, becomes: bool) {
        if matches!(self, Self::Registers { holds_raises, .. } if *holds_raises != becomes) {
            self.flush();
        }
        if let Self::Registers { holds_raises, .. } = self {
            *holds_raises = becomes;
        }
    }

    #[inline(always)]
    fn add<T: Copy>(&mut self, slots: Slots<'_>, values: &[T], hash: impl Fn(T) -> u64) {
        self.turn_to_raises(true);
        match self {
            Self::Registers {
                registers, raises, ..
            } => {
                raises.clear();
                raises.extend(values.iter().map(|value| Raise::of(hash(*value)).to_bits()));
                registers.add(slots, raises, Raise::of_bits);
            }
            Self::Each { sketches, .. } => {
                slots.with(values, |group, value| sketches[group].add(hash(value)));
            }
        }
    }

    fn add_numbers(&mut self, slots: Slots<'_>, numbers: &[u32]) {
        self.turn_to_raises(false);
        match self {
            Self::Registers {
                registers, known, ..
            } => {
                let known = known.raises();
                registers.add(slots, numbers, |number| raise_of(known, number));
            }
            Self::Each {
                sketches,
                known,
                raises,
            } => {
                let mut add = |group: usize, numbers: &[u32]| match raises {
                    Some(raises) => {
                        let raises = numbers.iter().map(|number| raise_of(raises, *number));
                        sketches[group].raise_each(raises);
                    }
                    None => {
                        let hashes = numbers.iter().map(|number| known[*number as usize]);
                        sketches[group].add_each(hashes.filter(|hash| *hash != NULL));
                    }
                };
                let Some(groups) = slots.groups() else {
                    return add(0, numbers);
                };
                // Those of one group lie together where a segment is in the order of its groups.
                let mut first = 0;
                for run in groups.chunk_by(|a, b| a == b) {
                    add(run[0] as usize, &numbers[first..first + run.len()]);
                    first += run.len();
                }
            }
        }
    }

    /// Numbers are below `past`. Zeroed memory that nobody looks at costs nothing.
    fn make_room(&mut self, past: usize) {
        match self {
            Self::Registers { known, .. } => known.make_room(past),
            Self::Each { known, .. } => known.resize(past.max(known.len()), UNKNOWN),
        }
    }

    /// Nothing is known of the number. Asked again, it is taken for null.
    fn is_new(&mut self, number: u32) -> bool {
        let is_new = match self {
            Self::Registers { known, .. } => known.is_new(number),
            Self::Each { known, .. } => known[number as usize] == UNKNOWN,
        };
        if is_new {
            self.know(number as usize, NULL);
        }
        is_new
    }

    fn know(&mut self, number: usize, hash: u64) {
        match self {
            Self::Registers { known, .. } => known.know(number, hash),
            Self::Each { known, .. } => known[number] = hash,
        }
    }
}
