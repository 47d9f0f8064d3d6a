//! Sets of dictionary codes, and finding their rows in a block.

use segment::view::Codes;

use crate::ranges::RangeSet;
use crate::rows::{BlockMask, WORDS};
use kernels::{InRange, in_bits, in_table};

/// More ranges of codes of two bytes and more are looked up in a bitmap.
const RANGES_SCANNED_MAX: usize = 4;

/// Codes whose rows match; there is at least one.
#[derive(Debug)]
pub(crate) struct CodeSet {
    ranges: Vec<(u32, u32)>,
    /// Of all codes, where there are many ranges or codes are bytes.
    bits: Vec<u64>,
}

impl CodeSet {
    /// Of ranges below the cardinality. `None`: the set is empty.
    pub(crate) fn new(set: &RangeSet, cardinality: u32) -> Option<Self> {
        let ranges: Vec<(u32, u32)> = set
            .ranges()
            .iter()
            .map(|(low, high)| (*low as u32, *high as u32))
            .collect();
        if ranges.is_empty() {
            return None;
        }
        let is_byte = cardinality <= 256;
        let mut bits = Vec::new();
        if ranges.len() > RANGES_SCANNED_MAX || (is_byte && ranges.len() > 1) {
            bits = vec![
                0;
                if is_byte {
                    4
                } else {
                    cardinality.div_ceil(64) as usize
                }
            ];
            for code in ranges.iter().flat_map(|(low, high)| *low..=*high) {
                bits[code as usize / 64] |= 1 << (code % 64);
            }
        }
        Some(Self { ranges, bits })
    }

    pub(crate) fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    pub(crate) fn covers(&self, cardinality: u32) -> bool {
        matches!(self.ranges[..], [(0, high)] if high + 1 >= cardinality)
    }

    /// Whether one of the codes is in a block with these ends.
    pub(crate) fn overlaps(&self, (least, greatest): (u32, u32)) -> bool {
        let first = self.ranges.partition_point(|range| range.1 < least);
        self.ranges
            .get(first)
            .is_some_and(|range| range.0 <= greatest)
    }

    /// Whether every code between these ends is one of them.
    pub(crate) fn covers_all(&self, (least, greatest): (u32, u32)) -> bool {
        let first = self.ranges.partition_point(|range| range.1 < least);
        let range = self.ranges.get(first);
        range.is_some_and(|range| range.0 <= least && greatest <= range.1)
    }

    pub(crate) fn contains(&self, code: u32) -> bool {
        match self.bits.get(code as usize / 64) {
            Some(word) => word >> (code % 64) & 1 == 1,
            None => self
                .ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&code)),
        }
    }

    /// Nanoseconds for a row, about.
    pub(super) fn cost(&self, cardinality: u32) -> f64 {
        let compared = match cardinality {
            0..=256 => 0.02,
            257..=65_536 => 0.04,
            _ => 0.1,
        };
        match self.bits.is_empty() {
            true => compared * self.ranges.len() as f64,
            false if cardinality <= 256 => 0.05,
            false => 0.6,
        }
    }

    pub(crate) fn scan(&self, codes: Codes<'_>, len: u32) -> BlockMask {
        let mut mask = BlockMask::none(len);
        if !self.bits.is_empty() {
            self.look_up(codes, &mut mask.words);
            return mask;
        }
        let mut words = [0; WORDS];
        for (low, high) in &self.ranges {
            match codes {
                Codes::U8(codes) => in_range::<u8>(codes, *low, *high, &mut words),
                Codes::U16(codes) => in_range::<u16>(codes, *low, *high, &mut words),
                Codes::U32(codes) => u32::in_range(codes, *low, *high, &mut words),
            }
            for (word, more) in mask.words.iter_mut().zip(words) {
                *word |= more;
            }
        }
        mask
    }

    /// As [`Self::scan`], for any number of codes: one bit for each.
    pub(super) fn scan_into(&self, codes: Codes<'_>, words: &mut [u64]) {
        if !self.bits.is_empty() {
            return self.look_up(codes, words);
        }
        let mut more = vec![0; words.len()];
        for (low, high) in &self.ranges {
            match codes {
                Codes::U8(codes) => in_range::<u8>(codes, *low, *high, &mut more),
                Codes::U16(codes) => in_range::<u16>(codes, *low, *high, &mut more),
                Codes::U32(codes) => u32::in_range(codes, *low, *high, &mut more),
            }
            words
                .iter_mut()
                .zip(&more)
                .for_each(|(word, more)| *word |= more);
        }
    }

    fn look_up(&self, codes: Codes<'_>, words: &mut [u64]) {
        match codes {
            Codes::U8(codes) => match self.bits.first_chunk::<4>() {
                Some(bits) => in_table(codes, bits, words),
                None => in_bits(codes, &self.bits, words),
            },
            Codes::U16(codes) => in_bits(codes, &self.bits, words),
            Codes::U32(codes) => in_bits(codes, &self.bits, words),
        }
    }
}

