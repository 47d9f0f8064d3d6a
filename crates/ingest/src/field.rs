//! One value on its way into its column: what every format says of it ends here.
//!
//! A value that the column cannot take is refused with the column, its type and the value; where
//! the table goes on in spite of errors it is null, and the row counts as incomplete.

use std::fmt::{self, Write};

use schemas::decoding::TooLong;
use schemas::{ColumnSpec, DataType, Value};
use serde::de::IgnoredAny;

use crate::coerce::{self, Cell, Offer};
use crate::message::Short;
use crate::time::TimeFormat;

/// Texts of a row, and how it fares.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    /// Wrong values become null.
    pub(crate) lenient: bool,
    /// Values that did.
    pub(crate) wrong: u64,
}

/// The place of one value.
pub(crate) struct Field<'a> {
    pub(crate) column: &'a ColumnSpec,
    pub(crate) time: &'a TimeFormat,
    pub(crate) texts: &'a mut Texts,
}

impl Field<'_> {
    /// For one more value of the same column.
    pub(crate) fn again(&mut self) -> Field<'_> {
        Field {
            column: self.column,
            time: self.time,
            texts: self.texts,
        }
    }

    #[cold]
    pub(crate) fn refuse(self, value: impl fmt::Display) -> Result<Cell, String> {
        if self.texts.lenient {
            self.texts.wrong += 1;
            return Ok(Cell::Null);
        }
        let ColumnSpec {
            name, data_type, ..
        } = self.column;
        let shown = Short(value);
        Err(format!("`{name}` is {data_type} and cannot take {shown}"))
    }

    pub(crate) fn boolean(self, value: bool) -> Result<Cell, String> {
        self.offer(Offer::Boolean(value), value)
    }

    pub(crate) fn integer(self, value: i64) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::Long => Ok(Cell::Long(value)),
            _ => self.offer(Offer::Integer(value), value),
        }
    }

    pub(crate) fn unsigned(self, value: u64) -> Result<Cell, String> {
        match i64::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.offer(Offer::Unsigned(value), value),
        }
    }

    pub(crate) fn float(self, value: f64) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::Double => Ok(Cell::Double(value)),
            _ => self.offer(Offer::Float(value), value),
        }
    }

    /// A time that the format itself tells; other columns than TIMESTAMP take it as `value`.
    pub(crate) fn instant(self, ms: Option<i64>, value: i64) -> Result<Cell, String> {
        match (self.column.data_type, ms) {
            (DataType::Timestamp, Some(ms)) => Ok(Cell::Long(ms)),
            (DataType::Timestamp, None) => self.refuse(value),
            _ => self.integer(value),
        }
    }

    fn offer(self, offer: Offer<'_>, shown: impl fmt::Display) -> Result<Cell, String> {
        let cell = match self.column.data_type {
            data_type @ (DataType::Int | DataType::Long) => {
                coerce::long(offer, data_type).map(Cell::Long)
            }
            data_type @ (DataType::Float | DataType::Double) => {
                coerce::double(offer, data_type).map(Cell::Double)
            }
            DataType::Boolean => coerce::boolean(offer).map(Cell::Long),
            DataType::Timestamp => self.time.read(offer).map(Cell::Long),
            DataType::String => return self.shown(shown),
            DataType::Json => match offer {
                Offer::Text(_) => None,
                _ => return self.shown(shown),
            },
            DataType::BigDecimal => coerce::decimal(&shown.to_string()).map(Cell::Decimal),
            DataType::Bytes | DataType::Uuid => None,
        };
        match cell {
            Some(cell) => Ok(cell),
            None => self.refuse(shown),
        }
    }

    /// A text as a column of any type takes it.
    pub(crate) fn text(self, value: &str) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::String => self.keep(value),
            DataType::Bytes => {
                let from = self.texts.bytes.len();
                if coerce::hex(value, &mut self.texts.bytes) {
                    let to = self.texts.bytes.len();
                    self.limited(from, to)
                } else {
                    self.refuse(format_args!("\"{value}\" (not hexadecimal)"))
                }
            }
            DataType::Uuid => match schemas::types::uuid_bytes(value) {
                Some(bytes) => Ok(self.uuid(bytes)),
                None => self.refuse(format_args!("\"{value}\"")),
            },
            DataType::BigDecimal => match coerce::decimal(value) {
                Some(value) => Ok(Cell::Decimal(value)),
                None => self.refuse(format_args!("\"{value}\"")),
            },
            DataType::Json if serde_json::from_str::<IgnoredAny>(value).is_ok() => self.keep(value),
            DataType::Json => {
                let from = self.texts.bytes.len();
                quote(value, &mut self.texts.bytes);
                let to = self.texts.bytes.len();
                self.limited(from, to)
            }
            _ => self.offer(Offer::Text(value), format_args!("\"{value}\"")),
        }
    }

    /// A number as its digits.
    pub(crate) fn decimal(self, digits: &str) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::Json => self.json(digits),
            _ => self.text(digits),
        }
    }

    /// Bytes of a format that tells bytes from texts.
    pub(crate) fn bytes(mut self, value: &[u8]) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::Bytes => {
                let (from, to) = self.append(value);
                self.limited(from, to)
            }
            DataType::Uuid => match <[u8; 16]>::try_from(value) {
                Ok(bytes) => Ok(self.uuid(bytes)),
                Err(_) => match std::str::from_utf8(value) {
                    Ok(text) => self.text(text),
                    Err(_) => self.refuse(format_args!("{} bytes", value.len())),
                },
            },
            _ => match std::str::from_utf8(value) {
                Ok(text) => self.text(text),
                Err(_) => {
                    let mut text = String::with_capacity(value.len() * 2);
                    for byte in value {
                        let _infallible = write!(text, "{byte:02x}");
                    }
                    self.text(&text)
                }
            },
        }
    }

    /// A value as the JSON text that it was written as.
    pub(crate) fn json(mut self, text: &str) -> Result<Cell, String> {
        if text == "null" {
            return Ok(Cell::Null);
        }
        match self.column.data_type {
            DataType::Json | DataType::String => {
                let (from, to) = self.append(text.as_bytes());
                self.limited(from, to)
            }
            DataType::BigDecimal => match coerce::decimal(text.trim_matches('"')) {
                Some(value) => Ok(Cell::Decimal(value)),
                None => self.refuse(text),
            },
            _ if text.starts_with('[') => self.refuse("an array"),
            _ => self.refuse("an object"),
        }
    }

    fn uuid(mut self, bytes: [u8; 16]) -> Cell {
        let (from, to) = self.append(&schemas::types::uuid_text(bytes));
        Cell::Text(from, to)
    }

    /// The text of a number or a boolean.
    fn shown(self, value: impl fmt::Display) -> Result<Cell, String> {
        let from = self.texts.bytes.len();
        let mut text = Writer(&mut self.texts.bytes);
        let _infallible = write!(text, "{value}");
        let to = self.texts.bytes.len();
        self.limited(from, to)
    }

    fn keep(mut self, value: &str) -> Result<Cell, String> {
        let (from, to) = self.append(value.as_bytes());
        self.limited(from, to)
    }

    fn append(&mut self, value: &[u8]) -> (usize, usize) {
        let from = self.texts.bytes.len();
        self.texts.bytes.extend_from_slice(value);
        (from, self.texts.bytes.len())
    }

    /// What was just appended, as the column's limit wants it.
    fn limited(self, from: usize, to: usize) -> Result<Cell, String> {
        let limit = self.column.length_max as usize;
        if to - from <= limit {
            return Ok(Cell::Text(from, to));
        }
        self.beyond(from, to)
    }

    #[cold]
    fn beyond(self, from: usize, to: usize) -> Result<Cell, String> {
        let limit = self.column.length_max as usize;
        let is_text = self.column.data_type == DataType::String;
        match self.column.too_long {
            TooLong::Keep => Ok(Cell::Text(from, to)),
            TooLong::Usual if !is_text => Ok(Cell::Text(from, to)),
            TooLong::Usual => {
                let bytes = &mut self.texts.bytes;
                let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
                let end = (from..=from + limit).rev().find(is_start).unwrap_or(from);
                bytes.truncate(end);
                Ok(Cell::Text(from, end))
            }
            TooLong::Error => {
                self.texts.bytes.truncate(from);
                let length = to - from;
                self.refuse(format_args!("{length} bytes, only {limit}"))
            }
            TooLong::Default => {
                self.texts.bytes.truncate(from);
                let default: &[u8] = match &self.column.default {
                    Value::String(text) => text.as_bytes(),
                    Value::Bytes(bytes) => bytes,
                    _ => return Ok(Cell::Null),
                };
                self.texts.bytes.extend_from_slice(default);
                Ok(Cell::Text(from, self.texts.bytes.len()))
            }
        }
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            0..0x20 => {
                let _infallible = write!(Writer(to), "\\u{byte:04x}");
            }
            _ => to.push(byte),
        }
    }
    to.push(b'"');
}
