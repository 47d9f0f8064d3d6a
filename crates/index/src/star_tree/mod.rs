//! The star-tree: counts, sums and sketches of every combination of some columns, and of every
//! combination that leaves some of them out.
//!
//! A *record* is a combination of codes with what its rows add up to. A dimension that is left out
//! has the code [`STAR`](Shape::star), which is the cardinality of the dimension. Sealing merges
//! equal rows into records, sorted by their codes; then nodes are split from the root on, each by
//! the next dimension: a child for each code, and a star child over the same records without that
//! dimension, merged again. A node with few records stays a leaf, whose records are looked through.
//! Each node also has one record for all that is below it.
//!
//! ```text
//! records of the root, sorted                     nodes
//! country device  rows clicks                     root ── DE ── phone, tablet
//! DE      phone      3     10                          ├─ FR
//! DE      tablet     1      2      star children of    └─ * ─── phone, tablet
//! FR      phone      5      1      the root: merged
//! *       phone      8     11  ◄── without country
//! *       tablet     1      2
//! ```
//!
//! A question names codes of some dimensions and groups by others. It descends from the root: to
//! the children it names; to all of them where it groups; else to the star child. Where nothing
//! below matters, the record of the node is the answer.
//!
//! Invariants: a row is in exactly one record of the root; every way down the tree that a question
//! can take meets records which together hold each row that matches exactly once.

mod key;
mod metrics;
mod reader;
mod records;
mod search;
mod serializer;
#[cfg(test)]
mod tests;
mod tree;

pub use reader::{Digests, Doubles, Longs, Metric, Sketches, StarTreeReader};
pub use records::{Input, StarTreeWriter};
pub use search::{Codes, Found, Question};
pub use serializer::serialize;
pub use tree::Tree;

use crate::IndexTooLarge;

/// A dimension as the writer must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Codes are below it.
    pub cardinality: u32,
    /// Whether nodes get a child that leaves this dimension out.
    pub has_star: bool,
}

/// What is kept of each record besides the number of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Wraps around, as the scan's sums do.
    SumLong,
    SumDouble,
    MinLong,
    MaxLong,
    /// In the total order: NaN is greater than every number.
    MinDouble,
    MaxDouble,
    /// A HyperLogLog.
    Distinct,
    /// A t-digest.
    Digest,
}

impl MetricKind {
    const ALL: [Self; 8] = [
        Self::SumLong,
        Self::SumDouble,
        Self::MinLong,
        Self::MaxLong,
        Self::MinDouble,
        Self::MaxDouble,
        Self::Distinct,
        Self::Digest,
    ];

    fn tag(self) -> u8 {
        self as u8
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }
}

/// Dimensions in the order in which nodes are split, and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub dimensions: Vec<Dimension>,
    pub metrics: Vec<MetricKind>,
    /// A node with no more records is not split.
    pub leaf_records_max: u32,
}

impl Shape {
    /// Stands for all codes of a dimension.
    pub fn star(&self, dimension: usize) -> u32 {
        self.dimensions[dimension].cardinality
    }

    /// Bits of all codes of a record together.
    pub fn bits(&self) -> u32 {
        let bits = self
            .dimensions
            .iter()
            .map(|dimension| key::bits(*dimension));
        bits.sum()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StarTreeFault {
    #[error(
        "its dimensions have too many values together: {bits} bits for a combination, \
         {limit} are possible; leave out the ones with the most values"
    )]
    TooWide { bits: u32, limit: u32 },
    #[error(transparent)]
    TooLarge(#[from] IndexTooLarge),
}

/// A register of a sketch with the rank that it was raised to, in one number.
mod register {
    use crate::sketch::{REGISTERS, register_of};

    const RANK_BITS: u32 = 6;
    /// The rank of a hash without a bit above its index.
    const RANK_MAX: u32 = 51;

    /// Registers sort by their index, those of one index by rank.
    pub(super) fn of_hash(hash: u64) -> u32 {
        let (index, rank) = register_of(hash);
        (index as u32) << RANK_BITS | u32::from(rank)
    }

    pub(super) fn index(register: u32) -> usize {
        (register >> RANK_BITS) as usize
    }

    pub(super) fn rank(register: u32) -> u8 {
        (register & ((1 << RANK_BITS) - 1)) as u8
    }

    /// A hash that raises the register so. `None`: there is no such register.
    pub(super) fn hash(register: u32) -> Option<u64> {
        let (index, rank) = (index(register), u32::from(rank(register)));
        let fits = index < REGISTERS && (1..=RANK_MAX).contains(&rank);
        let above = match rank {
            RANK_MAX => 0,
            rank => 1 << (REGISTERS.trailing_zeros() + rank - 1),
        };
        fits.then_some(index as u64 | above)
    }

    /// Keeps the greatest rank of each index.
    pub(super) fn union(registers: &mut Vec<u32>) {
        registers.sort_unstable();
        let mut kept = 0;
        for at in 0..registers.len() {
            let is_last = registers
                .get(at + 1)
                .is_none_or(|next| index(*next) != index(registers[at]));
            if is_last {
                registers[kept] = registers[at];
                kept += 1;
            }
        }
        registers.truncate(kept);
    }
}
