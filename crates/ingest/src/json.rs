//! JSON objects to batches, in one pass over the bytes.
//!
//! serde drives a visitor that writes each known field straight into a scratch row; only when the
//! whole object is good are the cells appended to the columns. Unknown keys are skipped, of
//! duplicate keys the last wins, a missing key is null.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use hashbrown::HashMap;
use schemas::{ColumnSpec, DataType, Offset, TableSpec};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::coerce::{self, Cell, Offer};
use crate::columns::{BatchBuilder, RowData};
use crate::time::TimeFormat;
use crate::{BATCH_ROWS_MAX, REJECTED_PAYLOAD_BYTES_MAX};

/// A message as it came from the stream.
#[derive(Clone, Copy, Debug)]
pub struct RawMessage<'a> {
    pub offset: Offset,
    pub payload: Option<&'a [u8]>,
}

/// A row that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub offset: Offset,
    pub reason: String,
    /// The first [`REJECTED_PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Decoded {
    pub batches: Vec<RecordBatch>,
    pub rejected: Vec<Rejection>,
}

#[derive(Debug)]
pub struct JsonDecoder {
    spec: Arc<TableSpec>,
    positions: HashMap<String, usize>,
    /// Of each column.
    times: Vec<TimeFormat>,
    time_column: Option<usize>,
    builder: BatchBuilder,
    row: Row,
}

/// The row that is being read.
#[derive(Debug, Default)]
struct Row {
    cells: Vec<Cell>,
    /// Texts of the row.
    buffer: Vec<u8>,
    /// Values of its arrays.
    entries: Vec<Cell>,
    /// Keys mostly come in the same order: where the next one is expected.
    expected: usize,
}

impl JsonDecoder {
    pub fn new(spec: Arc<TableSpec>) -> Self {
        let positions = spec
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| (column.name.clone(), at))
            .collect();
        let time_column = spec
            .time_column
            .as_ref()
            .and_then(|name| spec.columns.iter().position(|column| column.name == *name));
        let times = spec
            .columns
            .iter()
            .map(|column| TimeFormat::of(column.time_format.as_deref()))
            .collect();
        let builder = BatchBuilder::new(&spec);
        Self {
            spec,
            positions,
            times,
            time_column,
            builder,
            row: Row::default(),
        }
    }

    /// Every message is either a row of a batch or a rejection.
    pub fn decode<'a>(
        &mut self,
        messages: impl Iterator<Item = RawMessage<'a>>,
        ingest_ms: i64,
    ) -> Decoded {
        let mut decoded = Decoded::default();
        for message in messages {
            match self.read(message.payload) {
                Ok(()) => {
                    let row = RowData {
                        texts: &self.row.buffer,
                        entries: &self.row.entries,
                    };
                    let cells = &self.row.cells;
                    self.builder.push(cells, row, message.offset, ingest_ms);
                    if self.builder.rows() == BATCH_ROWS_MAX {
                        decoded.batches.push(self.builder.finish());
                    }
                }
                Err(reason) => {
                    let payload = message.payload.unwrap_or_default();
                    let kept = payload.len().min(REJECTED_PAYLOAD_BYTES_MAX);
                    let payload = payload[..kept].to_vec();
                    decoded.rejected.push(Rejection {
                        offset: message.offset,
                        reason,
                        payload,
                    });
                }
            }
        }
        if self.builder.rows() > 0 {
            decoded.batches.push(self.builder.finish());
        }
        decoded
    }

    /// Reads one object into `self.row`; the error is the reason of the rejection.
    fn read(&mut self, payload: Option<&[u8]>) -> Result<(), String> {
        let payload = payload.ok_or("the message has no payload (a tombstone)")?;
        self.row.cells.clear();
        self.row.cells.resize(self.spec.columns.len(), Cell::Null);
        self.row.buffer.clear();
        self.row.entries.clear();
        self.row.expected = 0;
        let mut json = serde_json::Deserializer::from_slice(payload);
        let object = Object {
            columns: &self.spec.columns,
            positions: &self.positions,
            times: &self.times,
            row: &mut self.row,
        };
        object
            .deserialize(&mut json)
            .and_then(|()| json.end())
            .map_err(|error| error.to_string())?;
        match self.time_column {
            Some(at) if matches!(self.row.cells[at], Cell::Null) => Err(format!(
                "the time column `{}` is missing or null",
                self.spec.columns[at].name
            )),
            _ => Ok(()),
        }
    }
}

struct Object<'a> {
    columns: &'a [ColumnSpec],
    positions: &'a HashMap<String, usize>,
    times: &'a [TimeFormat],
    row: &'a mut Row,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self {
            columns,
            positions,
            times,
            row,
        } = self;
        while let Some(at) = map.next_key_seed(Key {
            columns,
            positions,
            next: row.expected,
        })? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            row.expected = at + 1;
            let column = &columns[at];
            let field = Field {
                column,
                time: &times[at],
                buffer: &mut row.buffer,
            };
            row.cells[at] = match column.multi_value {
                false => map.next_value_seed(field)?,
                true => map.next_value_seed(Several {
                    field,
                    entries: &mut row.entries,
                })?,
            };
        }
        Ok(())
    }
}

