//! Where a share of the values lies: clusters of neighbouring values, small at both ends and large
//! in the middle, so that extreme percentiles are near.

use crate::CorruptIndex;

/// Clusters of a digest, unless the query asks for another number.
pub const DIGEST_SIZE: usize = 100;

/// Of a digest that comes from outside.
const SIZE_MAX: f64 = 100_000.0;

/// A cluster of values that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Centroid {
    pub mean: f64,
    /// How many values.
    pub weight: f64,
}

/// Centroids ascend by their means.
#[derive(Clone, Debug, PartialEq)]
pub struct TDigest {
    size: usize,
    sum: f64,
    count: f64,
    /// Not a number while there are no values.
    max: f64,
    min: f64,
    centroids: Vec<Centroid>,
}

impl TDigest {
    pub fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            sum: 0.0,
            count: 0.0,
            max: f64::NAN,
            min: f64::NAN,
            centroids: Vec::new(),
        }
    }

    /// From a state. Centroids come as mean, weight, mean, weight, …
    pub fn of_parts(
        size: u64,
        (sum, count): (f64, f64),
        (max, min): (f64, f64),
        centroids: &[f64],
    ) -> Result<Self, CorruptIndex> {
        let damaged = |what: &str| CorruptIndex::Sketch {
            what: format!("a digest of which {what}"),
        };
        let (pairs, rest) = centroids.as_chunks::<2>();
        let centroids: Vec<Centroid> = pairs
            .iter()
            .map(|[mean, weight]| Centroid {
                mean: *mean,
                weight: *weight,
            })
            .collect();
        if !rest.is_empty() || size == 0 {
            return Err(damaged("a centroid has no weight"));
        }
        if !centroids.is_sorted_by(|a, b| a.mean.total_cmp(&b.mean).is_le()) {
            return Err(damaged("the centroids are out of order"));
        }
        if !centroids
            .iter()
            .all(|c| c.weight > 0.0 && c.weight.is_finite())
        {
            return Err(damaged("a weight is no count"));
        }
        Ok(Self {
            size: size as usize,
            sum,
            count,
            max,
            min,
            centroids,
        })
    }

    /// From what [`Self::to_bytes`] gives; nothing at all is a digest without values.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, CorruptIndex> {
        if bytes.is_empty() {
            return Ok(Self::new(DIGEST_SIZE));
        }
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers: Vec<f64> = numbers.iter().map(|one| f64::from_le_bytes(*one)).collect();
        match (&numbers[..], rest) {
            ([size, sum, count, max, min, centroids @ ..], [])
                if (1.0..=SIZE_MAX).contains(size) && centroids.len() as f64 <= 4.0 * SIZE_MAX =>
            {
                Self::of_parts(*size as u64, (*sum, *count), (*max, *min), centroids)
            }
            _ => Err(CorruptIndex::Sketch {
                what: format!("{} bytes are no digest", bytes.len()),
            }),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let head = [self.size as f64, self.sum, self.count, self.max, self.min];
        let centroids = self.centroids.iter().flat_map(|one| [one.mean, one.weight]);
        let numbers = head.into_iter().chain(centroids);
        numbers.flat_map(f64::to_le_bytes).collect()
    }

    /// Adds `(value, how often)`, which ascend by [`f64::total_cmp`].
    pub fn add_sorted(&mut self, values: &[(f64, u64)]) {
        let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) else {
            return;
        };
        let more: u64 = values.iter().map(|(_, count)| *count).sum();
        self.widen(*first, *last);
        let values = values.iter().map(|(value, count)| Centroid {
            mean: *value,
            weight: *count as f64,
        });
        self.compress(more as f64, values);
    }

    pub fn merge(&mut self, other: &Self) {
        if other.count > 0.0 {
            self.widen(other.min, other.max);
            self.compress(other.count, other.centroids.iter().copied());
        }
    }

    fn widen(&mut self, min: f64, max: f64) {
        let is_empty = self.count == 0.0;
        self.min = if is_empty { min } else { self.min.min(min) };
        self.max = if is_empty { max } else { self.max.max(max) };
    }

    /// Joins `more` values, which ascend, and makes clusters anew.
    fn compress(&mut self, more: f64, others: impl Iterator<Item = Centroid>) {
        self.count += more;
        let own = std::mem::take(&mut self.centroids);
        let mut clusters: Vec<Centroid> = Vec::with_capacity(self.size);
        let mut own = own.into_iter().peekable();
        let mut others = others.peekable();
        let (mut sum, mut weight, mut seen) = (0.0, 0.0, 0.0);
        let mut number = 1;
        let mut limit = share_below(number, self.size) * self.count;
        self.sum = 0.0;
        loop {
            let next = match (own.peek(), others.peek()) {
                (Some(a), Some(b)) if a.mean.total_cmp(&b.mean).is_lt() => own.next(),
                (_, Some(_)) => others.next(),
                _ => own.next(),
            };
            let Some(next) = next else {
                break;
            };
            seen += next.weight;
            if weight > 0.0 && seen > limit {
                clusters.push(cluster(sum, weight));
                self.sum += sum;
                (sum, weight) = (0.0, 0.0);
                number += 1;
                limit = share_below(number, self.size) * self.count;
            }
            sum += next.mean * next.weight;
            weight += next.weight;
        }
        if weight > 0.0 {
            clusters.push(cluster(sum, weight));
            self.sum += sum;
        }
        // Rounding may have put two neighbours out of order.
        clusters.sort_by(|a, b| a.mean.total_cmp(&b.mean));
        self.centroids = clusters;
    }

    /// The value below which the share `q` of all values lies; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.centroids.len().checked_sub(1)?;
        if q <= 0.0 {
            return Some(self.min);
        }
        if q >= 1.0 {
            return Some(self.max);
        }
        let rank = q * self.count;
        let (at, below) = if q > 0.5 {
            self.find_from_above(rank)
        } else {
            self.find_from_below(rank)
        };
        let mean = |at: usize| self.centroids[at].mean;
        let (mut low, mut high, mut width) = (self.min, self.max, 0.0);
        if last > 0 {
            let (before, after) = (at.saturating_sub(1), (at + 1).min(last));
            width = (mean(after) - mean(before)) / (after - before) as f64;
            low = if at > 0 { mean(before) } else { low };
            high = if at < last { mean(after) } else { high };
        }
        let inside = (rank - below) / self.centroids[at].weight - 0.5;
        let value = mean(at) + inside * width;
        Some(match low.is_nan() || high.is_nan() {
            true => value,
            false => value.clamp(low.min(high), high.max(low)),
        })
    }

    /// The centroid of a rank, and how many values are before it.
    fn find_from_below(&self, rank: f64) -> (usize, f64) {
        let mut below = 0.0;
        for (at, centroid) in self.centroids.iter().enumerate() {
            if rank < below + centroid.weight {
                return (at, below);
            }
            below += centroid.weight;
        }
        (self.centroids.len() - 1, below)
    }

    fn find_from_above(&self, rank: f64) -> (usize, f64) {
        let mut below = self.count;
        for (at, centroid) in self.centroids.iter().enumerate().rev() {
            below -= centroid.weight;
            if rank >= below {
                return (at, below);
            }
        }
        (0, below)
    }

    pub fn size(&self) -> u64 {
        self.size as u64
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn count(&self) -> f64 {
        self.count
    }

    pub fn max(&self) -> f64 {
        self.max
    }

    pub fn min(&self) -> f64 {
        self.min
    }

    pub fn centroids(&self) -> &[Centroid] {
        &self.centroids
    }

    pub fn memory_bytes(&self) -> usize {
        self.centroids.capacity() * size_of::<Centroid>()
    }
}

