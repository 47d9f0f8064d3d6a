//! Text files, record by record, as JSON objects: JSON lines, and CSV with a header.
//!
//! A CSV field that is empty is null; whether a field is a number is decided by its column. The
//! values of a column with several of them are separated by `;`, as in Pinot.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use bytes::Bytes;
use schemas::TableSpec;
use serde_json::{Map, Value};

use crate::files::FileError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    JsonLines,
    Csv,
}

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

pub(crate) fn payloads(
    path: &Path,
    format: TextFormat,
    fields: Fields,
) -> Result<Payloads, FileError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| read_failed(&name, source))?;
    match format {
        TextFormat::JsonLines => {
            let lines = BufReader::new(file).split(b'\n');
            let lines = lines.map(move |line| line.map_err(|source| read_failed(&name, source)));
            let is_empty = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
            Ok(Box::new(lines.filter(move |line| {
                !line.as_ref().is_ok_and(|line| is_empty(line))
            })))
        }
        TextFormat::Csv => csv_records(BufReader::new(file), name, fields),
    }
}

fn read_failed(path: &str, source: std::io::Error) -> FileError {
    FileError::Read {
        path: path.to_owned(),
        source,
    }
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
