//! Times and lengths of time, as statements that fill gaps write them.

use schemas::Fault;

use super::gaps::quoted;
use super::syntax;

/// How a time is written in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Timestamp,
    /// As DATETIMECONVERT reads it.
    Named(String),
}

const MILLISECONDS: &str = "'1:MILLISECONDS:EPOCH'";

impl Format {
    pub(super) fn of(text: &str) -> Self {
        match text.to_uppercase().ends_with("TIMESTAMP") {
            true => Self::Timestamp,
            false => Self::Named(text.to_owned()),
        }
    }

    /// Epoch milliseconds of what `sql` gives.
    pub(super) fn to_millis(&self, sql: &str) -> String {
        match self {
            Self::Timestamp => {
                format!("CAST(arrow_cast({sql}, 'Timestamp(Millisecond, None)') AS BIGINT)")
            }
            Self::Named(name) => converted(sql, &quoted(name), MILLISECONDS),
        }
    }

    /// The other way.
    pub(super) fn of_millis(&self, sql: &str) -> String {
        match self {
            Self::Timestamp => format!("arrow_cast({sql}, 'Timestamp(Millisecond, None)')"),
            Self::Named(name) => converted(sql, MILLISECONDS, &quoted(name)),
        }
    }
}

fn converted(sql: &str, from: &str, to: &str) -> String {
    format!("datetimeconvert({sql}, {from}, {to}, '1:MILLISECONDS')")
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
