//! Numbers that are written with a point, added, subtracted and multiplied exactly: as doubles,
//! `0.06 + 0.01` is less than 0.07, and a range that ends there would lose what lies at its end.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// The value of the expression when it is one of two such numbers.
pub(super) fn folded(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else {
        return None;
    };
    let (left, right) = (Decimal::of(left)?, Decimal::of(right)?);
    if left.scale == 0 && right.scale == 0 {
        return None;
    }
    let value = match op {
        BinaryOperator::Plus => left.plus(right)?,
        BinaryOperator::Minus => left.plus(right.negated())?,
        BinaryOperator::Multiply => left.times(right)?,
        _ => return None,
    };
    Some(value.as_expr())
}

/// `unscaled` · 10^-`scale`.
#[derive(Clone, Copy)]
struct Decimal {
    unscaled: i128,
    scale: u32,
}

impl Decimal {
    fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Nested(inner) => Self::of(inner),
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => Self::of(expr).map(Self::negated),
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => Self::parse(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Digits with or without a point; numbers with an exponent are doubles.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            unscaled: digits.parse().ok()?,
            scale: fraction.len() as u32,
        })
    }

    const fn negated(self) -> Self {
        Self {
            unscaled: -self.unscaled,
            ..self
        }
    }

    fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let at = |one: Self| {
            let factor = 10i128.checked_pow(scale - one.scale)?;
            one.unscaled.checked_mul(factor)
        };
        let unscaled = at(self)?.checked_add(at(other)?)?;
        Some(Self { unscaled, scale })
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            unscaled: self.unscaled.checked_mul(other.unscaled)?,
            scale: self.scale + other.scale,
        })
    }

    fn as_expr(self) -> Expr {
        let scale = self.scale as usize;
        let digits = format!(
            "{:0width$}",
            self.unscaled.unsigned_abs(),
            width = scale + 1
        );
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let number = Value::Number(format!("{whole}.{fraction}"), false);
        let number = Expr::Value(number.into());
        match self.unscaled < 0 {
            true => Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(number),
            },
            false => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        let sql = format!("SELECT {text}");
        let statement = crate::dialect::parse_one(&sql).unwrap();
        let datafusion::sql::sqlparser::ast::Statement::Query(query) = statement else {
            return None;
        };
        let select = query.body.as_select()?.clone();
        let expr = select.projection.first()?.to_string();
        let datafusion::sql::sqlparser::ast::SelectItem::UnnamedExpr(parsed) =
            &select.projection[0]
        else {
            return Some(expr);
        };
        folded(parsed).map(|expr| expr.to_string())
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(value("0.06 + 0.01").as_deref(), Some("0.07"));
        assert_eq!(value("0.06 - 0.1").as_deref(), Some("-0.04"));
        assert_eq!(value("1.5 * 2").as_deref(), Some("3.0"));
        assert_eq!(value("-0.5 - 1").as_deref(), Some("-1.5"));
        // Whole numbers, exponents and what does not fit are left alone.
        assert_eq!(value("1 + 2"), None);
        assert_eq!(value("1e3 + 0.5"), None);
        assert_eq!(value("0.1 / 3"), None);
        let long = "9".repeat(38);
        assert_eq!(value(&format!("{long} * {long}.5")), None);
    }
}
