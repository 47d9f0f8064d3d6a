//! Pinot's NOW, AGO: epoch milliseconds of the time at which a query began, and of times before.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, Volatility, lit};

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};

/// `P1DT2H30M`, `-PT1.5S`: milliseconds.
fn duration_ms(text: &str) -> Option<i64> {
    let upper = text.trim().to_ascii_uppercase();
    let (sign, rest) = match upper.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let (date, time) = match rest.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest.strip_prefix('P')?, ""),
    };
    let days = sum_of(date, &[('W', 604_800_000.0), ('D', 86_400_000.0)])?;
    let rest = sum_of(time, &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1_000.0)])?;
    let is_empty = date.is_empty() && time.is_empty();
    (!is_empty).then_some((sign * (days + rest)) as i64)
}

/// Each letter at most once, in their order.
fn sum_of(mut text: &str, letters: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    for (letter, ms) in letters {
        if let Some((number, behind)) = text.split_once(*letter) {
            sum += number.parse::<f64>().ok()? * ms;
            text = behind;
        }
    }
    text.is_empty().then_some(sum)
}

fn read(text: &str) -> Result<i64> {
    duration_ms(text).ok_or_else(|| {
        wrong(format!(
            "AGO: `{text}` is no duration of ISO 8601; P1D, PT12H or P1DT2H30M is"
        ))
    })
}

fn ago(args: &[Expr], info: &SimplifyContext) -> Result<Option<Expr>> {
    let Some(now) = info.query_execution_start_time() else {
        return Ok(None);
    };
    let now = now.timestamp_millis();
    Ok(match args {
        [] => Some(lit(now)),
        [Expr::Literal(value, _)] => match value.try_as_str().flatten() {
            Some(text) => Some(lit(now.saturating_sub(read(text)?))),
            None => Some(lit(ScalarValue::Int64(None))),
        },
        _ => None,
    })
}

pub(super) fn all() -> Vec<Plain> {
    // The planner puts the time in their place.
    let plain = |name: &str, takes: &[Takes]| {
        Plain::new(name, takes, DataType::Int64, |rows| {
            Err(wrong(format!("{} takes a literal alone", rows.name())))
        })
        .volatile(Volatility::Stable)
        .simplifies(ago)
    };
    vec![
        plain("pinot_now", &[]).in_pinot(&["NOW"]).says(
            Section::Time,
            "NOW()",
            "Epoch milliseconds of the time at which the query began. In the standard dialect it \
             is \
             a TIMESTAMP.",
            &[("NOW() > 1700000000000", "true")],
        ),
        plain("ago", &[Takes::Text]).alias("ago_mv").says(
            Section::Time,
            "AGO('duration')",
            "Epoch milliseconds of the time so long before the query began; durations are those of \
             ISO 8601.",
            &[("NOW() - AGO('P1DT2H')", "93600000")],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_iso_8601() {
        for (text, ms) in [
            ("P1D", Some(86_400_000)),
            ("pt12h30m", Some(45_000_000)),
            ("-PT1.5S", Some(-1_500)),
            ("P2W", Some(1_209_600_000)),
            ("P1DT1S", Some(86_401_000)),
            ("P", None),
            ("PT", None),
            ("1D", None),
            ("PT1D", None),
            ("P1Dx", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }
}
