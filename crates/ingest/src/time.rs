//! Times in events: what a column's format says, else what can be told without one.
//!
//! | format | example | accepted |
//! |---|---|---|
//! | none, `TIMESTAMP` | | epoch milliseconds, ISO 8601, `yyyy-MM-dd[ HH:mm:ss[.fff]]` in UTC |
//! | `N:UNIT:EPOCH`, `EPOCH\|UNIT\|N` | `1:SECONDS:EPOCH` | numbers of N units since 1970; texts as above |
//! | `…:SIMPLE_DATE_FORMAT:PATTERN` | `1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd` | texts and numbers of that pattern |
//!
//! A pattern with letters that are not among `yMdHmsSZX` is read as no format.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::coerce::{Offer, whole};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum TimeFormat {
    #[default]
    Usual,
    /// Numbers are multiples of so many nanoseconds.
    Epoch { unit_ns: i128 },
    /// In chrono's letters.
    Pattern(String),
}

impl TimeFormat {
    pub(crate) fn of(format: Option<&str>) -> Self {
        let Some(format) = format else {
            return Self::Usual;
        };
        let parts: Vec<&str> = if format.contains('|') {
            format.split('|').collect()
        } else {
            format.splitn(4, ':').collect()
        };
        let known = match parts[..] {
            ["EPOCH", unit] => epoch(unit, "1"),
            ["EPOCH", unit, size] | [size, unit, "EPOCH"] => epoch(unit, size),
            ["SIMPLE_DATE_FORMAT", pattern, ..] | [_, _, "SIMPLE_DATE_FORMAT", pattern] => {
                chrono_pattern(pattern).map(Self::Pattern)
            }
            _ => None,
        };
        known.unwrap_or_default()
    }

    /// Epoch milliseconds.
    pub(crate) fn read(&self, offer: Offer<'_>) -> Option<i64> {
        match self {
            Self::Usual => usual(offer),
            Self::Epoch { unit_ns } => {
                let count = match offer {
                    Offer::Integer(value) => Some(value),
                    Offer::Text(text) => text.trim().parse().ok(),
                    Offer::Float(value) => return scaled(value, *unit_ns),
                    Offer::Boolean(_) | Offer::Unsigned(_) => None,
                };
                match count {
                    Some(count) => {
                        i64::try_from((i128::from(count) * unit_ns).div_euclid(1_000_000)).ok()
                    }
                    None => usual(offer),
                }
            }
            Self::Pattern(pattern) => match offer {
                Offer::Text(text) => by_pattern(text.trim(), pattern),
                Offer::Integer(value) => by_pattern(&value.to_string(), pattern),
                _ => None,
            },
        }
    }
}

fn epoch(unit: &str, size: &str) -> Option<TimeFormat> {
    let unit_ns: i128 = match unit {
        "NANOSECONDS" => 1,
        "MICROSECONDS" => 1_000,
        "MILLISECONDS" => 1_000_000,
        "SECONDS" => 1_000_000_000,
        "MINUTES" => 60_000_000_000,
        "HOURS" => 3_600_000_000_000,
        "DAYS" => 86_400_000_000_000,
        _ => return None,
    };
    let size: i128 = size.parse::<u32>().ok()?.into();
    Some(TimeFormat::Epoch {
        unit_ns: unit_ns * size,
    })
}

/// A fraction of a unit counts: 1.5 seconds are 1,500 milliseconds.
fn scaled(value: f64, unit_ns: i128) -> Option<i64> {
    let ms = (value * (unit_ns as f64 / 1e6)).round();
    whole(ms)
}

