//! `tannin table`: list, status, pause, resume, commit, retry-rejected, drop. Creating one is in
//! `create.rs`, rebalancing in `node.rs`.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde_json::{Value, json};

use crate::args::{ResumeFrom, TableAction, TableArgs};
use crate::client::Client;
use crate::exit::Exit;
use crate::{render, units};

const COMMIT_PATIENCE: Duration = Duration::from_secs(120);
const COMMIT_POLL: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: TableArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    match args.action {
        action @ TableAction::Create { .. } => super::create::run(&client, action).await,
        TableAction::List => {
            println!("{}", describe(&client, "").await?);
            Ok(())
        }
        TableAction::Status { name } => {
            println!("{}", status(&client, &name).await?);
            Ok(())
        }
        TableAction::Pause {
            name,
            comment,
            topics,
        } => {
            let query = [("comment", comment.as_str()), ("topics", &topics)];
            let path = format!("/tables/{name}/pauseConsumption");
            client.post(&with_query(&path, &query)?, json!({})).await?;
            println!("{name} is paused; `tannin table resume {name}` goes on");
            Ok(())
        }
        TableAction::Resume { name, from, topics } => {
            let from = match from {
                ResumeFrom::Last => "lastConsumed",
                ResumeFrom::Smallest => "smallest",
                ResumeFrom::Largest => "largest",
            };
            let query = [("consumeFrom", from), ("topics", &topics)];
            let path = format!("/tables/{name}/resumeConsumption");
            client.post(&with_query(&path, &query)?, json!({})).await?;
            println!("{name} consumes again");
            Ok(())
        }
        TableAction::Commit { name, partitions } => commit(&client, &name, &partitions).await,
        TableAction::RetryRejected { name, yes } => retry_rejected(&client, &name, yes).await,
        TableAction::Rebalance(args) => super::node::rebalance(&client, &args).await,
        TableAction::Drop { name, yes } => {
            if !yes && !confirm(&format!("drop `{name}` and all its data?"))? {
                bail!("nothing was dropped");
            }
            client.delete(&format!("/tables/{name}")).await?;
            println!("{name} is gone");
            Ok(())
        }
    }
}

fn with_query(path: &str, query: &[(&str, &str)]) -> Result<String> {
    let set = query.iter().filter(|(_, value)| !value.is_empty());
    let url = Url::parse_with_params(&format!("http://node{path}"), set)?;
    Ok(format!("{}?{}", url.path(), url.query().unwrap_or("")))
}

/// Returns when it is committed.
async fn commit(client: &Client, name: &str, partitions: &str) -> Result<()> {
    let path = format!("/tables/{name}/forceCommit");
    let path = with_query(&path, &[("partitions", partitions)])?;
    let job = client.post(&path, json!({})).await?;
    let id = job.get("forceCommitJobId").and_then(Value::as_str);
    let id = id.context("the answer names no job")?;
    let begun = Instant::now();
    loop {
        let status = client
            .get(&format!("/tables/forceCommitStatus/{id}"))
            .await?;
        let left = status.get("numberOfSegmentsYetToBeCommitted");
        let left = left.and_then(Value::as_u64).unwrap_or(0);
        if left == 0 {
            println!("{name}: all that was consumed is committed");
            return Ok(());
        }
        if begun.elapsed() > COMMIT_PATIENCE {
            bail!("{left} segments are not committed yet; `tannin table status {name}` tells why");
        }
        tokio::time::sleep(COMMIT_POLL).await;
    }
}

async fn retry_rejected(client: &Client, name: &str, yes: bool) -> Result<()> {
    let quoted = name.replace('\'', "''");
    let rejected = client
        .sql(&format!(
            "SELECT \"partition\", \"offset\" FROM sys.rejected_rows WHERE \"table\" = '{quoted}'"
        ))
        .await?;
    let mut offsets: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &rejected.rows {
        if let [partition, offset] = row.as_slice()
            && let Some(offset) = offset.as_i64()
        {
            offsets
                .entry(partition.to_string())
                .or_default()
                .push(offset);
        }
    }
    let count = rejected.rows.len();
    if count == 0 {
        println!("{name} has no rejected messages");
        return Ok(());
    }
    let question = format!(
        "send {count} rejected messages to their topics again, where other readers see them too?"
    );
    if !yes && !confirm(&question)? {
        bail!("nothing was sent");
    }
    let path = format!("/v1/tables/{name}/retryRejected");
    let answer = client.post(&path, json!({ "offsets": offsets })).await?;
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    println!(
        "{name}: {} messages sent again, {} not in the log any more, {} sent before",
        number("sent"),
        number("gone"),
        number("sentBefore"),
    );
    Ok(())
}

