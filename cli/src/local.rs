//! Questions to files, with no server: `FROM 'trips.parquet' LIMIT 5`.
//!
//! A quoted name after FROM or JOIN that ends in `.parquet`, `.csv` or `.json` is a file. The
//! statement runs in DataFusion in this process.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::{
    CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext,
};

use crate::client::{Answer, Column, Stats};

const EXTENSIONS: [&str; 3] = ["parquet", "csv", "json"];

/// The files that `statement` reads; `None` when it reads tables of a node.
pub(crate) fn files_of(statement: &str) -> Option<Vec<String>> {
    let files: Vec<String> = quoted(statement)
        .filter(|(before, name)| {
            let word = before
                .trim_end()
                .rsplit(|c: char| !c.is_alphabetic())
                .next();
            let after_from = word
                .is_some_and(|w| w.eq_ignore_ascii_case("from") || w.eq_ignore_ascii_case("join"));
            after_from && extension(name).is_some()
        })
        .map(|(_, name)| name.to_owned())
        .collect();
    (!files.is_empty()).then_some(files)
}

/// Text before each single-quoted literal, and the literal.
fn quoted(statement: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let open = from + statement.get(from..)?.find('\'')?;
        let close = open + 1 + statement.get(open + 1..)?.find('\'')?;
        let item = (&statement[..open], &statement[open + 1..close]);
        from = close + 1;
        Some(item)
    })
}

fn extension(name: &str) -> Option<&'static str> {
    let (_, found) = name.rsplit_once('.')?;
    EXTENSIONS
        .into_iter()
        .find(|known| found.eq_ignore_ascii_case(known))
}

/// Rows as a terminal shows them.
pub(crate) async fn query(statement: &str, files: &[String]) -> Result<Answer> {
    let started = Instant::now();
    let (schema, batches) = batches(statement, files).await?;
    shown(&schema, &batches, started)
}

/// Asks of one table with these rows.
pub(crate) async fn query_rows(statement: &str, name: &str, rows: RecordBatch) -> Result<Answer> {
    let started = Instant::now();
    let mut options = ConfigOptions::new();
    options.sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config(SessionConfig::from(options));
    let table = TableReference::bare(name);
    let rows = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    session.register_table(table, Arc::new(rows))?;
    let frame = session.sql(statement).await?;
    let schema = Arc::clone(frame.schema().inner());
    shown(&schema, &frame.collect().await?, started)
}

fn shown(schema: &SchemaRef, batches: &[RecordBatch], started: Instant) -> Result<Answer> {
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        data_type: type_name(field.data_type()).to_owned(),
    });
    let columns = columns.collect();
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(json_rows(batch)?);
    }
    let stats = Stats {
        time_used_ms: started.elapsed().as_secs_f64() * 1000.0,
        ..Stats::default()
    };
    Ok(Answer {
        columns,
        rows,
        stats,
        warnings: Vec::new(),
    })
}

pub(crate) async fn batches(
    statement: &str,
    files: &[String],
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let session = SessionContext::new_with_config(SessionConfig::new());
    let mut sql = statement.to_owned();
    for (index, file) in files.iter().enumerate() {
        if !std::path::Path::new(file).exists() {
            bail!("there is no file `{file}`");
        }
        let table = format!("file_{index}");
        register(&session, &table, file)
            .await
            .with_context(|| format!("cannot read `{file}`"))?;
        sql = sql.replacen(&format!("'{file}'"), &table, 1);
    }
    if sql
        .trim_start()
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case("from"))
    {
        sql = format!("SELECT * {sql}");
    }
    let frame = session.sql(&sql).await?;
    let schema = Arc::clone(frame.schema().inner());
    Ok((schema, frame.collect().await?))
}

async fn register(session: &SessionContext, table: &str, file: &str) -> Result<()> {
    match extension(file) {
        Some("parquet") => {
            session
                .register_parquet(table, file, ParquetReadOptions::default())
                .await?;
        }
        Some("csv") => {
            session
                .register_csv(table, file, CsvReadOptions::new())
                .await?
        }
        _ => {
            session
                .register_json(table, file, JsonReadOptions::default())
                .await?
        }
    }
    Ok(())
}

fn type_name(data_type: &arrow::datatypes::DataType) -> &'static str {
    use arrow::datatypes::DataType as Arrow;
    match data_type {
        Arrow::Int8 | Arrow::Int16 | Arrow::Int32 | Arrow::UInt8 | Arrow::UInt16 => "INT",
        Arrow::Int64 | Arrow::UInt32 | Arrow::UInt64 => "LONG",
        Arrow::Float16 | Arrow::Float32 => "FLOAT",
        Arrow::Float64 => "DOUBLE",
        Arrow::Boolean => "BOOLEAN",
        Arrow::Timestamp(_, _) | Arrow::Date32 | Arrow::Date64 => "TIMESTAMP",
        Arrow::Decimal128(_, _) | Arrow::Decimal256(_, _) => "BIG_DECIMAL",
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => "BYTES",
        _ => "STRING",
    }
}

/// Numbers and booleans as JSON has them, everything else in Arrow's text form.
fn json_rows(batch: &RecordBatch) -> Result<Vec<Vec<serde_json::Value>>> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default();
    let columns = batch.columns();
    let formatters = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let value = |column: usize, row: usize| {
        if columns[column].is_null(row) {
            return serde_json::Value::Null;
        }
        let text = formatters[column].value(row).to_string();
        match type_name(columns[column].data_type()) {
            "INT" | "LONG" | "DOUBLE" | "FLOAT" | "BOOLEAN" => {
                serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
            }
            _ => serde_json::Value::String(text),
        }
    };
    Ok((0..batch.num_rows())
        .map(|row| {
            (0..columns.len())
                .map(|column| value(column, row))
                .collect()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quoted_names_after_from_are_files() {
        let of = |sql| files_of(sql).unwrap_or_default();
        assert_eq!(of("FROM 'x.parquet' LIMIT 5"), ["x.parquet"]);
        assert_eq!(
            of("select * from 'a b.csv' t join 'c.json' u on true"),
            ["a b.csv", "c.json"]
        );
        assert!(files_of("SELECT * FROM flights WHERE f = 'x.parquet'").is_none());
    }
}
