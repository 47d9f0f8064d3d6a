//! An answer of `/v1/sql` in the form that the client wants.
//!
//! | `Accept`, or `format` behind the `?` | body |
//! |---|---|
//! | `application/json`, `json`, or neither | one document: columns, rows, stats, warnings |
//! | `application/x-ndjson`, `ndjson` | an object a line |
//! | `text/csv`, `csv` | RFC 4180 with a header; null is an empty field, an empty text is quoted |
//! | `application/vnd.apache.arrow.stream`, `arrow` | Arrow IPC stream |
//! | `application/vnd.apache.parquet`, `parquet` | Parquet file, zstd |
//!
//! Values of NDJSON and CSV are those of JSON. Invariant: every form holds all rows of the answer,
//! and a large one gives others a turn between batches. A fault is JSON in every form.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use schemas::Fault;
use tokio::task::yield_now;

use crate::values::Cells;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

impl Form {
    pub const ALL: [Self; 5] = [
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        Self::Arrow,
        Self::Parquet,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// `format` wins over the header. Of several media types the first that is known is taken.
    pub(crate) fn wanted(format: Option<&str>, headers: &HeaderMap) -> Result<Self, Fault> {
        if let Some(format) = format {
            return Self::find(|form| form.name().eq_ignore_ascii_case(format))
                .ok_or_else(|| unknown(format));
        }
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::Json);
        };
        let types = accept.split(',').map(|one| one.split(';').next());
        let types = types.map(|one| one.unwrap_or_default().trim());
        for media_type in types {
            if ["*/*", "application/*", ""].contains(&media_type) {
                return Ok(Self::Json);
            }
            if let Some(form) = Self::find(|f| f.media_type().eq_ignore_ascii_case(media_type)) {
                return Ok(form);
            }
        }
        Err(unknown(accept))
    }

    fn find(fits: impl Fn(Self) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|form| fits(*form))
    }
}

fn unknown(asked: &str) -> Fault {
    let known: Vec<&str> = Form::ALL.iter().map(|form| form.media_type()).collect();
    Fault::invalid(format!(
        "an answer cannot be given as `{asked}`: {}",
        known.join(", ")
    ))
}

/// All batches in a form other than JSON.
pub async fn encode(
    form: Form,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Vec<u8>, Fault> {
    match form {
        Form::Json | Form::Ndjson => Ok(ndjson(schema, batches).await),
        Form::Csv => Ok(csv(schema, batches).await),
        Form::Arrow => arrow_stream(schema, batches)
            .await
            .map_err(|error| Fault::internal(error.to_string())),
        Form::Parquet => parquet_file(schema, batches)
            .await
            .map_err(|error| Fault::internal(error.to_string())),
    }
}

fn cells(batch: &RecordBatch) -> Vec<Cells<'_>> {
    batch.columns().iter().map(Cells::new).collect()
}

async fn ndjson(schema: &Schema, batches: &[RecordBatch]) -> Vec<u8> {
    let keys = schema.fields().iter().enumerate().map(|(at, field)| {
        let name = serde_json::Value::from(field.name().as_str());
        format!("{}{name}:", if at == 0 { '{' } else { ',' })
    });
    let keys: Vec<String> = keys.collect();
    let mut to = Vec::new();
    for batch in batches {
        let cells = cells(batch);
        for row in 0..batch.num_rows() {
            for (key, cell) in keys.iter().zip(&cells) {
                to.extend_from_slice(key.as_bytes());
                cell.write(row, &mut to);
            }
            to.extend_from_slice(b"}\n");
        }
        yield_now().await;
    }
    to
}

async fn csv(schema: &Schema, batches: &[RecordBatch]) -> Vec<u8> {
    let mut to = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            to.push(b',');
        }
        csv_text(field.name(), &mut to);
    }
    to.extend_from_slice(b"\r\n");
    let mut json = Vec::new();
    for batch in batches {
        let cells = cells(batch);
        for row in 0..batch.num_rows() {
            for (at, cell) in cells.iter().enumerate() {
                if at > 0 {
                    to.push(b',');
                }
                json.clear();
                cell.write(row, &mut json);
                csv_value(&json, &mut to);
            }
            to.extend_from_slice(b"\r\n");
        }
        yield_now().await;
    }
    to
}

