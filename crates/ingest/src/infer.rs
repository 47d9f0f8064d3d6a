//! A schema from sample messages: types that take every sample, and the time column.

use std::ops::Range;

use schemas::{ColumnSpec, DataType, FieldRole};
use serde_json::Value;

use crate::time::timestamp_text;

/// Names under which the time of an event is usually found, best first.
const TIME_NAMES: [&str; 10] = [
    "event_time",
    "timestamp",
    "ts",
    "time",
    "created_at",
    "event_ts",
    "datetime",
    "date",
    "updated_at",
    "occurred_at",
];
/// 2000-01-01 to 2100-01-01 in epoch milliseconds and seconds.
const EPOCH_MS: Range<i64> = 946_684_800_000..4_102_444_800_000;
const EPOCH_S: Range<i64> = 946_684_800..4_102_444_800;

#[derive(Debug)]
pub struct Inferred {
    /// In the order in which the keys were first seen.
    pub columns: Vec<ColumnSpec>,
    pub time_column: Option<String>,
    /// Samples that were JSON objects.
    pub rows: Vec<serde_json::Map<String, Value>>,
    /// Samples that were not.
    pub unreadable: usize,
}

/// What the values of one key have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    EpochMs,
    EpochSeconds,
    Float,
    TimeText,
    Text,
    Nested,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) => match number.as_i64() {
                Some(integer) if EPOCH_MS.contains(&integer) => Self::EpochMs,
                Some(integer) if EPOCH_S.contains(&integer) => Self::EpochSeconds,
                Some(_) => Self::Integer,
                None => Self::Float,
            },
            Value::String(text) if is_time_text(text) => Self::TimeText,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Nested,
        })
    }

    fn join(self, other: Self) -> Self {
        use Kind::{EpochMs, EpochSeconds, Float, Integer, Nested, Text};
        match (self, other) {
            (a, b) if a == b => a,
            (Integer | EpochMs | EpochSeconds, Integer | EpochMs | EpochSeconds) => Integer,
            (Integer | EpochMs | EpochSeconds, Float)
            | (Float, Integer | EpochMs | EpochSeconds) => Float,
            (Nested, _) | (_, Nested) => Nested,
            _ => Text,
        }
    }
}

fn is_time_text(text: &str) -> bool {
    text.len() >= 10 && text.as_bytes()[4] == b'-' && timestamp_text(text).is_some()
}

fn is_time_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    TIME_NAMES.contains(&lower.as_str())
        || lower.ends_with("time")
        || lower.ends_with("_ts")
        || lower.ends_with("_at")
}

pub fn infer_schema<'a>(samples: impl Iterator<Item = &'a [u8]>) -> Inferred {
    let mut kinds: Vec<(String, Option<Kind>)> = Vec::new();
    let mut rows = Vec::new();
    let mut unreadable = 0;
    for sample in samples {
        let Ok(Value::Object(row)) = serde_json::from_slice(sample) else {
            unreadable += 1;
            continue;
        };
        for (key, value) in &row {
            let seen = Kind::of(value);
            match kinds.iter_mut().find(|(name, _)| name == key) {
                Some((_, kind)) => {
                    *kind = match (*kind, seen) {
                        (Some(a), Some(b)) => Some(a.join(b)),
                        (a, b) => a.or(b),
                    }
                }
                None => kinds.push((key.clone(), seen)),
            }
        }
        rows.push(row);
    }
    kinds.retain(|(name, _)| !name.starts_with('$') && !name.is_empty());
    let columns: Vec<ColumnSpec> = kinds
        .iter()
        .map(|(name, kind)| column(name, kind.unwrap_or(Kind::Text)))
        .collect();
    let time_column = time_column(&columns);
    Inferred {
        columns,
        time_column,
        rows,
        unreadable,
    }
}

fn column(name: &str, kind: Kind) -> ColumnSpec {
    let (data_type, role) = match kind {
        Kind::Boolean => (DataType::Boolean, FieldRole::Dimension),
        Kind::EpochMs | Kind::EpochSeconds if is_time_name(name) => {
            (DataType::Timestamp, FieldRole::DateTime)
        }
        Kind::TimeText => (DataType::Timestamp, FieldRole::DateTime),
        Kind::Integer | Kind::EpochMs | Kind::EpochSeconds => {
            (DataType::Long, FieldRole::Dimension)
        }
        Kind::Float => (DataType::Double, FieldRole::Metric),
        Kind::Text => (DataType::String, FieldRole::Dimension),
        Kind::Nested => (DataType::Json, FieldRole::Dimension),
    };
    let mut spec = ColumnSpec::new(name, data_type, role);
    if kind == Kind::EpochSeconds && data_type == DataType::Timestamp {
        spec.time_format = Some("1:SECONDS:EPOCH".to_owned());
    }
    spec
}

/// The TIMESTAMP with the most usual name, else the first.
pub fn time_column(columns: &[ColumnSpec]) -> Option<String> {
    let times = || {
        columns
            .iter()
            .filter(|column| column.data_type == DataType::Timestamp)
    };
    TIME_NAMES
        .iter()
        .find_map(|name| times().find(|column| column.name.eq_ignore_ascii_case(name)))
        .or_else(|| times().next())
        .map(|column| column.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_told_by_name_and_range() {
        let samples = [r#"{"created_at": 1700000000, "id": 1700000000, "at": 5}"#];
        let inferred = infer_schema(samples.iter().map(|sample| sample.as_bytes()));
        let [created, id, at] = &inferred.columns[..] else {
            panic!("{inferred:?}")
        };
        assert_eq!(created.data_type, DataType::Timestamp);
        assert_eq!(created.time_format.as_deref(), Some("1:SECONDS:EPOCH"));
        assert_eq!(
            (id.data_type, at.data_type),
            (DataType::Long, DataType::Long)
        );
        assert_eq!(inferred.time_column.as_deref(), Some("created_at"));
    }

    #[test]
    fn types_take_every_sample() {
        let samples = [
            r#"{"ts": 1700000000000, "n": 1, "x": 1, "s": "a", "tags": ["x"], "ok": true}"#,
            r#"{"ts": 1700000000001, "n": 2, "x": 1.5, "s": 7, "late": null}"#,
            "no json",
        ];
        let inferred = infer_schema(samples.iter().map(|sample| sample.as_bytes()));
        let types: Vec<_> = inferred
            .columns
            .iter()
            .map(|c| (c.name.as_str(), c.data_type))
            .collect();
        assert_eq!(
            types,
            [
                ("ts", DataType::Timestamp),
                ("n", DataType::Long),
                ("x", DataType::Double),
                ("s", DataType::String),
                ("tags", DataType::Json),
                ("ok", DataType::Boolean),
                ("late", DataType::String),
            ]
        );
        assert_eq!(inferred.time_column.as_deref(), Some("ts"));
        assert_eq!((inferred.rows.len(), inferred.unreadable), (2, 1));
    }
}
