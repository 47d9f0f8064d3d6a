//! Files for import: Parquet and Arrow with their own schema, Avro, JSON and CSV record by record.
//! Rows of nested values are records too, as JSON has them.
//!
//! Rows go through the table's record pipeline, as those of a stream. A row that cannot be taken
//! ends the read with its place: a file is read whole or not at all.

mod arrays;
mod avro;
mod nested;
#[cfg(test)]
mod tests;
mod texts;
mod types;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::ChunkReader;
use schemas::decoding::{CsvSpec, FormatSpec};
use schemas::{ColumnSpec, TableSpec};

use crate::infer::infer_schema;
use crate::pipeline::{Expressions, Pipeline};
use crate::{BATCH_ROWS_MAX, Decoded, Decoder, RawMessage};
use arrays::Arrays;
use texts::{Fields, Payloads};

pub use texts::csv_payloads;

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
    #[error("`{path}` is no file of Arrow's IPC format that can be read")]
    Arrow {
        path: String,
        #[source]
        source: ArrowError,
    },
    #[error("`{path}` is no Avro file that can be read: {reason}")]
    Avro { path: String, reason: String },
    #[error("column `{column}` has type {found}, which no column type takes")]
    Type { column: String, found: ArrowType },
    #[error("`{path}` row {row}: {reason}")]
    Row {
        path: String,
        /// From 1; a header is not counted.
        row: u64,
        reason: String,
    },
    #[error("`{path}` cannot be read for this table: {reason}")]
    Table { path: String, reason: String },
    #[error(
        "`{path}`: import takes .parquet, .arrow, .avro, .csv with a header and .json, the last \
         two also as .gz or .zst"
    )]
    Format { path: String },
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    Parquet,
    Arrow,
    Avro,
    Csv,
    Json,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no format of files: parquet, arrow, avro, csv or json")]
pub struct UnknownFormat(String);

impl FromStr for FileFormat {
    type Err = UnknownFormat;

    /// As Pinot's `inputFormat` has it.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "parquet" => Self::Parquet,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            "avro" => Self::Avro,
            "csv" => Self::Csv,
            "json" | "jsonl" | "ndjson" => Self::Json,
            _ => return Err(UnknownFormat(name.to_owned())),
        })
    }
}

impl FileFormat {
    /// By the ending of a name, before that of its packing.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let packed = [".gz", ".zst"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let (_, ending) = packed.unwrap_or(&name).rsplit_once('.')?;
        let format = ending.parse().ok()?;
        let is_text = matches!(format, Self::Csv | Self::Json);
        (packed.is_none() || is_text).then_some(format)
    }
}

/// Rows of a file and the columns they have.
pub struct FileRows {
    pub columns: Vec<ColumnSpec>,
    content: Content,
    path: String,
    /// Some columns of Parquet or Arrow are structs, maps, or lists of such.
    is_nested: bool,
}

enum Content {
    Parquet(Parquet),
    Arrow(PathBuf),
    Records(PathBuf, FileFormat, Option<CsvSpec>),
}

enum Parquet {
    Memory(Bytes),
    File(PathBuf),
}

impl std::fmt::Debug for FileRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileRows")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What is read in one go: row groups of a Parquet file, or all of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePart {
    /// `None`: all.
    row_groups: Option<Vec<usize>>,
    first_row: u64,
}

/// What became of the records of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub read: u64,
    pub filtered: u64,
    pub unnested: u64,
    pub merged: u64,
}

impl Records {
    pub fn add(&mut self, other: Self) {
        self.read += other.read;
        self.filtered += other.filtered;
        self.unnested += other.unnested;
        self.merged += other.merged;
    }
}

/// Records that are looked at for the types of a file that does not tell them.
const SAMPLE_RECORDS: usize = 10_000;

