//! Times as texts and back: TODATETIME and FROMDATETIME by patterns, TOISO8601, TOTIMESTAMP.

use std::fmt::Write;

use arrow::array::ArrayRef;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType;
use chrono::{DateTime, SecondsFormat};
use datafusion::common::{DataFusionError, Result, ScalarValue};

use super::pattern::Pattern;
use super::zone::Zone;
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, literal};
use crate::rows::{Ms, Rows, TEXT};

pub(super) fn unreadable(name: &str, text: &str) -> DataFusionError {
    wrong(format!(
        "{name}: `{text}` is not written as the pattern says"
    ))
}

/// Of ISO 8601 and its like: `2024-06-15`, `2024-06-15 12:30:00.5`, `2024-06-15T12:30:00Z`; or
/// epoch milliseconds.
pub(super) fn time_of(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let nanos = string_to_timestamp_nanos(text).ok()?;
        Some(nanos.div_euclid(1_000_000))
    })
}

fn zone_of(name: Option<&str>, function: &str) -> Result<Zone> {
    name.map_or(Ok(Zone::Utc), |name| Zone::parse(name, function))
}

fn to_date_time(rows: &Rows) -> Result<ArrayRef> {
    let pattern = Pattern::parse(rows.text(1)?, rows.name())?;
    let zone = zone_of(rows.literal(2)?, rows.name())?;
    rows.map(|ms: i64| {
        let mut text = String::new();
        pattern.write(ms, zone, &mut text)?;
        Some(text)
    })
}

fn from_date_time(rows: &Rows) -> Result<ArrayRef> {
    let pattern = Pattern::parse(rows.text(1)?, rows.name())?;
    let zone = zone_of(rows.literal(2)?, rows.name())?;
    let otherwise =
        match rows.literal(3)? {
            Some(text) => Some(time_of(text).ok_or_else(|| {
                wrong(format!("{}: the default `{text}` is no time", rows.name()))
            })?),
            None => None,
        };
    rows.try_map(|text: &str| {
        let ms = pattern.read(text, zone).or(otherwise);
        ms.map(Some).ok_or_else(|| unreadable(rows.name(), text))
    })
}

fn check(name: &'static str) -> impl Fn(&[Option<&ScalarValue>]) -> Result<()> {
    move |values| {
        if let Some(pattern) = literal(values, 1) {
            Pattern::parse(pattern, name)?;
        }
        zone_of(literal(values, 2), name).map(|_| ())
    }
}

fn to_iso(ms: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(ms)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn to_text(ms: i64) -> Option<String> {
    let mut text = String::new();
    super::pattern::plain(ms, &mut text)?;
    Some(text)
}

fn from_iso(rows: &Rows) -> Result<ArrayRef> {
    rows.try_map(|text: &str| {
        let ms = time_of(text).map(Some);
        ms.ok_or_else(|| {
            let mut message = String::new();
            let _ = write!(message, "{}: `{text}` is no time of ISO 8601", rows.name());
            wrong(message)
        })
    })
}

fn plain(
    name: &str,
    takes: &[Takes],
    gives: DataType,
    body: fn(&Rows) -> Result<ArrayRef>,
) -> Plain {
    Plain::new(name, takes, gives, body).of_entries()
}

fn to_date_time_function() -> Plain {
    use Takes::{Text, Time};
    plain("to_date_time", &[Time, Text, Text], TEXT, to_date_time)
        .optional(1)
        .checks(check("TODATETIME"))
        .says(
            Section::Time,
            "TODATETIME(time, 'pattern' [, 'time zone'])",
            "The time as text. Patterns are those of Java: y M d H h m s S a E D w x z Z, text \
                 in single quotes.",
            &[
                (
                    "TODATETIME(1718454600000, 'yyyy-MM-dd HH:mm')",
                    "2024-06-15 12:30",
                ),
                (
                    "TODATETIME(1718454600000, 'EEE d MMM yyyy, h:mm a', 'Asia/Tokyo')",
                    "Sat 15 Jun 2024, 9:30 PM",
                ),
            ],
        )
}

fn from_date_time_function() -> Plain {
    use Takes::Text;
    plain(
        "from_date_time",
        &[Text, Text, Text, Text],
        DataType::Int64,
        from_date_time,
    )
    .optional(2)
    .checks(check("FROMDATETIME"))
    .says(
        Section::Time,
        "FROMDATETIME(text, 'pattern' [, 'time zone' [, default]])",
        "Epoch milliseconds of a time that is written as the pattern says; the default, or \
                 an error, where it is not.",
        &[
            (
                "FROMDATETIME('2024-06-15 12:30', 'yyyy-MM-dd HH:mm')",
                "1718454600000",
            ),
            (
                "FROMDATETIME('15.06.2024', 'dd.MM.yyyy', 'Europe/Berlin')",
                "1718402400000",
            ),
            ("FROMDATETIME('soon', 'yyyy', 'UTC', 0)", "0"),
        ],
    )
}

fn to_iso8601() -> Plain {
    use Takes::Time;
    plain("to_iso8601", &[Time], TEXT, |rows| rows.map(to_iso)).says(
        Section::Time,
        "TOISO8601(time)",
        "The time as ISO 8601 writes it, in UTC.",
        &[("TOISO8601(1718454600000)", "2024-06-15T12:30:00.000Z")],
    )
}

fn from_iso8601() -> Plain {
    use Takes::Text;
    plain("from_iso8601", &[Text], DataType::Int64, from_iso).says(
        Section::Time,
        "FROMISO8601(text)",
        "Epoch milliseconds of a time that is written as ISO 8601 says.",
        &[("FROMISO8601('2024-06-15T14:30:00+02:00')", "1718454600000")],
    )
}

fn to_timestamp() -> Plain {
    use Takes::Time;
    plain("pinot_to_timestamp", &[Time], TIME, |rows| {
        rows.map(|ms: i64| Some(Ms(ms)))
    })
    .in_pinot(&["TO_TIMESTAMP", "TO_TIMESTAMP_MV"])
    .says(
        Section::Time,
        "TOTIMESTAMP(time)",
        "The TIMESTAMP of epoch milliseconds, or of text.",
        &[("TOTIMESTAMP(1718454600000)", "2024-06-15T12:30:00")],
    )
}

fn from_timestamp() -> Plain {
    use Takes::Time;
    plain("from_timestamp", &[Time], DataType::Int64, |rows| {
        rows.map(|ms: i64| Some(ms))
    })
    .says(
        Section::Time,
        "FROMTIMESTAMP(timestamp)",
        "Epoch milliseconds of a TIMESTAMP.",
        &[(
            "FROMTIMESTAMP(TIMESTAMP '2024-06-15 12:30:00')",
            "1718454600000",
        )],
    )
}

fn timestamp_text() -> Plain {
    use Takes::Time;
    plain("timestamp_text", &[Time], TEXT, |rows| rows.map(to_text)).says(
        Section::Time,
        "TIMESTAMP_TEXT(time)",
        "The time as answers show TIMESTAMPs.",
        &[("TIMESTAMP_TEXT(1718454600000)", "2024-06-15 12:30:00.0")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        to_date_time_function(),
        from_date_time_function(),
        to_iso8601(),
        from_iso8601(),
        to_timestamp(),
        from_timestamp(),
        timestamp_text(),
    ]
}
