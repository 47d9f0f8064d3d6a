//! Boundaries of units of time in UTC, as `date_trunc` sees them: weeks begin on Monday.

use chrono::{DateTime, Datelike, Months, NaiveDate};
use schemas::table::TimeGranularity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
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

impl From<TimeGranularity> for Unit {
    fn from(granularity: TimeGranularity) -> Self {
        let fixed = |ms| Self::Fixed { ms, from_ms: 0 };
        match granularity {
            TimeGranularity::Millisecond => fixed(1),
            TimeGranularity::Second => fixed(1_000),
            TimeGranularity::Minute => fixed(60_000),
            TimeGranularity::Hour => fixed(3_600_000),
            TimeGranularity::Day => fixed(DAY_MS),
            TimeGranularity::Week => Self::Fixed {
                ms: 7 * DAY_MS,
                from_ms: MONDAY_MS,
            },
            TimeGranularity::Month => Self::Months(1),
            TimeGranularity::Quarter => Self::Months(3),
            TimeGranularity::Year => Self::Months(12),
        }
    }
}

impl Unit {
    /// `None`: not a unit, or one that no millisecond is shorter than.
    pub fn named(name: &str) -> Option<Self> {
        TimeGranularity::named(name).map(Self::from)
    }

    /// The unit that holds `time_ms` begins here. `None`: beyond the calendar.
    pub fn start(self, time_ms: i64) -> Option<i64> {
        match self {
            Self::Fixed { ms, from_ms } => {
                let since = time_ms.checked_sub(from_ms)?;
                time_ms.checked_sub(since.rem_euclid(ms))
            }
            Self::Months(months) => self.first_day(time_ms, months).map(midnight_ms),
        }
    }

    /// The first boundary at or after `time_ms`.
    pub fn next_boundary(self, time_ms: i64) -> Option<i64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_begin_where_the_calendar_says() {
        let days = |day: i64| day * DAY_MS;
        let start = |ms, granularity: TimeGranularity| Unit::from(granularity).start(ms);
        // 2024-02-29T12:00 is day 19782 and a Thursday.
        let leap = days(19_782) + DAY_MS / 2;
        assert_eq!(start(leap, TimeGranularity::Day), Some(days(19_782)));
        assert_eq!(start(leap, TimeGranularity::Week), Some(days(19_779)));
        assert_eq!(start(leap, TimeGranularity::Month), Some(days(19_754)));
        assert_eq!(start(leap, TimeGranularity::Quarter), Some(days(19_723)));
        assert_eq!(start(leap, TimeGranularity::Year), Some(days(19_723)));
        // 1969-12-31T23:59:59.999
        assert_eq!(start(-1, TimeGranularity::Month), Some(days(-31)));
        assert_eq!(start(-1, TimeGranularity::Quarter), Some(days(-92)));
        assert_eq!(start(-1, TimeGranularity::Year), Some(days(-365)));
        assert_eq!(start(-1, TimeGranularity::Week), Some(days(-3)));
        assert_eq!(start(1_234, TimeGranularity::Second), Some(1_000));
        assert_eq!(start(i64::MIN, TimeGranularity::Year), None);
        assert_eq!(start(i64::MIN, TimeGranularity::Week), None);
    }
}
