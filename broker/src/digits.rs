//! Texts, times and decimals as bytes of JSON: what most cells of an answer cost is here.
//!
//! Invariant: the same bytes as `serde_json` and `chrono` write, without their detours.

use std::io::Write;

/// In quotes; what JSON wants escaped is.
pub(crate) fn text(value: &str, to: &mut Vec<u8>) {
    let escaped = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    // Without an early end, so that many bytes are looked at at once.
    let any = |any, byte: &u8| any | escaped(*byte);
    if value.as_bytes().iter().fold(false, any) {
        // Writing to memory does not fail.
        let _written = serde_json::to_writer(to, value);
        return;
    }
    to.reserve(value.len() + 2);
    to.push(b'"');
    to.extend_from_slice(value.as_bytes());
    to.push(b'"');
}

/// Digits at a scale, without an exponent: `12345` at scale 2 is `123.45`.
pub(crate) fn decimal(digits: &str, scale: i8, to: &mut Vec<u8>) {
    let digits = match digits.strip_prefix('-') {
        Some(rest) => {
            to.push(b'-');
            rest
        }
        None => digits,
    };
    let scale = usize::try_from(scale).unwrap_or(0);
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    to.extend_from_slice(if whole.is_empty() { "0" } else { whole }.as_bytes());
    if fraction.bytes().all(|digit| digit == b'0') {
        return;
    }
    to.push(b'.');
    to.resize(to.len() + scale - fraction.len(), b'0');
    to.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
}

const DAY: i64 = 86_400;
/// From March of the year 0 to the last day of 9999, since 1970.
const DAYS: std::ops::RangeInclusive<i64> = -719_468..=2_932_896;

/// As `java.sql.Timestamp` prints it: at least one digit of the fraction.
pub(crate) fn timestamp(seconds: i64, nanos: u32, to: &mut Vec<u8>) {
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    if !DAYS.contains(&days) {
        return of_other_years(seconds, nanos, to);
    }
    let (year, month, day) = civil(days);
    let mut shown = *b"\"0000-00-00 00:00:00.";
    put(&mut shown[1..3], year / 100);
    put(&mut shown[3..5], year % 100);
    put(&mut shown[6..8], month);
    put(&mut shown[9..11], day);
    let second = second as u32;
    put(&mut shown[12..14], second / 3600);
    put(&mut shown[15..17], second / 60 % 60);
    put(&mut shown[18..20], second % 60);
    to.extend_from_slice(&shown);
    fraction(nanos, to);
    to.push(b'"');
}

fn put(two: &mut [u8], value: u32) {
    two[0] = b'0' + (value / 10) as u8;
    two[1] = b'0' + (value % 10) as u8;
}

fn fraction(nanos: u32, to: &mut Vec<u8>) {
    if nanos == 0 {
        to.push(b'0');
        return;
    }
    let mut digits = [b'0'; 9];
    let mut left = nanos;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0');
    let length = digits.len() - zeros.count();
    to.extend_from_slice(&digits[..length]);
}

/// Year, month and day of a day since 1970: in years that begin in March leap days come last.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = (days + 719_468) as u64;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = of_year - (153 * march + 2) / 5 + 1;
    (year as u32, month as u32, day as u32)
}

/// Other years have a sign, which chrono knows to write.
fn of_other_years(seconds: i64, nanos: u32, to: &mut Vec<u8>) {
    to.push(b'"');
    match chrono::DateTime::from_timestamp(seconds, nanos) {
        Some(time) => {
            let _written = write!(to, "{}.", time.format("%Y-%m-%d %H:%M:%S"));
            fraction(nanos, to);
        }
        None => {
            let ms = i128::from(seconds) * 1000 + i128::from(nanos / 1_000_000);
            let _written = write!(to, "{ms}");
        }
    }
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut shown = Vec::new();
        write(&mut shown);
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn every_day_of_ten_thousand_years_is_chronos() {
        for days in DAYS {
            let seconds = days * DAY + days.rem_euclid(DAY);
            let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
            let wanted = format!("\"{}.0\"", time.format("%Y-%m-%d %H:%M:%S"));
            assert_eq!(shown(|to| timestamp(seconds, 0, to)), wanted);
        }
        for (seconds, wanted) in [
            (DAYS.start() * DAY - 1, "\"0000-02-29 23:59:59.5\""),
            (-719_528 * DAY - 1, "\"-0001-12-31 23:59:59.5\""),
            ((DAYS.end() + 1) * DAY, "\"+10000-01-01 00:00:00.5\""),
        ] {
            assert_eq!(shown(|to| timestamp(seconds, 500_000_000, to)), wanted);
        }
        let last = i64::MAX / 1000;
        assert_eq!(
            shown(|to| timestamp(last, 0, to)),
            format!("\"{}\"", last * 1000)
        );
        assert_eq!(
            shown(|to| timestamp(-1, 120_000_000, to)),
            "\"1969-12-31 23:59:59.12\""
        );
    }

    #[test]
    fn texts_are_serde_jsons() {
        for value in [
            "",
            "a",
            "ü🦀",
            "a\"b",
            "\\",
            "\n\u{1}",
            "x".repeat(100).as_str(),
        ] {
            let wanted = serde_json::to_string(value).unwrap();
            assert_eq!(shown(|to| text(value, to)), wanted);
        }
    }

    #[test]
    fn decimals_have_their_point() {
        for (digits, scale, wanted) in [
            ("-12345", 3, "-12.345"),
            ("5", 3, "0.005"),
            ("12000", 3, "12"),
            ("-5", 0, "-5"),
            ("0", 2, "0"),
            ("123450", 4, "12.345"),
            ("700", -2, "700"),
        ] {
            assert_eq!(shown(|to| decimal(digits, scale, to)), wanted);
        }
    }
}
