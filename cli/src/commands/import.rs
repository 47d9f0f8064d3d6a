//! `tannin import`: a Parquet, CSV or JSON-lines file becomes a table, or more rows of one.

use std::path::Path;

use anyhow::{Context, Result};
use ingest::files::FileRows;
use runtime::{SystemClock, files};
use schemas::{ColumnSpec, TableName};

use crate::args::ImportArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::load::{self, Workshop};
use crate::units;

pub(crate) async fn run(args: ImportArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    let name = table_name(args.table.as_deref(), &args.file)?;
    let rows = FileRows::open(&args.file)?;
    if rows.columns.is_empty() {
        anyhow::bail!("`{}` has no columns", args.file.display());
    }
    let known = client.tables().await?;
    let is_new = !known.iter().any(|table| table.name == name.as_str());
    if is_new {
        println!("{name}: {}", shape(&rows.columns));
        load::create(&client, &name, &rows.columns, &args.dimension).await?;
    } else if !args.dimension.is_empty() {
        return Err(Exit::usage(format!(
            "table `{name}` exists; --dimension is for new tables"
        )));
    }
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let workshop = Workshop {
        clock: SystemClock::shared(),
        files: files::shared(),
        folder: folder.path().to_owned(),
    };
    let begun = workshop.clock.monotonic();
    let loaded = load::load(&client, name.as_str(), rows, &workshop).await;
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) if is_new => {
            // A table that its only file could not fill was not asked for.
            client.delete(&format!("/tables/{name}")).await?;
            return Err(error.context(format!("`{name}` was not created")));
        }
        Err(error) => return Err(error),
    };
    let seconds = (workshop.clock.monotonic() - begun).as_secs_f64();
    println!(
        "{} rows into {name} in {seconds:.1} s ({} in {} segment{})\n\ntry: tannin sql \"SELECT * \
         FROM {name} LIMIT 5\"{}",
        units::grouped(loaded.rows),
        units::bytes(loaded.bytes),
        loaded.segments,
        if loaded.segments == 1 { "" } else { "s" },
        client.flags,
    );
    Ok(())
}

fn shape(columns: &[ColumnSpec]) -> String {
    let named: Vec<String> = columns
        .iter()
        .map(|column| {
            let several = if column.multi_value { " ARRAY" } else { "" };
            format!("{} {}{several}", column.name, column.data_type)
        })
        .collect();
    named.join(", ")
}

/// The name that was given, else the file's, made fit.
fn table_name(given: Option<&str>, file: &Path) -> Result<TableName> {
    if let Some(name) = given {
        return name
            .parse()
            .map_err(|error| Exit::usage(format!("--table {name}: {error}")));
    }
    let stem = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let fit: String = stem
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    fit.parse().map_err(|error| {
        Exit::usage(format!(
            "`{fit}` does not do as a table name ({error}); give one with --table"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_is_the_tables() {
        let of = |file: &str| table_name(None, Path::new(file)).map(|name| name.to_string());
        assert_eq!(of("/x/trips.parquet").unwrap(), "trips");
        assert_eq!(of("yellow-trips 2024.csv").unwrap(), "yellow_trips_2024");
        assert!(table_name(Some("a b"), Path::new("x.csv")).is_err());
    }
}
