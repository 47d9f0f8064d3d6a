//! `tannin import`: Parquet, Arrow, Avro, CSV or JSON files become a table, more rows of one, or
//! all of its rows anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use batch::{
    Done, Job, Mode, Progress, Source, local_path, local_sources, names_objects, object_sources,
};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::files::FileRows;
use runtime::{SystemClock, files};
use schemas::decoding::CsvSpec;
use schemas::pinot::csv_reader;
use schemas::{ColumnSpec, TableName};

use crate::args::ImportArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::load::{self, Bench};
use crate::{machine, units};

pub(crate) async fn run(args: ImportArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    let threads = args.threads.unwrap_or_else(machine::cores);
    let mut bench = Bench::new(SystemClock::shared(), files::shared(), threads)?;
    bench.workshop.objects = access(&args);
    let sources = sources(&args, &bench).await?;
    let first = sources.first().context("there is no file")?;
    let name = table_name(args.table.as_deref(), Path::new(&args.files[0]))?;
    let known = client.tables().await?;
    let is_new = !known.iter().any(|table| table.name == name.as_str());
    if is_new {
        let columns = columns_of(first, &args, &bench).await?;
        println!("{name}: {}", shape(&columns));
        load::create(&client, &name, &columns, &args.dimension).await?;
    } else if !args.dimension.is_empty() {
        return Err(Exit::usage(format!(
            "table `{name}` exists; --dimension is for new tables"
        )));
    }
    let mode = match (args.replace, args.append) {
        (true, _) => Some(Mode::Refresh),
        (_, true) => Some(Mode::Append),
        _ => None,
    };
    let job = Job {
        key: load::key(&args.files)?,
        mode,
        sources,
        format: args.format,
        csv: csv(&args)?,
        start_over: args.start_over,
    };
    let begun = bench.workshop.clock.monotonic();
    let loaded = watched(&client, &name, &job, &bench).await;
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) if is_new => {
            // A table that its only files could not fill was not asked for.
            client.delete(&format!("/tables/{name}")).await?;
            return Err(error.context(format!("`{name}` was not created")));
        }
        Err(error) => return Err(error),
    };
    let seconds = (bench.workshop.clock.monotonic() - begun).as_secs_f64();
    println!("{}", summary(&loaded, &name, seconds));
    println!(
        "\ntry: tannin sql \"SELECT * FROM {name} LIMIT 5\"{}",
        client.flags
    );
    Ok(())
}

/// How CSV files are read.
fn csv(args: &ImportArgs) -> Result<Option<CsvSpec>> {
    let options = args.reader.iter().map(|option| {
        let parts = option.split_once('=');
        parts.with_context(|| format!("`--reader {option}`: write KEY=VALUE, such as delimiter=|"))
    });
    let options = options.collect::<Result<Vec<_>>>()?;
    Ok(csv_reader(options.into_iter())?)
}

/// How buckets are reached. Who writes `http://` means it.
fn access(args: &ImportArgs) -> deepstore::Config {
    let endpoint = args.s3_endpoint.clone().unwrap_or_default();
    deepstore::Config {
        allow_http: endpoint.starts_with("http://"),
        endpoint,
        region: args.s3_region.clone().unwrap_or_default(),
        ..deepstore::Config::default()
    }
}

async fn sources(args: &ImportArgs, bench: &Bench) -> Result<Vec<Source>> {
    let (objects, files): (Vec<&String>, Vec<&String>) =
        args.files.iter().partition(|input| names_objects(input));
    let files: Vec<String> = files.into_iter().cloned().collect();
    let mut sources = local_sources(&files, args.format)?;
    for uri in objects {
        sources.extend(object_sources(uri, args.format, &bench.workshop).await?);
    }
    Ok(sources)
}

async fn columns_of(source: &Source, args: &ImportArgs, bench: &Bench) -> Result<Vec<ColumnSpec>> {
    let (path, _fetched) = local_path(source, &bench.workshop).await?;
    let file = FileRows::open_with(&path, args.format, csv(args)?.as_ref())?;
    if file.columns.is_empty() {
        anyhow::bail!("`{}` has no columns", source.uri);
    }
    Ok(file.columns)
}

fn summary(done: &Done, name: &TableName, seconds: f64) -> String {
    let mut text = format!(
        "{} rows into {name} in {seconds:.1} s ({} in {})",
        units::grouped(done.rows),
        units::bytes(done.bytes),
        done.made(),
    );
    if done.filtered > 0 {
        let filtered = units::grouped(done.filtered);
        text.push_str(&format!("; {filtered} records were left out by its filter"));
    }
    if done.kept > 0 {
        let kept = done.kept;
        text.push_str(&format!(
            "; {kept} of the segments were there from an import that broke off"
        ));
    }
    text
}

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const BAR: &str = "{bar:30} {percent}%  {msg}  {elapsed}, {eta} left";

/// With a bar where somebody sits in front of it.
async fn watched(client: &Client, name: &TableName, job: &Job, bench: &Bench) -> Result<Done> {
    let progress: Arc<Progress> = Arc::default();
    let style = ProgressStyle::with_template(BAR).context("the bar cannot be drawn")?;
    let bar = ProgressBar::new(1).with_style(style);
    let clock = &bench.workshop.clock;
    let draw = async {
        while !bar.is_finished() {
            let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
            bar.set_length(count(&progress.bytes_total).max(1));
            bar.set_position(count(&progress.bytes_done));
            bar.set_message(format!("{} rows", units::grouped(count(&progress.rows))));
            clock.sleep(REDRAW_EVERY).await;
        }
    };
    let load = load::load(client, name.as_str(), job, bench, &progress);
    let done = tokio::select! {
        done = load => done,
        () = draw => Ok(Done::default()),
    };
    bar.finish_and_clear();
    done
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
    let file = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let file = file.unwrap_or_default();
    let stem = file.split_once('.').map_or(file.as_str(), |(stem, _)| stem);
    let fit: String = stem
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
        assert_eq!(of("yellow-trips 2024.csv.gz").unwrap(), "yellow_trips_2024");
        assert_eq!(of("/data/trips/").unwrap(), "trips");
        assert!(table_name(Some("a b"), Path::new("x.csv")).is_err());
    }
}
