//! Functions of one column that have one value for all of its values between two multiples of a
//! unit: time that is cut to hours or days, and what is made of it.
//!
//! Whatever a function without chance makes of such values has one value there as well, so only
//! the cut itself must be known here.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

pub(crate) const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds between two multiples of which all times have the same value of an expression over
/// the column of times alone; `None`: each time may have its own. Days and longer are whole in
/// days, in UTC.
pub(crate) fn bucket_ms(expr: &dyn PhysicalExpr, own: &DataType) -> Option<i64> {
    let is_time = matches!(own, DataType::Timestamp(TimeUnit::Millisecond, None));
    Some(unit_of(expr)).filter(|unit| is_time && *unit > 1)
}

/// 0 where the column does not occur, 1 for what depends on each value.
fn unit_of(expr: &dyn PhysicalExpr) -> i64 {
    if expr.is::<Column>() || expr.is_volatile_node() {
        return 1;
    }
    cut(expr).unwrap_or_else(|| {
        let children = expr.children().into_iter();
        children.fold(0, |unit, child| common(unit, unit_of(child.as_ref())))
    })
}

fn common(a: i64, b: i64) -> i64 {
    match b {
        0 => a,
        _ => common(b, a % b),
    }
}

/// What is cut down to a multiple of `unit`, and was a multiple of `inner` before.
const fn cut_further(inner: i64, unit: i64) -> i64 {
    if unit % inner == 0 { unit } else { inner }
}

/// The time itself, or the same in another form.
fn is_time(expr: &dyn PhysicalExpr) -> bool {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => {
            matches!(cast.cast_type(), DataType::Timestamp(_, None))
                && is_time(cast.expr().as_ref())
        }
        None => expr.is::<Column>(),
    }
}

/// `None`: the expression cuts nothing.
fn cut(expr: &dyn PhysicalExpr) -> Option<i64> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let is_date = *cast.cast_type() == DataType::Date32 && is_time(cast.expr().as_ref());
        return is_date.then_some(DAY_MS);
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    match (call.name(), call.args()) {
        ("date_trunc" | "date_part", [unit, time]) if is_time(time.as_ref()) => {
            unit_ms(call.name(), unit.as_ref())
        }
        ("date_bin", [step, time, origin @ ..]) if is_time(time.as_ref()) => {
            let step = step_ms(step.as_ref())?;
            match origin {
                [] => Some(step),
                [origin] => Some(common(step, time_ms(origin.as_ref())?)),
                _ => None,
            }
        }
        ("to_char", [time, format]) if is_time(time.as_ref()) => finest_ms(text(format.as_ref())?),
        ("pinot_round", [time, to]) => {
            let ScalarValue::Int64(Some(to @ 1..)) = to.downcast_ref::<Literal>()?.value() else {
                return None;
            };
            Some(cut_further(whole_number(time.as_ref())?, *to))
        }
        ("date_time_convert", [column, formats @ ..]) if column.is::<Column>() => {
            let formats = formats.iter().map(|format| text(format.as_ref()));
            functions::granularity_ms(&formats.collect::<Option<Vec<_>>>()?)
        }
        _ => None,
    }
}

/// Of a time as milliseconds, which is a multiple of this itself.
fn whole_number(expr: &dyn PhysicalExpr) -> Option<i64> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let keeps = matches!(
            cast.cast_type(),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, None)
        );
        return whole_number(cast.expr().as_ref()).filter(|_| keeps);
    }
    let is_cut = |call: &ScalarFunctionExpr| matches!(call.name(), "date_trunc" | "pinot_round");
    match expr.downcast_ref::<ScalarFunctionExpr>() {
        Some(call) if is_cut(call) => cut(expr),
        _ => expr.is::<Column>().then_some(1),
    }
}

fn text(expr: &dyn PhysicalExpr) -> Option<&str> {
    expr.downcast_ref::<Literal>()?.value().try_as_str()?
}

fn unit_ms(name: &str, unit: &dyn PhysicalExpr) -> Option<i64> {
    match text(unit)?.to_ascii_lowercase().as_str() {
        // Parts of a second may come with a fraction.
        "second" if name == "date_trunc" => Some(1000),
        "minute" => Some(60_000),
        "hour" => Some(HOUR_MS),
        "day" | "week" | "month" | "quarter" | "year" | "dow" | "doy" => Some(DAY_MS),
        _ => None,
    }
}

/// An interval that has the same length everywhere.
fn step_ms(step: &dyn PhysicalExpr) -> Option<i64> {
    let nanos = match step.downcast_ref::<Literal>()?.value() {
        ScalarValue::IntervalMonthDayNano(Some(step)) if step.months == 0 => {
            let days = i64::from(step.days).checked_mul(DAY_MS)?;
            days.checked_mul(1_000_000)?.checked_add(step.nanoseconds)?
        }
        ScalarValue::IntervalDayTime(Some(step)) => {
            let days = i64::from(step.days).checked_mul(DAY_MS)?;
            days.checked_add(i64::from(step.milliseconds))?
                .checked_mul(1_000_000)?
        }
        _ => return None,
    };
    (nanos > 0 && nanos % 1_000_000 == 0).then_some(nanos / 1_000_000)
}

