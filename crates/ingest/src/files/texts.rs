//! Text files, record by record, as JSON objects: JSON, and CSV with a header.
//!
//! A CSV field that is empty is null; whether a field is a number is decided by its column. The
//! values of a column with several of them are separated by `;`, as in Pinot.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use schemas::TableSpec;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{FileError, opened, read_failed};

/// How the fields of a CSV file are given on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// As strings, which columns of every type take; those of the named columns as arrays.
    AsWritten { several: Vec<String> },
    /// As what they look like, to find the types of columns.
    Guessed,
}

impl Fields {
    pub(crate) fn of(spec: &TableSpec) -> Self {
        let several = spec.columns.iter().filter(|column| column.multi_value);
        let several = several.map(|column| column.name.clone());
        Self::AsWritten {
            several: several.collect(),
        }
    }
}

pub(crate) type Payloads = Box<dyn Iterator<Item = Result<Vec<u8>, FileError>>>;

/// A document that is one array is held in memory.
const ARRAY_BYTES_MAX: u64 = 1 << 30;

/// An object a line, or one array of objects.
pub(super) fn json(path: &Path) -> Result<Payloads, FileError> {
    let name = path.display().to_string();
    let mut text = unpacked(path)?;
    let failed = |source| read_failed(&name, source);
    let first = loop {
        let ahead = text.fill_buf().map_err(failed)?;
        match ahead.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => break ahead.get(at).copied(),
            None if ahead.is_empty() => break None,
            None => {
                let blank = ahead.len();
                text.consume(blank);
            }
        }
    };
    if first == Some(b'[') {
        return array(&name, text);
    }
    let lines = text.split(b'\n');
    let lines = lines.map(move |line| line.map_err(|source| read_failed(&name, source)));
    let is_empty = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    Ok(Box::new(lines.filter(move |line| {
        !line.as_ref().is_ok_and(|line| is_empty(line))
    })))
}

fn array(name: &str, text: impl Read) -> Result<Payloads, FileError> {
    let told = |reason: String| FileError::Row {
        path: name.to_owned(),
        row: 1,
        reason,
    };
    let mut whole = Vec::new();
    let read = text.take(ARRAY_BYTES_MAX + 1).read_to_end(&mut whole);
    read.map_err(|source| read_failed(name, source))?;
    if whole.len() as u64 > ARRAY_BYTES_MAX {
        return Err(told(
            "an array of more than 1 GiB; write an object a line".to_owned(),
        ));
    }
    let items: Vec<&RawValue> =
        serde_json::from_slice(&whole).map_err(|error| told(error.to_string()))?;
    let items: Vec<Vec<u8>> = items
        .iter()
        .map(|item| item.get().as_bytes().to_vec())
        .collect();
    Ok(Box::new(items.into_iter().map(Ok)))
}

pub(super) fn csv(path: &Path, fields: Fields) -> Result<Payloads, FileError> {
    csv_records(unpacked(path)?, path.display().to_string(), fields)
}

/// The text of a file that may be packed, by the ending of its name.
fn unpacked(path: &Path) -> Result<Box<dyn BufRead>, FileError> {
    let name = path.display().to_string();
    let file = opened(path)?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("gz") => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        Some("zst") => {
            let text = zstd::Decoder::new(file).map_err(|source| read_failed(&name, source))?;
            Box::new(BufReader::new(text))
        }
        _ => Box::new(BufReader::new(file)),
    })
}

/// The records of a CSV text with a header, as JSON objects for the columns of a table.
pub fn csv_payloads(spec: &TableSpec, text: Bytes) -> Result<Vec<Vec<u8>>, FileError> {
    let fields = Fields::of(spec);
    csv_records(Cursor::new(text), "the body".to_owned(), fields)?.collect()
}

fn csv_records(
    from: impl Read + 'static,
    path: String,
    fields: Fields,
) -> Result<Payloads, FileError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::Headers)
        .from_reader(from);
    let failed = move |error: csv::Error| FileError::Row {
        path: path.clone(),
        row: error.position().map_or(0, csv::Position::record),
        reason: error.to_string(),
    };
    let header = reader.headers().map_err(&failed)?.clone();
    let records = reader.into_records().map(move |record| {
        let record = record.map_err(&failed)?;
        let object: Map<String, Value> = header
            .iter()
            .zip(&record)
            .map(|(name, field)| (name.to_owned(), value(name, field, &fields)))
            .collect();
        Ok(Value::Object(object).to_string().into_bytes())
    });
    Ok(Box::new(records))
}

fn value(name: &str, field: &str, fields: &Fields) -> Value {
    if field.is_empty() {
        return Value::Null;
    }
    match fields {
        Fields::AsWritten { several } if several.iter().any(|column| column == name) => {
            field.split(';').map(Value::from).collect()
        }
        Fields::AsWritten { .. } => Value::from(field),
        Fields::Guessed => guessed(field),
    }
}

fn guessed(field: &str) -> Value {
    // `007` is a name; JSON reads it as no number either.
    let number = serde_json::from_str(field).ok().filter(Value::is_number);
    match field {
        "true" | "false" => Value::Bool(field == "true"),
        _ => number.unwrap_or_else(|| Value::from(field)),
    }
}
