//! Pinot's limits of consuming segments, and how it writes periods, times and sizes.

use super::super::reader::{Node, Report};
use crate::table::FlushLimits;

const PREFIX: &str = "realtime.segment.flush.threshold";
/// What Pinot takes when rows are 0 and nothing else is said.
const SEALED_BYTES: u64 = 200 << 20;
const FIRST_ROWS: u64 = 100_000;

pub(super) fn limits(node: Node<'_>, report: &mut Report) -> FlushLimits {
    let mut limits = FlushLimits::default();
    let rows = rows_max(node, report);
    if let Some(rows @ 1..) = rows {
        limits.rows_max = rows;
    }
    let key = format!("{PREFIX}.time");
    if let Some(text) = node
        .get(&key)
        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    {
        match period_ms(&text) {
            Some(age) if age > 0 => limits.age_max_ms = age,
            _ => report.fault(
                &node.path(&key),
                format!("`{text}` is no period such as 6h"),
            ),
        }
    }
    let size = sealed_bytes(node, report);
    match (rows, size) {
        // 0: as many as make a file of that size, which earlier segments tell.
        (Some(0), size) => {
            limits.sealed_bytes = Some(size.unwrap_or(SEALED_BYTES));
            limits.rows_max = first_rows(node, report);
        }
        (_, Some(bytes)) => limits.bytes_max = bytes,
        (_, None) => {}
    }
    limits
}

fn rows_max(node: Node<'_>, report: &mut Report) -> Option<u64> {
    let mut found = None;
    for key in [
        format!("{PREFIX}.rows"),
        format!("{PREFIX}.size"),
        format!("{PREFIX}.segment.rows"),
    ] {
        match node.number(&key, report).map(u64::try_from) {
            None => {}
            Some(Ok(rows)) => found = found.max(Some(rows)),
            Some(Err(_)) => {
                let rows = node.get(&key).map(ToString::to_string).unwrap_or_default();
                report.fault(&node.path(&key), format!("{rows} is no number of rows"));
            }
        }
    }
    found
}

fn first_rows(node: Node<'_>, report: &mut Report) -> u64 {
    let key = "realtime.segment.flush.autotune.initialRows";
    let rows = node.number(key, report).map(u64::try_from);
    match rows {
        None => FIRST_ROWS,
        Some(Ok(rows @ 1..)) => rows,
        Some(_) => {
            report.fault(&node.path(key), "it must be a number of rows above 0");
            FIRST_ROWS
        }
    }
}

fn sealed_bytes(node: Node<'_>, report: &mut Report) -> Option<u64> {
    let old = "realtime.segment.flush.desired.size".to_owned();
    for key in [format!("{PREFIX}.segment.size"), old] {
        let Some(text) = node.text(&key, report) else {
            continue;
        };
        match size_bytes(text) {
            Some(bytes) if bytes > 0 => return Some(bytes),
            _ => report.fault(
                &node.path(&key),
                format!("`{text}` is no size such as 200M"),
            ),
        }
    }
    None
}

/// `2026-03-01`, `2026-03-01T06:30`, `2026-03-01T06:30:15.250Z`, in UTC.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let hour: i64 = time.next()?.parse().ok()?;
    let minute: i64 = time.next()?.parse().ok()?;
    let second: f64 = time.next().map_or(Some(0.0), |text| text.parse().ok())?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..60.0).contains(&second);
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute;
    fits.then_some(minutes * 60_000 + (second * 1000.0).round() as i64)
}

/// H. Hinnant, "chrono-compatible low-level date algorithms".
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `6h`, `1d12h`, `30m`, or milliseconds.
pub(super) fn period_ms(text: &str) -> Option<i64> {
    if let Ok(ms) = text.trim().parse() {
        return Some(ms);
    }
    let (mut total, mut number) = (0i64, String::new());
    for c in text.trim().to_lowercase().chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'd' => 86_400_000,
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    number.is_empty().then_some(total)
}

pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_uppercase();
    let text = text.strip_suffix('B').unwrap_or(&text);
    let (digits, factor) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1u64 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_periods() {
        assert_eq!(time_ms("1970-01-01"), Some(0));
        assert_eq!(time_ms("2000-02-29T23:59"), Some(951_868_740_000));
        assert_eq!(time_ms("2026-03-01T06:30:15.250Z"), Some(1_772_346_615_250));
        for bad in [
            "",
            "soon",
            "2026-13-01",
            "2026-03-01T25:00",
            "2026-03",
            "2d",
        ] {
            assert_eq!(time_ms(bad), None, "{bad}");
        }
        assert_eq!(period_ms("1d12h"), Some(129_600_000));
        assert_eq!(period_ms("d"), None);
    }
}
