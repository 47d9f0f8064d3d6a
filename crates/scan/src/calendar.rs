//! Boundaries of units of time in UTC, as `date_trunc` sees them: weeks begin on Monday.

use chrono::{DateTime, Datelike, Months, NaiveDate};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many milliseconds, counted from an epoch of its own.
    Fixed {
        ms: i64,
        from_ms: i64,
    },
    Months(u32),
}

const DAY_MS: i64 = 86_400_000;
/// Monday, 1970-01-05.
const MONDAY_MS: i64 = 4 * DAY_MS;

impl Unit {
    /// `None`: not a unit, or one that no millisecond is shorter than.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let fixed = |ms| Self::Fixed { ms, from_ms: 0 };
        Some(match name.to_lowercase().as_str() {
            "millisecond" => fixed(1),
            "second" => fixed(1_000),
            "minute" => fixed(60_000),
            "hour" => fixed(3_600_000),
            "day" => fixed(DAY_MS),
            "week" => Self::Fixed {
                ms: 7 * DAY_MS,
                from_ms: MONDAY_MS,
            },
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    /// The unit that holds `time_ms` begins here. `None`: beyond the calendar.
    pub(crate) fn start(self, time_ms: i64) -> Option<i64> {
        match self {
            Self::Fixed { ms, from_ms } => {
                let since = time_ms.checked_sub(from_ms)?;
                time_ms.checked_sub(since.rem_euclid(ms))
            }
            Self::Months(months) => self.first_day(time_ms, months).map(midnight_ms),
        }
    }

    /// The first boundary at or after `time_ms`.
    pub(crate) fn next_boundary(self, time_ms: i64) -> Option<i64> {
        let start = self.start(time_ms)?;
        if start == time_ms {
            return Some(start);
        }
        match self {
            Self::Fixed { ms, .. } => start.checked_add(ms),
            Self::Months(months) => {
                let first = self.first_day(time_ms, months)?;
                first
                    .checked_add_months(Months::new(months))
                    .map(midnight_ms)
            }
        }
    }

    fn first_day(self, time_ms: i64, months: u32) -> Option<NaiveDate> {
        let date = DateTime::from_timestamp_millis(time_ms)?.date_naive();
        let month = date.month0() / months * months + 1;
        NaiveDate::from_ymd_opt(date.year(), month, 1)
    }
}

fn midnight_ms(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp_millis()
}
