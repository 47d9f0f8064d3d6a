//! Values of percentiles whose numbers are known: how often each came in each group.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;

use super::fold::Slots;
use super::keys::Key;
use super::number::BlockRows;
use super::samples::{Sample, Samples};

/// Counts of a matrix with one for each group and value.
pub(super) const MATRIX_MAX: u64 = 1 << 22;
/// So many are worth it for few rows too.
pub(super) const MATRIX_ALWAYS: u64 = 1 << 14;

/// Counts of each number, group after group.
#[derive(Debug)]
pub(super) struct Matrix<'a> {
    key: Key<'a>,
    counts: Vec<u32>,
    numbers: Vec<u32>,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(key: Key<'a>) -> Self {
        Self {
            key,
            counts: Vec::new(),
            numbers: Vec::new(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.counts.capacity() * 4
    }

    pub(super) fn grow(&mut self, groups: usize) {
        let wanted = groups * self.key.domain as usize;
        self.counts.resize(wanted.max(self.counts.len()), 0);
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        self.key.numbers_into(rows, &mut self.numbers)?;
        let domain = self.key.domain as usize;
        slots.with(&self.numbers, |group, number| {
            self.counts[group * domain + number as usize] += 1;
        });
        Ok(())
    }

    /// Adds all `rows` of the segment to the only group; `false`: they must be read for that.
    pub(super) fn add_whole(&mut self, rows: u32) -> bool {
        let Some(weights) = self.key.weights(rows) else {
            return false;
        };
        let counts = self.counts.iter_mut().zip(weights);
        counts.for_each(|(count, weight)| *count += weight);
        true
    }

    pub(super) fn finish(self, used: &[u32]) -> Result<Samples> {
        let domain = self.key.domain as usize;
        let rows = || used.iter().map(|group| *group as usize * domain);
        let of = |from: usize| &self.counts[from..from + domain];
        if let Some(first) = self.key.first() {
            let values = domain - usize::from(self.key.null_number().is_some());
            let groups = rows().map(|from| Sample::dense(first, of(from)[..values].to_vec()));
            return Ok(Samples {
                groups: groups.collect(),
            });
        }
        let mut came = vec![false; domain];
        for from in rows() {
            for (came, count) in came.iter_mut().zip(of(from)) {
                *came |= *count > 0;
            }
        }
        let numbers = (0u64..).zip(came).filter(|(_, came)| *came);
        let numbers: Vec<u64> = numbers.map(|(number, _)| number).collect();
        let values = cast(&self.key.values(&numbers)?, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        let mut order: Vec<(f64, usize)> = (0..numbers.len())
            .filter(|at| values.is_valid(*at))
            .map(|at| (values.value(at), numbers[at] as usize))
            .collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let groups = rows().map(|from| {
            let counts = of(from);
            let each = order
                .iter()
                .map(|(value, number)| (*value, u64::from(counts[*number])));
            Sample::Counted(each.filter(|(_, count)| *count > 0).collect())
        });
        Ok(Samples {
            groups: groups.collect(),
        })
    }
}

/// The number and the group of each row, where a matrix would be too large. Numbers ascend with
/// the values.
#[derive(Debug)]
pub(super) struct RowNumbers<'a> {
    key: Key<'a>,
    /// Of the rows.
    numbers: Vec<u32>,
    groups: Vec<u32>,
    /// Of a block.
    block: Vec<u32>,
}

impl<'a> RowNumbers<'a> {
    pub(super) fn new(key: Key<'a>) -> Self {
        Self {
            key,
            numbers: Vec::new(),
            groups: Vec::new(),
            block: Vec::new(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        (self.numbers.capacity() + self.groups.capacity()) * 4
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        self.key.numbers_into(rows, &mut self.block)?;
        self.numbers.extend_from_slice(&self.block);
        match slots.groups() {
            Some(groups) => self.groups.extend_from_slice(groups),
            None => self.groups.resize(self.numbers.len(), 0),
        }
        Ok(())
    }

    /// Samples of the groups at `used`, of so many in all.
    pub(super) fn finish(self, used: &[u32], groups: usize) -> Samples {
        let mut starts = vec![0usize; groups + 1];
        for group in &self.groups {
            starts[*group as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut sorted = vec![0u32; self.numbers.len()];
        let mut next = starts.clone();
        for (group, number) in self.groups.iter().zip(&self.numbers) {
            let next = &mut next[*group as usize];
            sorted[*next] = *number;
            *next += 1;
        }
        let null = self.key.null_number().map(|number| number as u32);
        let first = self.key.first().unwrap_or(0);
        let value = |number: u32| first.wrapping_add(i64::from(number)) as f64;
        let mut counts = vec![0u32; self.key.domain as usize];
        let of = |group: &u32| {
            let own = starts[*group as usize]..starts[*group as usize + 1];
            let numbers = &mut sorted[own];
            let mut counted = Vec::new();
            // Few of them are sooner sorted than looked for among all that there could be.
            if numbers.len() < counts.len() / 8 {
                numbers.sort_unstable();
                let runs = numbers.chunk_by(|a, b| a == b);
                let runs = runs.filter(|run| Some(run[0]) != null);
                counted.extend(runs.map(|run| (value(run[0]), run.len() as u64)));
            } else {
                numbers
                    .iter()
                    .for_each(|number| counts[*number as usize] += 1);
                for (number, count) in (0u32..).zip(&mut counts) {
                    let count = u64::from(std::mem::take(count));
                    if count > 0 && Some(number) != null {
                        counted.push((value(number), count));
                    }
                }
            }
            Sample::Counted(counted)
        };
        Samples {
            groups: used.iter().map(of).collect(),
        }
    }
}
