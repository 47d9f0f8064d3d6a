//! Values of each group, kept for percentiles: all of them, each once with how often it came, or
//! only a digest, where a star-tree has no more.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Float64Builder, ListBuilder, UInt64Array};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use index::sketch::{DIGEST_SIZE, TDigest};

use super::aggregate::{Kind, Percentile};
use super::states::each;

/// DataFusion weighs the two values around a percentile in so many steps.
const STEPS: f64 = 1_000_000.0;

#[derive(Clone, Debug)]
pub(super) enum Sample {
    /// In the order of the rows.
    Plain(Vec<f64>),
    /// Ascending, each with how often it came.
    Counted(Vec<(f64, u64)>),
    Digest(Box<TDigest>),
    /// How often each whole number came from the first on.
    Dense {
        first: i64,
        counts: Vec<u32>,
        /// Of them all.
        count: u64,
    },
}

/// Counts of whole numbers that are further apart are kept for those that came.
const DENSE_MAX: i64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Samples {
    pub(super) groups: Vec<Sample>,
}

impl Samples {
    pub(super) fn empty(groups: usize) -> Self {
        Self {
            groups: vec![Sample::Plain(Vec::new()); groups],
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let each = self.groups.iter().map(|sample| match sample {
            Sample::Plain(values) => values.capacity() * 8,
            Sample::Counted(values) => values.capacity() * 16,
            Sample::Digest(digest) => digest.memory_bytes(),
            Sample::Dense { counts, .. } => counts.capacity() * 4,
        });
        each.sum::<usize>() + self.groups.capacity() * size_of::<Sample>()
    }

    pub(super) fn join(&mut self, others: &Self, rows: &[(u32, u32)]) {
        for (row, group) in rows {
            self.groups[*group as usize].join(&others.groups[*row as usize]);
        }
    }

    pub(super) fn values(&self, kind: Kind, groups: Option<&[u32]>) -> ArrayRef {
        let Kind::Percentile { share, how } = kind else {
            return Arc::new(Float64Array::new_null(0));
        };
        let values =
            each(self.groups.len(), groups).map(|at| self.groups[at].percentile(share, how));
        Arc::new(values.collect::<Float64Array>())
    }

    /// The states of digests.
    pub(super) fn states(&self, kind: Kind, groups: Option<&[u32]>) -> Result<Vec<ArrayRef>> {
        let size = match kind {
            Kind::Percentile {
                how: Percentile::Digest(size),
                ..
            } => size,
            _ => DIGEST_SIZE,
        };
        let digests: Vec<TDigest> = each(self.groups.len(), groups)
            .map(|at| self.groups[at].digest(size))
            .collect();
        let number = |of: fn(&TDigest) -> f64| {
            Arc::new(Float64Array::from_iter_values(digests.iter().map(of))) as ArrayRef
        };
        let item = Field::new_list_field(DataType::Float64, true);
        let mut centroids = ListBuilder::new(Float64Builder::new()).with_field(item);
        for digest in &digests {
            for centroid in digest.centroids() {
                centroids.values().append_value(centroid.mean);
                centroids.values().append_value(centroid.weight);
            }
            centroids.append(true);
        }
        let sizes = digests.iter().map(TDigest::size);
        Ok(vec![
            Arc::new(UInt64Array::from_iter_values(sizes)),
            number(TDigest::sum),
            number(TDigest::count),
            number(TDigest::max),
            number(TDigest::min),
            Arc::new(centroids.finish()),
        ])
    }
}

impl Sample {
    pub(super) fn dense(first: i64, counts: Vec<u32>) -> Self {
        Self::Dense {
            count: counts.iter().map(|count| u64::from(*count)).sum(),
            first,
            counts,
        }
    }

