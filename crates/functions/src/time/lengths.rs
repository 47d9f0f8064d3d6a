//! Lengths of time: AGE, and how long an interval is where two are compared.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use chrono::{DateTime, Datelike, Timelike};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::unit::DAY_MS;
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};

const LENGTH: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// A month has 30 days and a day 24 hours, as PostgreSQL compares intervals.
const DAYS_OF_MONTH: i64 = 30;

fn microseconds(length: IntervalMonthDayNano) -> i64 {
    let days = i64::from(length.months) * DAYS_OF_MONTH + i64::from(length.days);
    (days * DAY_MS * 1_000).saturating_add(length.nanoseconds / 1_000)
}

fn as_lengths(types: &[DataType]) -> Result<Vec<DataType>> {
    let is_length = |own: &DataType| {
        matches!(
            own,
            DataType::Interval(_) | DataType::Duration(_) | DataType::Null
        )
    };
    match types {
        [own] if is_length(own) => Ok(vec![LENGTH]),
        _ => Err(wrong("an INTERVAL is wanted".to_owned())),
    }
}

/// What lies between two times as the calendar has it: whole months, whole days, and the rest.
/// `None`: one of them is beyond the calendar.
fn age(later: i64, earlier: i64) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let age = age(earlier, later)?;
        let (months, days, nanos) = (-age.months, -age.days, -age.nanoseconds);
        return Some(IntervalMonthDayNano::new(months, days, nanos));
    }
    let (later, earlier) = (
        DateTime::from_timestamp_millis(later)?,
        DateTime::from_timestamp_millis(earlier)?,
    );
    let month = |time: DateTime<_>| time.year() * 12 + time.month0() as i32;
    let mut months = month(later) - month(earlier);
    let mut days = later.day() as i32 - earlier.day() as i32;
    let of_day = |time: DateTime<_>| {
        let seconds = i64::from(time.num_seconds_from_midnight());
        seconds * 1_000_000_000 + i64::from(time.timestamp_subsec_nanos())
    };
    let mut nanos = of_day(later) - of_day(earlier);
    if nanos < 0 {
        nanos += DAY_MS * 1_000_000;
        days -= 1;
    }
    if days < 0 {
        // Days of the earlier month.
        days += i32::from(earlier.num_days_in_month());
        months -= 1;
    }
    Some(IntervalMonthDayNano::new(months, days, nanos))
}

fn length() -> Plain {
    Plain::new(
        "interval_microseconds",
        &[Takes::Any],
        DataType::Int64,
        |rows| {
            let lengths = cast(&rows.whole(0)?, &LENGTH)?;
            let lengths = lengths.as_primitive::<IntervalMonthDayNanoType>();
            Ok(Arc::new(lengths.unary::<_, Int64Type>(microseconds)))
        },
    )
    .coerces(as_lengths)
    .says(
        Section::Time,
        "INTERVAL_MICROSECONDS(interval)",
        "How long an interval is, if a month has 30 days and a day 24 hours: what is compared \
         where two are.",
        &[("INTERVAL_MICROSECONDS(INTERVAL '1 day')", "86400000000")],
    )
}

/// Months are whole and so are days: what is left of a month becomes days of 30, what is left of a
/// day a part of it, as PostgreSQL has it. `None`: it is too long.
fn times(length: IntervalMonthDayNano, factor: f64) -> Option<IntervalMonthDayNano> {
    const DAY_MICROS: f64 = DAY_MS as f64 * 1_000.0;
    let rounded = |part: f64| (part * 1e6).round() / 1e6;
    let months = f64::from(length.months) * factor;
    let days = f64::from(length.days) * factor;
    let days_of_months = rounded(rounded(months.fract()) * DAYS_OF_MONTH as f64);
    let part_of_day = rounded(days.fract() + days_of_months.fract());
    let whole_days = days.trunc() + days_of_months.trunc() + part_of_day.trunc();
    let micros = (length.nanoseconds / 1_000) as f64 * factor + part_of_day.fract() * DAY_MICROS;
    let fits = |part: f64, most: f64| part.abs() <= most;
    let is_within = fits(months, f64::from(i32::MAX))
        && fits(whole_days, f64::from(i32::MAX))
        && fits(micros, i64::MAX as f64 / 1_001.0);
    is_within.then(|| {
        let nanoseconds = micros.round() as i64 * 1_000;
        IntervalMonthDayNano::new(months.trunc() as i32, whole_days as i32, nanoseconds)
    })
}

