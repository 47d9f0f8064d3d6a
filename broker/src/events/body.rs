//! The body of a request as events: JSON objects, each the payload of a message.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Field, Schema, TimeUnit};
use arrow_json::LineDelimitedWriter;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use schemas::decoding::FormatSpec;
use schemas::{DataType, Fault, TableSpec};
use serde_json::value::RawValue;

use super::key::key_of;
use super::tables::Table;
use super::{BODY_BYTES_MAX, topic_of};
use crate::forms::Form;

/// Of a batch of Arrow's.
const LINES_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// Rejected rows that an answer names.
const REASONS_MAX: usize = 10;

#[derive(Debug)]
pub(super) struct Event {
    /// Of the primary key, where the table has one: its rows are in one partition.
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
}

/// Rows that fit the table.
pub(super) fn events(table: &Table, headers: &HeaderMap, body: Bytes) -> Result<Vec<Event>, Fault> {
    let spec = &*table.spec;
    let decoder = topic_of(spec).map(|(_, stream)| &stream.decoder);
    if let Some(decoder) = decoder
        && (decoder.format != FormatSpec::Json || decoder.framed)
    {
        return Err(Fault::invalid(format!(
            "the stream of `{}` is not JSON: rows can be appended over HTTP only to those that \
             are; produce to its topic instead",
            spec.name
        )));
    }
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.and_then(|value| value.split(';').next());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    };
    let body = unpacked(&text(CONTENT_ENCODING), body)?;
    let media_type = text(CONTENT_TYPE);
    let payloads = match media_type.as_str() {
        // What curl says when it is told nothing.
        "" | "application/json" | "application/x-www-form-urlencoded" => of_json(&body)?,
        "application/x-ndjson" | "application/jsonl" => of_lines(&body),
        "text/csv" => {
            ingest::csv_payloads(spec, body).map_err(|error| Fault::invalid(error.to_string()))?
        }
        arrow if arrow == Form::Arrow.media_type() => of_arrow(spec, &body)?,
        other => {
            return Err(Fault::invalid(format!(
                "rows are not read from `{other}`: application/json, application/x-ndjson, \
                 text/csv or {}",
                Form::Arrow.media_type()
            )));
        }
    };
    let events = payloads.into_iter().map(|payload| {
        let key = key_of(&spec.primary_key, &payload);
        Event { key, payload }
    });
    let events: Vec<Event> = events.collect();
    check(table, &events)?;
    Ok(events)
}

fn unpacked(encoding: &str, body: Bytes) -> Result<Bytes, Fault> {
    let mut reader: Box<dyn Read> = match encoding {
        "" | "identity" => return Ok(body),
        "gzip" => Box::new(flate2::read::MultiGzDecoder::new(Cursor::new(body))),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::new(Cursor::new(body));
            Box::new(decoder.map_err(|error| broken(encoding, &error))?)
        }
        other => {
            return Err(Fault::invalid(format!(
                "a body cannot be packed with `{other}`: gzip, zstd or not at all"
            )));
        }
    };
    let mut unpacked = Vec::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    let read = reader.by_ref().take(limit).read_to_end(&mut unpacked);
    read.map_err(|error| broken(encoding, &error))?;
    if unpacked.len() > BODY_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "the body is larger than {} MiB when it is unpacked: send fewer rows at once",
            BODY_BYTES_MAX >> 20
        )));
    }
    Ok(unpacked.into())
}

fn broken(encoding: &str, error: &std::io::Error) -> Fault {
    Fault::invalid(format!(
        "the body cannot be unpacked as {encoding}: {error}"
    ))
}

/// One object, or an array of objects.
fn of_json(body: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins != Some(&b'[') {
        return Ok(vec![body.to_vec()]);
    }
    let rows: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        Fault::invalid(format!(
            "the body must be a JSON object or an array of objects: {error}"
        ))
    })?;
    Ok(rows
        .iter()
        .map(|row| row.get().as_bytes().to_vec())
        .collect())
}

fn of_lines(body: &[u8]) -> Vec<Vec<u8>> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

fn of_arrow(spec: &TableSpec, body: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let refused =
        |error: arrow::error::ArrowError| Fault::invalid(format!("not an Arrow stream: {error}"));
    let mut payloads = Vec::new();
    for batch in ingest::arrow_batches(body).map_err(Fault::invalid)? {
        let batch = with_epochs(spec, &batch).map_err(refused)?;
        let mut writer = LineDelimitedWriter::new(Limited(Vec::new()));
        writer.write(&batch).map_err(refused)?;
        payloads.extend(of_lines(&writer.into_inner().0));
    }
    Ok(payloads)
}

