//! How many documents hold one of some codes: of few ranges of codes exactly.

use segment::view::DocCounts;

use super::codes::CodeSet;

/// So many ranges of codes are counted; of more, the average is taken.
const COUNTED_MAX: usize = 100_000;

/// Documents that hold one of some codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) documents: f64,
    pub(super) is_exact: bool,
}

impl Counted {
    pub(super) const NONE: Self = Self {
        documents: 0.0,
        is_exact: true,
    };
}

pub(super) fn counted(codes: &CodeSet, counts: DocCounts<'_>) -> Counted {
    let ranges = codes.ranges();
    let (now, later) = ranges.split_at(ranges.len().min(COUNTED_MAX));
    let documents = now.iter().map(|(low, high)| counts.sum(*low..high + 1));
    let documents = documents.sum::<u64>() as f64;
    let width = |ranges: &[(u32, u32)]| {
        let codes = ranges.iter().map(|(low, high)| f64::from(high - low) + 1.0);
        codes.sum::<f64>()
    };
    Counted {
        documents: match later.is_empty() {
            true => documents,
            false => documents * (1.0 + width(later) / width(now)),
        },
        is_exact: later.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::RangeSet;

    #[test]
    fn what_is_not_counted_is_not_exact() {
        let counts: Vec<u32> = (0..400_000).map(|code| code % 7).collect();
        let of = |ranges: Vec<(i64, i64)>| {
            let codes = CodeSet::new(&RangeSet::of_any(ranges), 400_000).unwrap();
            counted(&codes, DocCounts::wide(&counts))
        };
        let sum = |codes: std::ops::Range<usize>| -> f64 {
            counts[codes].iter().map(|count| f64::from(*count)).sum()
        };
        let wide = of(vec![(5, 299_999), (300_001, 300_001)]);
        let expected = sum(5..300_000) + f64::from(counts[300_001]);
        assert_eq!((wide.documents, wide.is_exact), (expected, true));
        let narrow = of((0..200_000).map(|code| (code * 2, code * 2)).collect());
        assert!(!narrow.is_exact);
        assert!(
            (narrow.documents / 600_000.0 - 1.0).abs() < 0.01,
            "{narrow:?}"
        );
    }
}