/// From the letters of Java's SimpleDateFormat to chrono's.
fn chrono_pattern(pattern: &str) -> Option<String> {
    let mut chrono = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            let (literal, after) = rest[1..].split_once('\'')?;
            chrono.push_str(if literal.is_empty() { "'" } else { literal });
            rest = after;
            continue;
        }
        let run = rest.len() - rest.trim_start_matches(letter).len();
        let field = match (letter, run) {
            ('y', 4) => "%Y",
            ('y', 2) => "%y",
            ('M', 2) => "%m",
            ('d', 2) => "%d",
            ('H', 2) => "%H",
            ('m', 2) => "%M",
            ('s', 2) => "%S",
            ('S', 3) => "%3f",
            ('Z', _) | ('X', 2) => "%z",
            ('X', 3) => "%:z",
            ('%', _) => return None,
            (letter, _) if letter.is_ascii_alphabetic() => return None,
            _ => &rest[..run],
        };
        chrono.push_str(field);
        rest = &rest[run..];
    }
    Some(chrono)
}

fn by_pattern(text: &str, pattern: &str) -> Option<i64> {
    if pattern.contains("%z") || pattern.contains("%:z") {
        let time = DateTime::parse_from_str(text, pattern).ok()?;
        return Some(time.timestamp_millis());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, pattern) {
        return Some(time.and_utc().timestamp_millis());
    }
    let date = NaiveDate::parse_from_str(text, pattern).ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

fn usual(offer: Offer<'_>) -> Option<i64> {
    match offer {
        Offer::Integer(value) => Some(value),
        Offer::Float(value) => whole(value),
        Offer::Text(text) => timestamp_text(text.trim()),
        Offer::Boolean(_) | Offer::Unsigned(_) => None,
    }
}

pub(crate) fn timestamp_text(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let with_time = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ];
    let time = with_time
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
        })?;
    Some(time.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_times() {
        let texts = [
            ("2013-01-01T00:00:00Z", 1_356_998_400_000),
            ("2013-01-01 00:00:00.5", 1_356_998_400_500),
            ("2013-01-01T02:00:00+02:00", 1_356_998_400_000),
            ("2013-01-01", 1_356_998_400_000),
            ("1356998400000", 1_356_998_400_000),
        ];
        for (text, expected) in texts {
            assert_eq!(timestamp_text(text), Some(expected), "{text}");
        }
        assert_eq!(timestamp_text("yesterday"), None);
    }

    #[test]
    fn epochs() {
        let read = |format: &str, offer| TimeFormat::of(Some(format)).read(offer);
        assert_eq!(read("1:SECONDS:EPOCH", Offer::Integer(7)), Some(7_000));
        assert_eq!(read("EPOCH|SECONDS", Offer::Text("7")), Some(7_000));
        assert_eq!(read("1:SECONDS:EPOCH", Offer::Float(1.5)), Some(1_500));
        assert_eq!(read("EPOCH|MINUTES|5", Offer::Integer(2)), Some(600_000));
        assert_eq!(read("1:MICROSECONDS:EPOCH", Offer::Integer(-1)), Some(-1));
        assert_eq!(read("1:DAYS:EPOCH", Offer::Integer(i64::MAX)), None);
        let iso = Offer::Text("1970-01-01T00:00:07Z");
        assert_eq!(read("1:SECONDS:EPOCH", iso), Some(7_000));
        assert_eq!(read("1:MILLISECONDS:TIMESTAMP", Offer::Integer(7)), Some(7));
    }

    #[test]
    fn patterns() {
        let read = |format: &str, text| TimeFormat::of(Some(format)).read(Offer::Text(text));
        let day = "1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd";
        assert_eq!(read(day, "20130101"), Some(1_356_998_400_000));
        assert_eq!(
            TimeFormat::of(Some(day)).read(Offer::Integer(20_130_101)),
            Some(1_356_998_400_000)
        );
        let zone = "SIMPLE_DATE_FORMAT|yyyy-MM-dd'T'HH:mm:ss.SSSZ";
        assert_eq!(
            read(zone, "2013-01-01T01:00:00.250+0100"),
            Some(1_356_998_400_250)
        );
        assert_eq!(read(day, "2013-01-01"), None);
        let unknown = TimeFormat::of(Some("SIMPLE_DATE_FORMAT|EEE yyyy"));
        assert_eq!(unknown, TimeFormat::Usual);
    }
}
