//! Read half of the range index.
//!
//! ```text
//! RANGE   := HEADER BUCKETS INVERTED
//! HEADER  := magic "RNG1" | buckets: u32 | zero: u64                        (16 bytes)
//! BUCKETS := buckets × (least: i64 | greatest: i64 | docs: u64), ascending, apart, none empty
//! INVERTED := the inverted index whose codes are the numbers of buckets
//! ```

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::CorruptIndex;
use crate::inverted::InvertedReader;

pub(super) const MAGIC: [u8; 4] = *b"RNG1";
pub(super) const HEADER_BYTES: usize = 16;
const BUCKET_BYTES: usize = 24;

#[derive(Debug)]
pub struct RangeReader {
    buckets: Vec<Bucket>,
    inverted: InvertedReader,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    least: i64,
    greatest: i64,
    docs: u64,
}

/// Numbers of buckets, ascending.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// All their documents match.
    pub whole: Vec<u32>,
    pub whole_docs: u64,
    /// Some of their documents may match.
    pub touched: Vec<u32>,
    pub touched_docs: u64,
}

impl RangeReader {
    pub fn open(data: Bytes) -> Result<Self, CorruptIndex> {
        let short = |wanted: u64| CorruptIndex::Length {
            wanted,
            got: data.len() as u64,
        };
        if data.len() < HEADER_BYTES {
            return Err(short(HEADER_BYTES as u64));
        }
        if data[..4] != MAGIC {
            return Err(CorruptIndex::WrongMagic { expected: "RNG1" });
        }
        let count = u32::from_le_bytes(word(&data, 4));
        let end = HEADER_BYTES as u64 + u64::from(count) * BUCKET_BYTES as u64;
        if (data.len() as u64) < end {
            return Err(short(end));
        }
        let inverted = InvertedReader::open(data.slice(end as usize..))?;
        if inverted.cardinality() != count {
            return Err(CorruptIndex::Length {
                wanted: u64::from(count),
                got: u64::from(inverted.cardinality()),
            });
        }
        let records = data[HEADER_BYTES..end as usize].chunks_exact(BUCKET_BYTES);
        let buckets: Vec<Bucket> = records
            .map(|record| Bucket {
                least: i64::from_le_bytes(word(record, 0)),
                greatest: i64::from_le_bytes(word(record, 8)),
                docs: u64::from_le_bytes(word(record, 16)),
            })
            .collect();
        check(&buckets, inverted.doc_count())?;
        Ok(Self { buckets, inverted })
    }

    pub fn doc_count(&self) -> u32 {
        self.inverted.doc_count()
    }

    /// Least and greatest number; `None`: there are no documents.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.buckets.first()?, self.buckets.last()?);
        Some((first.least, last.greatest))
    }

    /// Which buckets lie in these ranges, and which have only a part in them. Ranges ascend, lie
    /// apart and include both ends.
    pub fn find(&self, ranges: &[(i64, i64)]) -> Buckets {
        let mut found = Buckets::default();
        let mut next = 0;
        for (low, high) in ranges {
            let ahead = &self.buckets[next..];
            let from = next + ahead.partition_point(|bucket| bucket.greatest < *low);
            let held = self.buckets[from..].partition_point(|bucket| bucket.least <= *high);
            for at in from..from + held {
                let bucket = self.buckets[at];
                if *low <= bucket.least && bucket.greatest <= *high {
                    found.whole.push(at as u32);
                    found.whole_docs += bucket.docs;
                } else if found.touched.last() != Some(&(at as u32)) {
                    found.touched.push(at as u32);
                    found.touched_docs += bucket.docs;
                }
            }
            // The next range may begin in the bucket in which this one ends.
            next = (from + held).saturating_sub(1).max(next);
        }
        found
    }

    pub fn docs_of(&self, buckets: &[u32]) -> Result<RoaringBitmap, CorruptIndex> {
        self.inverted.docs_of_any(buckets.iter().copied())
    }
}

fn check(buckets: &[Bucket], docs: u32) -> Result<(), CorruptIndex> {
    let mut previous = None;
    let mut left = u64::from(docs);
    for (index, bucket) in (0u32..).zip(buckets) {
        let is_apart = previous.is_none_or(|greatest| greatest < bucket.least);
        if !is_apart || bucket.least > bucket.greatest || bucket.docs > left {
            return Err(CorruptIndex::OffsetsDecrease { index });
        }
        previous = Some(bucket.greatest);
        left -= bucket.docs;
    }
    match left {
        0 => Ok(()),
        _ => Err(CorruptIndex::Length {
            wanted: u64::from(docs),
            got: u64::from(docs) - left,
        }),
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("a slice of that length")
}