/// Lines that may not become endless: rows may share a text.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LINES_BYTES_MAX {
            let what = format!(
                "its rows have more than {} MiB as JSON",
                LINES_BYTES_MAX >> 20
            );
            return Err(std::io::Error::other(what));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Times for columns of whole numbers as milliseconds.
fn with_epochs(
    spec: &TableSpec,
    batch: &RecordBatch,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let is_whole = |name: &str| {
        let column = spec.columns.iter().find(|column| column.name == name);
        column.is_some_and(|column| matches!(column.data_type, DataType::Int | DataType::Long))
    };
    let schema = batch.schema();
    let pairs = schema.fields().iter().zip(batch.columns());
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = pairs
        .map(|(field, column)| match field.data_type() {
            Arrow::Timestamp(_, _) | Arrow::Date32 | Arrow::Date64 if is_whole(field.name()) => {
                let ms = cast(column, &Arrow::Timestamp(TimeUnit::Millisecond, None))?;
                let field = field.as_ref().clone().with_data_type(Arrow::Int64);
                Ok((field, cast(&ms, &Arrow::Int64)?))
            }
            _ => Ok((field.as_ref().clone(), ArrayRef::clone(column))),
        })
        .collect::<Result<Vec<_>, arrow::error::ArrowError>>()?
        .into_iter()
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// What the servers would reject, before anything is sent. What a pipeline makes of a record is
/// not known here: only that it is one.
fn check(table: &Table, events: &[Event]) -> Result<(), Fault> {
    let spec = &table.spec;
    if !spec.pipeline.is_plain() {
        return Ok(());
    }
    let messages = events
        .iter()
        .zip(0..)
        .map(|(event, row)| ingest::RawMessage {
            offset: row,
            payload: Some(&event.payload),
            ..ingest::RawMessage::default()
        });
    let messages: Vec<_> = messages.collect();
    let mut rejected = Vec::new();
    for some in messages.chunks(ingest::BATCH_ROWS_MAX) {
        rejected.extend(table.decode(some.iter().copied()).rejected);
    }
    if rejected.is_empty() {
        return Ok(());
    }
    let reasons = rejected.iter().take(REASONS_MAX);
    let reasons: Vec<String> = reasons
        .map(|row| format!("row {}: {}", row.offset + 1, row.reason))
        .collect();
    let others = match rejected.len().saturating_sub(REASONS_MAX) {
        0 => String::new(),
        others => format!("; and {others} others"),
    };
    Err(Fault::invalid(format!(
        "nothing was appended, {} of {} rows do not fit table `{}`: {}{others}",
        rejected.len(),
        events.len(),
        spec.name,
        reasons.join("; ")
    )))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int32Array, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::writer::StreamWriter;
    use schemas::{ColumnSpec, FieldRole, TableType};

    use super::*;

    fn written(array: ArrayRef) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("s", array)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn small_streams_that_promise_much_are_refused() {
        let column = ColumnSpec::new("s", DataType::String, FieldRole::Dimension);
        let spec = TableSpec::new("t".parse().unwrap(), TableType::Realtime, vec![column]);
        // 1,003 numbers, with what they are filled up to.
        const BYTES: u64 = 4_032;
        let mut body = written(Arc::new(Int32Array::from(vec![7; 1_003])));
        assert_eq!(of_arrow(&spec, &body).unwrap().len(), 1_003);
        let length = BYTES.to_le_bytes();
        let at = body.windows(8).position(|bytes| bytes == length).unwrap();
        body[at..][..8].copy_from_slice(&(1_u64 << 45).to_le_bytes());
        assert!(of_arrow(&spec, &body).is_err());

        let text = "x".repeat(1 << 20);
        let values = Arc::new(StringArray::from(vec![text.as_str()]));
        let keys = Int32Array::from(vec![0; 1_000]);
        let shared = DictionaryArray::<Int32Type>::try_new(keys, values).unwrap();
        let refused = of_arrow(&spec, &written(Arc::new(shared))).unwrap_err();
        assert!(
            refused.message.contains("256 MiB as JSON"),
            "{}",
            refused.message
        );
    }
}
