//! Files for import: Parquet with its own schema, JSON lines and CSV by inference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as ArrowType, Schema};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::arrow::{column_type, entry_field, ingest_schema};
use schemas::types::{uuid_bytes, uuid_text};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use crate::infer::infer_schema;
use crate::text_files::{Fields, Payloads, TextFormat, payloads};
use crate::{BATCH_ROWS_MAX, Decoder, RawMessage};

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
    #[error("`{path}` row {row}: {reason}")]
    Row {
        path: String,
        /// From 1; a header is not counted.
        row: u64,
        reason: String,
    },
    #[error("column `{column}` cannot be converted to {wanted}")]
    Convert {
        column: String,
        wanted: DataType,
        #[source]
        source: ArrowError,
    },
    #[error(
        "`{path}`: import takes .parquet, .csv with a header, and .json with one object a line"
    )]
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
    Text(PathBuf, TextFormat),
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
        match extension.as_str() {
            "parquet" => {
                let content = std::fs::read(path).map_err(|source| FileError::Read {
                    path: name.clone(),
                    source,
                })?;
                Self::parquet(&name, content.into())
            }
            "json" | "jsonl" | "ndjson" => Self::text(path, TextFormat::JsonLines),
            "csv" => Self::text(path, TextFormat::Csv),
            _ => Err(FileError::Format { path: name }),
        }
    }

    fn text(path: &Path, format: TextFormat) -> Result<Self, FileError> {
        let samples = payloads(path, format, Fields::Guessed)?.take(SAMPLE_LINES);
        let samples = samples.collect::<Result<Vec<_>, _>>()?;
        let inferred = infer_schema(samples.iter().map(Vec::as_slice));
        Ok(Self {
            columns: inferred.columns,
            content: Content::Text(path.to_owned(), format),
            path: path.display().to_string(),
        })
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

    /// Gives every row to `take`, in batches of the form of `ingest_schema(spec)`; `$offset`
    /// counts.
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
            Content::Text(path, format) => {
                let payloads = payloads(path, *format, Fields::of(spec))?;
                self.read_text(payloads, spec, now_ms, take)
            }
        }
    }

    fn read_text<E: From<FileError>>(
        &self,
        mut payloads: Payloads,
        spec: &Arc<TableSpec>,
        now_ms: i64,
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut decoder = Decoder::json(Arc::clone(spec));
        let mut row = 0u64;
        loop {
            let chunk = payloads.by_ref().take(BATCH_ROWS_MAX);
            let chunk = chunk.collect::<Result<Vec<_>, _>>()?;
            if chunk.is_empty() {
                return Ok(row);
            }
            let messages = chunk.iter().enumerate().map(|(at, payload)| RawMessage {
                offset: row as i64 + at as i64,
                payload: Some(payload),
                ..RawMessage::default()
            });
            let decoded = decoder.decode(messages, now_ms);
            if let Some(bad) = decoded.rejected.first() {
                let row = bad.offset as u64 + 1;
                let (path, reason) = (self.path.clone(), bad.reason.clone());
                return Err(FileError::Row { path, row, reason }.into());
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
            let (entry, multi_value) = match field.data_type() {
                ArrowType::List(entry) | ArrowType::LargeList(entry) => (entry.data_type(), true),
                other => (other, false),
            };
            let (data_type, role) = type_and_role(entry).ok_or_else(|| FileError::Type {
                column: field.name().clone(),
                found: field.data_type().clone(),
            })?;
            let role = match multi_value {
                true => FieldRole::Dimension,
                false => role,
            };
            let mut column = ColumnSpec::new(field.name(), data_type, role);
            column.multi_value = multi_value;
            Ok(column)
        })
        .collect()
}

