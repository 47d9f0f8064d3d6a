//! The sample data: flights as a stream, airlines, airports, planes and weather as files.

mod flights;
mod tables;

use std::sync::Arc;

use anyhow::{Context, Result};
use batch::{Job, local_sources};
use ingest::files::FileRows;
use runtime::{Clock, Files, SystemClock, files};
use schemas::TableName;
use serde_json::json;

pub use flights::{FLIGHT_COUNT, Flight, Flights, NEWEST_EVENT_MS};
pub use tables::{FLIGHTS, PARTITIONS, QUESTIONS, flights_config, flights_schema};

use crate::client::Client;
use crate::load::{self, Bench};

/// Loads what is missing of the tables beside the flights, as `tannin import` would.
pub async fn load_offline(broker: &str, controller: &str) -> Result<()> {
    let client = Client::at(broker, controller)?;
    load_missing(&client, SystemClock::shared(), files::shared()).await
}

pub(crate) async fn load_missing(
    client: &Client,
    clock: Arc<dyn Clock>,
    files: Arc<dyn Files>,
) -> Result<()> {
    let bench = Bench::new(clock, files, 1)?;
    for (name, content, primary_key) in tables::OFFLINE {
        load_one(client, name, content, primary_key, &bench)
            .await
            .with_context(|| format!("cannot load the sample table `{name}`"))?;
    }
    Ok(())
}

/// A table that was created and not filled, by a start that was killed, is filled.
async fn load_one(
    client: &Client,
    name: &str,
    content: &'static [u8],
    primary_key: &[&str],
    bench: &Bench,
) -> Result<()> {
    let known = client.find(&format!("/tables/{name}/metadata")).await?;
    let is_empty = |table: &serde_json::Value| table["numSegments"] == json!(0);
    if known.as_ref().is_some_and(|table| !is_empty(table)) {
        return Ok(());
    }
    let path = bench.folder.path().join(format!("{name}.parquet"));
    std::fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    if known.is_none() {
        let table: TableName = name.parse()?;
        let columns = FileRows::open(&path)?.columns;
        let key: Vec<String> = primary_key
            .iter()
            .map(|column| (*column).to_owned())
            .collect();
        load::create(client, &table, &columns, &key).await?;
    }
    let job = Job {
        key: "sample".to_owned(),
        mode: None,
        sources: local_sources(&[path.display().to_string()], None)?,
        format: None,
        csv: None,
        start_over: true,
    };
    load::load(client, name, &job, bench, &Arc::default()).await?;
    Ok(())
}
