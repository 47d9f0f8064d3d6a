//! `.slt` files against a broker: statements and the answers they must have.
//!
//! Each is asked with the options of a way to its answer. A value is written as it comes over HTTP, but: a DOUBLE has four digits after the point, a null
//! is `NULL`, an empty string is `(empty)`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

/// Which door and dialect the statements of a file are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/v1/sql`.
    Standard,
    /// `/query/sql`.
    Pinot,
}

/// An option of the query, and its value.
pub type Way<'a> = Option<(&'a str, &'a str)>;

/// Runs every file of a folder; the number of statements that had their answer.
pub async fn run_folder(broker: &str, door: Door, way: Way<'_>, folder: &Path) -> Result<usize> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "slt"));
    files.sort();
    let mut asked = 0;
    for file in files {
        asked += run_file(broker, door, way, &file).await?;
    }
    ensure!(asked > 0, "{} holds no statement", folder.display());
    Ok(asked)
}

async fn run_file(broker: &str, door: Door, way: Way<'_>, file: &Path) -> Result<usize> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let broker = broker.to_owned();
    let option = way.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut runner = Runner::new(move || {
        let asker = Asker {
            http: http.clone(),
            broker: broker.clone(),
            option: option.clone(),
            door,
        };
        async move { Ok(asker) }
    });
    let records = sqllogictest::parse_file::<DefaultColumnType>(file)?;
    let mut asked = 0;
    for record in records {
        let is_question = matches!(
            record,
            sqllogictest::Record::Query { .. } | sqllogictest::Record::Statement { .. }
        );
        runner
            .run_async(record)
            .await
            .map_err(|error| anyhow!("with {way:?}: {}", error.display(false)))?;
        asked += usize::from(is_question);
    }
    Ok(asked)
}

#[derive(Debug)]
struct Asker {
    http: reqwest::Client,
    broker: String,
    option: Option<(String, String)>,
    door: Door,
}

/// What the broker said instead of an answer.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[async_trait]
impl AsyncDB for Asker {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let path = match self.door {
            Door::Standard => "/v1/sql",
            Door::Pinot => "/query/sql",
        };
        let asked = async {
            let url = format!("http://{}{path}", self.broker);
            let body = match (&self.option, self.door) {
                (None, _) => json!({ "sql": sql }),
                (Some((name, value)), Door::Standard) => {
                    json!({ "sql": sql, "options": { name: value } })
                }
                (Some((name, value)), Door::Pinot) => {
                    json!({ "sql": sql, "queryOptions": format!("{name}={value}") })
                }
            };
            let answer = self.http.post(url).json(&body);
            answer.send().await?.json::<Value>().await
        };
        let body = asked.await.map_err(|error| Refused(error.to_string()))?;
        match self.door {
            Door::Standard => standard(&body),
            Door::Pinot => pinot(&body),
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "tannin"
    }
}

fn standard(body: &Value) -> Result<DBOutput<DefaultColumnType>, Refused> {
    let error = &body["error"];
    if !error.is_null() {
        let (code, message) = (&error["code"], &error["message"]);
        return Err(Refused(format!("{code}: {}", text(message))));
    }
    let columns = body["columns"].as_array().cloned().unwrap_or_default();
    let types: Vec<String> = columns.iter().map(|column| text(&column["type"])).collect();
    output(&types, &body["rows"])
}

fn pinot(body: &Value) -> Result<DBOutput<DefaultColumnType>, Refused> {
    let exceptions = body["exceptions"].as_array().cloned().unwrap_or_default();
    if let Some(first) = exceptions.first() {
        let (code, message) = (&first["errorCode"], &first["message"]);
        return Err(Refused(format!("{code}: {}", text(message))));
    }
    let table = &body["resultTable"];
    let types = table["dataSchema"]["columnDataTypes"].as_array();
    let types: Vec<String> = types.into_iter().flatten().map(text).collect();
    output(&types, &table["rows"])
}

fn output(types: &[String], rows: &Value) -> Result<DBOutput<DefaultColumnType>, Refused> {
    let rows = rows
        .as_array()
        .ok_or_else(|| Refused(format!("no rows: {rows}")))?;
    let shown = rows.iter().map(|row| {
        let cells = row.as_array().into_iter().flatten();
        cells.zip(types).map(|(cell, t)| shown(cell, t)).collect()
    });
    Ok(DBOutput::Rows {
        types: types.iter().map(|t| letter(t)).collect(),
        rows: shown.collect(),
    })
}

fn letter(data_type: &str) -> DefaultColumnType {
    match data_type {
        "INT" | "LONG" => DefaultColumnType::Integer,
        "FLOAT" | "DOUBLE" => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn shown(value: &Value, data_type: &str) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::Number(number) if matches!(data_type, "FLOAT" | "DOUBLE") => {
            format!("{:.4}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => text(other),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
