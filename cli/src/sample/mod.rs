//! The sample data: flights as a stream, airlines, airports, planes and weather as files.

mod flights;
mod tables;

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use ingest::files::FileRows;
use runtime::{Clock, Files, SystemClock, files};
use schemas::TableName;
use serde_json::json;

pub use flights::{FLIGHT_COUNT, Flight, Flights, NEWEST_EVENT_MS};
pub use tables::{FLIGHTS, PARTITIONS, QUESTIONS, flights_config, flights_schema};

use crate::client::Client;
use crate::load::{self, Workshop};

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
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let workshop = Workshop {
        clock,
        files,
        folder: folder.path().to_owned(),
    };
    for (name, content, primary_key) in tables::OFFLINE {
        load_one(client, name, content, primary_key, &workshop)
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
    workshop: &Workshop,
) -> Result<()> {
    let spec = client.find(&format!("/v1/tables/{name}/spec")).await?;
    let is_empty = |spec: &serde_json::Value| spec["nextSequence"] == json!(0);
    if spec.as_ref().is_some_and(|spec| !is_empty(spec)) {
        return Ok(());
    }
    let rows = FileRows::parquet(&format!("{name}.parquet"), Bytes::from_static(content))?;
    if spec.is_none() {
        let table: TableName = name.parse()?;
        let key: Vec<String> = primary_key
            .iter()
            .map(|column| (*column).to_owned())
            .collect();
        load::create(client, &table, &rows.columns, &key).await?;
    }
    load::load(client, name, rows, workshop).await?;
    Ok(())
}
