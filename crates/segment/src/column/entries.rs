//! The entries of some rows of a column of several values.

use std::borrow::Cow;
use std::ops::Range;

use super::Codes;

/// The codes of all rows, one row after the other, and where each row's lie.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    pub(crate) starts: EntryStarts<'a>,
    pub(crate) codes: EntryCodes<'a>,
}

#[derive(Clone, Debug)]
pub(crate) enum EntryStarts<'a> {
    /// One more than there are rows; they never decrease and end within the codes.
    Offsets(Cow<'a, [u32]>),
    /// Of each row, from `first` on.
    Counts { first: u32, counts: &'a [u8] },
}

#[derive(Clone, Debug)]
pub(crate) enum EntryCodes<'a> {
    Sealed(Codes<'a>),
    U32(Cow<'a, [u32]>),
}

impl Entries<'_> {
    pub fn row_count(&self) -> usize {
        match &self.starts {
            EntryStarts::Offsets(offsets) => offsets.len() - 1,
            EntryStarts::Counts { counts, .. } => counts.len(),
        }
    }

    /// May begin before the first and end after the last row's.
    pub fn codes(&self) -> Codes<'_> {
        match &self.codes {
            EntryCodes::Sealed(codes) => *codes,
            EntryCodes::U32(codes) => Codes::U32(codes),
        }
    }

    /// Where the entries of all rows lie within [`Self::codes`].
    pub fn range(&self) -> Range<usize> {
        match &self.starts {
            EntryStarts::Offsets(offsets) => {
                offsets[0] as usize..offsets[offsets.len() - 1] as usize
            }
            EntryStarts::Counts { first, counts } => {
                let first = *first as usize;
                first..first + sum_of_entries(counts)
            }
        }
    }

    /// Where the entries of each row begin within [`Self::codes`], and the end of the last: as they
    /// are stored, or put into `room`.
    pub fn offsets<'r>(&'r self, room: &'r mut Vec<u32>) -> &'r [u32] {
        match &self.starts {
            EntryStarts::Offsets(offsets) => offsets,
            EntryStarts::Counts { first, counts } => {
                room.clear();
                room.reserve(counts.len() + 1);
                let mut end = *first;
                room.push(end);
                room.extend(counts.iter().map(|count| {
                    end += u32::from(*count);
                    end
                }));
                room
            }
        }
    }

    /// Of single rows.
    pub fn cursor(&self) -> EntryCursor<'_> {
        EntryCursor {
            starts: &self.starts,
            row: 0,
            start: match &self.starts {
                EntryStarts::Offsets(_) => 0,
                EntryStarts::Counts { first, .. } => *first as usize,
            },
        }
    }

    /// Where the entries of each row lie within [`Self::codes`].
    pub fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let mut cursor = self.cursor();
        (0..self.row_count()).map(move |row| cursor.row(row))
    }

    /// Calls `each` with every row of an entry whose bit is set, where bit `i % 64` of word
    /// `i / 64` is that of the entry at `range().start + i`; once for each such entry.
    pub fn each_row_of(&self, bits: &[u64], each: impl FnMut(u32)) {
        match &self.starts {
            EntryStarts::Offsets(offsets) => {
                let first = offsets[0];
                each_row(bits, offsets[1..].iter().map(|end| end - first), each);
            }
            EntryStarts::Counts { counts, .. } => {
                let ends = counts.iter().scan(0, |end, count| {
                    *end += u32::from(*count);
                    Some(*end)
                });
                each_row(bits, ends, each);
            }
        }
    }
}

/// `ends`: of each row, counted from the first entry.
fn each_row(bits: &[u64], mut ends: impl Iterator<Item = u32>, mut each: impl FnMut(u32)) {
    let (mut row, mut end) = (0, ends.next().unwrap_or(u32::MAX));
    for (at, word) in (0u32..).zip(bits) {
        let mut left = *word;
        while left != 0 {
            let entry = at * 64 + left.trailing_zeros();
            while end <= entry {
                row += 1;
                end = ends.next().unwrap_or(u32::MAX);
            }
            each(row);
            left &= left - 1;
        }
    }
}

/// Finds the entries of one row after the other; quick where rows ascend.
#[derive(Clone, Debug)]
pub struct EntryCursor<'a> {
    starts: &'a EntryStarts<'a>,
    /// The row that was last asked for, and where its entries begin.
    row: usize,
    start: usize,
}

impl EntryCursor<'_> {
    pub fn row(&mut self, row: usize) -> Range<usize> {
        match self.starts {
            EntryStarts::Offsets(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            EntryStarts::Counts { first, counts } => {
                self.start = match row.checked_sub(self.row) {
                    Some(1) => self.start + usize::from(counts[row - 1]),
                    Some(_) => self.start + sum_of_entries(&counts[self.row..row]),
                    None => *first as usize + sum_of_entries(&counts[..row]),
                };
                self.row = row;
                self.start..self.start + usize::from(counts[row])
            }
        }
    }
}

pub(crate) fn sum_of_entries(counts: &[u8]) -> usize {
    // No more than a block of them, 255 at most.
    let sum: u32 = counts.iter().map(|count| u32::from(*count)).sum();
    sum as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_find_the_same(
            counts in prop::collection::vec(1..9_u8, 1..300),
            first in 0..5_u32,
            picked in prop::collection::vec(0..300_usize, 0..40),
            bits in prop::collection::vec(any::<u64>(), 40),
        ) {
            let mut offsets = vec![first];
            for count in &counts {
                offsets.push(offsets[offsets.len() - 1] + u32::from(*count));
            }
            let of = |starts| Entries {
                starts,
                codes: EntryCodes::U32(Cow::Borrowed(&[])),
            };
            let plain = of(EntryStarts::Offsets(Cow::Borrowed(&offsets)));
            let counted = of(EntryStarts::Counts { first, counts: &counts });
            prop_assert_eq!(plain.row_count(), counted.row_count());
            prop_assert_eq!(plain.range(), counted.range());
            prop_assert!(plain.rows().eq(counted.rows()));
            let mut room = vec![7; 3];
            prop_assert_eq!(plain.offsets(&mut room), &offsets);
            prop_assert_eq!(counted.offsets(&mut room), &offsets);
            let (mut one, mut other) = (plain.cursor(), counted.cursor());
            for row in picked {
                let row = row % counts.len();
                prop_assert_eq!(one.row(row), other.row(row));
            }
            let entries = plain.range().len();
            let mut bits = bits;
            bits.truncate(entries / 64);
            let mut found = [Vec::new(), Vec::new()];
            plain.each_row_of(&bits, |row| found[0].push(row));
            counted.each_row_of(&bits, |row| found[1].push(row));
            let rows = (0..).zip(&counts).flat_map(|(row, count)| vec![row; usize::from(*count)]);
            let set = rows.enumerate().filter(|(at, _)| {
                bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
            });
            let wanted: Vec<u32> = set.map(|(_, row)| row).collect();
            prop_assert_eq!(&found[0], &wanted);
            prop_assert_eq!(&found[1], &wanted);
        }
    }
}
