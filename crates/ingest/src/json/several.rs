//! The value of a column with several values a row: an array, or one value for an array of one.
//!
//! Nulls in an array are left out, and an array without a value is null.

use std::fmt;

use schemas::DataType;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::One;
use crate::coerce::Cell;
use crate::field::Field;

pub(super) struct Several<'a> {
    pub(super) field: Field<'a>,
    pub(super) entries: &'a mut Vec<Cell>,
}

impl<'de> DeserializeSeed<'de> for Several<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cell, D::Error> {
        match self.field.column.data_type {
            DataType::Json | DataType::BigDecimal => {
                let raw: &RawValue = serde::Deserialize::deserialize(from)?;
                self.raw(raw.get())
            }
            _ => from.deserialize_any(self),
        }
    }
}

impl Several<'_> {
    fn raw<E: Error>(self, text: &str) -> Result<Cell, E> {
        if !text.starts_with('[') {
            let cell = self.field.json(text).map_err(E::custom)?;
            return Ok(one(self.entries, cell));
        }
        let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(E::custom)?;
        let from = self.entries.len();
        let mut field = self.field;
        for entry in entries {
            let cell = field.again().json(entry.get()).map_err(E::custom)?;
            push(self.entries, cell);
        }
        Ok(list(self.entries, from))
    }
}

impl<'de> Visitor<'de> for Several<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array for `{}`", self.field.column.name)
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Cell, E> {
        let cell = One(self.field).visit_bool(value)?;
        Ok(one(self.entries, cell))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Cell, E> {
        let cell = One(self.field).visit_i64(value)?;
        Ok(one(self.entries, cell))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Cell, E> {
        let cell = One(self.field).visit_u64(value)?;
        Ok(one(self.entries, cell))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Cell, E> {
        let cell = One(self.field).visit_f64(value)?;
        Ok(one(self.entries, cell))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cell, E> {
        let cell = One(self.field).visit_str(value)?;
        Ok(one(self.entries, cell))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Cell, A::Error> {
        let Self { mut field, entries } = self;
        let from = entries.len();
        while let Some(cell) = array.next_element_seed(One(field.again()))? {
            push(entries, cell);
        }
        Ok(list(entries, from))
    }
}

fn push(entries: &mut Vec<Cell>, cell: Cell) {
    if !matches!(cell, Cell::Null) {
        entries.push(cell);
    }
}

fn one(entries: &mut Vec<Cell>, cell: Cell) -> Cell {
    let from = entries.len();
    push(entries, cell);
    list(entries, from)
}

fn list(entries: &[Cell], from: usize) -> Cell {
    Cell::of_entries(from, entries.len())
}
