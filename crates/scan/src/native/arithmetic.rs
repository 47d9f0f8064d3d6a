//! Arithmetic of doubles, or of LONG, over the numbers of a row, a block at a time and in place.
//!
//! What comes out is what DataFusion's operators make of the same expression, to the last bit: the
//! same operations in the same order. Those of LONG wrap; a division is by a constant that cannot
//! fail.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use schemas::proto::ScanOptions;
use segment::view::{Nulls, Values};

use super::aggregate::{Aggregate, Width};
use super::input::{Input, Numbers};
use super::number::BlockRows;
use crate::columns::{Source, Stored};
use crate::predicate::Inputs;

#[derive(Debug)]
pub(super) struct Arithmetic<'a> {
    root: Root,
    columns: Vec<(Input<'a>, Option<Nulls<'a>>)>,
}

#[derive(Debug)]
enum Root {
    Doubles(Node<f64>),
    Longs(Node<i64>),
}

#[derive(Debug)]
enum Node<T> {
    Column(usize),
    Literal(T),
    Of(Operation, Box<(Node<T>, Node<T>)>),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}

/// The value of each row, and which rows have one, `None` = all.
type Read<T> = (Vec<T>, Option<Vec<bool>>);

impl<'a> Arithmetic<'a> {
    /// Of a whole expression; `None`: there is more to it.
    pub(super) fn of(
        inputs: &Inputs,
        sources: &[Source<'a>],
        aggregate: &Aggregate,
        options: &ScanOptions,
    ) -> Result<Option<Self>> {
        let (expr, schema) = (&inputs.expr, &inputs.schema);
        let root = match expr.data_type(schema)? {
            DataType::Float64 if aggregate.width == Width::Double => {
                node(expr, schema).map(Root::Doubles)
            }
            DataType::Int64 => node(expr, schema).map(Root::Longs),
            _ => None,
        };
        let Some(root) = root else {
            return Ok(None);
        };
        let reads = Aggregate {
            width: match root {
                Root::Doubles(_) => Width::Double,
                Root::Longs(_) => Width::Long,
            },
            ..aggregate.clone()
        };
        let mut columns = Vec::with_capacity(sources.len());
        for (at, source) in sources.iter().enumerate() {
            let Source::Stored(Stored { column, .. }) = source else {
                return Ok(None);
            };
            if !matches!(column.values(), Values::Raw(_) | Values::Dictionary(_)) {
                return Ok(None);
            }
            let field = inputs.schema.field(at);
            let own = Inputs {
                expr: Arc::new(Column::new(field.name(), 0)),
                schema: Arc::new(Schema::new(vec![field.clone()])),
            };
            columns.push(Input::new(own, vec![source.clone()], &reads, options)?);
        }
        Ok(Some(Self { root, columns }))
    }

    /// The value of each row, and which rows have one, `None` = all.
    pub(super) fn read(&self, rows: BlockRows<'_>) -> Result<(Numbers, Option<Vec<bool>>)> {
        Ok(match &self.root {
            Root::Doubles(root) => {
                let (values, valid) = self.values(root, rows, Input::doubles)?;
                (Numbers::Double(values), valid)
            }
            Root::Longs(root) => {
                let (values, valid) = self.values(root, rows, Input::longs)?;
                (Numbers::Long(values), valid)
            }
        })
    }

    fn values<T: Operand>(
        &self,
        root: &Node<T>,
        rows: BlockRows<'_>,
        read: impl Fn(&Input<'a>, BlockRows<'_>, Option<Nulls<'_>>) -> Result<Read<T>>,
    ) -> Result<Read<T>> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut all: Option<Vec<bool>> = None;
        for (input, nulls) in &self.columns {
            let (values, valid) = read(input, rows, *nulls)?;
            columns.push(values);
            all = match (all, valid) {
                (Some(mut all), Some(valid)) => {
                    all.iter_mut().zip(valid).for_each(|(all, own)| *all &= own);
                    Some(all)
                }
                (all, valid) => all.or(valid),
            };
        }
        let values = match root.of(&columns) {
            Part::One(value) => vec![value; rows.count()],
            Part::Each(values) => values.into_owned(),
        };
        Ok((values, all))
    }
}

/// What is computed with.
trait Operand: Copy {
    const TYPE: DataType;

    fn of_literal(value: &ScalarValue) -> Option<Self>;
    /// Whether each division by it is what DataFusion makes of it.
    fn divides(divisor: Option<Self>) -> bool;
    /// Whether a cast of this type to [`Self::TYPE`] keeps the number.
    fn can_be_of(data_type: &DataType) -> bool;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn quotients<'c>(left: Part<'c, Self>, right: Part<'c, Self>) -> Part<'c, Self> {
        joined(left, right, Self::over)
    }
}

impl Operand for f64 {
    const TYPE: DataType = DataType::Float64;

    fn of_literal(value: &ScalarValue) -> Option<Self> {
        match value {
            ScalarValue::Float64(value) => *value,
            _ => None,
        }
    }

    fn divides(_: Option<Self>) -> bool {
        true
    }

    fn can_be_of(data_type: &DataType) -> bool {
        data_type.is_floating() || matches!(data_type, DataType::Int32 | DataType::Int64)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        self / other
    }
}

impl Operand for i64 {
    const TYPE: DataType = DataType::Int64;

    fn of_literal(value: &ScalarValue) -> Option<Self> {
        match value {
            ScalarValue::Int64(value) => *value,
            _ => None,
        }
    }

    fn divides(divisor: Option<Self>) -> bool {
        divisor.is_some_and(|divisor| divisor > 0)
    }

