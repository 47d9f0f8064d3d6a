//! Rows of a file into an OFFLINE table: built here into segments, uploaded to the controller.
//!
//! Invariant: a segment is uploaded only when it is whole; a row that cannot be converted ends the
//! import with its place, and nothing of the segment it belongs to is in the table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use ingest::files::{FileError, FileRows};
use runtime::{Clock, Files, SystemClock, files};
use schemas::pinot::schema_json;
use schemas::segment::{Ledger, display_name};
use schemas::{ColumnSpec, SegmentId, TableName, TableSpec};
use segment::{SealExtra, SegmentBuilder, SegmentError, pack};
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::configs;

/// A file with more rows becomes several segments.
const SEGMENT_ROWS_MAX: u32 = 2_500_000;

/// Where segments are built.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub clock: Arc<dyn Clock>,
    pub files: Arc<dyn Files>,
    pub folder: PathBuf,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    pub rows: u64,
    pub segments: u32,
    pub bytes: u64,
}

/// Adds the rows of a file to a table that exists, as `tannin import` does.
pub async fn load_file(broker: &str, controller: &str, table: &str, file: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let workshop = Workshop {
        clock: SystemClock::shared(),
        files: files::shared(),
        folder: folder.path().to_owned(),
    };
    let client = Client::at(broker, controller)?;
    load(&client, table, FileRows::open(file)?, &workshop).await?;
    Ok(())
}

/// Creates the table with the columns of the file.
pub(crate) async fn create(
    client: &Client,
    name: &TableName,
    columns: &[ColumnSpec],
    primary_key: &[String],
) -> Result<()> {
    for key in primary_key {
        if !columns.iter().any(|column| column.name == *key) {
            let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            bail!(
                "the key `{key}` is no column; there are: {}",
                known.join(", ")
            );
        }
    }
    let time_column = ingest::infer::time_column(columns);
    let body = json!({
        "schema": schema_json(name, columns, primary_key),
        "tableConfig": configs::offline(name, time_column.as_deref(), primary_key),
    });
    client.post("/v1/tables", body).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Target {
    spec: TableSpec,
    #[serde(rename = "nextSequence")]
    next_sequence: u32,
}

/// Adds every row of the file to a table that exists.
pub(crate) async fn load(
    client: &Client,
    table: &str,
    rows: FileRows,
    workshop: &Workshop,
) -> Result<Loaded> {
    let target = client.get(&format!("/v1/tables/{table}/spec")).await?;
    let target: Target = serde_json::from_value(target).context("the spec is not understood")?;
    if !target.spec.streams.is_empty() {
        bail!("table `{table}` consumes a stream; import takes OFFLINE tables");
    }
    if let Some(column) = target
        .spec
        .columns
        .iter()
        .find(|column| column.transform.is_some())
    {
        bail!(
            "column `{}` of table `{table}` has a transformFunction, which import does not run yet",
            column.name
        );
    }
    fits(&rows.columns, &target.spec)?;
    let (clock, files) = (Arc::clone(&workshop.clock), Arc::clone(&workshop.files));
    let folder = workshop.folder.clone();
    let job = move || build(&rows, target, &*clock, &*files, &folder);
    let compute = runtime::ComputePool::new(1);
    let built = compute.run(job).await??;
    let mut loaded = Loaded::default();
    for (record, packed) in built {
        loaded.rows += record.ledger.rows;
        loaded.segments += 1;
        loaded.bytes += packed.len() as u64;
        let header = ascii(&serde_json::to_string(&record)?);
        client.upload(table, &header, packed).await?;
    }
    Ok(loaded)
}

/// A column of the file that the table lacks would be lost without a word.
fn fits(columns: &[ColumnSpec], spec: &TableSpec) -> Result<()> {
    let foreign: Vec<&str> = columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| spec.column(name).is_none())
        .collect();
    if !foreign.is_empty() {
        bail!(
            "table `{}` has no column {}; import into a new table with --table NAME, or take the \
             columns out of the file",
            spec.name,
            foreign.join(", ")
        );
    }
    Ok(())
}

type Built = Vec<(schemas::segment::SegmentRecord, Vec<u8>)>;

fn build(
    rows: &FileRows,
    target: Target,
    clock: &dyn Clock,
    files: &dyn Files,
    folder: &Path,
) -> Result<Built> {
    let spec = Arc::new(target.spec);
    let mut line = Line {
        spec: Arc::clone(&spec),
        next: target.next_sequence,
        now_ms: clock.now_ms(),
        files,
        folder,
        open: None,
        built: Vec::new(),
    };
    rows.read::<BuildError>(&spec, line.now_ms, |batch| line.add(&batch))?;
    line.close()?;
    Ok(line.built)
}

#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("cannot remove `{path}`")]
    Remove {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Segments one after the other, at most one of them open.
struct Line<'a> {
    spec: Arc<TableSpec>,
    next: u32,
    now_ms: i64,
    files: &'a dyn Files,
    folder: &'a Path,
    open: Option<SegmentBuilder>,
    built: Built,
}

impl Line<'_> {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), BuildError> {
        let builder = match &mut self.open {
            Some(builder) => builder,
            None => {
                let id = SegmentId {
                    table: self.spec.id,
                    partition: 0,
                    sequence: self.next,
                };
                let name = display_name(&self.spec, id, self.now_ms);
                self.open.insert(SegmentBuilder::new(&self.spec, id, name)?)
            }
        };
        builder.append(batch)?;
        if builder.row_count() >= SEGMENT_ROWS_MAX {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), BuildError> {
        let Some(builder) = self.open.take() else {
            return Ok(());
        };
        let rows = u64::from(builder.row_count());
        let extra = SealExtra {
            start: 0,
            end: rows as i64,
            ledger: Ledger {
                rows,
                ..Ledger::default()
            },
            created_ms: self.now_ms,
            sealed_ms: self.now_ms,
            spec: None,
            rejected: Vec::new(),
        };
        let sealed = builder.finish(self.files, self.folder, extra)?;
        let packed = pack(&sealed.path, sealed.record.crc)?;
        self.files
            .remove(&sealed.path)
            .map_err(|source| BuildError::Remove {
                path: sealed.path.clone(),
                source,
            })?;
        self.next += 1;
        self.built.push((sealed.record, packed));
        Ok(())
    }
}

/// JSON for a header: other than ASCII is escaped.
fn ascii(json: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(json.len());
    for unit in json.chars() {
        if unit.is_ascii() {
            text.push(unit);
            continue;
        }
        let mut pair = [0; 2];
        for half in unit.encode_utf16(&mut pair) {
            // Writing into a string cannot fail.
            let _ = write!(text, "\\u{half:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn headers_are_ascii_and_say_the_same() {
        let json = json!({"a": "Zürich 𝄞", "b": "plain"}).to_string();
        let header = ascii(&json);
        assert!(header.is_ascii());
        let back: Value = serde_json::from_str(&header).unwrap();
        assert_eq!(back["a"], "Zürich 𝄞");
    }
}
