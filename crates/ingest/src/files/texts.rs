//! Text files, record by record, as JSON objects: JSON, and CSV, whose header names the fields or
//! options do.
//!
//! A CSV field that is empty is null; whether a field is a number is decided by its column. The
//! values of a column with several of them are separated by `;`, as in Pinot, unless options say
//! otherwise.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use schemas::TableSpec;
use schemas::decoding::CsvSpec;
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

pub(super) fn csv(
    path: &Path,
    fields: Fields,
    spec: Option<&CsvSpec>,
) -> Result<Payloads, FileError> {
    let name = path.display().to_string();
    csv_records((unpacked(path)?, name), fields, spec)
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
    csv_records((Cursor::new(text), "the body".to_owned()), fields, None)?.collect()
}

/// `spec`: `None`, with a header and commas.
fn csv_records(
    (from, path): (impl Read + 'static, String),
    fields: Fields,
    spec: Option<&CsvSpec>,
) -> Result<Payloads, FileError> {
    let usual = CsvSpec {
        trim: false,
        ..CsvSpec::default()
    };
    let spec = spec.cloned().unwrap_or(usual);
    let mut builder = csv::ReaderBuilder::new();
    builder
        .delimiter(spec.delimiter as u8)
        .quoting(spec.quote.is_some())
        .quote(spec.quote.map_or(b'"', |quote| quote as u8))
        .escape(spec.escape.map(|escape| escape as u8))
        .double_quote(spec.escape.is_none())
        .comment(spec.comment.map(|comment| comment as u8))
        .has_headers(spec.names.is_empty() || spec.skip_header)
        .trim(if spec.trim {
            csv::Trim::All
        } else {
            csv::Trim::Headers
        });
    let mut reader = builder.from_reader(from);
    let name = path.clone();
    let failed = move |error: csv::Error| FileError::Row {
        path: path.clone(),
        row: error.position().map_or(0, csv::Position::record),
        reason: error.to_string(),
    };
    let names: Vec<String> = match spec.names.is_empty() {
        true => {
            let header = reader.headers().map_err(&failed)?;
            header.iter().map(str::to_owned).collect()
        }
        false => spec.names.clone(),
    };
    let mut row = 0;
    let records = reader.into_records().map(move |record| {
        row += 1;
        let record = record.map_err(&failed)?;
        if record.len() != names.len() {
            let (found, wanted) = (record.len(), names.len());
            return Err(FileError::Row {
                path: name.clone(),
                row,
                reason: format!("it has {found} fields, `header` names {wanted}"),
            });
        }
        let object: Map<String, Value> = names
            .iter()
            .zip(&record)
            .map(|(name, field)| (name.clone(), value(name, field, &fields, &spec)))
            .collect();
        Ok(Value::Object(object).to_string().into_bytes())
    });
    Ok(Box::new(records))
}

fn value(name: &str, field: &str, fields: &Fields, spec: &CsvSpec) -> Value {
    if field.is_empty() || spec.null_text.as_deref() == Some(field) {
        return Value::Null;
    }
    match fields {
        Fields::AsWritten { several } if several.iter().any(|column| column == name) => {
            match spec.values_delimiter {
                '\0' => Value::from(vec![field]),
                delimiter => field.split(delimiter).map(Value::from).collect(),
            }
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
