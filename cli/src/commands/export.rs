//! `tannin export`: a table, or what a statement answers, as Parquet.
//!
//! A table becomes a file for each of its segments, so that nothing of it is held whole anywhere;
//! each file is written whole or not at all. What is exported are the rows of the segments that
//! there are when it begins: a segment that has other rows when it is read, because it was replaced
//! meanwhile, ends the export with an error.

use std::path::Path;

use anyhow::{Context, Result, bail};
use broker::forms::Form;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::file::reader::{FileReader, SerializedFileReader};
use schemas::segment::SegmentRecord;
use serde_json::Value;

use super::sql;
use crate::args::ExportArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::units;

/// Segments that are on their way at once.
const AT_ONCE: usize = 2;
/// A segment has millions of rows.
const TIMEOUT_MS: u64 = 600_000;

pub(crate) async fn run(args: ExportArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    let what = args.what.trim();
    if what.contains(char::is_whitespace) {
        let Some("parquet") = args.to.extension().and_then(|ending| ending.to_str()) else {
            return Err(Exit::usage(
                "a statement becomes one file: give it a name that ends in .parquet",
            ));
        };
        let statement = format!("SET timeoutMs = {TIMEOUT_MS}; {what}");
        let written = sql::export(&client, &statement, Form::Parquet, &args.to).await;
        return written.map_err(|error| sql::explain(what, error));
    }
    table(&client, what, &args.to).await
}

async fn table(client: &Client, name: &str, folder: &Path) -> Result<()> {
    let segments = segments(client, name).await?;
    let before = boundary(client, name).await?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let is_whole = before.is_none();
    let exports = segments.iter().map(|segment| async move {
        let path = folder.join(format!("{}.parquet", segment.name));
        let rows = one(client, name, segment, &path).await?;
        // Of a hybrid table the boundary cuts segments.
        if is_whole && segment.is_done() && rows != segment.ledger.rows {
            bail!(
                "segment `{}` was replaced or removed during the export; export again",
                segment.name
            );
        }
        Ok(rows)
    });
    let exports: Vec<_> = exports.collect();
    let rows: Vec<u64> = stream::iter(exports)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    if boundary(client, name).await? != before {
        bail!("the time boundary of `{name}` moved during the export; export again");
    }
    println!(
        "{} rows of {name} in {} files below {}",
        units::grouped(rows.iter().sum()),
        rows.len(),
        folder.display()
    );
    Ok(())
}

/// Those that queries see.
async fn segments(client: &Client, name: &str) -> Result<Vec<SegmentRecord>> {
    let seen = client
        .get(&format!("/segments/{name}?excludeReplacedSegments=true"))
        .await?;
    let parts = seen.as_array().into_iter().flatten();
    let names = parts
        .filter_map(Value::as_object)
        .flat_map(|part| part.values());
    let names = names
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str);
    let names: Vec<String> = names.map(str::to_owned).collect();
    let mut known = client.get(&format!("/v1/segments/{name}")).await?;
    let records: Vec<SegmentRecord> = serde_json::from_value(known["segments"].take())
        .context("the list of segments is not understood")?;
    let records = records.into_iter();
    Ok(records
        .filter(|record| names.contains(&record.name))
        .collect())
}

/// Where a hybrid table is divided.
async fn boundary(client: &Client, name: &str) -> Result<Option<Value>> {
    let statement = format!(
        "SELECT MAX(time_boundary) FROM sys.tables WHERE \"table\" = '{}'",
        name.replace('\'', "''")
    );
    let answer = client.sql(&statement).await?;
    let value = answer.rows.into_iter().flatten().next();
    Ok(value.filter(|value| !value.is_null()))
}

/// The number of its rows.
async fn one(client: &Client, table: &str, segment: &SegmentRecord, path: &Path) -> Result<u64> {
    let statement = format!(
        "SET timeoutMs = {TIMEOUT_MS}; SELECT * FROM \"{}\" WHERE \"$segmentName\" = '{}'",
        table.replace('"', "\"\""),
        segment.name.replace('\'', "''")
    );
    let exporting = sql::export(client, &statement, Form::Parquet, path);
    exporting
        .await
        .with_context(|| format!("segment `{}`", segment.name))?;
    let read = || format!("cannot read `{}` again", path.display());
    let file = std::fs::File::open(path).with_context(read)?;
    let file = SerializedFileReader::new(file).with_context(read)?;
    let rows = file.metadata().file_metadata().num_rows();
    u64::try_from(rows).with_context(read)
}
