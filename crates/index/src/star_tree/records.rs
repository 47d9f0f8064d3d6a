//! Write half of the star-tree, first part: rows are merged into records.
//!
//! Rows come block by block, so that memory holds one entry for each combination, not for each
//! row. Short keys number the records by a table, others by a hash table.

use hashbrown::HashMap;

use super::key::{Key, Layout};
use super::metrics::Running;
use super::tree::{self, Tree};
use super::{Shape, StarTreeFault};
use crate::IndexTooLarge;

/// Keys up to this many bits number records by a table.
const TABLE_BITS: u32 = 22;
const NONE: u32 = u32::MAX;

/// Values of one metric, one for each row.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    Longs(&'a [i64]),
    Doubles(&'a [f64]),
    /// For sketches.
    Hashes(&'a [u64]),
}

#[derive(Debug)]
pub struct StarTreeWriter(Width);

#[derive(Debug)]
enum Width {
    Short(Records<u64>),
    Long(Records<u128>),
}

impl StarTreeWriter {
    pub fn new(shape: Shape) -> Result<Self, StarTreeFault> {
        let bits = shape.bits();
        let width = if bits <= u64::BITS {
            Width::Short(Records::new(shape))
        } else if bits <= u128::BITS {
            Width::Long(Records::new(shape))
        } else {
            let limit = u128::BITS;
            return Err(StarTreeFault::TooWide { bits, limit });
        };
        Ok(Self(width))
    }

    /// Adds rows: their codes of each dimension, and their values of each metric.
    pub fn add(&mut self, codes: &[&[u32]], metrics: &[Input<'_>]) -> Result<(), StarTreeFault> {
        match &mut self.0 {
            Width::Short(records) => records.add(codes, metrics),
            Width::Long(records) => records.add(codes, metrics),
        }
    }

    pub fn finish(self) -> Result<Tree, StarTreeFault> {
        match self.0 {
            Width::Short(records) => records.finish(),
            Width::Long(records) => records.finish(),
        }
    }
}

#[derive(Debug)]
enum Numbers<K> {
    Table(Vec<u32>),
    Hashed(HashMap<K, u32, foldhash::fast::FixedState>),
}

#[derive(Debug)]
struct Records<K> {
    shape: Shape,
    layout: Layout,
    numbers: Numbers<K>,
    /// Of each record, in the order in which they appeared.
    keys: Vec<K>,
    rows: Vec<i64>,
    metrics: Vec<Running>,
    scratch_keys: Vec<K>,
    scratch_records: Vec<u32>,
}

impl<K: Key> Records<K> {
    fn new(shape: Shape) -> Self {
        let bits = shape.bits();
        let metrics = shape.metrics.iter().map(|kind| Running::new(*kind));
        Self {
            layout: Layout::of(&shape),
            numbers: match bits <= TABLE_BITS {
                true => Numbers::Table(vec![NONE; 1 << bits]),
                false => Numbers::Hashed(HashMap::default()),
            },
            keys: Vec::new(),
            rows: Vec::new(),
            metrics: metrics.collect(),
            shape,
            scratch_keys: Vec::new(),
            scratch_records: Vec::new(),
        }
    }

    fn add(&mut self, codes: &[&[u32]], metrics: &[Input<'_>]) -> Result<(), StarTreeFault> {
        assert_eq!(codes.len(), self.shape.dimensions.len(), "dimensions");
        assert_eq!(metrics.len(), self.metrics.len(), "metrics");
        let rows = codes.first().map_or(0, |codes| codes.len());
        self.scratch_keys.clear();
        self.scratch_keys.resize(rows, K::ZERO);
        for (dimension, codes) in codes.iter().enumerate() {
            assert_eq!(codes.len(), rows, "rows of dimension {dimension}");
            let bits = self.layout.bits(dimension);
            for (key, code) in self.scratch_keys.iter_mut().zip(*codes) {
                *key = key.joined(bits, *code);
            }
        }
        self.number();
        if self.keys.len() >= NONE as usize {
            return Err(too_many_records().into());
        }
        self.rows.resize(self.keys.len(), 0);
        for record in &self.scratch_records {
            self.rows[*record as usize] += 1;
        }
        for (running, input) in self.metrics.iter_mut().zip(metrics) {
            running.grow(self.keys.len());
            running.add(&self.scratch_records, *input);
        }
        Ok(())
    }

    fn number(&mut self) {
        let Self {
            numbers,
            keys,
            scratch_keys,
            scratch_records,
            ..
        } = self;
        scratch_records.clear();
        let mut fresh = |key: K| {
            keys.push(key);
            (keys.len() - 1) as u32
        };
        match numbers {
            Numbers::Table(table) => scratch_records.extend(scratch_keys.iter().map(|key| {
                let slot = &mut table[key.index()];
                if *slot == NONE {
                    *slot = fresh(*key);
                }
                *slot
            })),
            Numbers::Hashed(numbers) => scratch_records.extend(
                scratch_keys
                    .iter()
                    .map(|key| *numbers.entry(*key).or_insert_with(|| fresh(*key))),
            ),
        }
    }

    fn finish(self) -> Result<Tree, StarTreeFault> {
        let Self {
            shape,
            layout,
            numbers,
            keys,
            rows,
            metrics,
            ..
        } = self;
        drop(numbers);
        let mut sorted: Vec<(K, u32)> = keys.into_iter().zip(0..).collect();
        sorted.sort_unstable();
        let order: Vec<u32> = sorted.iter().map(|(_, record)| *record).collect();
        let rows = order.iter().map(|record| rows[*record as usize]);
        let base = tree::Base {
            keys: sorted.iter().map(|(key, _)| *key).collect(),
            rows: rows.collect(),
            metrics: metrics
                .into_iter()
                .map(|metric| metric.finish(&order))
                .collect(),
        };
        Ok(tree::grow(shape, &layout, base)?)
    }
}

pub(super) fn too_many_records() -> IndexTooLarge {
    IndexTooLarge {
        what: "the records of a star-tree, in number,",
        limit: u64::from(NONE),
    }
}