impl FileRows {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, None, None)
    }

    pub fn open_as(path: &Path, format: FileFormat) -> Result<Self, FileError> {
        Self::open_with(path, Some(format), None)
    }

    /// `format`: `None`, the name tells. `csv`: how a file of it is read; `None`, with a header and
    /// commas.
    pub fn open_with(
        path: &Path,
        format: Option<FileFormat>,
        csv: Option<&CsvSpec>,
    ) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let Some(format) = format.or_else(|| FileFormat::of(&name)) else {
            return Err(FileError::Format { path: name });
        };
        match format {
            FileFormat::Parquet => Self::of_parquet(&name, Parquet::File(path.to_owned())),
            FileFormat::Arrow => {
                let (schema, _) = arrow_batches(path, &name)?;
                Ok(Self {
                    columns: types::columns_of(&schema)?,
                    content: Content::Arrow(path.to_owned()),
                    path: name,
                    is_nested: nested::is_nested(&schema),
                })
            }
            FileFormat::Avro | FileFormat::Csv | FileFormat::Json => {
                let samples = payloads((path, format), Fields::Guessed, csv)?.take(SAMPLE_RECORDS);
                let samples = samples.collect::<Result<Vec<_>, _>>()?;
                let samples = match format {
                    FileFormat::Avro => avro::as_json(path, &samples)?,
                    _ => samples,
                };
                let inferred = infer_schema(samples.iter().map(Vec::as_slice));
                Ok(Self {
                    columns: inferred.columns,
                    content: Content::Records(path.to_owned(), format, csv.cloned()),
                    path: name,
                    is_nested: false,
                })
            }
        }
    }

    /// `name` is for messages.
    pub fn parquet(name: &str, content: Bytes) -> Result<Self, FileError> {
        Self::of_parquet(name, Parquet::Memory(content))
    }

    fn of_parquet(name: &str, content: Parquet) -> Result<Self, FileError> {
        let schema = match &content {
            Parquet::Memory(bytes) => Arc::clone(builder(name, bytes.clone())?.schema()),
            Parquet::File(path) => Arc::clone(builder(name, opened(path)?)?.schema()),
        };
        Ok(Self {
            columns: types::columns_of(&schema)?,
            content: Content::Parquet(content),
            path: name.to_owned(),
            is_nested: nested::is_nested(&schema),
        })
    }

    /// Parts of about as many rows, which may be read at once and in any order.
    pub fn parts(&self, rows: u64) -> Result<Vec<FilePart>, FileError> {
        let Content::Parquet(content) = &self.content else {
            return Ok(vec![FilePart::default()]);
        };
        let metadata = match content {
            Parquet::Memory(bytes) => Arc::clone(builder(&self.path, bytes.clone())?.metadata()),
            Parquet::File(path) => Arc::clone(builder(&self.path, opened(path)?)?.metadata()),
        };
        let (mut parts, mut groups) = (Vec::new(), Vec::new());
        let (mut first_row, mut in_part) = (0, 0);
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let more = u64::try_from(group.num_rows()).unwrap_or_default();
            if !groups.is_empty() && in_part + more > rows {
                let row_groups = Some(std::mem::take(&mut groups));
                parts.push(FilePart {
                    row_groups,
                    first_row,
                });
                first_row += std::mem::take(&mut in_part);
            }
            groups.push(at);
            in_part += more;
        }
        let row_groups = Some(groups);
        parts.push(FilePart {
            row_groups,
            first_row,
        });
        Ok(parts)
    }

    /// Gives every row of a part to `take`, in batches of the form of `ingest_schema(spec)`;
    /// `$offset` counts.
    pub fn read<E: From<FileError>>(
        &self,
        part: &FilePart,
        (spec, expressions): (&Arc<TableSpec>, &dyn Expressions),
        now_ms: i64,
        take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<Records, E> {
        let mut taken = Taken {
            path: &self.path,
            first_row: part.first_row,
            records: Records::default(),
            take,
        };
        match &self.content {
            Content::Parquet(Parquet::Memory(content)) => {
                let reader = parquet_batches(&self.path, content.clone(), part)?;
                self.read_arrays(reader, (spec, expressions), now_ms, &mut taken)?;
            }
            Content::Parquet(Parquet::File(path)) => {
                let reader = parquet_batches(&self.path, opened(path)?, part)?;
                self.read_arrays(reader, (spec, expressions), now_ms, &mut taken)?;
            }
            Content::Arrow(path) => {
                let (_, batches) = arrow_batches(path, &self.path)?;
                self.read_arrays(batches, (spec, expressions), now_ms, &mut taken)?;
            }
            Content::Records(path, format, csv) => {
                let fields = Fields::of(spec);
                let payloads = payloads((path, *format), fields, csv.as_ref())?;
                let format = match format {
                    FileFormat::Avro => FormatSpec::Avro {
                        schema: Some(avro::schema(path)?),
                    },
                    _ => FormatSpec::Json,
                };
                let decoder = Decoder::of_file(spec, format, expressions);
                let decoder = decoder.map_err(|reason| self.refused(reason))?;
                read_records(payloads, decoder, now_ms, &mut taken)?;
            }
        }
        Ok(taken.records)
    }

    fn read_arrays<E, T>(
        &self,
        batches: impl Iterator<Item = Result<RecordBatch, FileError>>,
        (spec, expressions): (&Arc<TableSpec>, &dyn Expressions),
        now_ms: i64,
        taken: &mut Taken<'_, T>,
    ) -> Result<(), E>
    where
        E: From<FileError>,
        T: FnMut(RecordBatch) -> Result<(), E>,
    {
        if self.is_nested || spec.pipeline.nested.is_some() {
            return self.read_nested(batches, (spec, expressions), now_ms, taken);
        }
        let arrays = Arrays::new(spec, expressions);
        let mut arrays = arrays.map_err(|reason| self.refused(reason))?;
        for batch in batches {
            let batch = batch?;
            let decoded = arrays.take(&batch, taken.next_row(), now_ms);
            taken.decoded(batch.num_rows() as u64, decoded)?;
        }
        Ok(())
    }

    /// Row by row, as the same rows would come of JSON.
    fn read_nested<E, T>(
        &self,
        batches: impl Iterator<Item = Result<RecordBatch, FileError>>,
        (spec, expressions): (&Arc<TableSpec>, &dyn Expressions),
        now_ms: i64,
        taken: &mut Taken<'_, T>,
    ) -> Result<(), E>
    where
        E: From<FileError>,
        T: FnMut(RecordBatch) -> Result<(), E>,
    {
        let decoder = Decoder::of_file(spec, FormatSpec::Json, expressions);
        let mut decoder = decoder.map_err(|reason| self.refused(reason))?;
        for batch in batches {
            let records = nested::records(&batch?);
            let records = records.map_err(|source| FileError::Arrow {
                path: self.path.clone(),
                source,
            })?;
            for chunk in records.chunks(BATCH_ROWS_MAX) {
                decode(&mut decoder, chunk, now_ms, taken)?;
            }
        }
        Ok(())
    }

    fn refused(&self, reason: String) -> FileError {
        FileError::Table {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The fields of a record that a table reads: its columns, and what its pipeline wants beside them.
/// `None`: it takes records apart, and any field may be one of it.
pub fn fields_of(
    spec: &Arc<TableSpec>,
    expressions: &dyn Expressions,
) -> Result<Option<Vec<String>>, String> {
    if spec.pipeline.nested.is_some() {
        return Ok(None);
    }
    let pipeline = Pipeline::new(spec, expressions)?;
    let source = pipeline.as_ref().map_or(spec, Pipeline::source);
    Ok(Some(
        source.columns.iter().map(|c| c.name.clone()).collect(),
    ))
}

/// Where rows go, and how many there were.
struct Taken<'a, T> {
    path: &'a str,
    first_row: u64,
    records: Records,
    take: T,
}

impl<T> Taken<'_, T> {
    fn next_row(&self) -> i64 {
        (self.first_row + self.records.read) as i64
    }

    fn decoded<E>(&mut self, records: u64, decoded: Decoded) -> Result<(), E>
    where
        E: From<FileError>,
        T: FnMut(RecordBatch) -> Result<(), E>,
    {
        if let Some(bad) = decoded.rejected.first() {
            let (path, reason) = (self.path.to_owned(), bad.reason.clone());
            let row = bad.offset as u64 + 1;
            return Err(FileError::Row { path, row, reason }.into());
        }
        self.records.read += records;
        self.records.filtered += decoded.filtered;
        self.records.unnested += decoded.unnested;
        self.records.merged += decoded.merged;
        decoded.batches.into_iter().try_for_each(&mut self.take)
    }
}

fn read_records<E, T>(
    mut payloads: Payloads,
    mut decoder: Decoder,
    now_ms: i64,
    taken: &mut Taken<'_, T>,
) -> Result<(), E>
where
    E: From<FileError>,
    T: FnMut(RecordBatch) -> Result<(), E>,
{
    loop {
        let chunk = payloads.by_ref().take(BATCH_ROWS_MAX);
        let chunk = chunk.collect::<Result<Vec<_>, _>>()?;
        if chunk.is_empty() {
            return Ok(());
        }
        decode(&mut decoder, &chunk, now_ms, taken)?;
    }
}

fn decode<E, T>(
    decoder: &mut Decoder,
    records: &[Vec<u8>],
    now_ms: i64,
    taken: &mut Taken<'_, T>,
) -> Result<(), E>
where
    E: From<FileError>,
    T: FnMut(RecordBatch) -> Result<(), E>,
{
    let first = taken.next_row();
    let messages = records.iter().enumerate().map(|(at, payload)| RawMessage {
        offset: first + at as i64,
        payload: Some(payload),
        ..RawMessage::default()
    });
    let decoded = decoder.decode(messages, now_ms);
    taken.decoded(records.len() as u64, decoded)
}

/// The records of a file, each as a decoder of messages takes it.
fn payloads(
    (path, format): (&Path, FileFormat),
    fields: Fields,
    csv: Option<&CsvSpec>,
) -> Result<Payloads, FileError> {
    match format {
        FileFormat::Avro => avro::records(path),
        FileFormat::Csv => texts::csv(path, fields, csv),
        _ => texts::json(path),
    }
}

fn opened(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| read_failed(&path.display().to_string(), source))
}

