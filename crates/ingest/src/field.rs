//! One value on its way into its column: what every format says of it ends here.
//!
//! A value that the column cannot take is refused with the column, its type and the value; where
//! the table goes on in spite of errors it is null, and the row counts as incomplete.

use std::fmt::{self, Write};

use arrow::datatypes::i256;
use schemas::decoding::TooLong;
use schemas::{ColumnSpec, DataType, Value};
use serde::de::IgnoredAny;

use crate::coerce::{self, Cell, Offer};
use crate::message::Short;
use crate::time::TimeFormat;

/// Room that is kept from row to row.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Texts and bytes of a row, and how it fares.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Of columns of texts; their cells are places in it.
    pub(crate) text: String,
    /// Of columns of bytes.
    pub(crate) bytes: Vec<u8>,
    /// Of columns of decimals.
    pub(crate) decimals: Vec<i256>,
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

impl Texts {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.decimals.clear();
        self.wrong = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len() + self.bytes.len() + size_of_val(self.decimals.as_slice())
    }

    fn decimal(&mut self, value: i256) -> Cell {
        self.decimals.push(value);
        Cell::Decimal(self.decimals.len() as u32 - 1)
    }
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
            DataType::BigDecimal => {
                let value = coerce::decimal(&shown.to_string());
                value.map(|value| self.texts.decimal(value))
            }
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
                    self.limited_bytes(from)
                } else {
                    self.refuse(format_args!("\"{value}\" (not hexadecimal)"))
                }
            }
            DataType::Uuid => match schemas::types::uuid_bytes(value) {
                Some(bytes) => self.uuid(bytes),
                None => self.refuse(format_args!("\"{value}\"")),
            },
            DataType::BigDecimal => match coerce::decimal(value) {
                Some(value) => Ok(self.texts.decimal(value)),
                None => self.refuse(format_args!("\"{value}\"")),
            },
            DataType::Json if serde_json::from_str::<IgnoredAny>(value).is_ok() => self.keep(value),
            DataType::Json => {
                let from = self.texts.text.len();
                quote(value, &mut self.texts.text);
                self.limited(from)
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
    pub(crate) fn bytes(self, value: &[u8]) -> Result<Cell, String> {
        match self.column.data_type {
            DataType::Bytes => {
                let from = self.texts.bytes.len();
                self.texts.bytes.extend_from_slice(value);
                self.limited_bytes(from)
            }
            DataType::Uuid => match <[u8; 16]>::try_from(value) {
                Ok(bytes) => self.uuid(bytes),
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
    pub(crate) fn json(self, text: &str) -> Result<Cell, String> {
        if text == "null" {
            return Ok(Cell::Null);
        }
        match self.column.data_type {
            DataType::Json | DataType::String => self.keep(text),
            DataType::BigDecimal => match coerce::decimal(text.trim_matches('"')) {
                Some(value) => Ok(self.texts.decimal(value)),
                None => self.refuse(text),
            },
            _ if text.starts_with('[') => self.refuse("an array"),
            _ => self.refuse("an object"),
        }
    }

    fn uuid(self, bytes: [u8; 16]) -> Result<Cell, String> {
        let (from, text) = (self.texts.text.len(), schemas::types::uuid_text(bytes));
        self.texts.text.extend(text.map(char::from));
        Cell::of_text(from, self.texts.text.len())
    }

    /// The text of a number or a boolean.
    fn shown(self, value: impl fmt::Display) -> Result<Cell, String> {
        let from = self.texts.text.len();
        let _infallible = write!(self.texts.text, "{value}");
        self.limited(from)
    }

    fn keep(self, value: &str) -> Result<Cell, String> {
        let from = self.texts.text.len();
        self.texts.text.push_str(value);
        self.limited(from)
    }

    /// The text that was just appended, as the column's limit wants it.
    fn limited(self, from: usize) -> Result<Cell, String> {
        let to = self.texts.text.len();
        if to - from <= self.column.length_max as usize {
            return Cell::of_text(from, to);
        }
        self.beyond(from)
    }

    #[cold]
    fn beyond(self, from: usize) -> Result<Cell, String> {
        let (limit, text) = (self.column.length_max as usize, &mut self.texts.text);
        let is_text = self.column.data_type == DataType::String;
        match self.column.too_long {
            TooLong::Usual if is_text => {
                let end = text.floor_char_boundary(from + limit);
                text.truncate(end);
            }
            TooLong::Usual | TooLong::Keep => {}
            TooLong::Error => {
                let length = text.len() - from;
                text.truncate(from);
                return self.refuse(format_args!("{length} bytes, only {limit}"));
            }
            TooLong::Default => {
                text.truncate(from);
                let Value::String(default) = &self.column.default else {
                    return Ok(Cell::Null);
                };
                text.push_str(default);
            }
        }
        Cell::of_text(from, self.texts.text.len())
    }

    /// As [`Self::limited`], of bytes.
    fn limited_bytes(self, from: usize) -> Result<Cell, String> {
        let (limit, bytes) = (self.column.length_max as usize, &mut self.texts.bytes);
        let length = bytes.len() - from;
        match self.column.too_long {
            TooLong::Error if length > limit => {
                bytes.truncate(from);
                return self.refuse(format_args!("{length} bytes, only {limit}"));
            }
            TooLong::Default if length > limit => {
                bytes.truncate(from);
                let Value::Bytes(default) = &self.column.default else {
                    return Ok(Cell::Null);
                };
                bytes.extend_from_slice(default);
            }
            _ => {}
        }
        Cell::of_text(from, self.texts.bytes.len())
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(text: &str, to: &mut String) {
    to.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                to.push('\\');
                to.push(letter);
            }
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\0'..' ' => {
                let _infallible = write!(to, "\\u{:04x}", u32::from(letter));
            }
            _ => to.push(letter),
        }
    }
    to.push('"');
}
