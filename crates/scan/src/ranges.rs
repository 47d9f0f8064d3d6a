//! Predicates over one column of numbers as a set of ranges.
//!
//! Numbers are `i64` in the order of the column: whole numbers, BOOLEAN and TIMESTAMP as they are,
//! floats by [`order_key`], the order in which DataFusion compares them. A predicate
//! is translated only when the set says exactly the same, and null is in no set.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use segment::calendar::Unit;

pub(crate) use index::range::order_key;

/// Disjoint, ascending, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<(i64, i64)>,
}

impl RangeSet {
    pub(crate) fn of(low: i64, high: i64) -> Self {
        let ranges = if low <= high {
            vec![(low, high)]
        } else {
            vec![]
        };
        Self { ranges }
    }

    pub(crate) const fn none() -> Self {
        Self { ranges: Vec::new() }
    }

    pub(crate) fn all() -> Self {
        Self::of(i64::MIN, i64::MAX)
    }

    /// The union of ranges in any order; each has a value.
    pub(crate) fn of_any(mut ranges: Vec<(i64, i64)>) -> Self {
        if !ranges.is_sorted() {
            ranges.sort_unstable();
        }
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match joined.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        Self { ranges: joined }
    }

    /// Of ranges that ascend, with a gap between each two of them.
    pub(crate) fn of_ascending(ranges: Vec<(i64, i64)>) -> Self {
        debug_assert!(ranges.iter().all(|(low, high)| low <= high));
        debug_assert!(
            ranges.is_sorted_by(|a, b| a.1.checked_add(1).is_some_and(|next| next < b.0))
        );
        Self { ranges }
    }

    pub(crate) fn union(mut self, other: Self) -> Self {
        self.ranges.extend(other.ranges);
        Self::of_any(self.ranges)
    }

    pub(crate) fn complement(self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = Some(i64::MIN);
        for (low, high) in self.ranges {
            if let Some(from) = next
                && from < low
            {
                ranges.push((from, low - 1));
            }
            next = high.checked_add(1);
        }
        if let Some(from) = next {
            ranges.push((from, i64::MAX));
        }
        Self { ranges }
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        let (mut own, mut others) = (&self.ranges[..], &other.ranges[..]);
        let mut both = Vec::new();
        while let ([a, own_rest @ ..], [b, others_rest @ ..]) = (own, others) {
            let (low, high) = (a.0.max(b.0), a.1.min(b.1));
            if low <= high {
                both.push((low, high));
            }
            match a.1 < b.1 {
                true => own = own_rest,
                false => others = others_rest,
            }
        }
        Self { ranges: both }
    }

    /// What of it lies between these ends.
    pub(crate) fn within(mut self, low: i64, high: i64) -> Self {
        self.ranges.retain_mut(|range| {
            *range = (range.0.max(low), range.1.min(high));
            range.0 <= range.1
        });
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn ranges(&self) -> &[(i64, i64)] {
        &self.ranges
    }

    pub(crate) fn contains(&self, value: i64) -> bool {
        let after = self.ranges.partition_point(|(low, _)| *low <= value);
        after > 0 && value <= self.ranges[after - 1].1
    }

    pub(crate) fn overlaps(&self, low: i64, high: i64) -> bool {
        let first = self.ranges.partition_point(|range| range.1 < low);
        self.ranges.get(first).is_some_and(|range| range.0 <= high)
    }

    pub(crate) fn covers(&self, low: i64, high: i64) -> bool {
        self.ranges
            .iter()
            .any(|range| range.0 <= low && high <= range.1)
    }
}

/// The values for which `expr` is true. All its columns are one, of type `own`.
pub(crate) fn of_expr(expr: &dyn PhysicalExpr, own: &DataType) -> Option<RangeSet> {
    if expr.downcast_ref::<Column>().is_some() {
        return (*own == DataType::Boolean).then(|| RangeSet::of(1, 1));
    }
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        return is_null.arg().is::<Column>().then(RangeSet::none);
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        return is_not_null.arg().is::<Column>().then(RangeSet::all);
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return of_expr(not.arg().as_ref(), own).map(RangeSet::complement);
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let operand = Operand::of(list.expr().as_ref(), own)?;
        // Lists tell -0.0 from 0.0, comparisons do not.
        if own.is_floating() {
            return None;
        }
        let mut ranges = Vec::with_capacity(list.list().len());
        for item in list.list() {
            let value = item.downcast_ref::<Literal>()?.value();
            ranges.extend(operand.compare(Operator::Eq, value)?.ranges);
        }
        let set = RangeSet::of_any(ranges);
        return Some(if list.negated() {
            set.complement()
        } else {
            set
        });
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (binary.left().as_ref(), binary.right().as_ref());
    match binary.op() {
        Operator::And => Some(of_expr(left, own)?.intersection(of_expr(right, own)?)),
        Operator::Or => Some(of_expr(left, own)?.union(of_expr(right, own)?)),
        op => {
            if let Some(literal) = right.downcast_ref::<Literal>() {
                return Operand::of(left, own)?.compare(*op, literal.value());
            }
            let literal = left.downcast_ref::<Literal>()?;
            Operand::of(right, own)?.compare(op.swap()?, literal.value())
        }
    }
}

/// The column, a cast of it that keeps order and loses nothing, or `date_trunc` of it.
struct Operand<'a> {
    own: &'a DataType,
    cast: Option<&'a DataType>,
    unit: Option<Unit>,
}

