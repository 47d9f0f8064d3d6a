//! Write half of the timestamp index: times → buckets in order, and the bucket of each document.

use std::collections::BTreeMap;

/// With fewer documents for each bucket the times themselves are as good.
const DOCS_PER_BUCKET: usize = 4;
/// So few buckets always pay.
const BUCKETS_FEW: usize = 256;

#[derive(Debug)]
pub struct BucketWriter {
    /// Ascending.
    pub(super) starts: Vec<i64>,
    pub(super) codes: Vec<u32>,
    pub(super) counts: Vec<u32>,
}

impl BucketWriter {
    /// `bucket` tells where the bucket of a time begins, and where the next one does. `None`: a
    /// time has none, or there are too many.
    pub fn new(times: &[i64], bucket: impl Fn(i64) -> Option<(i64, i64)>) -> Option<Self> {
        let buckets_max = (times.len() / DOCS_PER_BUCKET).max(BUCKETS_FEW);
        // By their begin: where the next begins, and the order of appearance.
        let mut known: BTreeMap<i64, (i64, u32)> = BTreeMap::new();
        let mut codes = Vec::with_capacity(times.len());
        let (mut start, mut end, mut number) = (0, 0, 0);
        for time in times {
            if !(start..end).contains(time) {
                let near = known.range(..=*time).next_back();
                (start, end, number) = match near.filter(|(_, (end, _))| time < end) {
                    Some((start, (end, number))) => (*start, *end, *number),
                    None => {
                        let (start, end) = bucket(*time)?;
                        let number = known.len() as u32;
                        known.insert(start, (end, number));
                        (start, end, number)
                    }
                };
                if known.len() > buckets_max {
                    return None;
                }
            }
            codes.push(number);
        }
        let mut ranks = vec![0; known.len()];
        for (rank, (_, number)) in (0..).zip(known.values()) {
            ranks[*number as usize] = rank;
        }
        let mut counts = vec![0; known.len()];
        for code in &mut codes {
            *code = ranks[*code as usize];
            counts[*code as usize] += 1;
        }
        Some(Self {
            starts: known.into_keys().collect(),
            codes,
            counts,
        })
    }
}