fn time_ms(time: &dyn PhysicalExpr) -> Option<i64> {
    let nanos = match time.downcast_ref::<Literal>()?.value() {
        ScalarValue::TimestampMillisecond(Some(ms), None) => return Some(ms.abs()),
        ScalarValue::TimestampNanosecond(Some(nanos), None) => *nanos,
        _ => return None,
    };
    (nanos % 1_000_000 == 0).then_some((nanos / 1_000_000).abs())
}

/// The finest part of a time that a format of `to_char` shows. The signs are those of `chrono`.
fn finest_ms(format: &str) -> Option<i64> {
    let mut finest = DAY_MS;
    let mut left = format.chars();
    while let Some(sign) = left.next() {
        if sign != '%' {
            continue;
        }
        let mut sign = left.next()?;
        if matches!(sign, '-' | '_' | '0') {
            sign = left.next()?;
        }
        let unit = match sign {
            'Y' | 'C' | 'y' | 'q' | 'm' | 'b' | 'B' | 'h' | 'd' | 'e' | 'a' | 'A' | 'w' | 'u'
            | 'U' | 'W' | 'G' | 'g' | 'V' | 'j' | 'D' | 'x' | 'F' | 'v' | 't' | 'n' | '%' => DAY_MS,
            'H' | 'k' | 'I' | 'l' | 'P' | 'p' => HOUR_MS,
            'M' | 'R' => 60_000,
            'S' | 'T' | 'X' | 'r' | 'c' | 's' => 1000,
            _ => return None,
        };
        finest = finest.min(unit);
    }
    Some(finest)
}

/// How a whole number occurs in an expression over it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occurs {
    Nowhere,
    /// Only with this number below it, or as what is left of a division by this number.
    By(i64),
    Otherwise,
}

/// Doubles below it have all whole numbers between them.
pub(crate) const WHOLE_MAX: i64 = 1 << 53;

/// Whether the column is always divided by one number (`Operator::Divide`), or always what is left
/// is asked for (`Operator::Modulo`): what is left is the same of whole numbers and of doubles, as
/// long as they are below [`WHOLE_MAX`].
pub(crate) fn occurs(expr: &dyn PhysicalExpr, operator: Operator) -> Occurs {
    if expr.is::<Column>() || expr.is_volatile_node() {
        return Occurs::Otherwise;
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && *binary.op() == operator
        && let Some(number @ 1..) = match operator {
            Operator::Modulo if is_double(binary.left().as_ref()) => {
                whole_double(binary.right().as_ref())
            }
            _ if is_number(binary.left().as_ref()) => whole(binary.right().as_ref()),
            _ => None,
        }
    {
        return Occurs::By(number);
    }
    let children = expr.children().into_iter();
    children.fold(Occurs::Nowhere, |so_far, child| {
        match (so_far, occurs(child.as_ref(), operator)) {
            (own, Occurs::Nowhere) => own,
            (Occurs::Nowhere, own) => own,
            (own, other) if own == other => own,
            _ => Occurs::Otherwise,
        }
    })
}

/// What whole numbers between these ends, none of them below 0, are divided by in the expression.
pub(crate) fn divisor(
    expr: &dyn PhysicalExpr,
    own: &DataType,
    ends: Option<(i64, i64)>,
) -> Option<i64> {
    let is_whole = matches!(own, DataType::Int32 | DataType::Int64);
    match occurs(expr, Operator::Divide) {
        Occurs::By(by) if is_whole && ends.is_some_and(|(least, _)| least >= 0) => Some(by),
        _ => None,
    }
}

fn is_number(expr: &dyn PhysicalExpr) -> bool {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => *cast.cast_type() == DataType::Int64 && cast.expr().is::<Column>(),
        None => expr.is::<Column>(),
    }
}

pub(crate) fn casts_to_double(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let casts = expr.exists(|part| {
        let cast = part.downcast_ref::<CastExpr>();
        Ok(cast.is_some_and(|cast| *cast.cast_type() == DataType::Float64))
    });
    casts.unwrap_or(true)
}

/// The whole number as a double.
fn is_double(expr: &dyn PhysicalExpr) -> bool {
    let cast = expr.downcast_ref::<CastExpr>();
    cast.is_some_and(|cast| *cast.cast_type() == DataType::Float64 && cast.expr().is::<Column>())
}

fn whole_double(expr: &dyn PhysicalExpr) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Float64(Some(number)) if number.fract() == 0.0 => {
            let whole = *number as i64;
            (whole < WHOLE_MAX).then_some(whole)
        }
        _ => None,
    }
}

fn whole(expr: &dyn PhysicalExpr) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(number) => *number,
        ScalarValue::Int32(number) => number.map(i64::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_show_their_finest_part() {
        for (format, finest) in [
            ("%Y-%m-%d", Some(DAY_MS)),
            ("year %-d of 100%%", Some(DAY_MS)),
            ("%F %H", Some(HOUR_MS)),
            ("%R", Some(60_000)),
            ("%F %T", Some(1000)),
            ("%T%.3f", None),
            ("%", None),
        ] {
            assert_eq!(finest_ms(format), finest, "{format}");
        }
    }

    #[test]
    fn units_have_what_is_common() {
        assert_eq!(common(0, HOUR_MS), HOUR_MS);
        assert_eq!(common(DAY_MS, HOUR_MS), HOUR_MS);
        assert_eq!(common(1, HOUR_MS), 1);
        assert_eq!(cut_further(60_000, HOUR_MS), HOUR_MS);
        assert_eq!(cut_further(7 * 60_000, HOUR_MS), 7 * 60_000);
    }
}