    /// Adds dense counts to dense ones; `false`: they are too far apart, or would not fit.
    fn join_dense(&mut self, other: &Self) -> bool {
        let (
            Self::Dense {
                first,
                counts,
                count,
            },
            Self::Dense {
                first: other_first,
                counts: others,
                count: more,
            },
        ) = (self, other)
        else {
            return false;
        };
        let end = |first: i64, counts: &[u32]| first.checked_add(counts.len() as i64);
        let (Some(own_end), Some(other_end)) = (end(*first, counts), end(*other_first, others))
        else {
            return false;
        };
        let (low, high) = ((*first).min(*other_first), own_end.max(other_end));
        let fits = high.checked_sub(low).is_some_and(|wide| wide <= DENSE_MAX);
        if !fits || *count + more > u64::from(u32::MAX) {
            return false;
        }
        if low < *first {
            let before = (*first - low) as usize;
            counts.splice(0..0, std::iter::repeat_n(0, before));
            *first = low;
        }
        counts.resize((high - low) as usize, 0);
        let from = (*other_first - low) as usize;
        for (own, more) in counts[from..].iter_mut().zip(others) {
            *own += more;
        }
        *count += more;
        true
    }

    fn join(&mut self, other: &Self) {
        if self.join_dense(other) {
            return;
        }
        match (&mut *self, other) {
            (_, Self::Plain(values)) if values.is_empty() => {}
            (Self::Plain(own), other) if own.is_empty() => *self = other.clone(),
            (Self::Digest(own), other) => own.merge(&other.digest(own.size() as usize)),
            (own, Self::Digest(other)) => {
                let mut joined = own.digest(other.size() as usize);
                joined.merge(other);
                *self = Self::Digest(Box::new(joined));
            }
            (Self::Plain(own), Self::Plain(others)) => own.extend_from_slice(others),
            (Self::Counted(own), Self::Counted(others)) => *own = merged(own, others),
            (own, other) => *self = Self::Counted(merged(&own.counted(), &other.counted())),
        }
    }

    fn counted(&self) -> Vec<(f64, u64)> {
        match self {
            Self::Counted(values) => values.clone(),
            Self::Dense { first, counts, .. } => {
                let values = (0i64..).zip(counts).filter(|(_, count)| **count > 0);
                values
                    .map(|(at, count)| ((first + at) as f64, u64::from(*count)))
                    .collect()
            }
            Self::Plain(values) => {
                let mut values = values.clone();
                values.sort_unstable_by(f64::total_cmp);
                let runs = values.chunk_by(|a, b| a.to_bits() == b.to_bits());
                runs.map(|run| (run[0], run.len() as u64)).collect()
            }
            Self::Digest(digest) => {
                let centroids = digest.centroids().iter();
                centroids.map(|c| (c.mean, c.weight as u64)).collect()
            }
        }
    }

    fn digest(&self, size: usize) -> TDigest {
        let mut digest = TDigest::new(size);
        match self {
            Self::Digest(own) => digest.merge(own),
            values => digest.add_sorted(&values.counted()),
        }
        digest
    }

