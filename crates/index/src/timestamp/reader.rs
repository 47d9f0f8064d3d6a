//! Read half of the timestamp index.
//!
//! ```text
//! TIMESTAMP := STARTS CODES COUNTS     (a buffer each)
//! STARTS    := buckets × i64, where each begins, ascending
//! CODES     := docs × u8 | u16 | u32, by the number of buckets
//! COUNTS    := buckets × u32, documents of each, at least one
//! ```
//!
//! [`BucketReader::open`] checks all of it: codes are below the number of buckets, and there are as
//! many documents as the counts add up to. The bytes stay where they are.

use bytes::Bytes;

use crate::CorruptIndex;
use crate::forward::{Width, check_codes};

#[derive(Clone, Debug)]
pub struct BucketReader {
    pub starts: Bytes,
    pub codes: Bytes,
    pub counts: Bytes,
    width: Width,
    docs: u32,
}

const START_BYTES: usize = size_of::<i64>();
const COUNT_BYTES: usize = size_of::<u32>();

impl BucketReader {
    pub fn open(buffers: Vec<Bytes>) -> Result<Self, CorruptIndex> {
        let got = buffers.len() as u32;
        let Ok([starts, codes, counts]) = <[Bytes; 3]>::try_from(buffers) else {
            return Err(CorruptIndex::Buffers { wanted: 3, got });
        };
        let buckets = starts.len() / START_BYTES;
        let length = |wanted: usize, got: usize| match wanted == got {
            true => Ok(()),
            false => Err(CorruptIndex::Length {
                wanted: wanted as u64,
                got: got as u64,
            }),
        };
        length(buckets * START_BYTES, starts.len())?;
        length(buckets * COUNT_BYTES, counts.len())?;
        let (each, _) = starts.as_chunks::<START_BYTES>();
        for (index, pair) in (1..).zip(each.windows(2)) {
            if i64::from_le_bytes(pair[0]) >= i64::from_le_bytes(pair[1]) {
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
        }
        let (each, _) = counts.as_chunks::<COUNT_BYTES>();
        let docs: u64 = each
            .iter()
            .map(|count| u64::from(u32::from_le_bytes(*count)))
            .sum();
        let width = Width::of_codes(buckets as u32);
        let wanted = usize::try_from(docs)
            .ok()
            .and_then(|docs| docs.checked_mul(width.bytes()));
        length(wanted.unwrap_or(usize::MAX), codes.len())?;
        let reader = Self {
            starts,
            codes,
            counts,
            width,
            docs: docs as u32,
        };
        reader.check_codes()?;
        Ok(reader)
    }

    fn check_codes(&self) -> Result<(), CorruptIndex> {
        let greatest = match self.width {
            Width::One => self.codes.iter().copied().map(u32::from).max(),
            Width::Two => {
                let (codes, _) = self.codes.as_chunks::<2>();
                let codes = codes.iter().map(|code| u16::from_le_bytes(*code));
                codes.max().map(u32::from)
            }
            Width::Four => {
                let (codes, _) = self.codes.as_chunks::<4>();
                codes.iter().map(|code| u32::from_le_bytes(*code)).max()
            }
        };
        check_codes(greatest.as_slice(), self.cardinality())
    }

    pub fn cardinality(&self) -> u32 {
        (self.starts.len() / START_BYTES) as u32
    }

    pub fn doc_count(&self) -> u32 {
        self.docs
    }

    /// Of each code.
    pub fn width(&self) -> Width {
        self.width
    }
}
