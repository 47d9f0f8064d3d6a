//! How many entries each document of a column of several values has.
//!
//! ```text
//! ENTRIES := BEFORE COUNTS
//! BEFORE  := for each block of 4096 documents and once more: u32, the entries before it
//! COUNTS  := docs × u8, at least one each
//! ```
//!
//! or, where a document has more than 255, one u32 for each document and once more: where its
//! entries begin.

use crate::CorruptIndex;

/// Documents that share an entry of `BEFORE`.
pub const BLOCK: usize = 4096;

/// `BEFORE` and `COUNTS` from where the entries of each document begin. `None`: some document has
/// too many of them.
pub fn counted(offsets: &[u32]) -> Option<(Vec<u32>, Vec<u8>)> {
    let counts = offsets
        .windows(2)
        .map(|ends| u8::try_from(ends[1] - ends[0]).ok());
    let counts = counts.collect::<Option<Vec<u8>>>()?;
    let last = offsets.last().copied().unwrap_or(0);
    let before = offsets[..counts.len()].iter().step_by(BLOCK).copied();
    Some((before.chain([last]).collect(), counts))
}

/// They add up, and no document is left out.
pub fn check(before: &[u32], counts: &[u8], entries: u32) -> Result<(), CorruptIndex> {
    let wanted = counts.len().div_ceil(BLOCK) + 1;
    if before.len() != wanted {
        return Err(CorruptIndex::Length {
            wanted: wanted as u64 * 4,
            got: before.len() as u64 * 4,
        });
    }
    let mut sum = 0;
    for (index, block) in (0..).zip(counts.chunks(BLOCK)) {
        let has_none = block.iter().min() == Some(&0);
        if u64::from(before[index as usize]) != sum || has_none {
            return Err(CorruptIndex::OffsetsDecrease { index });
        }
        sum += block.iter().map(|count| u64::from(*count)).sum::<u64>();
    }
    let last = before[before.len() - 1];
    match u64::from(last) == sum && last == entries {
        true => Ok(()),
        false => Err(CorruptIndex::OffsetsDecrease {
            index: before.len() as u32 - 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, check, counted};

    #[test]
    fn entries_are_counted_by_block() {
        let offsets: Vec<u32> = (0..=BLOCK as u32 + 9)
            .map(|doc| doc * 3 + doc / 5000)
            .collect();
        let (before, counts) = counted(&offsets).unwrap();
        let last = offsets[offsets.len() - 1];
        assert_eq!(before, [0, 3 * BLOCK as u32, last]);
        check(&before, &counts, last).unwrap();
        assert!(check(&before, &counts, last + 1).is_err());
        assert!(check(&before[1..], &counts, last).is_err());
        assert!(check(&[0, 5, last], &counts, last).is_err());
        assert!(check(&[0, 2, 3], &[2, 1], 3).is_err());
        assert!(check(&[0, 2], &[2, 0], 2).is_err());
        check(&[0], &[], 0).unwrap();
        assert_eq!(counted(&[0, 256]), None);
        assert_eq!(counted(&[0]), Some((vec![0], vec![])));
    }
}
