//! `tannin table`: list, status, pause, resume, drop. Creating one is in `create.rs`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::args::{TableAction, TableArgs};
use crate::client::Client;
use crate::exit::Exit;
use crate::{render, units};

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
        TableAction::Pause { name } => {
            client
                .post(&format!("/tables/{name}/pauseConsumption"), json!({}))
                .await?;
            println!("{name} is paused; `tannin table resume {name}` goes on");
            Ok(())
        }
        TableAction::Resume { name } => {
            client
                .post(&format!("/tables/{name}/resumeConsumption"), json!({}))
                .await?;
            println!("{name} consumes again");
            Ok(())
        }
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
