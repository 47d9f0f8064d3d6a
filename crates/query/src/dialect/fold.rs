//! Sums, differences and products of numbers that are written with a point, digit by digit.
//!
//! Read as doubles, `0.06 + 0.01` is less than 0.07, and a range that ends there loses it. Whole
//! numbers are left alone: their sum has the type that the planner gives it.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// `expr` as one number, when it is an operation on two.
pub(super) fn folded(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else {
        return None;
    };
    let (left, right) = (Decimal::of(left)?, Decimal::of(right)?);
    if left.scale == 0 && right.scale == 0 {
        return None;
    }
    let result = match op {
        BinaryOperator::Plus => left.plus(right),
        BinaryOperator::Minus => left.plus(Decimal {
            units: -right.units,
            ..right
        }),
        BinaryOperator::Multiply => left.times(right),
        _ => None,
    };
    result.map(Decimal::into_expr)
}

/// `units` / 10^`scale`.
#[derive(Clone, Copy)]
struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Nested(inner) => Self::of(inner),
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => {
                let Self { units, scale } = Self::of(expr)?;
                Some(Self {
                    units: -units,
                    scale,
                })
            }
            Expr::Value(value) => match &value.value {
                Value::Number(digits, false) => Self::parse(digits),
                _ => None,
            },
            _ => None,
        }
    }

    fn parse(digits: &str) -> Option<Self> {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Some(Self {
            units: format!("{whole}{fraction}").parse().ok()?,
            scale: u32::try_from(fraction.len()).ok()?,
        })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let at_scale = |one: Self| {
            let factor = 10_i128.checked_pow(scale - one.scale)?;
            one.units.checked_mul(factor)
        };
        Some(Self {
            units: at_scale(self)?.checked_add(at_scale(other)?)?,
            scale,
        })
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            units: self.units.checked_mul(other.units)?,
            scale: self.scale.checked_add(other.scale)?,
        })
    }

    fn into_expr(self) -> Expr {
        let scale = self.scale as usize;
        let digits = self.units.unsigned_abs().to_string();
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let number = Value::Number(format!("{whole}.{fraction}"), false);
        let number = Expr::Value(number.into());
        match self.units < 0 {
            false => number,
            true => Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(number),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn decimals_are_added_digit_by_digit() {
        for (sql, wanted) in [
            ("0.06 + 0.01", Some("0.07")),
            ("0.06 - (-0.015)", Some("0.075")),
            ("1 - 1.5", Some("-0.5")),
            ("0.1 * -0.1", Some("-0.01")),
            ("1.5 - 1.5", Some("0.0")),
            ("1 + 1", None),
            ("1.5 / 2", None),
            ("1e3 + 0.5", None),
            ("a + 0.5", None),
            ("99999999999999999999.9 * 99999999999999999999.9", None),
        ] {
            let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap();
            let found = folded(&parser.parse_expr().unwrap());
            assert_eq!(
                found.map(|expr| expr.to_string()).as_deref(),
                wanted,
                "{sql}"
            );
        }
    }
}