/// The position of a key's column; `None` for a key that the table has no column for.
struct Key<'a> {
    columns: &'a [ColumnSpec],
    positions: &'a HashMap<String, usize>,
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<usize>, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        if self
            .columns
            .get(self.next)
            .is_some_and(|column| column.name == key)
        {
            return Ok(Some(self.next));
        }
        Ok(self.positions.get(key).copied())
    }
}

/// One value, coerced to its column.
struct Field<'a> {
    column: &'a ColumnSpec,
    time: &'a TimeFormat,
    buffer: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cell, D::Error> {
        match self.column.data_type {
            // The text decides: a float would lose digits, an object is kept as it stands.
            DataType::Json | DataType::BigDecimal => {
                let raw: &RawValue = serde::Deserialize::deserialize(from)?;
                self.raw(raw.get())
            }
            _ => from.deserialize_any(self),
        }
    }
}

impl Field<'_> {
    fn refuse<E: serde::de::Error>(&self, value: impl fmt::Display) -> E {
        let ColumnSpec {
            name, data_type, ..
        } = self.column;
        let mut shown = value.to_string();
        if shown.len() > 60 {
            let cut = (0..=60)
                .rev()
                .find(|at| shown.is_char_boundary(*at))
                .unwrap_or(0);
            shown.truncate(cut);
            shown.push('…');
        }
        E::custom(format!("`{name}` is {data_type} and cannot take {shown}"))
    }

    fn offer<E: serde::de::Error>(
        self,
        offer: Offer<'_>,
        shown: impl fmt::Display,
    ) -> Result<Cell, E> {
        let cell = match self.column.data_type {
            data_type @ (DataType::Int | DataType::Long) => {
                coerce::long(offer, data_type).map(Cell::Long)
            }
            data_type @ (DataType::Float | DataType::Double) => {
                coerce::double(offer, data_type).map(Cell::Double)
            }
            DataType::Boolean => coerce::boolean(offer).map(Cell::Long),
            DataType::Timestamp => self.time.read(offer).map(Cell::Long),
            DataType::String => return Ok(self.text(&shown.to_string())),
            DataType::Bytes | DataType::Json | DataType::BigDecimal | DataType::Uuid => None,
        };
        cell.ok_or_else(|| self.refuse(shown))
    }

    /// Longer text is cut on a character boundary, as Pinot does.
    fn text(self, text: &str) -> Cell {
        let limit = self.column.length_max as usize;
        let end = if text.len() <= limit {
            text.len()
        } else {
            (0..=limit)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0)
        };
        let from = self.buffer.len();
        self.buffer.extend_from_slice(&text.as_bytes()[..end]);
        Cell::Text(from, self.buffer.len())
    }

    fn raw<E: serde::de::Error>(self, text: &str) -> Result<Cell, E> {
        if text == "null" {
            return Ok(Cell::Null);
        }
        if self.column.data_type == DataType::Json {
            let from = self.buffer.len();
            self.buffer.extend_from_slice(text.as_bytes());
            return Ok(Cell::Text(from, self.buffer.len()));
        }
        let number = text.trim_matches('"');
        coerce::decimal(number)
            .map(Cell::Decimal)
            .ok_or_else(|| self.refuse(text))
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a value for `{}` ({})",
            self.column.name, self.column.data_type
        )
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Cell, E> {
        self.offer(Offer::Boolean(value), value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Cell, E> {
        self.offer(Offer::Integer(value), value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Cell, E> {
        match i64::try_from(value) {
            Ok(integer) => self.offer(Offer::Integer(integer), value),
            Err(_) => self.offer(Offer::Unsigned(value), value),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Cell, E> {
        self.offer(Offer::Float(value), value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Cell, E> {
        match self.column.data_type {
            DataType::String => Ok(self.text(value)),
            DataType::Bytes => {
                let from = self.buffer.len();
                if coerce::hex(value, self.buffer) {
                    Ok(Cell::Text(from, self.buffer.len()))
                } else {
                    Err(self.refuse(format_args!("\"{value}\" (not hexadecimal)")))
                }
            }
            DataType::Uuid => match schemas::types::uuid_bytes(value) {
                Some(bytes) => {
                    let from = self.buffer.len();
                    let text = schemas::types::uuid_text(bytes);
                    self.buffer.extend_from_slice(&text);
                    Ok(Cell::Text(from, self.buffer.len()))
                }
                None => Err(self.refuse(format_args!("\"{value}\""))),
            },
            _ => self.offer(Offer::Text(value), format_args!("\"{value}\"")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cell, A::Error> {
        let value =
            serde::Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.nested(value)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Cell, A::Error> {
        let value =
            serde::Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
        self.nested(value)
    }
}

impl Field<'_> {
    fn nested<E: serde::de::Error>(self, value: serde_json::Value) -> Result<Cell, E> {
        if self.column.data_type == DataType::String {
            return Ok(self.text(&value.to_string()));
        }
        let kind = if value.is_array() {
            "an array"
        } else {
            "an object"
        };
        Err(self.refuse(kind))
    }
}

mod several;
use several::Several;

#[cfg(test)]
mod tests;
