//! How many distinct values there were, within 0.8 %.
//!
//! A hash falls into one of 2^14 registers, which keeps the greatest position of the lowest bit
//! that is set in the rest. Few distinct values are kept as their hashes, so that a group with a
//! handful of them costs bytes and not 16 KiB; both forms give the same estimate.

use crate::CorruptIndex;

const INDEX_BITS: u32 = 14;
/// Bits of a hash beside the register's index.
const RANK_BITS: u32 = u64::BITS - INDEX_BITS;
const RANKS: usize = RANK_BITS as usize + 2;

pub const REGISTERS: usize = 1 << INDEX_BITS;

/// More distinct hashes than these are kept in registers.
const SPARSE_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HyperLogLog(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// May have a hash more than once until it is tidied.
    Sparse(Vec<u64>),
    Dense(Box<[u8; REGISTERS]>),
}

/// The register of a hash, and what it is raised to.
#[inline]
pub fn register_of(hash: u64) -> (usize, u8) {
    let index = (hash as usize) & (REGISTERS - 1);
    let rank = ((hash >> INDEX_BITS) | (1 << RANK_BITS)).trailing_zeros() + 1;
    (index, rank as u8)
}

/// What a value does to the registers: the one that it raises, and 8 bits of what it is raised to.
/// The default is that of no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raise(u32);

impl Raise {
    /// To no more than there was.
    pub const NOTHING: Self = Self(1 << 8);

    #[inline]
    pub fn of(hash: u64) -> Self {
        let (index, rank) = register_of(hash);
        Self((index as u32) << 8 | u32::from(rank))
    }

    /// For who keeps numbers and raises in one place.
    #[inline]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub const fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub fn apply(self, registers: &mut [u8; REGISTERS]) {
        let register = &mut registers[(self.0 >> 8) as usize % REGISTERS];
        // Without a branch: whether it was raised before is hard to guess while there are few.
        *register = (*register).max(self.0 as u8);
    }
}

/// Raises each register to the other's.
pub fn join_registers(registers: &mut [u8], others: &[u8]) {
    for (register, other) in registers.iter_mut().zip(others) {
        *register = (*register).max(*other);
    }
}

/// The estimate of [`REGISTERS`] registers.
pub fn count_of_registers(registers: &[u8]) -> u64 {
    // In lanes, so that a count does not wait for the one before.
    let mut lanes = [[0u32; 256]; 4];
    let (chunks, rest) = registers.as_chunks::<4>();
    for chunk in chunks {
        for (lane, register) in lanes.iter_mut().zip(chunk) {
            lane[usize::from(*register)] += 1;
        }
    }
    for register in rest {
        lanes[0][usize::from(*register)] += 1;
    }
    let mut counts = [0u32; 256];
    for (rank, count) in counts.iter_mut().enumerate() {
        *count = lanes.iter().map(|lane| lane[rank]).sum();
    }
    estimate(&counts)
}

/// Ertl's estimator (arXiv:1702.01284), from how many registers have each rank.
fn estimate(counts: &[u32]) -> u64 {
    let registers = REGISTERS as f64;
    let share = |count: u32| f64::from(count) / registers;
    let mut sum = registers * saturated(1.0 - share(counts[RANKS - 1]));
    for count in counts[1..RANKS - 1].iter().rev() {
        sum = (sum + f64::from(*count)) * 0.5;
    }
    sum += registers * untouched(share(counts[0]));
    (registers * registers / (2.0 * std::f64::consts::LN_2) / sum).round() as u64
}

/// σ of the paper: what registers that are still 0 add; infinite when all are.
fn untouched(share: f64) -> f64 {
    if share == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let next = sum + power * weight;
        weight *= 2.0;
        if next == sum {
            return sum;
        }
        sum = next;
    }
}

