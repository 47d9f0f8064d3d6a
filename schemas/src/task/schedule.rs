//! When tasks are due: cron as Quartz writes it, seconds first, in UTC.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds};

/// `0 */5 * ? * *`: second, minute, hour, day of the month, month, day of the week (1 is Sunday),
/// and a year if need be.
#[derive(Clone, Debug)]
pub struct Schedule(Cron);

impl Schedule {
    pub fn parse(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .alternative_weekdays(true)
            .sloppy_ranges(true)
            .build();
        let parsed = parser.parse(text);
        let cron = parsed.map_err(|error| {
            format!(
                "`{text}` is no cron expression of Quartz such as `0 */5 * ? * *` (second, \
                 minute, hour, day of month, month, day of week): {error}"
            )
        })?;
        Ok(Self(cron))
    }

    /// The first moment after this one; `None`: there is no more.
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        let from: DateTime<Utc> = DateTime::from_timestamp_millis(ms)?;
        let next = self.0.find_next_occurrence(&from, false).ok()?;
        Some(next.timestamp_millis())
    }
}

/// `2026-11-27T09:00:00Z`
pub fn utc(ms: i64) -> Option<String> {
    let at: DateTime<Utc> = DateTime::from_timestamp_millis(ms)?;
    Some(at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

/// `20261127T090000Z`, for names.
pub fn utc_name(ms: i64) -> Option<String> {
    let at: DateTime<Utc> = DateTime::from_timestamp_millis(ms)?;
    Some(at.format("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27T09:00:00Z, a Friday.
    const FRIDAY: i64 = 1_795_770_000_000;
    const MINUTE: i64 = 60_000;
    const DAY: i64 = 1440 * MINUTE;

    #[test]
    fn quartz_expressions_are_due_when_quartz_says() {
        let next = |text: &str, from: i64| Schedule::parse(text).unwrap().next_after(from);
        assert_eq!(next("0 */5 * ? * *", FRIDAY), Some(FRIDAY + 5 * MINUTE));
        assert_eq!(next("0 0/5 * * * ?", FRIDAY + 1), Some(FRIDAY + 5 * MINUTE));
        assert_eq!(next("*/10 * * * * ?", FRIDAY), Some(FRIDAY + 10_000));
        // 6 is Friday, 1 is Sunday.
        assert_eq!(next("0 0 9 ? * 6", FRIDAY - 1), Some(FRIDAY));
        assert_eq!(next("0 0 9 ? * FRI", FRIDAY), Some(FRIDAY + 7 * DAY));
        assert_eq!(next("0 0 9 ? * 1", FRIDAY), Some(FRIDAY + 2 * DAY));
        assert_eq!(next("0 0 9 28 11 ? 2026", FRIDAY), Some(FRIDAY + DAY));
        assert_eq!(next("0 0 9 L * ?", FRIDAY), Some(FRIDAY + 3 * DAY));
        assert_eq!(next("0 0 9 27 11 ? 2020", FRIDAY), None);
    }

    #[test]
    fn what_is_none_is_told() {
        for bad in ["", "daily", "* * * * *", "0 61 * * * ?"] {
            let error = Schedule::parse(bad).unwrap_err();
            assert!(error.contains("no cron expression of Quartz"), "{error}");
        }
    }
}
