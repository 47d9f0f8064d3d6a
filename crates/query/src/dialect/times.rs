//! Pinot's formats of times and lengths of time, as statements write them.

use schemas::Fault;

use super::syntax;

/// How a time is written, `1:MILLISECONDS:EPOCH` or `EPOCH|MILLISECONDS|1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A whole number of units of so many milliseconds.
    Epoch(i64),
    Timestamp,
    /// A text, by a pattern of Java's SimpleDateFormat.
    Pattern(String),
}

impl Format {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            syntax(&format!(
                "`{text}` is no format of times; write 1:MILLISECONDS:EPOCH, TIMESTAMP or \
                 1:DAYS:SIMPLE_DATE_FORMAT:yyyy-MM-dd"
            ))
        };
        if text.eq_ignore_ascii_case("TIMESTAMP") {
            return Ok(Self::Timestamp);
        }
        // The pattern may hold the separator.
        let parts: Vec<&str> = match text.contains('|') {
            true => {
                let mut parts: Vec<&str> = text.splitn(3, '|').collect();
                if parts[0].eq_ignore_ascii_case("EPOCH") {
                    parts = vec![
                        parts.get(2).copied().unwrap_or("1"),
                        parts.get(1).copied().unwrap_or("MILLISECONDS"),
                        "EPOCH",
                    ];
                } else {
                    parts = vec!["1", "DAYS", parts[0], parts.get(1).copied().unwrap_or("")];
                }
                parts
            }
            false => text.splitn(4, ':').collect(),
        };
        match parts.as_slice() {
            [size, unit, kind] if kind.eq_ignore_ascii_case("EPOCH") => {
                let size: i64 = size.parse().map_err(|_| wrong())?;
                Ok(Self::Epoch(size * unit_ms(unit).ok_or_else(wrong)?))
            }
            [_, _, kind] if kind.eq_ignore_ascii_case("TIMESTAMP") => Ok(Self::Timestamp),
            [_, _, kind, pattern] if kind.eq_ignore_ascii_case("SIMPLE_DATE_FORMAT") => {
                Ok(Self::Pattern((*pattern).to_owned()))
            }
            _ => Err(wrong()),
        }
    }

    /// Milliseconds of a literal, where they are known without asking the engine.
    pub(super) fn millis(&self, literal: &str) -> Option<i64> {
        match self {
            Self::Epoch(unit) => literal.parse::<i64>().ok()?.checked_mul(*unit),
            Self::Timestamp => literal.parse().ok(),
            Self::Pattern(_) => None,
        }
    }

    /// Epoch milliseconds of what `sql` gives.
    pub(super) fn to_millis(&self, sql: &str) -> String {
        match self {
            Self::Epoch(1) => format!("CAST({sql} AS BIGINT)"),
            Self::Epoch(unit) => format!("CAST(CAST({sql} AS BIGINT) * {unit} AS BIGINT)"),
            Self::Timestamp => {
                format!("CAST(arrow_cast({sql}, 'Timestamp(Millisecond, None)') AS BIGINT)")
            }
            Self::Pattern(pattern) => format!("fromdatetime({sql}, {})", quoted(pattern)),
        }
    }

    /// The other way.
    pub(super) fn of_millis(&self, sql: &str) -> String {
        match self {
            Self::Epoch(1) => sql.to_owned(),
            Self::Epoch(unit) => {
                format!("CAST(({sql} - {sql} % {unit}) / {unit} AS BIGINT)")
            }
            Self::Timestamp => format!("arrow_cast({sql}, 'Timestamp(Millisecond, None)')"),
            Self::Pattern(pattern) => format!("todatetime({sql}, {})", quoted(pattern)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit.to_uppercase().as_str() {
        "MILLISECONDS" => 1,
        "SECONDS" => 1_000,
        "MINUTES" => 60_000,
        "HOURS" => 3_600_000,
        "DAYS" => 86_400_000,
        "WEEKS" => 7 * 86_400_000,
        _ => return None,
    })
}

/// Of a granularity, `15:MINUTES`.
pub(super) fn millis_of(granularity: &str) -> Result<i64, Fault> {
    let parts = granularity.split_once(':');
    let size = parts.and_then(|(size, unit)| Some((size.parse::<i64>().ok()?, unit_ms(unit)?)));
    match size.and_then(|(size, unit)| size.checked_mul(unit)) {
        Some(size) if size > 0 => Ok(size),
        _ => Err(syntax(&format!(
            "`{granularity}` is no granularity; write 15:MINUTES, 1:HOURS or 1:DAYS"
        ))),
    }
}

/// Of `15m`: as SQL writes it, and in milliseconds where that is fixed.
pub(super) fn interval_of(text: &str) -> Result<(String, Option<i64>), Fault> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (size, unit) = text.split_at(digits);
    let size: i64 = match size.is_empty() {
        true => 1,
        false => size.parse().unwrap_or(0),
    };
    // Capital M is a month, as where SAMPLE BY comes from.
    let (word, unit_ms) = match unit {
        "T" | "ms" => ("milliseconds", Some(1)),
        "s" => ("seconds", Some(1_000)),
        "m" => ("minutes", Some(60_000)),
        "h" => ("hours", Some(3_600_000)),
        "d" => ("days", Some(86_400_000)),
        "w" => ("weeks", Some(7 * 86_400_000)),
        "M" => ("months", None),
        "y" => ("years", None),
        _ => ("", None),
    };
    if word.is_empty() || size <= 0 {
        return Err(syntax(&format!(
            "`{text}` is no interval of SAMPLE BY; write 10s, 15m, 1h, 1d, 1w, 1M or 1y"
        )));
    }
    Ok((format!("{size} {word}"), unit_ms.map(|unit| unit * size)))
}
