//! The sorted column: code → the contiguous range of its documents.
//!
//! ```text
//! SORTED := (cardinality + 1) × u32; the documents of code c are [SORTED[c], SORTED[c + 1])
//! ```
//!
//! Holds only where documents are in the order of the column's codes.

use std::ops::Range;

use crate::CorruptIndex;

/// From the number of documents of each code.
pub fn starts(doc_counts: &[u32]) -> Vec<u32> {
    let mut starts = Vec::with_capacity(doc_counts.len() + 1);
    let mut next = 0;
    starts.push(next);
    for count in doc_counts {
        next += count;
        starts.push(next);
    }
    starts
}

#[derive(Clone, Copy, Debug)]
pub struct DocRanges<'a>(&'a [u32]);

impl<'a> DocRanges<'a> {
    /// Starts that were [checked](check) before.
    pub fn new(starts: &'a [u32]) -> Self {
        Self(starts)
    }

    pub fn range(self, code: u32) -> Range<u32> {
        self.0[code as usize]..self.0[code as usize + 1]
    }
}

/// There is a range for every code, they follow each other and cover all documents.
pub fn check(starts: &[u32], cardinality: u32, docs: u32) -> Result<(), CorruptIndex> {
    let wanted = u64::from(cardinality) + 1;
    if starts.len() as u64 != wanted {
        return Err(CorruptIndex::Length {
            wanted: wanted * 4,
            got: starts.len() as u64 * 4,
        });
    }
    let mut previous = 0;
    for (index, start) in starts.iter().enumerate() {
        if *start < previous || *start > docs {
            return Err(CorruptIndex::OffsetsDecrease {
                index: index as u32,
            });
        }
        previous = *start;
    }
    if starts[0] != 0 || previous != docs {
        return Err(CorruptIndex::OffsetsDecrease { index: cardinality });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DocRanges, check, starts};

    #[test]
    fn ranges_cover_all_documents() {
        let starts = starts(&[2, 0, 3]);
        check(&starts, 3, 5).unwrap();
        let ranges = DocRanges::new(&starts);
        assert_eq!(
            [ranges.range(0), ranges.range(1), ranges.range(2)],
            [0..2, 2..2, 2..5]
        );
    }

    #[test]
    fn wrong_starts_are_found() {
        assert!(check(&[0, 2, 5], 3, 5).is_err());
        assert!(check(&[0, 3, 2, 5], 3, 5).is_err());
        assert!(check(&[0, 2, 2, 4], 3, 5).is_err());
        assert!(check(&[1, 2, 2, 5], 3, 5).is_err());
    }
}
