//! Which values of one column satisfy a tree over it, each distinct value looked at once.
//!
//! The answer is a set of ranges: of codes where the column has a dictionary, of the values
//! themselves (as [`crate::ranges`] numbers them) where it is raw; and whether null satisfies it.
//! `None` stands for a tree that must be evaluated row by row: it cannot be said by ranges, or it
//! fails on some value, which no row may hold.

use arrow::array::{Array, ArrayRef, AsArray, TimestampMillisecondArray, new_null_array};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMillisecondType,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr};
use segment::view::{ColumnView, DictionaryColumn, MultiColumn, RawColumn};

use super::search::by_chunks;
use super::text::{self, Texts};
use super::tree::Tree;
use super::{evaluate, rebased};
use crate::columns::bounds;
use crate::native::LookupExpr;
use crate::ranges::{RangeSet, of_expr, order_key};
use crate::units::bucket_ms;
use std::sync::Arc;

/// More are sooner evaluated for each row.
const UNITS_MAX: u64 = 1 << 16;

#[derive(Clone, Debug)]
pub(super) struct Solved {
    pub(super) set: RangeSet,
    pub(super) null_matches: bool,
}

/// One column of one segment.
pub(super) struct Solver<'a, 'b> {
    /// Of the column alone.
    pub(super) schema: &'b SchemaRef,
    /// Its index in the schema that trees are over.
    pub(super) index: usize,
    pub(super) has_nulls: bool,
    /// Where values have codes.
    pub(super) distinct: Option<Distinct<'a>>,
    /// The column whose chunks may be asked, while it is consuming.
    pub(super) chunks: Option<ColumnView<'a>>,
    /// Where values are plain.
    pub(super) raw: Option<(ColumnView<'a>, RawColumn<'a>)>,
}

/// The distinct values of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Distinct<'a> {
    Single(DictionaryColumn<'a>),
    Multi(MultiColumn<'a>),
}

impl<'a> Distinct<'a> {
    fn texts(self) -> Option<Texts<'a>> {
        let (bytes, seen) = match self {
            Self::Single(column) => (column.bytes(), column.texts()),
            Self::Multi(column) => (column.bytes(), column.texts()),
        };
        bytes.map(Texts::Sorted).or(seen.map(Texts::Seen))
    }

    fn array(self) -> ArrayRef {
        match self {
            Self::Single(column) => column.array(),
            Self::Multi(column) => column.array(),
        }
    }

    fn cardinality(self) -> u32 {
        match self {
            Self::Single(column) => column.cardinality(),
            Self::Multi(column) => column.cardinality(),
        }
    }

    fn is_ordered(self) -> bool {
        match self {
            Self::Single(column) => column.is_ordered(),
            Self::Multi(column) => column.is_ordered(),
        }
    }
}

impl Solver<'_, '_> {
    pub(super) fn solve(&self, tree: &Tree) -> Option<Solved> {
        match tree {
            Tree::Leaf(leaf) => self.leaf(&leaf.expr),
            Tree::All(branches) => {
                let mut all = Solved {
                    set: RangeSet::all(),
                    null_matches: true,
                };
                for branch in branches {
                    let solved = self.solve(branch)?;
                    all.set = all.set.intersection(solved.set);
                    all.null_matches &= solved.null_matches;
                }
                Some(all)
            }
            Tree::Any(branches) => {
                let (mut ranges, mut null_matches) = (Vec::new(), false);
                for branch in branches {
                    let solved = self.solve(branch)?;
                    ranges.extend_from_slice(solved.set.ranges());
                    null_matches |= solved.null_matches;
                }
                let set = RangeSet::of_any(ranges);
                Some(Solved { set, null_matches })
            }
        }
    }