/// Asks on a terminal; without one the caller must have said `--yes`.
pub(super) fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::usage(format!(
            "{question} add --yes to answer without a terminal"
        )));
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// All tables with their row counts, or the columns of one.
pub(super) async fn describe(client: &Client, name: &str) -> Result<String> {
    let tables = client.tables().await?;
    let mut table = render::new_table();
    if name.is_empty() {
        if tables.is_empty() {
            return Ok(
                "there is no table yet; `tannin import FILE` or `tannin table create` \
                       makes one"
                    .to_owned(),
            );
        }
        table.set_header(["table", "rows", "columns"]);
        for one in &tables {
            table.add_row([
                one.name.clone(),
                one.rows.map_or_else(|| "?".to_owned(), units::grouped),
                one.columns.len().to_string(),
            ]);
        }
        return Ok(table.to_string());
    }
    let Some(found) = tables.iter().find(|one| one.name == name) else {
        let names: Vec<&str> = tables.iter().map(|one| one.name.as_str()).collect();
        bail!(
            "there is no table `{name}`; there are: {}",
            names.join(", ")
        );
    };
    table.set_header(["column", "type"]);
    for column in &found.columns {
        table.add_row([&column.name, &column.data_type]);
    }
    Ok(table.to_string())
}

/// What each partition consumed; when nothing arrives, why.
async fn status(client: &Client, name: &str) -> Result<String> {
    let status = client.get(&format!("/v1/tables/{name}/status")).await?;
    let mut table = render::new_table();
    table.set_header([
        "partition",
        "state",
        "consumed",
        "log end",
        "lag",
        "rows/s",
        "rejected",
        "newest event",
    ]);
    let partitions = status.get("partitions").and_then(Value::as_array).cloned();
    let partitions = partitions.unwrap_or_default();
    for one in &partitions {
        table.add_row(partition_row(one));
    }
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut lines = vec![format!(
        "{name}: {} rows in {} sealed segments, {} rows consuming",
        units::grouped(number("sealedRows")),
        units::grouped(number("sealedSegments")),
        units::grouped(number("consumingRows")),
    )];
    if !partitions.is_empty() {
        lines.push(table.to_string());
    }
    for one in &partitions {
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or("");
        let partition = one.get("partition").unwrap_or(&Value::Null);
        if !text("detail").is_empty() {
            lines.push(format!("partition {partition}: {}", text("detail")));
        }
        if !text("lastRejection").is_empty() {
            lines.push(format!(
                "partition {partition}: last rejected: {}",
                text("lastRejection")
            ));
        }
    }
    for reason in status
        .get("reasons")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        lines.push(format!("not good: {}", reason.as_str().unwrap_or("")));
    }
    if let Some(verdict) = status.get("verdict").and_then(Value::as_str) {
        lines.push(verdict.to_owned());
    }
    Ok(lines.join("\n"))
}

fn partition_row(one: &Value) -> [String; 8] {
    let number = |key: &str| match one.get(key).and_then(Value::as_i64) {
        Some(value) if value >= 0 => units::grouped(value as u64),
        _ => "?".to_owned(),
    };
    let newest = match one.get("newestEventAgeMs").and_then(Value::as_u64) {
        Some(age_ms) => format!("{} ago", units::age(age_ms)),
        None => "none".to_owned(),
    };
    let rate = one
        .get("rowsPerSecond")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    let state = one.get("state").and_then(Value::as_str).unwrap_or("?");
    [
        one.get("partition").unwrap_or(&Value::Null).to_string(),
        state.to_owned(),
        number("consumed"),
        number("logEnd"),
        number("lag"),
        units::grouped(rate.round() as u64),
        number("rejected"),
        newest,
    ]
}