    fn can_be_of(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Int32 | DataType::Int64)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        // A division of doubles takes a third of the time. It cannot round up to the next whole
        // number, which is 1 / other away, while both are below 2^52.
        const EXACT: u64 = 1 << 52;
        match self.unsigned_abs() < EXACT && other.unsigned_abs() < EXACT {
            true => (self as f64 / other as f64) as Self,
            false => self.wrapping_div(other),
        }
    }

    fn quotients<'c>(left: Part<'c, Self>, right: Part<'c, Self>) -> Part<'c, Self> {
        match right {
            Part::One(divisor) if divisor > 0 && divisor & (divisor - 1) == 0 => {
                let shift = divisor.trailing_zeros();
                joined(left, right, |number, _| shifted(number, shift))
            }
            _ => joined(left, right, Self::over),
        }
    }
}

/// Divided by a power of two and cut off towards 0: a shift alone goes down from what is below.
#[inline(always)]
fn shifted(number: i64, shift: u32) -> i64 {
    let up = (number >> 63) & ((1 << shift) - 1);
    (number + up) >> shift
}

fn node<T: Operand>(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Node<T>> {
    let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(Column::index);
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return T::of_literal(literal.value()).map(Node::Literal);
    }
    if let Some(at) = column(expr) {
        let fits = *schema.field(at).data_type() == T::TYPE;
        return fits.then_some(Node::Column(at));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let at = column(cast.expr())?;
        let own = schema.field(at).data_type();
        let fits = T::can_be_of(own) && *cast.cast_type() == T::TYPE;
        return fits.then_some(Node::Column(at));
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let operation = match binary.op() {
        Operator::Plus => Operation::Plus,
        Operator::Minus => Operation::Minus,
        Operator::Multiply => Operation::Times,
        Operator::Divide => Operation::Over,
        _ => return None,
    };
    let sides = (node(binary.left(), schema)?, node(binary.right(), schema)?);
    let divisor = match &sides.1 {
        Node::Literal(value) => Some(*value),
        _ => None,
    };
    let fits = !matches!(operation, Operation::Over) || T::divides(divisor);
    fits.then(|| Node::Of(operation, Box::new(sides)))
}

/// Of all rows the same, or of each its own.
enum Part<'c, T: Operand> {
    One(T),
    Each(Cow<'c, [T]>),
}

impl<T: Operand> Node<T> {
    fn of<'c>(&self, columns: &'c [Vec<T>]) -> Part<'c, T> {
        match self {
            Self::Column(at) => Part::Each(Cow::Borrowed(&columns[*at])),
            Self::Literal(value) => Part::One(*value),
            Self::Of(operation, sides) => {
                let (left, right) = (sides.0.of(columns), sides.1.of(columns));
                match operation {
                    Operation::Plus => joined(left, right, T::plus),
                    Operation::Minus => joined(left, right, T::minus),
                    Operation::Times => joined(left, right, T::times),
                    Operation::Over => T::quotients(left, right),
                }
            }
        }
    }
}

#[inline(always)]
fn joined<'c, T: Operand>(
    left: Part<'c, T>,
    right: Part<'c, T>,
    of: impl Fn(T, T) -> T,
) -> Part<'c, T> {
    match (left, right) {
        (Part::One(a), Part::One(b)) => Part::One(of(a, b)),
        (Part::Each(a), Part::One(b)) => each(a, |a| of(a, b)),
        (Part::One(a), Part::Each(b)) => each(b, |b| of(a, b)),
        (Part::Each(Cow::Owned(mut a)), Part::Each(b)) => {
            a.iter_mut()
                .zip(b.iter())
                .for_each(|(a, b)| *a = of(*a, *b));
            Part::Each(Cow::Owned(a))
        }
        (Part::Each(a), Part::Each(Cow::Owned(mut b))) => {
            b.iter_mut()
                .zip(a.iter())
                .for_each(|(b, a)| *b = of(*a, *b));
            Part::Each(Cow::Owned(b))
        }
        (Part::Each(a), Part::Each(b)) => {
            let both = a.iter().zip(b.iter()).map(|(a, b)| of(*a, *b));
            Part::Each(Cow::Owned(both.collect()))
        }
    }
}

#[inline(always)]
fn each<'c, T: Operand>(values: Cow<'c, [T]>, of: impl Fn(T) -> T) -> Part<'c, T> {
    Part::Each(Cow::Owned(match values {
        Cow::Owned(mut values) => {
            values.iter_mut().for_each(|value| *value = of(*value));
            values
        }
        Cow::Borrowed(values) => values.iter().map(|value| of(*value)).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{Operand, shifted};

    #[test]
    fn quotients_of_whole_numbers_are_cut_off() {
        let divisors = [
            1,
            2,
            3,
            7,
            10,
            1024,
            999_983,
            (1 << 26) + 1,
            (1 << 51) - 1,
            1 << 53,
            1 << 62,
        ];
        for divisor in divisors {
            let mut quotients = vec![0i64, 1, 2, 1000, (1 << 26) - 1];
            quotients.push((1i64 << 52) / divisor);
            quotients.push(i64::MAX / divisor);
            for quotient in quotients {
                let whole = quotient.saturating_mul(divisor);
                for number in [whole.saturating_sub(1), whole, whole.saturating_add(1)] {
                    for number in [number, number.wrapping_neg()] {
                        assert_eq!(
                            number.over(divisor),
                            number / divisor,
                            "{number} / {divisor}"
                        );
                        if divisor.count_ones() == 1 {
                            let found = shifted(number, divisor.trailing_zeros());
                            assert_eq!(found, number / divisor);
                        }
                    }
                }
            }
        }
        assert_eq!(i64::MIN.over(3), i64::MIN / 3);
    }
}
