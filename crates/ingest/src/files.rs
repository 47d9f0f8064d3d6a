//! Files for import: Parquet with its own schema, JSON lines by inference.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as ArrowType, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::arrow::{arrow_type, ingest_schema};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use crate::infer::infer_schema;
use crate::{BATCH_ROWS_MAX, JsonDecoder, RawMessage};

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read `{path}`")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is no Parquet file that can be read")]
    Parquet {
        path: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error("column `{column}` has type {found}, which no column type takes")]
    Type { column: String, found: ArrowType },
    #[error("`{path}` line {line}: {reason}")]
    Row {
        path: String,
        line: u64,
        reason: String,
    },
    #[error("column `{column}` cannot be converted to {wanted}")]
    Convert {
        column: String,
        wanted: DataType,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("`{path}`: only .parquet and .json (one object a line) can be imported")]
    Format { path: String },
}

/// Rows of a file and the columns they have.
pub struct FileRows {
    pub columns: Vec<ColumnSpec>,
    content: Content,
    path: String,
}

enum Content {
    Parquet(Bytes),
    JsonLines,
}

impl std::fmt::Debug for FileRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileRows")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Lines that are looked at for the types of a JSON file.
const SAMPLE_LINES: usize = 10_000;

impl FileRows {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("")
            .to_lowercase();
        let failed = |source| FileError::Read {
            path: name.clone(),
            source,
        };
        match extension.as_str() {
            "parquet" => Self::parquet(&name, std::fs::read(path).map_err(failed)?.into()),
            "json" | "jsonl" | "ndjson" => {
                let lines = BufReader::new(File::open(path).map_err(failed)?).lines();
                let lines = lines.take(SAMPLE_LINES).collect::<Result<Vec<_>, _>>();
                let lines = lines.map_err(failed)?;
                let inferred = infer_schema(lines.iter().map(|line| line.as_bytes()));
                Ok(Self {
                    columns: inferred.columns,
                    content: Content::JsonLines,
                    path: name,
                })
            }
            _ => Err(FileError::Format { path: name }),
        }
    }

    /// `name` is for messages.
    pub fn parquet(name: &str, content: Bytes) -> Result<Self, FileError> {
        let reader = builder(name, content.clone())?;
        let columns = columns_of(reader.schema())?;
        Ok(Self {
            columns,
            content: Content::Parquet(content),
            path: name.to_owned(),
        })
    }

    /// Gives every row to `take`, in batches of the form of `ingest_schema(spec)`; `$offset` counts.
    pub fn read<E: From<FileError>>(
        &self,
        spec: &Arc<TableSpec>,
        now_ms: i64,
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<u64, E> {
        match &self.content {
            Content::Parquet(content) => {
                let reader = builder(&self.path, content.clone())?
                    .with_batch_size(BATCH_ROWS_MAX)
                    .build()
                    .map_err(|source| FileError::Parquet {
                        path: self.path.clone(),
                        source,
                    })?;
                let mut rows = 0;
                for batch in reader {
                    let batch = batch.map_err(|error| FileError::Parquet {
                        path: self.path.clone(),
                        source: error.into(),
                    })?;
                    take(converted(&batch, spec, rows as i64, now_ms)?)?;
                    rows += batch.num_rows() as u64;
                }
                Ok(rows)
            }
            Content::JsonLines => self.read_lines(spec, now_ms, take),
        }
    }

    fn read_lines<E: From<FileError>>(
        &self,
        spec: &Arc<TableSpec>,
        now_ms: i64,
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<u64, E> {
        let failed = |source| FileError::Read {
            path: self.path.clone(),
            source,
        };
        let mut lines = BufReader::new(File::open(&self.path).map_err(failed)?).lines();
        let mut decoder = JsonDecoder::new(Arc::clone(spec));
        let mut row = 0u64;
        loop {
            let chunk = lines
                .by_ref()
                .take(BATCH_ROWS_MAX)
                .collect::<Result<Vec<_>, _>>();
            let chunk = chunk.map_err(failed)?;
            if chunk.is_empty() {
                return Ok(row);
            }
            let messages = chunk.iter().enumerate().map(|(at, line)| RawMessage {
                offset: row as i64 + at as i64,
                payload: Some(line.as_bytes()),
            });
            let decoded = decoder.decode(messages, now_ms);
            if let Some(bad) = decoded.rejected.first() {
                let line = bad.offset as u64 + 1;
                let (path, reason) = (self.path.clone(), bad.reason.clone());
                return Err(FileError::Row { path, line, reason }.into());
            }
            row += chunk.len() as u64;
            for batch in decoded.batches {
                take(batch)?;
            }
        }
    }
}

fn builder(
    name: &str,
    content: Bytes,
) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, FileError> {
    ParquetRecordBatchReaderBuilder::try_new(content).map_err(|source| FileError::Parquet {
        path: name.to_owned(),
        source,
    })
}

fn columns_of(schema: &Schema) -> Result<Vec<ColumnSpec>, FileError> {
    schema
        .fields()
        .iter()
        .map(|field| {
            let (data_type, role) =
                column_type(field.data_type()).ok_or_else(|| FileError::Type {
                    column: field.name().clone(),
                    found: field.data_type().clone(),
                })?;
            Ok(ColumnSpec::new(field.name(), data_type, role))
        })
        .collect()
}

fn column_type(found: &ArrowType) -> Option<(DataType, FieldRole)> {
    use ArrowType as A;
    Some(match found {
        A::Int8 | A::Int16 | A::Int32 | A::UInt8 | A::UInt16 => {
            (DataType::Int, FieldRole::Dimension)
        }
        A::Int64 | A::UInt32 | A::UInt64 => (DataType::Long, FieldRole::Dimension),
        A::Float16 | A::Float32 => (DataType::Float, FieldRole::Metric),
        A::Float64 => (DataType::Double, FieldRole::Metric),
        A::Decimal128(_, _) | A::Decimal256(_, _) => (DataType::BigDecimal, FieldRole::Metric),
        A::Boolean => (DataType::Boolean, FieldRole::Dimension),
        A::Timestamp(_, _) | A::Date32 | A::Date64 => (DataType::Timestamp, FieldRole::DateTime),
        A::Utf8 | A::LargeUtf8 | A::Utf8View => (DataType::String, FieldRole::Dimension),
        A::Dictionary(_, value) => return column_type(value),
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => {
            (DataType::Bytes, FieldRole::Dimension)
        }
        _ => return None,
    })
}

fn converted(
    batch: &RecordBatch,
    spec: &TableSpec,
    first_offset: i64,
    now_ms: i64,
) -> Result<RecordBatch, FileError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let rows = batch.num_rows();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(spec.columns.len() + 2);
    for column in &spec.columns {
        let wanted = arrow_type(column.data_type);
        let array = match batch.column_by_name(&column.name) {
            None => arrow::array::new_null_array(&wanted, rows),
            Some(array) => cast_with_options(array, &wanted, &options).map_err(|source| {
                let (column, wanted) = (column.name.clone(), column.data_type);
                FileError::Convert {
                    column,
                    wanted,
                    source,
                }
            })?,
        };
        arrays.push(array);
    }
    let offsets = (first_offset..).take(rows);
    arrays.push(Arc::new(Int64Array::from_iter_values(offsets)));
    arrays.push(Arc::new(TimestampMillisecondArray::from_value(
        now_ms, rows,
    )));
    Ok(RecordBatch::try_new(ingest_schema(spec), arrays).expect("columns of the schema"))
}