fn read_failed(path: &str, source: std::io::Error) -> FileError {
    FileError::Read {
        path: path.to_owned(),
        source,
    }
}

fn no_parquet(name: &str) -> impl Fn(parquet::errors::ParquetError) -> FileError {
    |source| FileError::Parquet {
        path: name.to_owned(),
        source,
    }
}

/// Texts come as views, as columns have them.
fn builder<R: ChunkReader + 'static>(
    name: &str,
    content: R,
) -> Result<ParquetRecordBatchReaderBuilder<R>, FileError> {
    let read = ArrowReaderMetadata::load(&content, ArrowReaderOptions::new());
    let own = read.map_err(no_parquet(name))?;
    let options = ArrowReaderOptions::new().with_schema(with_views(own.schema()));
    // Some writers' types have no such form.
    let views = ArrowReaderMetadata::try_new(Arc::clone(own.metadata()), options);
    let metadata = views.unwrap_or(own);
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(
        content, metadata,
    ))
}

fn with_views(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(with_view).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn with_view(field: &Arc<Field>) -> Arc<Field> {
    let view = match field.data_type() {
        ArrowType::Utf8 | ArrowType::LargeUtf8 => ArrowType::Utf8View,
        ArrowType::Binary | ArrowType::LargeBinary => ArrowType::BinaryView,
        ArrowType::List(entry) => ArrowType::List(with_view(entry)),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(view))
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, FileError>>>;

fn parquet_batches<R: ChunkReader + 'static>(
    name: &str,
    content: R,
    part: &FilePart,
) -> Result<Batches, FileError> {
    let mut reader = builder(name, content)?.with_batch_size(BATCH_ROWS_MAX);
    if let Some(groups) = &part.row_groups {
        reader = reader.with_row_groups(groups.clone());
    }
    let reader = reader.build().map_err(no_parquet(name))?;
    let name = name.to_owned();
    Ok(Box::new(reader.map(move |batch| {
        batch.map_err(|error| FileError::Parquet {
            path: name.clone(),
            source: error.into(),
        })
    })))
}

/// Of a file of Arrow's IPC format, or of a stream of it in a file.
fn arrow_batches(path: &Path, name: &str) -> Result<(SchemaRef, Batches), FileError> {
    let name = name.to_owned();
    let told = move |source| FileError::Arrow {
        path: name.clone(),
        source,
    };
    let file = opened(path)?;
    if let Ok(reader) = FileReader::try_new_buffered(file, None) {
        let schema = reader.schema();
        return Ok((
            schema,
            Box::new(reader.map(move |batch| batch.map_err(&told))),
        ));
    }
    let reader = StreamReader::try_new_buffered(opened(path)?, None).map_err(&told)?;
    let schema = reader.schema();
    Ok((
        schema,
        Box::new(reader.map(move |batch| batch.map_err(&told))),
    ))
}
