//! Time zones: IANA names and fixed offsets. Local times are milliseconds as a clock on the wall
//! shows them, counted as if it stood in UTC.

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::common::Result;

use super::unit::DAY_MS;
use crate::arguments::wrong;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Utc,
    Fixed(FixedOffset),
    Named(Tz),
}

impl Zone {
    /// `function` is who asks.
    pub(crate) fn parse(name: &str, function: &str) -> Result<Self> {
        let name = name.trim();
        let bare = name.strip_prefix("UTC").or(name.strip_prefix("GMT"));
        let bare = bare.filter(|rest| rest.starts_with(['+', '-']));
        if matches!(name, "" | "UTC" | "GMT" | "Z" | "Etc/UTC") {
            return Ok(Self::Utc);
        }
        if let Some(offset) = offset(bare.unwrap_or(name)) {
            return Ok(Self::Fixed(offset));
        }
        let known = name.parse::<Tz>().ok().or_else(|| {
            let mut zones = TZ_VARIANTS.iter();
            let same = zones.find(|zone| zone.name().eq_ignore_ascii_case(name));
            same.copied()
        });
        known.map(Self::Named).ok_or_else(|| {
            wrong(format!(
                "{function}: `{name}` is no time zone; a name such as America/New_York or an \
                 offset \
                 such as +05:30 is"
            ))
        })
    }

    /// What is to be added to a time in UTC.
    fn offset_ms(self, utc_ms: i64) -> i64 {
        let seconds = match self {
            Self::Utc => 0,
            Self::Fixed(offset) => offset.local_minus_utc(),
            Self::Named(zone) => naive(utc_ms).map_or(0, |utc| {
                let offset = zone.offset_from_utc_datetime(&utc);
                offset.fix().local_minus_utc()
            }),
        };
        i64::from(seconds) * 1000
    }

    pub(crate) fn to_local(self, utc_ms: i64) -> i64 {
        utc_ms.saturating_add(self.offset_ms(utc_ms))
    }

    /// Of a local time that comes twice the first; one that never comes is as much later as the
    /// clock was put forward.
    pub(crate) fn to_utc(self, local_ms: i64) -> i64 {
        let Self::Named(zone) = self else {
            return local_ms.saturating_sub(self.offset_ms(0));
        };
        let offset = naive(local_ms).map(|local| zone.offset_from_local_datetime(&local));
        match offset {
            Some(MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _)) => {
                local_ms - i64::from(offset.fix().local_minus_utc()) * 1000
            }
            _ => local_ms.saturating_sub(self.offset_ms(local_ms.saturating_sub(DAY_MS))),
        }
    }
}

pub(crate) fn naive(ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(ms).map(|time| time.naive_utc())
}

/// `+05:30`, `-08`, `+0530`.
fn offset(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if !matches!(digits.len(), 1 | 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(digits.len().min(2));
    let hours: i32 = hours.parse().ok()?;
    let minutes: i32 = if minutes.is_empty() {
        0
    } else {
        minutes.parse().ok()?
    };
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_come_and_go_with_the_clocks() {
        let berlin = Zone::parse("europe/berlin", "f").unwrap();
        // 2024-03-31 01:00 UTC: from +1 to +2. 2024-10-27 01:00 UTC: back.
        let (spring, autumn) = (1_711_846_800_000, 1_729_990_800_000);
        for (utc, offset) in [(spring - 1, 1), (spring, 2), (autumn - 1, 2), (autumn, 1)] {
            assert_eq!(berlin.to_local(utc), utc + offset * 3_600_000);
        }
        // 02:30 does not come; 02:30 comes twice.
        assert_eq!(berlin.to_utc(spring + 5_400_000), spring + 1_800_000);
        assert_eq!(berlin.to_utc(autumn + 5_400_000), autumn - 1_800_000);
        let india = Zone::parse("+05:30", "f").unwrap();
        assert_eq!(india.to_utc(india.to_local(7)), 7);
        assert_eq!(india.to_local(0), 19_800_000);
        assert!(
            Zone::parse("Mars/Base", "F")
                .unwrap_err()
                .to_string()
                .contains("`Mars/Base`")
        );
    }
}
