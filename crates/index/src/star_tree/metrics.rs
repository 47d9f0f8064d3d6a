//! The metrics of records while a tree is made: added to row by row, then joined to new records.

use super::{Input, MetricKind, register};
use crate::sketch::{DIGEST_SIZE, TDigest};

/// One metric of all records.
#[derive(Debug)]
pub(super) enum Column {
    Long(MetricKind, Vec<i64>),
    Double(MetricKind, Vec<f64>),
    Registers(Registers),
    Digests(Vec<TDigest>),
}

/// Sets of registers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Registers {
    /// Where the set of each record ends.
    pub(super) ends: Vec<usize>,
    pub(super) items: Vec<u32>,
}

impl Registers {
    pub(super) fn of(&self, record: usize) -> &[u32] {
        let start = match record {
            0 => 0,
            _ => self.ends[record - 1],
        };
        &self.items[start..self.ends[record]]
    }

    fn push(&mut self, set: &[u32]) {
        self.items.extend_from_slice(set);
        self.ends.push(self.items.len());
    }
}

fn empty_long(kind: MetricKind) -> i64 {
    match kind {
        MetricKind::MinLong => i64::MAX,
        MetricKind::MaxLong => i64::MIN,
        _ => 0,
    }
}

/// The ends of the total order.
fn empty_double(kind: MetricKind) -> f64 {
    match kind {
        MetricKind::MinDouble => f64::from_bits(0x7fff_ffff_ffff_ffff),
        MetricKind::MaxDouble => f64::from_bits(0xffff_ffff_ffff_ffff),
        _ => 0.0,
    }
}

/// Joins each value to the total of its record.
fn join_longs(kind: MetricKind, totals: &mut [i64], values: impl Iterator<Item = (usize, i64)>) {
    match kind {
        MetricKind::MinLong => values.for_each(|(at, v)| totals[at] = totals[at].min(v)),
        MetricKind::MaxLong => values.for_each(|(at, v)| totals[at] = totals[at].max(v)),
        _ => values.for_each(|(at, v)| totals[at] = totals[at].wrapping_add(v)),
    }
}

fn join_doubles(kind: MetricKind, totals: &mut [f64], values: impl Iterator<Item = (usize, f64)>) {
    match kind {
        MetricKind::MinDouble => values.for_each(|(at, v)| {
            if v.total_cmp(&totals[at]).is_lt() {
                totals[at] = v;
            }
        }),
        MetricKind::MaxDouble => values.for_each(|(at, v)| {
            if v.total_cmp(&totals[at]).is_gt() {
                totals[at] = v;
            }
        }),
        _ => values.for_each(|(at, v)| totals[at] += v),
    }
}

impl Column {
    /// Adds a record: those of `records` joined.
    pub(super) fn join(&mut self, records: impl Iterator<Item = usize>) {
        match self {
            Self::Long(kind, values) => {
                let mut joined = [empty_long(*kind)];
                join_longs(
                    *kind,
                    &mut joined,
                    records.map(|record| (0, values[record])),
                );
                values.extend(joined);
            }
            Self::Double(kind, values) => {
                let mut joined = [empty_double(*kind)];
                join_doubles(
                    *kind,
                    &mut joined,
                    records.map(|record| (0, values[record])),
                );
                values.extend(joined);
            }
            Self::Registers(registers) => {
                let mut all = Vec::new();
                for record in records {
                    all.extend_from_slice(registers.of(record));
                }
                register::union(&mut all);
                registers.push(&all);
            }
            Self::Digests(digests) => {
                let mut joined = TDigest::new(DIGEST_SIZE);
                for record in records {
                    joined.merge(&digests[record]);
                }
                digests.push(joined);
            }
        }
    }
}

/// One metric while rows are added.
#[derive(Debug)]
pub(super) enum Running {
    Long(MetricKind, Vec<i64>),
    Double(MetricKind, Vec<f64>),
    Registers(RunningRegisters),
    Digests(Vec<RunningDigest>),
}

impl Running {
    pub(super) fn new(kind: MetricKind) -> Self {
        match kind {
            MetricKind::SumLong | MetricKind::MinLong | MetricKind::MaxLong => {
                Self::Long(kind, Vec::new())
            }
            MetricKind::SumDouble | MetricKind::MinDouble | MetricKind::MaxDouble => {
                Self::Double(kind, Vec::new())
            }
            MetricKind::Distinct => Self::Registers(RunningRegisters::default()),
            MetricKind::Digest => Self::Digests(Vec::new()),
        }
    }

    pub(super) fn grow(&mut self, records: usize) {
        match self {
            Self::Long(kind, values) => values.resize(records, empty_long(*kind)),
            Self::Double(kind, values) => values.resize(records, empty_double(*kind)),
            Self::Registers(_) => {}
            Self::Digests(digests) => digests.resize_with(records, RunningDigest::new),
        }
    }

