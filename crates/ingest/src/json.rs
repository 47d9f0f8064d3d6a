//! JSON objects to rows, in one pass over the bytes.
//!
//! Unknown keys are skipped, of duplicate keys the last wins, a missing key is null. Most objects
//! are read by [`quick`]; for those that it leaves, serde drives a visitor that writes each known
//! field straight into the scratch row.

use std::fmt;

use schemas::DataType;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::coerce::Cell;
use crate::field::Field;
use crate::row::{Row, Target};

/// Reads one object into an empty row; the error is the reason of the rejection.
pub(crate) fn read(target: &Target, row: &mut Row, payload: &[u8]) -> Result<(), String> {
    if target.plain_names && quick::read(target, row, payload).is_some() {
        return Ok(());
    }
    row.clear(target.spec.columns.len());
    thorough(target, row, payload)
}

fn thorough(target: &Target, row: &mut Row, payload: &[u8]) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    Object { target, row }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| error.to_string())
}

/// One value of a column that is not of the object.
pub(crate) fn value(target: &Target, row: &mut Row, at: usize, text: &str) -> Result<Cell, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let field = target.field(at, &mut row.texts);
    let cell = match target.is_multi_value(at) {
        false => One(field).deserialize(&mut json),
        true => Several {
            field,
            entries: &mut row.entries,
        }
        .deserialize(&mut json),
    };
    cell.map_err(|error| error.to_string())
}

struct Object<'a> {
    target: &'a Target,
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
        let Self { target, row } = self;
        while let Some(at) = map.next_key_seed(Key {
            target,
            next: row.expected,
        })? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            row.expected = at + 1;
            let field = Field {
                column: &target.spec.columns[at],
                time: &target.times[at],
                texts: &mut row.texts,
            };
            row.cells[at] = match field.column.multi_value {
                false => map.next_value_seed(One(field))?,
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
    target: &'a Target,
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
        let expected = self.target.spec.columns.get(self.next);
        if expected.is_some_and(|column| column.name == key) {
            return Ok(Some(self.next));
        }
        Ok(self.target.position(key))
    }
}

/// One value, coerced to its column.
struct One<'a>(Field<'a>);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cell, D::Error> {
        match self.0.column.data_type {
            // The text decides: a float would lose digits, an object is kept as it stands.
            DataType::Json | DataType::BigDecimal => {
                let raw: &RawValue = serde::Deserialize::deserialize(from)?;
                self.0.json(raw.get()).map_err(Error::custom)
            }
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.0.column;
        write!(f, "a value for `{}` ({})", column.name, column.data_type)
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Cell, E> {
        self.0.boolean(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Cell, E> {
        self.0.integer(value).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Cell, E> {
        self.0.unsigned(value).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Cell, E> {
        self.0.float(value).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cell, E> {
        self.0.text(value).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cell, A::Error> {
        let value =
            serde::Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.nested(&value)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Cell, A::Error> {
        let value =
            serde::Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
        self.nested(&value)
    }
}

impl One<'_> {
    fn nested<E: Error>(self, value: &serde_json::Value) -> Result<Cell, E> {
        let text = match self.0.column.data_type {
            DataType::String => value.to_string(),
            // Only what it is goes into the reason.
            _ if value.is_array() => "[".to_owned(),
            _ => "{".to_owned(),
        };
        self.0.json(&text).map_err(E::custom)
    }
}

mod quick;
mod several;
use several::Several;

#[cfg(test)]
mod tests;
