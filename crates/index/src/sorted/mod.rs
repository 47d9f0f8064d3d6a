//! The sorted column: code → the contiguous range of its documents.
//!
//! ```text
//! SORTED := (cardinality + 1) × u32; the documents of code c are [SORTED[c], SORTED[c + 1])
//! ```
//!
//! Holds only where documents are in the order of the column's codes, which need not be stored
//! beside it.

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

    /// Calls `each` with the codes of `docs` one after the other, and how many documents in a row
    /// hold each.
    pub fn runs(self, docs: Range<u32>, mut each: impl FnMut(u32, usize)) {
        let mut doc = docs.start;
        // The last code that begins at or before it is the one that has it.
        let mut next = self.0.partition_point(|start| *start <= doc);
        while doc < docs.end && next < self.0.len() {
            let end = self.0[next].min(docs.end);
            if end > doc {
                each(next as u32 - 1, (end - doc) as usize);
            }
            doc = end;
            next += 1;
        }
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
    fn runs_are_the_codes_of_documents() {
        let counts = [0, 3, 0, 0, 1, 5, 0];
        let starts = starts(&counts);
        let codes = [1, 1, 1, 4, 5, 5, 5, 5, 5];
        for from in 0..=9 {
            for to in from..=9 {
                let mut found = Vec::new();
                DocRanges::new(&starts).runs(from..to, |code, count| {
                    assert!(count > 0);
                    found.resize(found.len() + count, code);
                });
                assert_eq!(found, codes[from as usize..to as usize]);
            }
        }
    }

    #[test]
    fn wrong_starts_are_found() {
        assert!(check(&[0, 2, 5], 3, 5).is_err());
        assert!(check(&[0, 3, 2, 5], 3, 5).is_err());
        assert!(check(&[0, 2, 2, 4], 3, 5).is_err());
        assert!(check(&[1, 2, 2, 5], 3, 5).is_err());
    }
}