impl<'a> Operand<'a> {
    fn of(expr: &'a dyn PhysicalExpr, own: &'a DataType) -> Option<Self> {
        if expr.downcast_ref::<Column>().is_some() {
            return Some(Self::plain(own));
        }
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return Self::of_call(call, own);
        }
        let cast = expr.downcast_ref::<CastExpr>()?;
        cast.expr().downcast_ref::<Column>()?;
        let to = cast.cast_type();
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let keeps = match (own, to) {
            (DataType::Int32, DataType::Int64 | DataType::Float64) => true,
            (DataType::Float32, DataType::Float64) => true,
            (own, DataType::Int64 | DataType::Timestamp(_, None)) if *own == ms => {
                !matches!(to, DataType::Timestamp(TimeUnit::Second, _))
            }
            (own, to) => own == to,
        };
        keeps.then_some(Self {
            cast: Some(to),
            ..Self::plain(own)
        })
    }

    const fn plain(own: &'a DataType) -> Self {
        Self {
            own,
            cast: None,
            unit: None,
        }
    }

    fn of_call(call: &ScalarFunctionExpr, own: &'a DataType) -> Option<Self> {
        let [unit, column] = call.args() else {
            return None;
        };
        let is_time = *own == DataType::Timestamp(TimeUnit::Millisecond, None);
        if call.name() != "date_trunc" || !is_time || !column.is::<Column>() {
            return None;
        }
        let unit = unit.downcast_ref::<Literal>()?.value().try_as_str()??;
        Some(Self {
            unit: Some(Unit::named(unit)?),
            ..Self::plain(own)
        })
    }

    fn compare(&self, op: Operator, literal: &ScalarValue) -> Option<RangeSet> {
        let (mut from, mut past) = self.bounds(literal)?;
        if let Some(unit) = self.unit {
            // What is truncated lies below an end just when the value lies below the next boundary.
            let next = |end: i128| Some(i128::from(unit.next_boundary(end.try_into().ok()?)?));
            (from, past) = (next(from)?, next(past)?);
        }
        // Ends are cut off at the ends of i64: no value lies beyond.
        let below = |end: i128| match end.saturating_sub(1) {
            end if end < i128::from(i64::MIN) => RangeSet::of(1, 0),
            end => RangeSet::of(i64::MIN, end.min(i128::from(i64::MAX)) as i64),
        };
        Some(match op {
            Operator::Lt => below(from),
            Operator::LtEq => below(past),
            Operator::GtEq => below(from).complement(),
            Operator::Gt => below(past).complement(),
            Operator::Eq => below(past).intersection(below(from).complement()),
            Operator::NotEq => below(past)
                .intersection(below(from).complement())
                .complement(),
            _ => return None,
        })
    }

    /// The least value that is ≥ the literal, and the least that is greater.
    fn bounds(&self, literal: &ScalarValue) -> Option<(i128, i128)> {
        let compared = self.cast.unwrap_or(self.own);
        if literal.data_type() != *compared {
            return None;
        }
        let whole = |value: i64| Some((i128::from(value), i128::from(value) + 1));
        let scaled = |value: i64, by: i128| {
            let floor = i128::from(value).div_euclid(by);
            let exact = i128::from(value).rem_euclid(by) == 0;
            Some((floor + i128::from(!exact), floor + 1))
        };
        match literal {
            ScalarValue::Boolean(Some(value)) => whole(i64::from(*value)),
            ScalarValue::Int32(Some(value)) => whole(i64::from(*value)),
            ScalarValue::Int64(Some(value)) => whole(*value),
            ScalarValue::TimestampMillisecond(Some(value), None) => whole(*value),
            ScalarValue::TimestampMicrosecond(Some(value), None) => scaled(*value, 1_000),
            ScalarValue::TimestampNanosecond(Some(value), None) => scaled(*value, 1_000_000),
            ScalarValue::Float32(Some(value)) => whole_key(f64::from(*value)),
            ScalarValue::Float64(Some(value)) if self.own.is_floating() => whole_key(*value),
            ScalarValue::Float64(Some(value)) => among_whole_numbers(*value),
            _ => None,
        }
    }
}

