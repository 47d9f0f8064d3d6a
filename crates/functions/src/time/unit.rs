//! Units of time: of numbers that count them ([`TimeUnit`]), and of calendars ([`Field`]).

use chrono::{Datelike, Days, Months, NaiveDate};
use datafusion::common::Result;

use super::zone::Zone;
use crate::arguments::wrong;

pub(crate) const DAY_MS: i64 = 86_400_000;

/// What a number counts since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

impl TimeUnit {
    pub(crate) fn parse(name: &str, function: &str) -> Result<Self> {
        let upper = name.trim().to_ascii_uppercase();
        Ok(match upper.as_str() {
            "NANOSECONDS" => Self::Nanoseconds,
            "MICROSECONDS" => Self::Microseconds,
            "MILLISECONDS" => Self::Milliseconds,
            "SECONDS" => Self::Seconds,
            "MINUTES" => Self::Minutes,
            "HOURS" => Self::Hours,
            "DAYS" => Self::Days,
            "WEEKS" => Self::Weeks,
            "MONTHS" => Self::Months,
            "YEARS" => Self::Years,
            _ => {
                return Err(wrong(format!(
                    "{function}: `{name}` is no unit of time: NANOSECONDS, MICROSECONDS, \
                     MILLISECONDS, SECONDS, MINUTES, HOURS, DAYS, WEEKS, MONTHS or YEARS"
                )));
            }
        })
    }

    /// Milliseconds of one, and how many make a millisecond; one of them is 1.
    const fn ratio(self) -> (i64, i64) {
        match self {
            Self::Nanoseconds => (1, 1_000_000),
            Self::Microseconds => (1, 1_000),
            Self::Milliseconds => (1, 1),
            Self::Seconds => (1_000, 1),
            Self::Minutes => (60_000, 1),
            Self::Hours => (3_600_000, 1),
            Self::Days => (DAY_MS, 1),
            Self::Weeks => (7 * DAY_MS, 1),
            Self::Months | Self::Years => (0, 1),
        }
    }

    pub(crate) const fn ms(self) -> i64 {
        self.ratio().0
    }

    pub(crate) fn to_ms(self, value: i64) -> i64 {
        match self {
            Self::Months => months_to_ms(value),
            Self::Years => months_to_ms(value.saturating_mul(12)),
            _ => {
                let (times, per) = self.ratio();
                value.saturating_mul(times) / per
            }
        }
    }

    pub(crate) fn of_ms(self, ms: i64) -> i64 {
        match self {
            Self::Months => months_of_ms(ms),
            Self::Years => months_of_ms(ms).div_euclid(12),
            _ => {
                let (times, per) = self.ratio();
                (ms / times).saturating_mul(per)
            }
        }
    }

    /// What numbers of this unit are cut to; `None`: it is finer than all that can be named.
    pub(crate) const fn field(self) -> Option<Field> {
        Some(match self {
            Self::Nanoseconds | Self::Microseconds => return None,
            Self::Milliseconds => Field::Millisecond,
            Self::Seconds => Field::Second,
            Self::Minutes => Field::Minute,
            Self::Hours => Field::Hour,
            Self::Days => Field::Day,
            Self::Weeks => Field::Week,
            Self::Months => Field::Month,
            Self::Years => Field::Year,
        })
    }
}

fn months_to_ms(months: i64) -> i64 {
    let year = i32::try_from(1970 + months.div_euclid(12)).unwrap_or(i32::MAX);
    NaiveDate::from_ymd_opt(year, months.rem_euclid(12) as u32 + 1, 1)
        .map_or(i64::MAX, |date| i64::from(date.to_epoch_days()) * DAY_MS)
}

fn months_of_ms(ms: i64) -> i64 {
    date_of(ms).map_or(0, |date| {
        i64::from(date.year() - 1970) * 12 + i64::from(date.month0())
    })
}

/// `None`: it is no date that can be written.
pub(crate) fn date_of(local_ms: i64) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(local_ms.div_euclid(DAY_MS)).ok()?)
}