    /// `None`: there are no values.
    fn percentile(&self, share: f64, how: Percentile) -> Option<f64> {
        let rank_of = |count: u64| rank(share, how, count);
        let (rank, (low, high)) = match self {
            Self::Plain(values) => {
                let rank = rank_of(values.len() as u64)?;
                (rank, pair_of_all(values, rank))
            }
            Self::Counted(values) => {
                let count: u64 = values.iter().map(|(_, count)| count).sum();
                let rank = rank_of(count)?;
                (rank, pair_of(values.iter().copied(), rank))
            }
            Self::Dense {
                first,
                counts,
                count,
            } => {
                let rank = rank_of(*count)?;
                let value = |(at, count): (i64, &u32)| ((first + at) as f64, u64::from(*count));
                (rank, pair_of((0i64..).zip(counts).map(value), rank))
            }
            Self::Digest(digest) => return digest.quantile(share),
        };
        if rank.fract() == 0.0 {
            return Some(low);
        }
        Some(match how {
            Percentile::Median => (low + high) / 2.0,
            Percentile::Exact => {
                let weight = (rank.fract() * STEPS).floor() / STEPS;
                low + (high - low) * weight
            }
            Percentile::Rank | Percentile::Digest(_) => low + (high - low) * rank.fract(),
        })
    }
}

/// How many values lie before, or how far it is between two; `None`: there are none.
fn rank(share: f64, how: Percentile, count: u64) -> Option<f64> {
    let last = count.checked_sub(1)? as f64;
    Some(match how {
        // A share comes from percents, and the error of that division must not cost a rank.
        Percentile::Rank => {
            let percent = (share * 1e11).round() / 1e9;
            (count as f64 * percent / 100.0).floor().min(last)
        }
        _ => share * last,
    })
}

/// The values at the ranks below and above, which are the same or neighbours.
fn pair_of_all(values: &[f64], rank: f64) -> (f64, f64) {
    let mut values = values.to_vec();
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let (_, low_value, above) = values.select_nth_unstable_by(low, f64::total_cmp);
    let low_value = *low_value;
    let next = above.iter().copied().min_by(f64::total_cmp);
    let high_value = match high > low {
        true => next.unwrap_or(low_value),
        false => low_value,
    };
    (low_value, high_value)
}

/// The same, of values that ascend and how often each came.
fn pair_of(values: impl Iterator<Item = (f64, u64)>, rank: f64) -> (f64, f64) {
    let (low, high) = (rank.floor() as u64, rank.ceil() as u64);
    let mut below = 0;
    let mut found = (f64::NAN, f64::NAN);
    for (value, count) in values {
        let end = below + count;
        // Most are before.
        if low < end {
            if below <= low {
                found.0 = value;
            }
            if high < end {
                found.1 = value;
                break;
            }
        }
        below = end;
    }
    found
}

fn merged(a: &[(f64, u64)], b: &[(f64, u64)]) -> Vec<(f64, u64)> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some((own, count)), Some((other, more))) => match own.total_cmp(other) {
                std::cmp::Ordering::Less => a.next().copied(),
                std::cmp::Ordering::Greater => b.next().copied(),
                std::cmp::Ordering::Equal => {
                    let both = (*own, count + more);
                    a.next();
                    b.next();
                    Some(both)
                }
            },
            (Some(_), None) => a.next().copied(),
            (None, _) => b.next().copied(),
        };
        match next {
            Some(next) => merged.push(next),
            None => return merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of whole numbers from some on.
    fn dense_of(values: &[f64]) -> Sample {
        let first = values.iter().copied().fold(f64::MAX, f64::min) as i64;
        let mut counts = vec![0; 100];
        values
            .iter()
            .for_each(|value| counts[(*value as i64 - first) as usize] += 1);
        Sample::dense(first, counts)
    }

    #[test]
    fn all_forms_give_the_same_percentiles() {
        let values: Vec<f64> = (0..997u32)
            .map(|n| f64::from(n * 7919 % 83) / 4.0)
            .collect();
        let plain = Sample::Plain(values.clone());
        let (first, second) = values.split_at(400);
        let mut joined = Sample::Counted(Sample::Plain(first.to_vec()).counted());
        joined.join(&Sample::Plain(second.to_vec()));
        let whole: Vec<f64> = values.iter().map(|value| value * 4.0).collect();
        let mut dense = dense_of(&whole[..400]);
        dense.join(&dense_of(&whole[400..]));
        assert!(matches!(dense, Sample::Dense { .. }));
        let mut mixed = dense_of(&whole[..1]);
        mixed.join(&Sample::dense(1 << 40, vec![0, 0]));
        assert!(matches!(mixed, Sample::Counted(_)), "far apart");
        mixed.join(&Sample::Plain(whole[1..].to_vec()));
        let mut sorted = values;
        sorted.sort_unstable_by(f64::total_cmp);
        for share in [0.0, 0.001, 0.25, 0.5, 0.9, 0.9973, 1.0] {
            for how in [Percentile::Exact, Percentile::Digest(100)] {
                let found = plain.percentile(share, how).unwrap();
                assert_eq!(joined.percentile(share, how), Some(found));
                let four = Some(found * 4.0);
                assert_eq!(dense.percentile(share, how), four);
                assert_eq!(mixed.percentile(share, how), four);
                let rank = share * 996.0;
                let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
                assert!(low <= found && found <= high, "{found} at {share}");
            }
        }
        assert_eq!(
            Sample::Plain(vec![]).percentile(0.5, Percentile::Median),
            None
        );
        let hundred = Sample::Plain((0..100).rev().map(f64::from).collect());
        for (percent, value) in [(0.0, 0.0), (29.0, 29.0), (57.5, 57.0), (100.0, 99.0)] {
            let found = hundred.percentile(percent / 100.0, Percentile::Rank);
            assert_eq!(found, Some(value), "{percent}");
        }
        let two = Sample::Plain(vec![4.0, 1.0]);
        assert_eq!(two.percentile(0.5, Percentile::Median), Some(2.5));
    }
}