    /// Adds one value for each row to the records of the rows.
    pub(super) fn add(&mut self, records: &[u32], input: Input<'_>) {
        let at = records.iter().map(|record| *record as usize);
        let count = match (self, input) {
            (Self::Long(kind, totals), Input::Longs(values)) => {
                join_longs(*kind, totals, at.zip(values.iter().copied()));
                values.len()
            }
            (Self::Double(kind, totals), Input::Doubles(values)) => {
                join_doubles(*kind, totals, at.zip(values.iter().copied()));
                values.len()
            }
            (Self::Registers(registers), Input::Hashes(hashes)) => {
                registers.add(records, hashes);
                hashes.len()
            }
            (Self::Digests(digests), Input::Doubles(values)) => {
                for (record, value) in at.zip(values) {
                    digests[record].add(*value);
                }
                values.len()
            }
            (running, input) => panic!("{input:?} for {running:?}"),
        };
        assert_eq!(records.len(), count, "one value for each row");
    }

    /// The column with the records in this order.
    pub(super) fn finish(self, order: &[u32]) -> Column {
        match self {
            Self::Long(kind, values) => {
                let sorted = order.iter().map(|record| values[*record as usize]);
                Column::Long(kind, sorted.collect())
            }
            Self::Double(kind, values) => {
                let sorted = order.iter().map(|record| values[*record as usize]);
                Column::Double(kind, sorted.collect())
            }
            Self::Registers(running) => Column::Registers(running.finish(order)),
            Self::Digests(mut running) => {
                let sorted = order
                    .iter()
                    .map(|record| running[*record as usize].finish());
                Column::Digests(sorted.collect())
            }
        }
    }
}

/// Values that a digest takes at once.
const DIGESTED_AT_ONCE: usize = 512;

#[derive(Debug)]
pub(super) struct RunningDigest {
    digest: TDigest,
    /// Not yet in it.
    values: Vec<f64>,
}

impl RunningDigest {
    fn new() -> Self {
        Self {
            digest: TDigest::new(DIGEST_SIZE),
            values: Vec::new(),
        }
    }

    fn add(&mut self, value: f64) {
        self.values.push(value);
        if self.values.len() == DIGESTED_AT_ONCE {
            self.take_in();
        }
    }

    fn take_in(&mut self) {
        self.values.sort_unstable_by(f64::total_cmp);
        let once: Vec<(f64, u64)> = self.values.iter().map(|value| (*value, 1)).collect();
        self.digest.add_sorted(&once);
        self.values.clear();
    }

    fn finish(&mut self) -> TDigest {
        self.take_in();
        std::mem::replace(&mut self.digest, TDigest::new(1))
    }
}

/// Registers of rows as pairs with their record, thinned out now and then.
#[derive(Debug, Default)]
pub(super) struct RunningRegisters {
    /// Record, then register.
    pairs: Vec<u64>,
    /// Pairs that were left when they were thinned out last.
    thin: usize,
}

/// Pairs that may come before they are thinned out, at least.
const PAIRS_MIN: usize = 1 << 20;

impl RunningRegisters {
    fn add(&mut self, records: &[u32], hashes: &[u64]) {
        let pairs = records.iter().zip(hashes).map(|(record, hash)| {
            let register = u64::from(register::of_hash(*hash));
            u64::from(*record) << 32 | register
        });
        self.pairs.extend(pairs);
        if self.pairs.len() > PAIRS_MIN.max(self.thin * 2) {
            self.thin_out();
            self.thin = self.pairs.len();
        }
    }

    /// Keeps the greatest rank of each register of each record.
    fn thin_out(&mut self) {
        self.pairs.sort_unstable();
        let same = |a: u64, b: u64| {
            a >> 32 == b >> 32 && register::index(a as u32) == register::index(b as u32)
        };
        let mut kept = 0;
        for at in 0..self.pairs.len() {
            let pair = self.pairs[at];
            if self.pairs.get(at + 1).is_none_or(|next| !same(pair, *next)) {
                self.pairs[kept] = pair;
                kept += 1;
            }
        }
        self.pairs.truncate(kept);
    }

    fn finish(mut self, order: &[u32]) -> Registers {
        self.thin_out();
        let record = |pair: &u64| (*pair >> 32) as usize;
        let mut ends = vec![0; order.len()];
        for pair in &self.pairs {
            ends[record(pair)] += 1;
        }
        let mut end = 0;
        for slot in &mut ends {
            end += *slot;
            *slot = end;
        }
        let mut registers = Registers::default();
        registers.items.reserve_exact(self.pairs.len());
        for old in order {
            let old = *old as usize;
            let start = match old {
                0 => 0,
                _ => ends[old - 1],
            };
            let own = self.pairs[start..ends[old]].iter();
            registers.items.extend(own.map(|pair| *pair as u32));
            registers.ends.push(registers.items.len());
        }
        registers
    }
}