fn scaled() -> Plain {
    Plain::new(
        "interval_times",
        &[Takes::Any, Takes::Double],
        LENGTH,
        |rows| {
            let lengths = cast(&rows.whole(0)?, &LENGTH)?;
            let lengths = lengths.as_primitive::<IntervalMonthDayNanoType>();
            let factors = rows.whole(1)?;
            let factors = factors.as_primitive::<Float64Type>();
            rows.collect(|row| {
                if lengths.is_null(row) || factors.is_null(row) {
                    return Ok(None);
                }
                match times(lengths.value(row), factors.value(row)) {
                    Some(length) => Ok(Some(length)),
                    None => Err(wrong("INTERVAL_TIMES: the interval is too long".to_owned())),
                }
            })
        },
    )
    .coerces(|types| {
        let lengths = as_lengths(&types[..1])?;
        Ok([lengths, vec![DataType::Float64]].concat())
    })
    .says(
        Section::Time,
        "INTERVAL_TIMES(interval, factor)",
        "So many times an interval: what `interval * factor` is. What is left of a month becomes \
         days, 30 a month, and what is left of a day a part of it.",
        &[("INTERVAL_TIMES(INTERVAL '1 month', 1.5)", "1 mons 15 days")],
    )
}

/// What an interval times a number is.
pub fn interval_times() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(scaled().with_canonical_names())));
    Arc::clone(&FUNCTION)
}

/// By which intervals are compared.
pub fn interval_microseconds() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(length().with_canonical_names())));
    Arc::clone(&FUNCTION)
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::Time;
    vec![
        length(),
        scaled(),
        Plain::new("age", &[Time, Time], LENGTH, |rows| rows.map2(age)).says(
            Section::Time,
            "AGE(later, earlier)",
            "What lies between two times as an interval of months, days and a rest, as the \
             calendar has them. Of one time, up to the begin of the current day.",
            &[(
                "AGE(TIMESTAMP '2024-03-05 06:00:00', TIMESTAMP '2023-01-31')",
                "13 mons 5 days 6 hours",
            )],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_scaled_as_postgresql_scales_them() {
        const SECOND: i64 = 1_000_000_000;
        for ((months, days, seconds), factor, wanted) in [
            ((1, 0, 0), 1.5, (1, 15, 0)),
            ((0, 1, 0), 0.5, (0, 0, 43_200 * SECOND)),
            ((0, 0, 300), 3.0, (0, 0, 900 * SECOND)),
            ((0, 0, 3_600), 1.0 / 1.5, (0, 0, 2_400 * SECOND)),
            ((1, 3, 0), 2.25, (2, 14, 21_600 * SECOND)),
            ((0, -1, 0), 1.5, (0, -1, -43_200 * SECOND)),
            ((0, 0, 0), 1e300, (0, 0, 0)),
        ] {
            let length = IntervalMonthDayNano::new(months, days, seconds * SECOND);
            let (months, days, nanos) = wanted;
            let wanted = IntervalMonthDayNano::new(months, days, nanos);
            assert_eq!(times(length, factor), Some(wanted), "{length:?} {factor}");
        }
        let month = IntervalMonthDayNano::new(1, 0, 0);
        assert_eq!(times(month, 1e10), None);
        assert_eq!(times(month, f64::NAN), None);
    }

    #[test]
    fn ages_are_those_of_postgresql() {
        let ms = |text: &str| super::super::text::time_of(text).unwrap();
        for (later, earlier, (months, days, hours)) in [
            ("2001-04-10", "1957-06-13", (43 * 12 + 9, 27, 0)),
            ("2024-03-01", "2024-01-31", (1, 1, 0)),
            ("2024-01-31", "2024-03-01", (-1, -1, 0)),
            ("2024-03-01T00:00:00", "2024-02-29T06:00:00", (0, 0, 18)),
            ("2024-05-05", "2024-05-05", (0, 0, 0)),
        ] {
            let wanted = IntervalMonthDayNano::new(months, days, hours * 3_600_000_000_000);
            assert_eq!(
                age(ms(later), ms(earlier)),
                Some(wanted),
                "{later} {earlier}"
            );
        }
    }
}
