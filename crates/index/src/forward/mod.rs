//! The forward index: the code or value of each document, in as few bytes as the segment needs.
//!
//! ```text
//! CODES  := docs × u8 | u16 | u24 | u32, by the cardinality of the dictionary
//! FRAMED := docs × u8 | u16 | u32, value = base + stored, by the spread of the values
//! BITS   := ⌈docs / 64⌉ × u64, value = base + bit d % 64 of word d / 64
//! ```
//!
//! Fixed widths and, but for two values, no bit packing: filters run at the speed of memory on
//! them, and the updates of accumulators, not bandwidth, bound group-bys. What is seldom read, or
//! in order, has forms of its own: [`counts`], [`entries`], [`steps`].

pub mod counts;
pub mod entries;
pub mod steps;

use crate::CorruptIndex;

/// Bytes of one stored code or difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    One,
    Two,
    Four,
}

impl Width {
    /// Least width for codes below `cardinality`.
    pub fn of_codes(cardinality: u32) -> Self {
        match cardinality {
            0..=0x100 => Self::One,
            0x101..=0x1_0000 => Self::Two,
            _ => Self::Four,
        }
    }

    /// Least width for differences in `0..=spread`; `None` when none of them suffices.
    pub fn of_spread(spread: u64) -> Option<Self> {
        match spread {
            0..=0xff => Some(Self::One),
            0x100..=0xffff => Some(Self::Two),
            0x1_0000..=0xffff_ffff => Some(Self::Four),
            _ => None,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    pub fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            _ => None,
        }
    }
}

/// Codes narrowed to `width`, little endian.
pub fn pack_codes(codes: &[u32], width: Width) -> Vec<u8> {
    match width {
        Width::One => codes.iter().map(|code| *code as u8).collect(),
        Width::Two => pack(codes.iter().map(|code| (*code as u16).to_le_bytes())),
        Width::Four => pack(codes.iter().map(|code| code.to_le_bytes())),
    }
}

/// Bytes of a code of three. They are widened block by block, which costs next to nothing where a
/// code is more than a look into a table: for dictionaries of more than 65,536 values.
pub const TRIPLE: u8 = 3;

/// Codes narrowed to three bytes. `None`: others are better for so many values.
pub fn pack_triples(codes: &[u32], cardinality: u32) -> Option<Vec<u8>> {
    let triples = codes.iter().map(|code| {
        let [low, middle, high, _] = code.to_le_bytes();
        [low, middle, high]
    });
    matches!(cardinality, 0x1_0001..=0x100_0000).then(|| pack(triples))
}

/// Values narrowed to their difference from `base`, which is the least of them.
pub fn pack_framed(values: &[i64], base: i64, width: Width) -> Vec<u8> {
    let differences = values.iter().map(|value| value.wrapping_sub(base));
    match width {
        Width::One => differences.map(|value| value as u8).collect(),
        Width::Two => pack(differences.map(|value| (value as u16).to_le_bytes())),
        Width::Four => pack(differences.map(|value| (value as u32).to_le_bytes())),
    }
}

/// Bit `d % 64` of word `d / 64` is the difference of value `d` from `base`, 0 or 1.
pub fn pack_bits(values: &[i64], base: i64) -> Vec<u64> {
    let word = |values: &[i64]| {
        let bits = values.iter().map(|value| u64::from(*value != base));
        bits.rev().fold(0, |word, bit| word << 1 | bit)
    };
    values.chunks(64).map(word).collect()
}

/// `values` laid out one after the other.
pub fn pack<const N: usize>(values: impl ExactSizeIterator<Item = [u8; N]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * N);
    for value in values {
        out.extend_from_slice(&value);
    }
    out
}

/// Every code is below the cardinality, so that readers may look values up unchecked.
pub fn check_codes<T: Copy + Ord + Into<u32>>(
    codes: &[T],
    cardinality: u32,
) -> Result<(), CorruptIndex> {
    match codes.iter().copied().max() {
        Some(greatest) if greatest.into() >= cardinality => Err(CorruptIndex::CodeOutOfRange {
            code: greatest.into(),
            cardinality,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Width, check_codes, pack_bits, pack_codes, pack_framed, pack_triples};

    #[test]
    fn widths_at_their_limits() {
        assert_eq!(Width::of_codes(256), Width::One);
        assert_eq!(Width::of_codes(257), Width::Two);
        assert_eq!(Width::of_codes(65_536), Width::Two);
        assert_eq!(Width::of_codes(65_537), Width::Four);
        assert_eq!(Width::of_spread(255), Some(Width::One));
        assert_eq!(Width::of_spread(65_536), Some(Width::Four));
        assert_eq!(Width::of_spread(1 << 32), None);
    }

    #[test]
    fn packs_little_endian() {
        assert_eq!(pack_codes(&[1, 258], Width::Two), [1, 0, 2, 1]);
        assert_eq!(pack_framed(&[-5, -4, 250], -5, Width::One), [0, 1, 255]);
        assert_eq!(
            pack_framed(&[i64::MIN, i64::MIN + 7], i64::MIN, Width::Four),
            [0, 0, 0, 0, 7, 0, 0, 0]
        );
        let values: Vec<i64> = (0..70).map(|at| 4 + i64::from(at % 69 == 1)).collect();
        assert_eq!(pack_bits(&values, 4), [2, 0]);
        assert_eq!(pack_bits(&[5, 4, 5], 4), [5]);
        let triples = pack_triples(&[1, 0x02_0304], 70_000);
        assert_eq!(triples, Some(vec![1, 0, 0, 4, 3, 2]));
        assert_eq!(pack_triples(&[1], 65_536), None);
        assert_eq!(pack_triples(&[1], (1 << 24) + 1), None);
    }

    #[test]
    fn codes_past_the_dictionary_are_found() {
        check_codes(&[0_u8, 3], 4).unwrap();
        assert!(check_codes(&[0_u8, 4], 4).is_err());
    }
}