fn type_and_role(found: &ArrowType) -> Option<(DataType, FieldRole)> {
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
        A::Dictionary(_, value) => return type_and_role(value),
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
        let wanted = column_type(column);
        let array = match batch.column_by_name(&column.name) {
            None => arrow::array::new_null_array(&wanted, rows),
            Some(array) => cast_with_options(array, &wanted, &options)
                .and_then(|array| match column.data_type {
                    DataType::Uuid => canonical_uuids(&array),
                    _ => Ok(array),
                })
                .map_err(|source| FileError::Convert {
                    column: column.name.clone(),
                    wanted: column.data_type,
                    source,
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

/// Texts, or lists of texts, in the one form that segments take.
fn canonical_uuids(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let Some(lists) = array.as_list_opt::<i32>() {
        let entries = canonical_uuids(lists.values())?;
        let (field, offsets, nulls) = (
            entry_field(entries.data_type().clone()),
            lists.offsets().clone(),
            lists.nulls().cloned(),
        );
        return Ok(Arc::new(ListArray::new(field, offsets, entries, nulls)));
    }
    let canonical = |text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        let bytes = uuid_bytes(text)
            .ok_or_else(|| ArrowError::CastError(format!("`{text}` is no UUID")))?;
        Ok(Some(
            String::from_utf8_lossy(&uuid_text(bytes)).into_owned(),
        ))
    };
    let texts = array.as_string_view().iter().map(canonical);
    let texts = texts.collect::<Result<StringViewArray, ArrowError>>()?;
    Ok(Arc::new(texts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Float64Type, Int64Type};
    use schemas::TableType;

    fn spec(columns: Vec<ColumnSpec>) -> Arc<TableSpec> {
        Arc::new(TableSpec::new(
            "t".parse().unwrap(),
            TableType::Offline,
            columns,
        ))
    }

    fn import(name: &str, content: &[u8]) -> Result<Vec<RecordBatch>, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let file = FileRows::open(&path)?;
        let mut batches = Vec::new();
        file.read(&spec(file.columns.clone()), 7, |batch| {
            batches.push(batch);
            Ok::<_, FileError>(())
        })?;
        Ok(batches)
    }

    fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
        let mut content = Vec::new();
        let writer = parquet::arrow::ArrowWriter::try_new(&mut content, batch.schema(), None);
        let mut writer = writer.unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        content
    }

    #[test]
    fn csv_types_are_inferred_and_empty_is_null() {
        let csv = b"id, name,zip,when,x\n1,\"a, \"\"b\"\"\",007,2013-01-01,1.5\n2,,010,,2\n";
        let batches = import("trips.CSV", csv).unwrap();
        let types: Vec<String> = batches[0].columns()[..5]
            .iter()
            .map(|column| column.data_type().to_string())
            .collect();
        assert_eq!(
            types,
            ["Int64", "Utf8View", "Utf8View", "Timestamp(ms)", "Float64"]
        );
        let [id, name, zip, when, x, offset, _] = batches[0].columns() else {
            panic!("seven columns")
        };
        assert_eq!(id.as_primitive::<Int64Type>().values(), &[1, 2]);
        assert_eq!(name.as_string_view().value(0), "a, \"b\"");
        assert!(name.is_null(1) && when.is_null(1));
        assert_eq!(zip.as_string_view().value(0), "007");
        assert_eq!(x.as_primitive::<Float64Type>().values(), &[1.5, 2.0]);
        assert_eq!(offset.as_primitive::<Int64Type>().values(), &[0, 1]);
    }

    #[test]
    fn json_lines_of_more_than_one_batch() {
        let lines: String = (0..5000).map(|n| format!("{{\"n\": {n}}}\n\n")).collect();
        let batches = import("x.jsonl", lines.as_bytes()).unwrap();
        let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [4096, 904]);
    }

    #[test]
    fn parquet_keeps_its_types() {
        use arrow::array::{Date32Array, Int16Array, StringArray};
        let batch = RecordBatch::try_from_iter([
            (
                "small",
                Arc::new(Int16Array::from(vec![Some(1), None])) as ArrayRef,
            ),
            ("day", Arc::new(Date32Array::from(vec![1, 2])) as ArrayRef),
            ("s", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef),
        ])
        .unwrap();
        let content = parquet_of(&batch);
        let batches = import("x.parquet", &content).unwrap();
        assert!(batches[0].column(0).is_null(1));
        let days = batches[0]
            .column(1)
            .as_primitive::<arrow::datatypes::TimestampMillisecondType>();
        assert_eq!(days.values(), &[86_400_000, 172_800_000]);
        assert_eq!(batches[0].column(2).as_string_view().value(1), "y");
    }

    #[test]
    fn lists_and_uuids() {
        use arrow::array::{ListArray, StringArray};
        use arrow::datatypes::Int16Type;
        let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int16Type, _, _>(lists);
        let id = "0189D5E4-7CDE-7A0B-B2DB-8F1E0F1E2D3C";
        let ids = StringArray::from(vec![Some(id), None, None]);
        let batch = RecordBatch::try_from_iter([
            ("l", Arc::new(lists) as ArrayRef),
            ("id", Arc::new(ids) as ArrayRef),
        ])
        .unwrap();
        let content = parquet_of(&batch);
        let file = FileRows::parquet("x", content.into()).unwrap();
        let mut columns = file.columns.clone();
        assert!(columns[0].multi_value && columns[0].data_type == DataType::Int);
        columns[1].data_type = DataType::Uuid;
        let mut batches = Vec::new();
        file.read(&spec(columns.clone()), 0, |batch| {
            batches.push(batch);
            Ok::<_, FileError>(())
        })
        .unwrap();
        let shown = |batch: &RecordBatch, column: usize| {
            let array = batch.column(column);
            arrow::util::display::array_value_to_string(array, 0).unwrap()
        };
        assert_eq!(shown(&batches[0], 0), "[1, ]");
        assert_eq!(shown(&batches[0], 1), id.to_lowercase());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, format!("l,id\n1;2,{id}\n")).unwrap();
        let file = FileRows::open(&path).unwrap();
        file.read(&spec(columns), 0, |batch| {
            assert_eq!(shown(&batch, 0), "[1, 2]");
            assert_eq!(shown(&batch, 1), id.to_lowercase());
            Ok::<_, FileError>(())
        })
        .unwrap();
    }

    #[test]
    fn faults_name_the_place() {
        let bad_row = b"n\n1\n2,3\n";
        let text = |name: &str, content: &[u8]| import(name, content).unwrap_err().to_string();
        assert!(
            text("x.csv", bad_row).contains("row 2"),
            "{}",
            text("x.csv", bad_row)
        );
        assert!(text("x.parquet", b"PAR1").contains("no Parquet file"));
        assert!(text("x.xlsx", b"").contains("import takes .parquet"));
    }
}