fn cluster(sum: f64, weight: f64) -> Centroid {
    Centroid {
        mean: sum / weight,
        weight,
    }
}

/// The share of the values below the end of cluster `number` of `size`: grows slowly at both ends.
fn share_below(number: u64, size: usize) -> f64 {
    let at = number as f64 / size as f64;
    if at < 0.5 {
        2.0 * at * at
    } else {
        1.0 - 2.0 * (1.0 - at) * (1.0 - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(digest: &TDigest) -> Vec<f64> {
        let centroids = digest.centroids().iter();
        centroids.flat_map(|c| [c.mean, c.weight]).collect()
    }

    #[test]
    fn quantiles_are_near_however_the_values_came() {
        let values: Vec<(f64, u64)> = (0..100_000).map(|n| (f64::from(n).sqrt(), 1)).collect();
        let mut at_once = TDigest::new(DIGEST_SIZE);
        at_once.add_sorted(&values);
        let mut in_parts = TDigest::new(DIGEST_SIZE);
        let mut joined = TDigest::new(DIGEST_SIZE);
        for part in 0..10 {
            let own: Vec<_> = values.iter().skip(part).step_by(10).copied().collect();
            in_parts.add_sorted(&own);
            let mut digest = TDigest::new(DIGEST_SIZE);
            digest.add_sorted(&own);
            joined.merge(&digest);
        }
        for digest in [&at_once, &in_parts, &joined] {
            assert_eq!(digest.count(), 100_000.0);
            assert!(digest.centroids().len() <= DIGEST_SIZE);
            for q in [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 1.0] {
                let found = digest.quantile(q).unwrap();
                let rank = found * found / 100_000.0;
                assert!((rank - q).abs() < 0.01, "{found} at {q} has rank {rank}");
            }
        }
    }

    #[test]
    fn counted_values_are_values_that_come_often() {
        let counted = [(1.0, 3), (2.0, 1), (5.0, 40), (9.0, 2)];
        let mut once = TDigest::new(DIGEST_SIZE);
        once.add_sorted(&counted);
        assert_eq!((once.min(), once.max(), once.sum()), (1.0, 9.0, 223.0));
        let median = once.quantile(0.5).unwrap();
        assert!((median - 5.0).abs() < 0.1, "{median}");
        assert_eq!(TDigest::new(10).quantile(0.5), None);
    }

    #[test]
    fn states_come_back_and_damaged_ones_are_refused() {
        let mut digest = TDigest::new(50);
        digest.add_sorted(&[(-1.5, 2), (3.0, 7)]);
        let parts = |centroids: &[f64]| {
            let sums = (digest.sum(), digest.count());
            TDigest::of_parts(50, sums, (digest.max(), digest.min()), centroids)
        };
        assert_eq!(parts(&state(&digest)).unwrap(), digest);
        assert!(parts(&[1.0]).is_err());
        assert!(parts(&[2.0, 1.0, 1.0, 1.0]).is_err());
        assert!(parts(&[2.0, 0.0]).is_err());
    }
}
