//! Sets of dictionary codes, and finding their rows in a block.

use std::ops::RangeInclusive;

use arrow::array::{Array, ArrayRef, AsArray};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use segment::view::Codes;

use crate::kernels::{InRange, test_all};
use crate::rows::BlockMask;

/// Codes whose rows match.
#[derive(Debug)]
pub(crate) enum CodeSet {
    /// Consecutive: the scan is a comparison.
    Range(RangeInclusive<u32>),
    /// One byte for each code.
    Table(Vec<bool>),
}

impl CodeSet {
    /// `None`: the set is empty.
    pub(crate) fn new(matches: Vec<bool>) -> Option<Self> {
        let first = matches.iter().position(|hit| *hit)?;
        let last = matches.iter().rposition(|hit| *hit)?;
        if matches[first..=last].iter().all(|hit| *hit) {
            return Some(Self::Range(first as u32..=last as u32));
        }
        Some(Self::Table(matches))
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Range(range) => Box::new(range.clone()),
            Self::Table(matches) => Box::new(
                (0u32..)
                    .zip(matches)
                    .filter(|(_, hit)| **hit)
                    .map(|(code, _)| code),
            ),
        }
    }

    pub(crate) fn covers(&self, cardinality: u32) -> bool {
        matches!(self, Self::Range(range) if *range.start() == 0 && range.end() + 1 >= cardinality)
    }

    pub(crate) fn contains(&self, code: u32) -> bool {
        match self {
            Self::Range(range) => range.contains(&code),
            Self::Table(matches) => matches[code as usize],
        }
    }

    pub(crate) fn scan(&self, codes: Codes<'_>, len: u32) -> BlockMask {
        let mut mask = BlockMask::none(len);
        let words = &mut mask.words;
        match (self, codes) {
            (Self::Range(range), Codes::U8(codes)) => {
                let high = (*range.end()).min(u32::from(u8::MAX)) as u8;
                u8::in_range(codes, *range.start() as u8, high, words);
            }
            (Self::Range(range), Codes::U16(codes)) => {
                let high = (*range.end()).min(u32::from(u16::MAX)) as u16;
                u16::in_range(codes, *range.start() as u16, high, words);
            }
            (Self::Range(range), Codes::U32(codes)) => {
                u32::in_range(codes, *range.start(), *range.end(), words);
            }
            (Self::Table(matches), Codes::U8(codes)) => {
                // A table of 256 entries needs no bounds check.
                let mut table = [false; 256];
                table
                    .iter_mut()
                    .zip(matches)
                    .for_each(|(entry, hit)| *entry = *hit);
                test_all(codes, words, |code| table[usize::from(code)]);
            }
            (Self::Table(matches), Codes::U16(codes)) => {
                test_all(codes, words, |code| matches[usize::from(code)]);
            }
            (Self::Table(matches), Codes::U32(codes)) => {
                test_all(codes, words, |code| matches[code as usize]);
            }
        }
        mask
    }
}

/// Equality with literals and lists of them, by binary search in a sorted dictionary of strings.
/// `None`: something else, or no such dictionary.
pub(crate) fn by_search(expr: &dyn PhysicalExpr, dictionary: &ArrayRef) -> Option<Vec<u32>> {
    let values = dictionary.as_string_view_opt()?;
    let mut wanted: Vec<&str> = Vec::new();
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        list.expr().downcast_ref::<Column>()?;
        if list.negated() {
            return None;
        }
        for item in list.list() {
            wanted.push(text(item.as_ref())?);
        }
    } else {
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        if *binary.op() != Operator::Eq {
            return None;
        }
        let sides = [binary.left(), binary.right()];
        let literal = match sides.map(|side| side.downcast_ref::<Column>().is_some()) {
            [true, false] => binary.right(),
            [false, true] => binary.left(),
            _ => return None,
        };
        wanted.push(text(literal.as_ref())?);
    }
    let mut codes = Vec::with_capacity(wanted.len());
    for text in wanted {
        let (mut low, mut high) = (0, values.len());
        while low < high {
            let middle = low.midpoint(high);
            if values.value(middle) < text {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < values.len() && values.value(low) == text {
            codes.push(low as u32);
        }
    }
    Some(codes)
}

fn text(expr: &dyn PhysicalExpr) -> Option<&str> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text)) => Some(text),
        _ => None,
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
        let with = |wanted: &[usize]| {
            let mut matches = vec![false; 20];
            wanted.iter().for_each(|code| matches[*code] = true);
            CodeSet::new(matches)
        };
        for wanted in [&[3][..], &[0, 1, 2], &[0, 5, 19], &[19]] {
            let set = with(wanted).expect("not empty");
            assert_eq!(set.iter().count(), wanted.len());
            for codes in [Codes::U8(&bytes), Codes::U16(&shorts), Codes::U32(&ints)] {
                let mut rows = Vec::new();
                set.scan(codes, 200).collect_into(&mut rows);
                let expected: Vec<u32> = (0u32..)
                    .zip(&ints)
                    .filter(|(_, code)| wanted.contains(&(**code as usize)))
                    .map(|(row, _)| row)
                    .collect();
                assert_eq!(rows, expected, "{wanted:?}");
            }
        }
        assert!(with(&[]).is_none());
        let every: Vec<usize> = (0..20).collect();
        assert!(with(&every).expect("not empty").covers(20));
    }
}
