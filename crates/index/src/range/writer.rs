//! Write half: numbers in document order → buckets of about as many documents each.
//!
//! Where buckets end is taken from a sample; a value that many documents hold gets a bucket of its
//! own. Buckets are numbered in the order of their values, and none is empty.

use crate::inverted::Postings;

/// Documents that a bucket holds at least, on average.
const BUCKET_DOCS: usize = 256;
const BUCKETS_MAX: usize = 4096;
/// Numbers that are sorted to see how all are spread.
const SAMPLE: usize = 1 << 16;

#[derive(Debug)]
pub struct RangeWriter {
    /// Least and greatest number of each bucket.
    pub(super) bounds: Vec<(i64, i64)>,
    pub(super) postings: Postings,
}

impl RangeWriter {
    /// `keys` are numbers as this index orders them, one for each document.
    pub fn new(keys: &[i64]) -> Self {
        let ends = ends_of_buckets(keys);
        let bucket_of = |key: &i64| ends.partition_point(|end| end < key) as u32;
        let mut codes: Vec<u32> = keys.iter().map(bucket_of).collect();
        let mut bounds = vec![(i64::MAX, i64::MIN); ends.len() + 1];
        for (code, key) in codes.iter().zip(keys) {
            let (least, greatest) = &mut bounds[*code as usize];
            *least = (*least).min(*key);
            *greatest = (*greatest).max(*key);
        }
        let mut numbers = Vec::with_capacity(bounds.len());
        let mut used = 0;
        for (least, greatest) in &bounds {
            numbers.push(used);
            used += u32::from(least <= greatest);
        }
        codes
            .iter_mut()
            .for_each(|code| *code = numbers[*code as usize]);
        bounds.retain(|(least, greatest)| least <= greatest);
        Self {
            bounds,
            postings: Postings::from_codes(&codes, used),
        }
    }
}

/// The greatest number of every bucket but the last, ascending.
fn ends_of_buckets(keys: &[i64]) -> Vec<i64> {
    let step = keys.len().div_ceil(SAMPLE).max(1);
    let mut sample: Vec<i64> = keys.iter().step_by(step).copied().collect();
    sample.sort_unstable();
    let buckets = (keys.len() / BUCKET_DOCS).clamp(1, BUCKETS_MAX);
    let mut ends = Vec::with_capacity(buckets);
    for bucket in 1..buckets {
        let end = sample[bucket * sample.len() / buckets];
        if ends.last() == Some(&end) {
            // Held often: what is less must not share its bucket.
            if let Some(before) = end.checked_sub(1) {
                ends.insert(ends.len() - 1, before);
            }
        }
        ends.push(end);
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}
