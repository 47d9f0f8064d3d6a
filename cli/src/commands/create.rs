//! `tannin table create`: from a Kafka topic to a table that answers, in one command.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ingest::infer::{Inferred, infer_schema};
use schemas::pinot::schema_json;
use schemas::{DataType, TableName};
use serde_json::{Value, json};
use stream::{KafkaSource, SampleFrom, StreamSource, sample};

use crate::args::TableAction;
use crate::client::Client;
use crate::configs::{self, Topic};
use crate::exit::Exit;
use crate::{render, units};

const SAMPLE_MESSAGES: usize = 1000;
const SAMPLE_WITHIN: Duration = Duration::from_secs(10);
const ROWS_SHOWN: usize = 3;
/// Cells are cut here for the screen only.
const CELL_CHARS_MAX: usize = 24;
const FIRST_ROWS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(client: &Client, action: TableAction) -> Result<()> {
    let TableAction::Create {
        name,
        kafka,
        topic,
        yes,
        time_column,
        replication,
    } = action
    else {
        bail!("this is no command to create a table");
    };
    let table: TableName = name
        .parse()
        .map_err(|error| Exit::usage(format!("`{name}`: {error}")))?;
    let known = client.tables().await?;
    if known.iter().any(|one| one.name == table.as_str()) {
        bail!("table `{table}` exists already; `tannin table drop {table}` drops it");
    }
    let mut inferred = look(&kafka, &topic).await?;
    if let Some(column) = time_column {
        choose_time(&mut inferred, &column)?;
    }
    show(&inferred, &table, &topic);
    if !yes && !super::table::confirm(&format!("create `{table}`?"))? {
        bail!("nothing was created");
    }
    let from = Topic {
        kafka: &kafka,
        topic: &topic,
    };
    let time = inferred.time_column.as_deref();
    let body = json!({
        "schema": schema_json(&table, &inferred.columns, &[]),
        "tableConfig": configs::realtime(table.as_str(), &from, time, replication),
    });
    client.post("/v1/tables", body).await?;
    wait_for_rows(client, &table).await
}

/// Samples the topic, newest messages first of all partitions.
async fn look(kafka: &str, topic: &str) -> Result<Inferred> {
    let source = KafkaSource::new(kafka, &[], "tannin table create")?;
    source
        .partitions(topic)
        .await
        .with_context(|| format!("cannot read topic `{topic}` at {kafka}"))?;
    let messages = sample(
        &source,
        topic,
        SAMPLE_MESSAGES,
        SampleFrom::End,
        SAMPLE_WITHIN,
    );
    let messages = messages.await?;
    let payloads = messages
        .iter()
        .filter_map(|message| message.payload.as_deref());
    let first = payloads.clone().next();
    let inferred = infer_schema(payloads);
    let Some(first) = first else {
        bail!(
            "topic `{topic}` at {kafka} is empty, so there is nothing to infer a schema from; \
             produce a message, or post schema and table config to the controller"
        );
    };
    if inferred.columns.is_empty() {
        let text = String::from_utf8_lossy(first);
        let text: String = text.chars().take(120).collect();
        bail!(
            "none of the {} sampled messages of `{topic}` is a JSON object; the first begins: \
             {text}",
            messages.len()
        );
    }
    println!(
        "sampled {} message{} of `{topic}`{}",
        messages.len(),
        if messages.len() == 1 { "" } else { "s" },
        match inferred.unreadable {
            0 => String::new(),
            n => format!("; {n} of them are no JSON objects and would be rejected"),
        }
    );
    Ok(inferred)
}

fn choose_time(inferred: &mut Inferred, name: &str) -> Result<()> {
    let Some(column) = inferred.columns.iter_mut().find(|c| c.name == name) else {
        let known: Vec<&str> = inferred.columns.iter().map(|c| c.name.as_str()).collect();
        return Err(Exit::usage(format!(
            "--time-column {name}: there is no such column; there are: {}",
            known.join(", ")
        )));
    };
    match column.data_type {
        DataType::Timestamp => {}
        // Epoch milliseconds that no name or range gave away.
        DataType::Long => {
            column.data_type = DataType::Timestamp;
            column.role = schemas::FieldRole::DateTime;
        }
        other => {
            return Err(Exit::usage(format!(
                "--time-column {name}: its values are {other}, no times"
            )));
        }
    }
    inferred.time_column = Some(name.to_owned());
    Ok(())
}

fn show(inferred: &Inferred, table: &TableName, topic: &str) {
    let mut shown = render::new_table();
    let mut header = vec!["column".to_owned(), "type".to_owned()];
    let rows = inferred.rows.iter().take(ROWS_SHOWN);
    header.extend((1..=rows.len()).map(|n| format!("row {n}")));
    shown.set_header(header);
    for column in &inferred.columns {
        let mut line = vec![column.name.clone(), column.data_type.to_string()];
        line.extend(rows.clone().map(|row| cell(row.get(&column.name))));
        shown.add_row(line);
    }
    println!("{shown}");
    match &inferred.time_column {
        Some(column) => println!("time column: {column}"),
        None => println!(
            "no column holds times: retention by age will not work (--time-column names one)"
        ),
    }
    println!("table `{table}` consumes topic `{topic}` from its start");
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    format!("{cut}…")
}

async fn wait_for_rows(client: &Client, table: &TableName) -> Result<()> {
    let begun = std::time::Instant::now();
    let count = format!("SELECT COUNT(*) FROM \"{table}\"");
    while begun.elapsed() < FIRST_ROWS_WITHIN {
        // Until the broker knows the table it refuses the question.
        let rows = match client.sql(&count).await {
            Ok(answer) => answer.rows.first().and_then(|row| row.first()?.as_u64()),
            Err(_) => None,
        };
        if let Some(rows) = rows.filter(|rows| *rows > 0) {
            println!(
                "{table} answers: {} rows after {}\n\n\
                 try: tannin sql \"SELECT * FROM {table} LIMIT 5\"{}",
                units::grouped(rows),
                units::elapsed(begun.elapsed().as_secs_f64() * 1000.0),
                client.flags,
            );
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!(
        "`{table}` was created, but no row answers after {} s; \
         `tannin table status {table}{}` says why",
        FIRST_ROWS_WITHIN.as_secs(),
        client.flags,
    )
}
