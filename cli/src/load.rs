//! Files into an OFFLINE table of a running node: built here into segments, uploaded to the
//! controller, seen all at once when the last is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use batch::{Begun, Done, Job, Mode, Progress, Target, Workshop, local_sources};
use bytes::Bytes;
use runtime::{Clock, ComputePool, Files, Reach, SystemClock, files};
use schemas::pinot::schema_json;
use schemas::segment::SegmentRecord;
use schemas::{ColumnSpec, Fault, Sequence, TableName, TableSpec};
use serde::Deserialize;
use serde_json::json;
use server::EngineExpressions;
use uuid::Uuid;

use crate::client::Client;
use crate::configs;

/// Where segments of an import are built. The folder goes with it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) workshop: Workshop,
}

impl Bench {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
        threads: usize,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let workshop = Workshop {
            clock,
            files,
            folder: folder.path().to_owned(),
            compute: ComputePool::new(threads),
            expressions: Arc::new(EngineExpressions),
            reach: Reach::default(),
            objects: deepstore::Config::default(),
        };
        Ok(Self { folder, workshop })
    }
}

/// Adds the rows of a file to a table that exists, as `tannin import` does.
pub async fn load_file(broker: &str, controller: &str, table: &str, file: &Path) -> Result<()> {
    import(
        broker,
        controller,
        table,
        &[file.display().to_string()],
        None,
    )
    .await?;
    Ok(())
}

/// Files, folders and patterns into a table that exists, as `tannin import` does.
pub async fn import(
    broker: &str,
    controller: &str,
    table: &str,
    inputs: &[String],
    mode: Option<Mode>,
) -> Result<Done> {
    let bench = Bench::new(SystemClock::shared(), files::shared(), 2)?;
    let job = Job {
        key: key(inputs)?,
        mode,
        sources: local_sources(inputs, None)?,
        format: None,
        csv: None,
        start_over: false,
    };
    let client = Client::at(broker, controller)?;
    load(&client, table, &job, &bench, &Arc::default()).await
}

/// The same files are the same import, from wherever they are named.
pub(crate) fn key(inputs: &[String]) -> Result<String> {
    let absolute = |input: &String| {
        if batch::names_objects(input) {
            return Ok(input.clone());
        }
        let path = std::path::absolute(input);
        let path = path.with_context(|| format!("`{input}` is no path"))?;
        Ok(path.display().to_string())
    };
    let inputs = inputs.iter().map(absolute).collect::<Result<Vec<_>>>()?;
    Ok(format!("import {}", inputs.join(" ")))
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

/// Adds the rows of files to a table that exists, or puts them in the place of what is there.
pub(crate) async fn load(
    client: &Client,
    table: &str,
    job: &Job,
    bench: &Bench,
    progress: &Arc<Progress>,
) -> Result<Done> {
    let target: Arc<dyn Target> = Arc::new(OverHttp {
        client: client.clone(),
        table: table.to_owned(),
    });
    Ok(batch::run(job, &target, &bench.workshop, progress).await?)
}

/// The controller of a node.
#[derive(Debug)]
struct OverHttp {
    client: Client,
    table: String,
}

impl OverHttp {
    fn path(&self, import: Uuid, what: &str) -> String {
        format!("/v1/tables/{}/imports/{import}/{what}", self.table)
    }
}

fn refused(error: anyhow::Error) -> Fault {
    Fault::unavailable(format!("{error:#}"))
}

fn misunderstood(error: serde_json::Error) -> Fault {
    Fault::internal(format!(
        "the controller's answer is not understood: {error}"
    ))
}

#[async_trait]
impl Target for OverHttp {
    async fn begin(&self, key: &str, mode: Option<Mode>) -> Result<Begun, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            id: Uuid,
            spec: TableSpec,
            segments: Vec<SegmentRecord>,
        }
        let path = format!("/v1/tables/{}/imports", self.table);
        let body = json!({ "key": key, "mode": mode.map(Mode::name) });
        let answer = self.client.post(&path, body).await.map_err(refused)?;
        let answer: Answer = serde_json::from_value(answer).map_err(misunderstood)?;
        Ok(Begun {
            id: answer.id,
            spec: answer.spec,
            segments: answer.segments,
            is_done: false,
        })
    }

    async fn reserve(&self, import: Uuid) -> Result<Sequence, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            first: Sequence,
        }
        let path = self.path(import, "sequences");
        let answer = self.client.post(&path, json!({})).await.map_err(refused)?;
        let answer: Answer = serde_json::from_value(answer).map_err(misunderstood)?;
        Ok(answer.first)
    }

    async fn add(
        &self,
        import: Uuid,
        record: SegmentRecord,
        packed: Bytes,
    ) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            segment: String,
        }
        let header = serde_json::to_string(&record);
        let header = ascii(&header.map_err(misunderstood)?);
        let adding = self.client.upload(&self.table, import, &header, packed);
        let answer = adding.await.map_err(refused)?;
        let answer: Answer = serde_json::from_value(answer).map_err(misunderstood)?;
        Ok(answer.segment)
    }

    async fn end(&self, import: Uuid, segments: BTreeSet<String>) -> Result<(), Fault> {
        let (path, body) = (self.path(import, "end"), json!({ "segments": segments }));
        self.client.post(&path, body).await.map_err(refused)?;
        Ok(())
    }

    async fn revert(&self, import: Uuid) -> Result<(), Fault> {
        let path = self.path(import, "revert");
        self.client.post(&path, json!({})).await.map_err(refused)?;
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