/// A field of a calendar, or the time between two of its boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Field {
    pub(crate) fn parse(name: &str, function: &str) -> Result<Self> {
        Self::named(name).ok_or_else(|| {
            wrong(format!(
                "{function}: `{name}` is no unit of time: MILLISECOND, SECOND, MINUTE, HOUR, DAY, \
                 WEEK, MONTH, QUARTER or YEAR"
            ))
        })
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let upper = name.trim().to_ascii_uppercase();
        let upper = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        Some(match upper.strip_suffix('S').unwrap_or(upper) {
            "MILLISECOND" => Self::Millisecond,
            "SECOND" => Self::Second,
            "MINUTE" => Self::Minute,
            "HOUR" => Self::Hour,
            "DAY" => Self::Day,
            "WEEK" => Self::Week,
            "MONTH" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" => Self::Year,
            _ => return None,
        })
    }

    /// As `date_trunc` calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Millisecond => "millisecond",
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// `None`: they are not all of one length.
    pub(crate) const fn ms(self) -> Option<i64> {
        Some(match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => DAY_MS,
            Self::Week => 7 * DAY_MS,
            Self::Month | Self::Quarter | Self::Year => return None,
        })
    }

    const fn months(self) -> i64 {
        match self {
            Self::Quarter => 3,
            Self::Year => 12,
            _ => 1,
        }
    }

    /// The boundary at or before a local time.
    pub(crate) fn floor_local(self, local_ms: i64) -> Option<i64> {
        let begin = |date: NaiveDate| i64::from(date.to_epoch_days()) * DAY_MS;
        let date = || date_of(local_ms);
        Some(match self {
            Self::Week => {
                let date = date()?;
                let behind = u64::from(date.weekday().num_days_from_monday());
                begin(date.checked_sub_days(Days::new(behind))?)
            }
            Self::Month => begin(date()?.with_day(1)?),
            Self::Quarter => {
                let date = date()?;
                begin(NaiveDate::from_ymd_opt(
                    date.year(),
                    date.month0() / 3 * 3 + 1,
                    1,
                )?)
            }
            Self::Year => begin(NaiveDate::from_ymd_opt(date()?.year(), 1, 1)?),
            _ => {
                let length = self.ms()?;
                local_ms.checked_sub(local_ms.rem_euclid(length))?
            }
        })
    }

    /// The boundary at or before a time, as the zone's calendar has it.
    pub(crate) fn floor(self, utc_ms: i64, zone: Zone) -> Option<i64> {
        let local = zone.to_local(utc_ms);
        let floor = self.floor_local(local)?;
        Some(match self {
            // Within an hour the clock is not put: of an hour that comes twice each is one.
            Self::Millisecond | Self::Second | Self::Minute | Self::Hour => {
                utc_ms - (local - floor)
            }
            _ => zone.to_utc(floor),
        })
    }

    /// `count` of them later. The day of a month that is too short becomes its last.
    pub(crate) fn add(self, count: i64, utc_ms: i64, zone: Zone) -> Option<i64> {
        if let Some(length) = self.ms()
            && length < DAY_MS
        {
            return utc_ms.checked_add(count.checked_mul(length)?);
        }
        let local = zone.to_local(utc_ms);
        let of_day = local.rem_euclid(DAY_MS);
        let later = match self.ms() {
            Some(length) => local.checked_add(count.checked_mul(length)?)?,
            None => {
                let months = count.checked_mul(self.months())?;
                let date = date_of(local)?;
                let size = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
                let date = match months < 0 {
                    true => date.checked_sub_months(size)?,
                    false => date.checked_add_months(size)?,
                };
                i64::from(date.to_epoch_days()) * DAY_MS + of_day
            }
        };
        Some(zone.to_utc(later))
    }

    /// How many whole ones lie between two times; negative when the second is before the first.
    pub(crate) fn between(self, from_ms: i64, to_ms: i64) -> Option<i64> {
        if let Some(length) = self.ms() {
            return Some(to_ms.checked_sub(from_ms)? / length);
        }
        let (a, b) = (date_of(from_ms)?, date_of(to_ms)?);
        let month = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let mut months = month(b) - month(a);
        // The last one may not be whole.
        let there = Self::Month.add(months, from_ms, Zone::Utc)?;
        match months {
            1.. if there > to_ms => months -= 1,
            ..=-1 if there < to_ms => months += 1,
            _ => {}
        }
        Some(months / self.months())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M");
        time.unwrap().and_utc().timestamp_millis()
    }

    #[test]
    fn days_of_a_zone_are_as_long_as_they_are() {
        let zone = Zone::parse("America/New_York", "f").unwrap();
        let floor = |field: Field, text: &str| field.floor(ms(text), zone).unwrap();
        // The day on which the clocks go forward begins at 05:00 UTC, the next at 04:00.
        assert_eq!(
            floor(Field::Day, "2024-03-10 12:00"),
            ms("2024-03-10 05:00")
        );
        assert_eq!(
            floor(Field::Day, "2024-03-11 04:00"),
            ms("2024-03-11 04:00")
        );
        assert_eq!(
            floor(Field::Day, "2024-03-11 03:59"),
            ms("2024-03-10 05:00")
        );
        // The hour that comes twice is two hours.
        assert_eq!(
            floor(Field::Hour, "2024-11-03 05:30"),
            ms("2024-11-03 05:00")
        );
        assert_eq!(
            floor(Field::Hour, "2024-11-03 06:30"),
            ms("2024-11-03 06:00")
        );
        assert_eq!(
            floor(Field::Week, "2024-03-12 00:00"),
            ms("2024-03-11 04:00")
        );
        assert_eq!(
            floor(Field::Quarter, "2024-12-31 23:00"),
            ms("2024-10-01 04:00")
        );
        // A day later is the same time on the clock.
        let later = Field::Day.add(1, ms("2024-03-09 17:00"), zone);
        assert_eq!(later, Some(ms("2024-03-10 16:00")));
    }

    #[test]
    fn months_are_added_and_counted() {
        let add = |n, text| Field::Month.add(n, ms(text), Zone::Utc).unwrap();
        assert_eq!(add(1, "2024-01-31 05:00"), ms("2024-02-29 05:00"));
        assert_eq!(add(-12, "2024-02-29 05:00"), ms("2023-02-28 05:00"));
        let between = |field: Field, a, b| field.between(ms(a), ms(b)).unwrap();
        assert_eq!(
            between(Field::Month, "2024-01-31 00:00", "2024-02-29 00:00"),
            1
        );
        assert_eq!(
            between(Field::Month, "2024-01-15 00:00", "2024-03-14 23:00"),
            1
        );
        assert_eq!(
            between(Field::Month, "2024-03-15 00:00", "2024-01-14 00:00"),
            -2
        );
        assert_eq!(
            between(Field::Year, "2020-03-01 00:00", "2024-02-29 00:00"),
            3
        );
        assert_eq!(
            between(Field::Week, "2024-01-15 00:00", "2024-01-01 00:00"),
            -2
        );
        assert_eq!(Field::Year.add(i64::MAX, 0, Zone::Utc), None);
    }

    #[test]
    fn numbers_count_units() {
        let unit = |name| TimeUnit::parse(name, "f").unwrap();
        assert_eq!(unit("days").to_ms(3), 3 * DAY_MS);
        assert_eq!(unit("Microseconds").to_ms(1_999), 1);
        assert_eq!(unit("NANOSECONDS").of_ms(2), 2_000_000);
        assert_eq!(unit("MONTHS").to_ms(13), ms("1971-02-01 00:00"));
        assert_eq!(unit("MONTHS").of_ms(ms("1971-02-20 00:00")), 13);
        assert_eq!(unit("YEARS").of_ms(-1), -1);
        assert_eq!(unit("HOURS").to_ms(i64::MAX), i64::MAX);
    }
}
