//! Segments as Parquet files for others, one for each.
//!
//! Invariant: `_SUCCESS` comes last: where it is, every file of the folder is there and whole. A
//! second attempt writes the same files again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use deepstore::DeepStore;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use schemas::arrow::ingest_schema;
use schemas::task::ExportOrder;
use schemas::{Fault, TableSpec};
use segment::SealedSegment;
use segment::arrays::StoredRows;

use crate::rewrite::fetch;
use crate::{Done, ImportError, Progress, Workshop};

/// Nobody reads it as rows: names that begin so are passed over.
const SUCCESS: &str = "_SUCCESS";

/// Files in the order's folder below `place`.
pub async fn export(
    order: &ExportOrder,
    place: &DeepStore,
    deep: &DeepStore,
    (workshop, progress): (&Workshop, &Arc<Progress>),
) -> Result<Done, ImportError> {
    progress.rows_total.store(order.rows(), Ordering::Relaxed);
    let spec = Arc::new(order.spec.clone());
    let mut done = Done::default();
    for input in &order.inputs {
        let segment = fetch(input, deep, workshop).await?;
        let (spec, progress) = (Arc::clone(&spec), Arc::clone(progress));
        let path = workshop.folder.join(format!("{}.parquet", input.name));
        let written = workshop
            .compute
            .run(move || written(&segment, &spec, &path, &progress));
        let content = written.await??;
        let key = format!("{}/{}.parquet", order.folder, input.name);
        done.bytes += content.len() as u64;
        done.rows += input.rows;
        done.segments += 1;
        let stored = place.replace(&key, content).await;
        stored.map_err(Fault::from)?;
    }
    let key = format!("{}/{SUCCESS}", order.folder);
    let ended = place.replace(&key, Bytes::new()).await;
    ended.map_err(Fault::from)?;
    Ok(done)
}

/// The file of a segment, whose own file goes.
fn written(
    segment: &Arc<SealedSegment>,
    spec: &TableSpec,
    path: &Path,
    progress: &Progress,
) -> Result<Bytes, ImportError> {
    let told = |source: std::io::Error| ImportError::Read {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::create(path).map_err(told)?;
    write(segment, spec, file, progress)?;
    let content = std::fs::read(path).map_err(told)?;
    let paths: [PathBuf; 2] = [path.to_owned(), segment.path().to_owned()];
    for path in paths {
        std::fs::remove_file(&path).map_err(|source| ImportError::Remove { path, source })?;
    }
    Ok(Bytes::from(content))
}

fn write(
    segment: &Arc<SealedSegment>,
    spec: &TableSpec,
    file: std::fs::File,
    progress: &Progress,
) -> Result<(), ImportError> {
    let failed = |error: ParquetError| Fault::internal(format!("Parquet: {error}"));
    let schema = plain_schema(spec);
    let level = ZstdLevel::try_new(1).map_err(failed)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .build();
    let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
    let mut writer = writer.map_err(failed)?;
    let view = segment.view();
    let rows = StoredRows::of(&view, spec)?;
    for block in rows.blocks() {
        let batch = rows.batch(&block)?;
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>();
        let plain = columns
            .and_then(|columns| arrow::array::RecordBatch::try_new(Arc::clone(&schema), columns));
        let plain = plain.map_err(|error| failed(error.into()))?;
        writer.write(&plain).map_err(failed)?;
        progress.add_rows(plain.num_rows() as u64);
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// The table's columns. Views are young: not every reader knows them.
fn plain_schema(spec: &TableSpec) -> SchemaRef {
    let fields = ingest_schema(spec);
    let own = fields.fields().iter().take(spec.columns.len());
    let plain = own.map(|field| {
        let data_type = plain_type(field.data_type());
        Field::new(field.name(), data_type, true)
    });
    Arc::new(Schema::new(plain.collect::<Vec<_>>()))
}

fn plain_type(data_type: &ArrowType) -> ArrowType {
    match data_type {
        ArrowType::Utf8View => ArrowType::Utf8,
        ArrowType::BinaryView => ArrowType::Binary,
        ArrowType::List(entry) => {
            let plain = plain_type(entry.data_type());
            ArrowType::List(Arc::new(entry.as_ref().clone().with_data_type(plain)))
        }
        other => other.clone(),
    }
}