    fn leaf(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Solved> {
        let own = self.schema.field(0).data_type();
        let narrow = !matches!(own, DataType::Decimal256(_, _));
        let set = match self.distinct {
            None => match of_expr(expr.as_ref(), own).filter(|_| narrow) {
                Some(set) => set,
                None => self.by_units(expr, own)?,
            },
            Some(dictionary) => self.codes(expr, own, dictionary)?,
        };
        Some(Solved {
            set,
            null_matches: self.has_nulls && self.null_matches(expr)?,
        })
    }

    /// Of times, all of which have the same answer between two multiples of a unit.
    fn by_units(&self, expr: &Arc<dyn PhysicalExpr>, own: &DataType) -> Option<RangeSet> {
        let (column, values) = self.raw?;
        let unit = bucket_ms(expr.as_ref(), own)?;
        let (least, most) = bounds(&column, &values, column.row_count())?;
        let (first, last) = (least.div_euclid(unit), most.div_euclid(unit));
        if last.abs_diff(first) >= UNITS_MAX {
            return None;
        }
        let starts: Vec<i64> = (first..=last)
            .map(|number| number.checked_mul(unit))
            .collect::<Option<_>>()?;
        last.checked_add(1)?.checked_mul(unit)?;
        let times = TimestampMillisecondArray::from(starts.clone());
        let matches = self.evaluated(expr, Arc::new(times))?;
        let held = starts.iter().zip(matches).filter(|(_, held)| *held);
        Some(RangeSet::of_any(
            held.map(|(start, _)| (*start, start + unit - 1)).collect(),
        ))
    }

    fn null_matches(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<bool> {
        let is_null = expr.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
        let is_not_null = expr.downcast_ref::<IsNotNullExpr>();
        let tested = is_null.or(is_not_null.map(IsNotNullExpr::arg));
        if tested.is_some_and(|tested| tested.is::<Column>()) {
            return Some(is_null.is_some());
        }
        let null = new_null_array(self.schema.field(0).data_type(), 1);
        Some(self.evaluated(expr, null)?[0])
    }

    fn codes(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        own: &DataType,
        dictionary: Distinct<'_>,
    ) -> Option<RangeSet> {
        let last = i64::from(dictionary.cardinality()) - 1;
        let within = |set: RangeSet| set.within(0, last);
        if let Some(texts) = dictionary.texts() {
            if let Some(found) = text::find(expr.as_ref(), texts) {
                return Some(within(found.yes));
            }
        } else if let Some(set) = of_expr(expr.as_ref(), own)
            && let Some(codes) = of_numbers(&set, dictionary)
        {
            return Some(within(codes));
        }
        let lookup = expr.downcast_ref::<LookupExpr>();
        let lookup = lookup.filter(|_| dictionary.is_ordered());
        if let Some(set) = lookup.and_then(|own| own.held(self.index, &dictionary.array())) {
            return Some(set);
        }
        let field = self.schema.field(0);
        let count = dictionary.cardinality();
        let chunks = self.chunks.as_ref();
        if let Some(matches) = chunks.and_then(|chunks| by_chunks(expr, field, chunks, count)) {
            return Some(runs(bits(&matches)));
        }
        let matches = self.evaluated(expr, dictionary.array())?;
        Some(runs(bits(&matches)))
    }

    fn evaluated(&self, expr: &Arc<dyn PhysicalExpr>, values: ArrayRef) -> Option<Vec<bool>> {
        let expr = rebased(expr, &[self.index]).ok()?;
        let count = values.len();
        evaluate(&expr, self.schema, vec![values], count).ok()
    }
}

/// The runs of ones among bits.
pub(super) fn runs(words: Vec<u64>) -> RangeSet {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for (first, word) in (0i64..).step_by(64).zip(words) {
        let mut left = word;
        while left != 0 {
            let zeros = left.trailing_zeros();
            let ones = (left >> zeros).trailing_ones();
            let low = first + i64::from(zeros);
            let high = low + i64::from(ones) - 1;
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == low => last.1 = high,
                _ => ranges.push((low, high)),
            }
            left &= u64::MAX.checked_shl(zeros + ones).unwrap_or(0);
        }
    }
    RangeSet::of_ascending(ranges)
}

/// One bit for each flag.
fn bits(flags: &[bool]) -> Vec<u64> {
    let word = |flags: &[bool]| {
        let flags = flags.iter().enumerate();
        flags.fold(0, |word, (at, flag)| word | u64::from(*flag) << at)
    };
    flags.chunks(64).map(word).collect()
}

/// The codes of numbers that lie in `set`.
fn of_numbers(set: &RangeSet, dictionary: Distinct<'_>) -> Option<RangeSet> {
    let array = dictionary.array();
    let ordered = dictionary.is_ordered();
    macro_rules! codes {
        ($type:ty, $key:expr) => {{
            let values = array.as_primitive::<$type>().values();
            Some(codes_in(set, values.len(), ordered, |at| $key(values[at])))
        }};
    }
    match array.data_type() {
        DataType::Int32 => codes!(Int32Type, i64::from),
        DataType::Int64 => codes!(Int64Type, |value| value),
        DataType::Timestamp(_, _) => codes!(TimestampMillisecondType, |value| value),
        DataType::Float32 => codes!(Float32Type, |value| order_key(f64::from(value))),
        DataType::Float64 => codes!(Float64Type, order_key),
        DataType::Boolean => {
            let values = array.as_boolean();
            let key = |at| i64::from(values.value(at));
            Some(codes_in(set, values.len(), ordered, key))
        }
        _ => None,
    }
}

fn codes_in(set: &RangeSet, count: usize, ordered: bool, key: impl Fn(usize) -> i64) -> RangeSet {
    if !ordered || set.ranges().len() > count {
        let matches: Vec<bool> = (0..count).map(|at| set.contains(key(at))).collect();
        return runs(bits(&matches));
    }
    let mut codes = Vec::with_capacity(set.ranges().len());
    let mut from = 0;
    for (low, high) in set.ranges() {
        from = first_from(from, count, |at| key(at) >= *low);
        let past = first_from(from, count, |at| key(at) > *high);
        if from < past {
            codes.push((from as i64, past as i64 - 1));
        }
        from = past;
    }
    RangeSet::of_any(codes)
}

/// The first position from `from` on that passes; all after it pass too. Steps double, so that
/// near positions are found soon.
pub(super) fn first_from(from: usize, count: usize, passes: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step < count && !passes(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(count);
    while low < high {
        let middle = low.midpoint(high);
        match passes(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_from_any_start() {
        for count in 0..40 {
            for from in 0..=count {
                for first in from..=count {
                    assert_eq!(first_from(from, count, |at| at >= first), first);
                }
            }
        }
    }

    #[test]
    fn runs_are_those_of_the_flags() {
        for seed in 1..60u64 {
            let flag = |at: u64| (at / (seed % 9 + 1)).wrapping_mul(seed * 77) % 5 < seed % 6;
            let flags: Vec<bool> = (0..200 + seed).map(flag).collect();
            let found = runs(bits(&flags));
            let contains = |at: usize| found.contains(at as i64);
            assert!((0..300).all(|at| contains(at) == flags.get(at).copied().unwrap_or(false)));
        }
    }

    #[test]
    fn ranges_of_numbers_become_ranges_of_codes() {
        let keys = [-5, 0, 3, 4, 9, 70];
        let set = RangeSet::of_any(vec![(-4, 3), (5, 8), (9, 9), (60, 100)]);
        let expected = RangeSet::of_any(vec![(1, 2), (4, 5)]);
        for ordered in [true, false] {
            let found = codes_in(&set, keys.len(), ordered, |at| keys[at]);
            assert_eq!(found, expected);
        }
    }
}
