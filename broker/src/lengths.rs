//! Lengths of time as texts, as PostgreSQL shows them: `1 year 2 mons 3 days -04:05:06.7`.

use std::fmt::Write;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    TimeUnit,
};

const SECOND: i64 = 1_000_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;

/// Of a duration, as near to the ends as they can be told.
pub(crate) fn nanos(durations: &ArrayRef, unit: TimeUnit, row: usize) -> i64 {
    let (value, of_unit) = match unit {
        TimeUnit::Second => (
            durations.as_primitive::<DurationSecondType>().value(row),
            SECOND,
        ),
        TimeUnit::Millisecond => (
            durations
                .as_primitive::<DurationMillisecondType>()
                .value(row),
            1_000_000,
        ),
        TimeUnit::Microsecond => (
            durations
                .as_primitive::<DurationMicrosecondType>()
                .value(row),
            1_000,
        ),
        TimeUnit::Nanosecond => (
            durations
                .as_primitive::<DurationNanosecondType>()
                .value(row),
            1,
        ),
    };
    value.saturating_mul(of_unit)
}

pub(crate) fn shown(months: i32, days: i64, nanos: i64) -> String {
    let mut shown = String::new();
    let (years, months) = (i64::from(months / 12), i64::from(months % 12));
    for (count, unit) in [(years, "year"), (months, "mon"), (days, "day")] {
        if count != 0 {
            let end = if count == 1 { "" } else { "s" };
            let _ = write!(shown, "{count} {unit}{end} ");
        }
    }
    if nanos == 0 && !shown.is_empty() {
        shown.pop();
        return shown;
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, fraction) = (nanos / SECOND as u64, nanos % SECOND as u64);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let _ = write!(shown, "{sign}{hours:02}:{minutes:02}:{seconds:02}");
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        let _ = write!(shown, ".{}", digits.trim_end_matches('0'));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_as_postgresql_shows_them() {
        let hour = 3_600 * SECOND;
        for (length, wanted) in [
            ((0, 0, 0), "00:00:00"),
            ((0, 1, 0), "1 day"),
            ((0, 1, 2 * hour + 429 * SECOND), "1 day 02:07:09"),
            ((14, -2, -hour), "1 year 2 mons -2 days -01:00:00"),
            ((-1, 0, SECOND / 2), "-1 mons 00:00:00.5"),
            ((0, 0, 27 * hour), "27:00:00"),
            ((0, 0, i64::MIN), "-2562047:47:16.854775808"),
        ] {
            assert_eq!(shown(length.0, length.1, length.2), wanted);
        }
    }
}
