//! Patterns of dates such as `yyyy-MM-dd HH:mm:ss.SSS`, as Pinot writes them.
//!
//! chrono does the work; only parts of a second, of which a pattern may want any number of digits,
//! are written and read here.

use std::fmt::Write;

use chrono::format::{Item, Parsed, StrftimeItems, parse_and_remainder};
use chrono::{DateTime, Timelike};
use datafusion::common::Result;

use super::zone::{Zone, naive};
use crate::arguments::wrong;

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Items(Vec<Item<'static>>),
    /// So many digits of a second's fraction.
    Fraction(usize),
}

impl Pattern {
    pub(crate) fn parse(pattern: &str, function: &str) -> Result<Self> {
        let fault = |part: &str| {
            wrong(format!(
                "{function}: `{part}` in the pattern `{pattern}` means nothing; known are y Y x M \
                 d D \
                 E e H h K k m s S a w z Z, and text in single quotes"
            ))
        };
        let mut pieces = Vec::new();
        let mut format = String::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let (text, behind) = quoted(&rest[1..]).ok_or_else(|| fault(rest))?;
                format.push_str(&text.replace('%', "%%"));
                rest = behind;
                continue;
            }
            let count = rest.chars().take_while(|c| *c == first).count();
            let (run, behind) = rest.split_at(count * first.len_utf8());
            rest = behind;
            match (first, count) {
                ('S', _) => {
                    pieces.extend(items(&std::mem::take(&mut format)));
                    pieces.push(Piece::Fraction(count));
                }
                ('%', _) => format.push_str(&run.replace('%', "%%")),
                _ if !first.is_ascii_alphabetic() => format.push_str(run),
                _ => format.push_str(specifier(first, count).ok_or_else(|| fault(run))?),
            }
        }
        pieces.extend(items(&format));
        Ok(Self { pieces })
    }

    /// Appends the time; nothing if it is out of the calendar's range.
    pub(crate) fn write(&self, utc_ms: i64, zone: Zone, to: &mut String) -> Option<()> {
        let utc = DateTime::from_timestamp_millis(utc_ms)?;
        for piece in &self.pieces {
            let written = match (piece, zone) {
                (Piece::Fraction(digits), _) => {
                    let nanos = format!("{:09}", utc.nanosecond());
                    let (given, more) = (&nanos[..(*digits).min(9)], digits.saturating_sub(9));
                    write!(to, "{given}{:0<more$}", "")
                }
                (Piece::Items(items), Zone::Utc) => {
                    write!(to, "{}", utc.format_with_items(items.iter()))
                }
                (Piece::Items(items), Zone::Fixed(offset)) => {
                    let local = utc.with_timezone(&offset);
                    write!(to, "{}", local.format_with_items(items.iter()))
                }
                (Piece::Items(items), Zone::Named(zone)) => {
                    let local = utc.with_timezone(&zone);
                    write!(to, "{}", local.format_with_items(items.iter()))
                }
            };
            written.ok()?;
        }
        Some(())
    }

    /// Epoch milliseconds; `None`: the text does not look like that. What the pattern lacks is as
    /// at the beginning of 1970.
    pub(crate) fn read(&self, text: &str, zone: Zone) -> Option<i64> {
        let mut parsed = Parsed::new();
        let mut rest = text.trim();
        let mut fraction_ms = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Items(items) => {
                    rest = parse_and_remainder(&mut parsed, rest, items.iter()).ok()?;
                }
                Piece::Fraction(most) => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let (digits, behind) = rest.split_at(digits.min(*most));
                    let first = format!("{:0<3}", digits.get(..3).unwrap_or(digits));
                    fraction_ms = if digits.is_empty() {
                        None
                    } else {
                        first.parse().ok()
                    }?;
                    rest = behind;
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let mut local_ms = local(&mut parsed)?;
        local_ms += fraction_ms;
        match parsed.offset() {
            Some(offset) => Some(local_ms - i64::from(offset) * 1000),
            None => Some(zone.to_utc(local_ms)),
        }
    }
}

fn local(parsed: &mut Parsed) -> Option<i64> {
    if parsed.timestamp().is_none() {
        let has_week = parsed.isoweek().is_some();
        if has_week {
            if parsed.weekday().is_none() {
                parsed.set_weekday(chrono::Weekday::Mon).ok()?;
            }
            if parsed.isoyear().is_none()
                && let Some(year) = parsed.year()
            {
                parsed.set_isoyear(i64::from(year)).ok()?;
                parsed.year = None;
            }
        } else {
            if parsed.year().is_none() && parsed.year_mod_100().is_none() {
                parsed.set_year(1970).ok()?;
            }
            if parsed.ordinal().is_none() {
                if parsed.month().is_none() {
                    parsed.set_month(1).ok()?;
                }
                if parsed.day().is_none() {
                    parsed.set_day(1).ok()?;
                }
            }
        }
        if parsed.hour_mod_12().is_none() {
            parsed.set_hour12(12).ok()?;
        }
        if parsed.hour_div_12().is_none() {
            parsed.set_ampm(false).ok()?;
        }
        if parsed.minute().is_none() {
            parsed.set_minute(0).ok()?;
        }
    }
    let date = parsed.to_naive_date().ok()?;
    let time = parsed.to_naive_time().ok()?;
    Some(date.and_time(time).and_utc().timestamp_millis())
}