fn whole_key(value: f64) -> Option<(i128, i128)> {
    let key = i128::from(order_key(value));
    Some((key, key + 1))
}

/// Where a float lies among 32-bit whole numbers.
fn among_whole_numbers(value: f64) -> Option<(i128, i128)> {
    if value.is_nan() {
        let end = if value.is_sign_negative() {
            i64::MIN
        } else {
            i64::MAX
        };
        return Some((i128::from(end), i128::from(end)));
    }
    // Saturates far outside of 32 bits.
    Some((
        value.ceil() as i128,
        (value.floor() as i128).saturating_add(1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_expr::expressions::{binary, cast, col, in_list, lit, not};
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch, TimestampMillisecondArray,
    };
    use arrow::datatypes::{Field, Schema};

    fn agree(column: ArrayRef, keys: Vec<i64>, expr: &Arc<dyn PhysicalExpr>) {
        let field = Field::new("x", column.data_type().clone(), false);
        let own = field.data_type().clone();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap();
        let set = of_expr(expr.as_ref(), &own).expect("translated");
        let verdict = expr
            .evaluate(&batch)
            .unwrap()
            .into_array(keys.len())
            .unwrap();
        for (row, key) in keys.iter().enumerate() {
            let expected = verdict.as_boolean().value(row);
            assert_eq!(set.contains(*key), expected, "{expr} of row {row}: {set:?}");
        }
    }

    const OPS: [Operator; 6] = [
        Operator::Eq,
        Operator::NotEq,
        Operator::Lt,
        Operator::LtEq,
        Operator::Gt,
        Operator::GtEq,
    ];

    #[test]
    fn sets_are_cut_with_each_other() {
        let of = |seed: i64| {
            let starts = (0..30).map(|at| at * 7 + at * at * seed % 5);
            RangeSet::of_any(starts.map(|from| (from, from + from * seed % 4)).collect())
        };
        for (a, b) in (1..9).flat_map(|a| (1..9).map(move |b| (a, b))) {
            let (a, b) = (of(a), of(b));
            let both = a.clone().intersection(b.clone());
            let within = a.clone().within(40, 90);
            for value in -2..260 {
                let is_in = a.contains(value) && b.contains(value);
                assert_eq!(both.contains(value), is_in, "{value} in {a:?} and {b:?}");
                let is_near = a.contains(value) && (40..=90).contains(&value);
                assert_eq!(within.contains(value), is_near);
            }
        }
        let all = RangeSet::all();
        assert_eq!(all.clone().intersection(all.clone()), all);
        assert_eq!(all.intersection(RangeSet::none()), RangeSet::none());
    }

    #[test]
    fn truncated_times_are_ranges() {
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let at = Schema::new(vec![Field::new("x", ms.clone(), false)]);
        let times: Vec<i64> = (-40..40)
            .flat_map(|n: i64| [n * 43_200_000 + n % 3, n * 2_629_746_000, n * 1_000 - 1])
            .chain([
                0,
                951_782_400_000,
                951_868_799_999,
                345_600_000,
                345_599_999,
            ])
            .collect();
        let date_trunc = datafusion::functions::datetime::date_trunc();
        for unit in [
            "second", "minute", "hour", "day", "week", "month", "quarter", "year",
        ] {
            let args = vec![lit(unit), col("x", &at).unwrap()];
            let field = Arc::new(Field::new("f", ms.clone(), false));
            let config = Arc::new(datafusion::common::config::ConfigOptions::new());
            let truncated: Arc<dyn PhysicalExpr> = Arc::new(ScalarFunctionExpr::new(
                "date_trunc",
                Arc::clone(&date_trunc),
                args,
                field,
                config,
            ));
            for literal in [0, -1, 951_782_400_000, 345_600_000, 86_400_000, -86_400_000] {
                let literal = lit(ScalarValue::TimestampMillisecond(Some(literal), None));
                for op in OPS {
                    let left = Arc::clone(&truncated);
                    let expr = binary(left, op, Arc::clone(&literal), &at).unwrap();
                    let array = Arc::new(TimestampMillisecondArray::from(times.clone()));
                    agree(array, times.clone(), &expr);
                }
            }
        }
    }

    #[test]
    fn sets_say_what_the_expression_says() {
        let ints = [i32::MIN, -8, -1, 0, 1, 2, 3, 100, i32::MAX];
        let floats = [
            f64::NEG_INFINITY,
            -2.5,
            -0.0,
            0.0,
            1.0,
            2.5,
            f64::INFINITY,
            f64::NAN,
        ];
        let own = Schema::new(vec![Field::new("x", DataType::Int32, false)]);
        let double = Schema::new(vec![Field::new("x", DataType::Float64, false)]);
        let int_keys = || ints.map(i64::from).to_vec();
        let int_array = || Arc::new(Int32Array::from(ints.to_vec())) as ArrayRef;
        for op in OPS {
            for literal in ints {
                let expr = binary(col("x", &own).unwrap(), op, lit(literal), &own).unwrap();
                agree(int_array(), int_keys(), &expr);
                agree(int_array(), int_keys(), &not(expr).unwrap());
                let wide = cast(col("x", &own).unwrap(), &own, DataType::Int64).unwrap();
                let swapped = binary(lit(i64::from(literal)), op, wide, &own).unwrap();
                agree(int_array(), int_keys(), &swapped);
            }
            for literal in [-2.5, 0.0, 1.0, 1e300, -1e300, f64::NAN, f64::INFINITY] {
                let wide = cast(col("x", &own).unwrap(), &own, DataType::Float64).unwrap();
                let expr = binary(wide, op, lit(literal), &own).unwrap();
                agree(int_array(), int_keys(), &expr);
            }
            for literal in floats {
                let expr = binary(col("x", &double).unwrap(), op, lit(literal), &double).unwrap();
                let array = Arc::new(Float64Array::from(floats.to_vec())) as ArrayRef;
                agree(array, floats.map(order_key).to_vec(), &expr);
            }
        }
        let list = vec![lit(3), lit(-8), lit(2)];
        for negated in [false, true] {
            let expr = in_list(col("x", &own).unwrap(), list.clone(), &negated, &own).unwrap();
            agree(int_array(), int_keys(), &expr);
        }
    }

    #[test]
    fn blocks_are_judged_by_their_ends() {
        let set = RangeSet::of(3, 5).union(RangeSet::of(10, 12));
        assert!(set.overlaps(5, 9) && !set.overlaps(6, 9) && set.overlaps(0, 100));
        assert!(set.covers(10, 12) && !set.covers(4, 10));
        assert_eq!(RangeSet::of(i64::MIN, i64::MAX).complement().ranges(), []);
    }
}