/// τ of the paper: what registers at their limit add.
fn saturated(share: f64) -> f64 {
    if share == 0.0 || share == 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        weight *= 0.5;
        let next = sum - (1.0 - root).powi(2) * weight;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

/// The registers after all of the hashes.
fn raised(mut registers: Box<[u8; REGISTERS]>, hashes: &[u64]) -> Box<[u8; REGISTERS]> {
    hashes.iter().for_each(|hash| raise(&mut registers, *hash));
    registers
}

impl Default for HyperLogLog {
    fn default() -> Self {
        Self(Form::Sparse(Vec::new()))
    }
}

impl HyperLogLog {
    /// Of all values whose hashes raised these registers.
    pub fn of_registers(registers: &[u8; REGISTERS]) -> Self {
        Self(Form::Dense(Box::new(*registers)))
    }

    /// Adds a value by its [hash](super::hash_i64).
    #[inline]
    pub fn add(&mut self, hash: u64) {
        match &mut self.0 {
            Form::Dense(registers) => raise(registers, hash),
            Form::Sparse(hashes) => {
                hashes.push(hash);
                if hashes.len() >= 2 * SPARSE_MAX {
                    self.tidy();
                }
            }
        }
    }

    /// As [`Self::add`] with each of them.
    #[inline]
    pub fn add_each(&mut self, mut hashes: impl Iterator<Item = u64>) {
        loop {
            if let Form::Dense(registers) = &mut self.0 {
                return hashes.for_each(|hash| Raise::of(hash).apply(registers));
            }
            let Some(hash) = hashes.next() else { return };
            self.add(hash);
        }
    }

    /// Raises its registers, from now on in the form of these.
    #[inline]
    pub fn raise_each(&mut self, raises: impl Iterator<Item = Raise>) {
        if let Form::Sparse(hashes) = &self.0 {
            self.0 = Form::Dense(raised(Box::new([0; REGISTERS]), hashes));
        }
        if let Form::Dense(registers) = &mut self.0 {
            raises.for_each(|raise| raise.apply(registers));
        }
    }

    /// Each hash once, ascending; registers when there are too many.
    fn tidy(&mut self) {
        let Form::Sparse(hashes) = &mut self.0 else {
            return;
        };
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.len() > SPARSE_MAX {
            self.0 = Form::Dense(raised(Box::new([0; REGISTERS]), hashes));
        }
    }

    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            Form::Sparse(hashes) => hashes.iter().for_each(|hash| self.add(*hash)),
            Form::Dense(registers) => self.merge_registers(registers),
        }
    }

    fn merge_registers(&mut self, others: &[u8; REGISTERS]) {
        match &mut self.0 {
            Form::Dense(registers) => join_registers(registers.as_mut_slice(), others),
            Form::Sparse(hashes) => {
                self.0 = Form::Dense(raised(Box::new(*others), hashes));
            }
        }
    }

    /// Joins a state; no bytes are no values.
    pub fn merge_state(&mut self, state: &[u8]) -> Result<(), CorruptIndex> {
        if let Ok(registers) = <&[u8; REGISTERS]>::try_from(state) {
            if let Some(at) = registers.iter().position(|r| usize::from(*r) >= RANKS) {
                return Err(CorruptIndex::Sketch {
                    what: format!("register {at} is {}", registers[at]),
                });
            }
            self.merge_registers(registers);
            return Ok(());
        }
        let (hashes, rest) = state.as_chunks::<8>();
        if !rest.is_empty() || hashes.len() > SPARSE_MAX {
            return Err(CorruptIndex::Sketch {
                what: format!("{} bytes are no state of distinct values", state.len()),
            });
        }
        for hash in hashes {
            self.add(u64::from_le_bytes(*hash));
        }
        Ok(())
    }

    /// Appends the state.
    pub fn write_state(&mut self, into: &mut Vec<u8>) {
        self.tidy();
        match &self.0 {
            Form::Dense(registers) => into.extend_from_slice(registers.as_slice()),
            Form::Sparse(hashes) => {
                hashes
                    .iter()
                    .for_each(|hash| into.extend_from_slice(&hash.to_le_bytes()));
            }
        }
    }

    /// Appends the state as registers, however few values there are: all that an aggregate without
    /// groups takes.
    pub fn write_registers(&self, into: &mut Vec<u8>) {
        match &self.0 {
            Form::Dense(registers) => into.extend_from_slice(registers.as_slice()),
            Form::Sparse(hashes) => {
                let mut registers = Box::new([0; REGISTERS]);
                hashes.iter().for_each(|hash| raise(&mut registers, *hash));
                into.extend_from_slice(registers.as_slice());
            }
        }
    }

    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Dense(registers) => count_of_registers(registers.as_slice()),
            Form::Sparse(hashes) if hashes.is_empty() => 0,
            Form::Sparse(hashes) => {
                let mut touched: Vec<(usize, u8)> =
                    hashes.iter().map(|hash| register_of(*hash)).collect();
                touched.sort_unstable_by_key(|(index, rank)| (*index, std::cmp::Reverse(*rank)));
                touched.dedup_by_key(|(index, _)| *index);
                let mut counts = [0u32; RANKS];
                counts[0] = (REGISTERS - touched.len()) as u32;
                for (_, rank) in touched {
                    counts[usize::from(rank)] += 1;
                }
                estimate(&counts)
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Sparse(hashes) => hashes.capacity() * 8,
            Form::Dense(_) => REGISTERS,
        }
    }
}