/// A value that is written as JSON.
fn csv_value(json: &[u8], to: &mut Vec<u8>) {
    match json.first() {
        Some(b'n') => {}
        Some(b'"') => {
            let text: String = serde_json::from_slice(json).unwrap_or_default();
            csv_text(&text, to);
        }
        Some(b'[') => csv_text(&String::from_utf8_lossy(json), to),
        _ => to.extend_from_slice(json),
    }
}

/// A field of CSV; an empty text is quoted, unlike what is not there.
pub fn csv_text(text: &str, to: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        to.extend_from_slice(text.as_bytes());
        return;
    }
    to.push(b'"');
    to.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    to.push(b'"');
}

async fn arrow_stream(schema: &Schema, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let schema = plain_schema(schema);
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    for batch in batches {
        writer.write(&plain(batch, &schema)?)?;
        yield_now().await;
    }
    writer.into_inner()
}

async fn parquet_file(schema: &Schema, batches: &[RecordBatch]) -> Result<Vec<u8>, ParquetError> {
    let schema = plain_schema(schema);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    for batch in batches {
        writer.write(&plain(batch, &schema)?)?;
        yield_now().await;
    }
    writer.into_inner()
}

/// Views are young: not every reader of Arrow and Parquet knows them.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        // Parquet has no column without a type.
        DataType::Null => DataType::Utf8,
        DataType::List(entry) => DataType::List(Arc::new(plain_field(entry))),
        other => other.clone(),
    }
}

fn plain_field(field: &Field) -> Field {
    let data_type = plain_type(field.data_type());
    field.clone().with_data_type(data_type).with_nullable(true)
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|f| plain_field(f)).collect();
    Arc::new(Schema::new(fields))
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, ListArray, StringViewArray};
    use arrow::datatypes::Int64Type;
    use arrow::ipc::reader::StreamReader;
    use axum::http::HeaderValue;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    use super::*;

    fn batch() -> RecordBatch {
        let names = StringViewArray::from(vec![Some("a \"b\", c"), Some(""), None]);
        let numbers = Int64Array::from(vec![Some(1), None, Some(-3)]);
        let lists = vec![Some(vec![Some(1), Some(2)]), Some(vec![]), None];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let columns: [(&str, ArrayRef); 3] = [
            ("name", Arc::new(names)),
            ("n", Arc::new(numbers)),
            ("several", Arc::new(lists)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    async fn encoded(form: Form) -> Vec<u8> {
        let batch = batch();
        encode(form, &batch.schema(), &[batch.clone(), batch.slice(1, 1)])
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn texts_tell_null_from_empty() {
        let csv = String::from_utf8(encoded(Form::Csv).await).unwrap();
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(lines[0], "name,n,several");
        assert_eq!(lines[1], "\"a \"\"b\"\", c\",1,\"[1,2]\"");
        assert_eq!(lines[2..5], ["\"\",,[]", ",-3,", "\"\",,[]"]);
        let lines = String::from_utf8(encoded(Form::Ndjson).await).unwrap();
        assert_eq!(
            lines.lines().nth(1),
            Some(r#"{"name":"","n":null,"several":[]}"#)
        );
        assert_eq!(lines.lines().count(), 4);
    }

    #[tokio::test]
    async fn arrow_and_parquet_have_the_same_rows() {
        let bytes = encoded(Form::Arrow).await;
        let streamed = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let streamed: Vec<RecordBatch> = streamed.collect::<Result<_, _>>().unwrap();
        let file = Bytes::from(encoded(Form::Parquet).await);
        let read = ParquetRecordBatchReader::try_new(file, 100).unwrap();
        let read: Vec<RecordBatch> = read.collect::<Result<_, _>>().unwrap();
        let both = arrow::compute::concat_batches(&streamed[0].schema(), &streamed).unwrap();
        assert_eq!(both.num_rows(), 4);
        assert_eq!(read[0].columns(), both.columns());
    }

    #[test]
    fn the_first_known_form_is_taken() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            Form::wanted(None, &headers)
        };
        assert_eq!(accepts("text/html, text/csv;q=0.5").unwrap(), Form::Csv);
        assert_eq!(accepts("text/html,*/*;q=0.8").unwrap(), Form::Json);
        let refused = accepts("image/png").unwrap_err().message;
        assert!(refused.contains("text/csv"), "{refused}");
        let none = HeaderMap::new();
        assert_eq!(Form::wanted(Some("PARQUET"), &none).unwrap(), Form::Parquet);
        assert_eq!(Form::wanted(None, &none).unwrap(), Form::Json);
    }
}
