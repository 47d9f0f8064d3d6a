//! The types of columns, their roles and their default values, as Pinot defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Type of one value. How each is kept in Arrow is decided in `segment` and `ingest`:
///
/// | type | Arrow |
/// |---|---|
/// | INT, LONG, FLOAT, DOUBLE, BOOLEAN | Int32, Int64, Float32, Float64, Boolean |
/// | TIMESTAMP | Timestamp(Millisecond, None), UTC |
/// | STRING, JSON | Utf8View |
/// | BYTES | BinaryView |
/// | UUID | Utf8View, the canonical text; 16 bytes in sealed segments |
/// | BIG_DECIMAL | Decimal256(76, 18) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DataType {
    Int,
    Long,
    Float,
    Double,
    BigDecimal,
    Boolean,
    Timestamp,
    String,
    Json,
    Bytes,
    Uuid,
}

impl DataType {
    pub const ALL: [Self; 11] = [
        Self::Int,
        Self::Long,
        Self::Float,
        Self::Double,
        Self::BigDecimal,
        Self::Boolean,
        Self::Timestamp,
        Self::String,
        Self::Json,
        Self::Bytes,
        Self::Uuid,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::BigDecimal => "BIG_DECIMAL",
            Self::Boolean => "BOOLEAN",
            Self::Timestamp => "TIMESTAMP",
            Self::String => "STRING",
            Self::Json => "JSON",
            Self::Bytes => "BYTES",
            Self::Uuid => "UUID",
        }
    }

    pub const fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::Int | Self::Long | Self::Float | Self::Double | Self::BigDecimal
        )
    }

    /// What a missing value becomes when the schema names no other (Pinot's table).
    pub fn default_value(self, role: FieldRole) -> Value {
        let metric = role == FieldRole::Metric;
        match self {
            Self::Int => Value::Long(if metric { 0 } else { i64::from(i32::MIN) }),
            Self::Long => Value::Long(if metric { 0 } else { i64::MIN }),
            Self::Float | Self::Double => {
                Value::Double(if metric { 0.0 } else { f64::NEG_INFINITY })
            }
            Self::BigDecimal => Value::String("0".to_owned()),
            Self::Boolean => Value::Boolean(false),
            Self::Timestamp => Value::Long(0),
            Self::String | Self::Json => Value::String("null".to_owned()),
            Self::Bytes => Value::Bytes(Vec::new()),
            Self::Uuid => Value::String(Uuid::nil().to_string()),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no data type")]
pub struct UnknownDataType(String);

impl FromStr for DataType {
    type Err = UnknownDataType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|data_type| data_type.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownDataType(text.to_owned()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FieldRole {
    Dimension,
    Metric,
    DateTime,
}

/// The bytes of a UUID from its text, with or without hyphens, in any case.
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    match text.len() {
        32 | 36 => Uuid::try_parse(text).ok().map(Uuid::into_bytes),
        _ => None,
    }
}

/// Length of the canonical text of a UUID.
pub const UUID_TEXT_BYTES: usize = 36;

/// Lower case, with hyphens: it orders as the bytes do.
pub fn uuid_text(bytes: [u8; 16]) -> [u8; UUID_TEXT_BYTES] {
    let mut text = [0; UUID_TEXT_BYTES];
    Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut text);
    text
}

/// One value outside of a column: a default, a bound, a sample. TIMESTAMP is epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Long(i64),
    Double(#[serde(with = "float_text")] f64),
    String(String),
    Bytes(Vec<u8>),
}

/// JSON has no infinities: those and NaN are written as strings.
mod float_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            to.serialize_f64(*value)
        } else {
            to.collect_str(value)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Number(value) => Ok(value),
            Form::Text(text) if ["inf", "-inf", "NaN"].contains(&text.as_str()) => {
                text.parse().map_err(serde::de::Error::custom)
            }
            Form::Text(_) => Err(serde::de::Error::custom("a number")),
        }
    }
}