fn items(format: &str) -> Option<Piece> {
    if format.is_empty() {
        return None;
    }
    let items = StrftimeItems::new(format).map(Item::to_owned);
    Some(Piece::Items(items.collect()))
}

/// The text before the closing quote, two quotes being one, and what is behind.
fn quoted(rest: &str) -> Option<(String, &str)> {
    if let Some(behind) = rest.strip_prefix('\'') {
        return Some(("'".to_owned(), behind));
    }
    let mut text = String::new();
    let mut rest = rest;
    loop {
        let (before, behind) = rest.split_once('\'')?;
        text.push_str(before);
        match behind.strip_prefix('\'') {
            Some(more) => {
                text.push('\'');
                rest = more;
            }
            None => return Some((text, behind)),
        }
    }
}

/// What chrono calls it.
fn specifier(letter: char, count: usize) -> Option<&'static str> {
    Some(match (letter, count) {
        ('y' | 'Y', 2) => "%y",
        ('y' | 'Y', _) => "%Y",
        ('x', 2) => "%g",
        ('x', _) => "%G",
        ('M', 1) => "%-m",
        ('M', 2) => "%m",
        ('M', 3) => "%b",
        ('M', _) => "%B",
        ('d', 1) => "%-d",
        ('d', _) => "%d",
        ('D', 1) => "%-j",
        ('D', _) => "%j",
        ('E', 1..=3) => "%a",
        ('E', _) => "%A",
        ('e', _) => "%u",
        ('w', 1) => "%-V",
        ('w', _) => "%V",
        ('H' | 'k', 1) => "%-H",
        ('H' | 'k', _) => "%H",
        ('h' | 'K', 1) => "%-I",
        ('h' | 'K', _) => "%I",
        ('m', 1) => "%-M",
        ('m', _) => "%M",
        ('s', 1) => "%-S",
        ('s', _) => "%S",
        ('a', _) => "%p",
        ('Z', 1) => "%z",
        ('Z', 2) => "%:z",
        ('z' | 'Z', _) => "%Z",
        _ => return None,
    })
}

/// Times as texts where nothing else is said.
pub(crate) fn plain(utc_ms: i64, to: &mut String) -> Option<()> {
    let time = naive(utc_ms)?;
    let millis = format!("{:03}", time.nanosecond() / 1_000_000);
    let fraction = millis.trim_end_matches('0');
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    write!(to, "{}.{fraction}", time.format("%Y-%m-%d %H:%M:%S")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_write_and_read() {
        let berlin = Zone::parse("Europe/Berlin", "f").unwrap();
        let ms = 1_719_792_000_987;
        for (pattern, zone, written, read) in [
            (
                "yyyy-MM-dd HH:mm:ss.SSS",
                Zone::Utc,
                "2024-07-01 00:00:00.987",
                ms,
            ),
            ("yyyyMMdd", Zone::Utc, "20240701", ms - 987),
            ("yyyyMMddHHmmss", berlin, "20240701020000", ms - 987),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
                berlin,
                "2024-07-01T02:00:00.987+0200",
                ms,
            ),
            ("M/d/yyyy h:mm a", Zone::Utc, "7/1/2024 12:00 AM", ms - 987),
            ("EEE, dd MMM yyyy", Zone::Utc, "Mon, 01 Jul 2024", ms - 987),
            ("xxxx-'W'ww", Zone::Utc, "2024-W27", ms - 987),
            ("yyyy-DDD", Zone::Utc, "2024-183", ms - 987),
            (
                "ss.S 'o''clock' yyyyMMdd",
                Zone::Utc,
                "00.9 o'clock 20240701",
                ms - 87,
            ),
            ("100% yyyy", Zone::Utc, "100% 2024", 1_704_067_200_000),
        ] {
            let parsed = Pattern::parse(pattern, "f").unwrap();
            let mut text = String::new();
            parsed.write(ms, zone, &mut text).unwrap();
            assert_eq!(text, written, "{pattern}");
            assert_eq!(parsed.read(written, zone), Some(read), "{pattern}");
        }
        let date = Pattern::parse("yyyy-MM-dd", "f").unwrap();
        for text in ["", "2024", "2024-13-01", "2024-01-01x"] {
            assert_eq!(date.read(text, Zone::Utc), None, "{text}");
        }
        for pattern in ["yyyy 'x", "q", "yyyy-bb"] {
            assert!(Pattern::parse(pattern, "F").is_err(), "{pattern}");
        }
    }
}
