//! Arguments of aggregates that are a whole number of the table times a constant, plus another:
//! the number itself is read, and what is asked for follows from what became of it.
//!
//! Invariant: what follows is what reading the argument would have given. Sums of LONG wrap, as its
//! arithmetic does, so they always follow; ends and means do so only where no argument can wrap.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Literal};

/// `factor * number + offset`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linear {
    factor: i64,
    offset: i64,
}

impl Linear {
    pub(super) const IDENTITY: Self = Self {
        factor: 1,
        offset: 0,
    };

    /// The number that is read in the place of `argument`, and what is made of it; `None`: the
    /// argument is nothing of the kind.
    pub(super) fn of(
        argument: &Arc<dyn PhysicalExpr>,
        table: &Schema,
    ) -> Result<Option<(Arc<dyn PhysicalExpr>, Self)>> {
        let Some((number, linear)) = Self::split(argument) else {
            return Ok(None);
        };
        if linear.factor == 0 || argument.data_type(table)? != DataType::Int64 {
            return Ok(None);
        }
        let number = match number.downcast_ref::<CastExpr>() {
            Some(cast) if cast.expr().data_type(table)? == DataType::Int32 => {
                Arc::clone(cast.expr())
            }
            _ => number,
        };
        let is_whole = matches!(number.data_type(table)?, DataType::Int32 | DataType::Int64);
        Ok(is_whole.then_some((number, linear)))
    }

    /// In arithmetic of LONG that wraps: DataFusion's does where both sides are LONG.
    fn split(expr: &Arc<dyn PhysicalExpr>) -> Option<(Arc<dyn PhysicalExpr>, Self)> {
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        let (left, right) = (binary.left(), binary.right());
        let (inner, constant, is_first) = match (long(left), long(right)) {
            (None, Some(constant)) => (left, constant, true),
            (Some(constant), None) => (right, constant, false),
            _ => return None,
        };
        let (number, below) =
            Self::split(inner).unwrap_or_else(|| (Arc::clone(inner), Self::IDENTITY));
        let Self { factor, offset } = below;
        let linear = match (binary.op(), is_first) {
            (Operator::Plus, _) => Self {
                factor,
                offset: offset.wrapping_add(constant),
            },
            (Operator::Minus, true) => Self {
                factor,
                offset: offset.wrapping_sub(constant),
            },
            (Operator::Minus, false) => Self {
                factor: factor.wrapping_neg(),
                offset: constant.wrapping_sub(offset),
            },
            (Operator::Multiply, _) => Self {
                factor: factor.wrapping_mul(constant),
                offset: offset.wrapping_mul(constant),
            },
            _ => return None,
        };
        Some((number, linear))
    }

    /// Whether it wraps for no INT. What wrapped on the way is right again if the end fits.
    pub(super) fn fits_ints(self) -> bool {
        let (factor, offset) = (i128::from(self.factor), i128::from(self.offset));
        let ends = [i32::MIN, i32::MAX].map(|end| factor * i128::from(end) + offset);
        ends.iter().all(|end| i64::try_from(*end).is_ok())
    }

    /// Whether it turns the order of numbers around.
    pub(super) const fn descends(self) -> bool {
        self.factor < 0
    }

    pub(super) const fn value(self, number: i64) -> i64 {
        number.wrapping_mul(self.factor).wrapping_add(self.offset)
    }

    /// Of `count` numbers with this sum.
    pub(super) const fn sum(self, sum: i64, count: u64) -> i64 {
        let offsets = self.offset.wrapping_mul(count as i64);
        sum.wrapping_mul(self.factor).wrapping_add(offsets)
    }

    /// The same without wrapping.
    pub(super) fn exact_sum(self, sum: i64, count: u64) -> f64 {
        let sum = i128::from(sum) * i128::from(self.factor);
        (sum + i128::from(self.offset) * i128::from(count)) as f64
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IDENTITY => Ok(()),
            Self { factor, offset } => write!(f, " * {factor} + {offset}"),
        }
    }
}

fn long(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(value) => *value,
        _ => None,
    }
}