fn in_range<T: InRange + TryFrom<u32>>(codes: &[T], low: u32, high: u32, words: &mut [u64]) {
    match (T::try_from(low), T::try_from(high)) {
        (Ok(low), Ok(high)) => T::in_range(codes, low, high, words),
        _ => words.fill(0),
    }
}

pub(super) fn code_at(codes: Codes<'_>, row: u32) -> u32 {
    let at = row as usize;
    match codes {
        Codes::U8(codes) => u32::from(codes[at]),
        Codes::U16(codes) => u32::from(codes[at]),
        Codes::U32(codes) => codes[at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_find_their_rows_in_codes_of_every_width() {
        let bytes: Vec<u8> = (0..200).map(|n| (n * 7 % 20) as u8).collect();
        let shorts: Vec<u16> = bytes.iter().map(|code| u16::from(*code)).collect();
        let ints: Vec<u32> = bytes.iter().map(|code| u32::from(*code)).collect();
        for wanted in [
            &[3][..],
            &[0, 1, 2],
            &[0, 5, 19],
            &[19],
            &[0, 2, 4, 6, 8, 10],
        ] {
            let ranges = wanted.iter().map(|code| (*code, *code)).collect();
            let wanted_set = RangeSet::of_any(ranges);
            for (codes, cardinality) in [
                (Codes::U8(&bytes), 20),
                (Codes::U16(&shorts), 300),
                (Codes::U32(&ints), 70_000),
            ] {
                let set = CodeSet::new(&wanted_set, cardinality).expect("not empty");
                let held = set.ranges().iter().map(|(low, high)| high - low + 1);
                assert_eq!(held.sum::<u32>() as usize, wanted.len());
                let mut rows = Vec::new();
                set.scan(codes, 200).collect_into(&mut rows);
                let is_wanted = |code: u32| wanted.contains(&i64::from(code));
                let expected: Vec<u32> = (0u32..200)
                    .filter(|row| is_wanted(code_at(codes, *row)))
                    .collect();
                assert_eq!(rows, expected, "{wanted:?}");
                assert!((0..20).all(|code| set.contains(code) == is_wanted(code)));
            }
        }
        assert!(CodeSet::new(&RangeSet::none(), 20).is_none());
        let some = CodeSet::new(&RangeSet::of_any(vec![(3, 5), (9, 9)]), 20).expect("not empty");
        assert!(some.overlaps((5, 8)) && !some.overlaps((6, 8)) && some.overlaps((0, 19)));
        assert!(some.covers_all((3, 4)) && some.covers_all((9, 9)) && !some.covers_all((4, 9)));
        let every = CodeSet::new(&RangeSet::of(0, 19), 20).expect("not empty");
        assert!(every.covers(20) && !every.covers(21));
    }
}