#[inline]
fn raise(registers: &mut [u8; REGISTERS], hash: u64) {
    let (index, rank) = register_of(hash);
    registers[index] = registers[index].max(rank);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::hash_i64;

    fn of(values: impl Iterator<Item = i64>) -> HyperLogLog {
        let mut sketch = HyperLogLog::default();
        values.for_each(|value| sketch.add(hash_i64(value)));
        sketch
    }

    #[test]
    fn estimates_are_near() {
        for distinct in [0, 1, 100, 256, 257, 5_000, 300_000] {
            let found = of((0..distinct).chain(0..distinct / 2)).count() as f64;
            let error = (found - distinct as f64).abs();
            assert!(error <= 0.03 * distinct as f64, "{found} of {distinct}");
        }
    }

    #[test]
    fn parts_joined_in_any_form_are_the_whole() {
        for (parts, each) in [(3, 50), (3, 200), (2, 10_000), (40, 60)] {
            let mut whole = of(0..parts * each);
            let mut joined = HyperLogLog::default();
            let mut by_state = HyperLogLog::default();
            for part in 0..parts {
                let mut part = of(part * each..(part + 1) * each);
                joined.merge(&part);
                let mut state = Vec::new();
                part.write_state(&mut state);
                by_state.merge_state(&state).unwrap();
            }
            assert_eq!(joined.count(), whole.count());
            let states = [&mut whole, &mut joined, &mut by_state].map(|sketch| {
                let mut state = Vec::new();
                sketch.write_state(&mut state);
                state
            });
            assert!(states.iter().all(|state| *state == states[0]));
            let mut dense = HyperLogLog::of_registers(&[0; REGISTERS]);
            dense.merge(&whole);
            assert_eq!(dense.count(), whole.count(), "both forms agree");
            let mut registers = Vec::new();
            whole.write_registers(&mut registers);
            let mut by_registers = HyperLogLog::default();
            by_registers.merge_state(&registers).unwrap();
            assert_eq!(by_registers.count(), whole.count());
        }
    }

    #[test]
    fn damaged_states_are_refused() {
        let mut sketch = HyperLogLog::default();
        assert!(sketch.merge_state(&[1; 9]).is_err());
        assert!(sketch.merge_state(&[1; 257 * 8]).is_err());
        assert!(sketch.merge_state(&[200; REGISTERS]).is_err());
        sketch.merge_state(&[]).unwrap();
        assert_eq!(sketch.count(), 0);
    }
}
