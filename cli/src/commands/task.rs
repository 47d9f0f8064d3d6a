//! `tannin task`: list, schedule, cancel.

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde_json::{Value, json};

use crate::args::{TaskAction, TaskArgs};
use crate::client::Client;
use crate::render;

pub(crate) async fn run(args: TaskArgs) -> Result<()> {
    let client = Client::new(&args.node)?;
    match args.action {
        TaskAction::List { table } => {
            println!("{}", list(&client, table.as_deref()).await?);
            Ok(())
        }
        TaskAction::Schedule { task_type, table } => {
            schedule(&client, task_type.as_deref(), table.as_deref()).await
        }
        TaskAction::Cancel { name } => {
            let answer = client
                .post(&format!("/v1/tasks/{name}/cancel"), json!({}))
                .await?;
            match answer.get("cancelled").and_then(Value::as_u64) {
                Some(0) | None => println!("{name} is over already"),
                Some(_) => println!("{name} is cancelled; nothing of it counts"),
            }
            Ok(())
        }
    }
}

/// The newest at the end.
async fn list(client: &Client, table: Option<&str>) -> Result<String> {
    let quoted = |text: &str| text.replace('\'', "''");
    let wanted = match table {
        Some(name) => {
            let name = quoted(name);
            format!("WHERE \"table\" IN ('{name}', '{name}_OFFLINE', '{name}_REALTIME')")
        }
        None => String::new(),
    };
    let answer = client
        .sql(&format!(
            "SELECT kind, \"table\", state, job, leased_by, attempts, summary, last_error \
             FROM sys.tasks {wanted} ORDER BY submitted, job"
        ))
        .await?;
    if answer.rows.is_empty() {
        return Ok("there is no task".to_owned());
    }
    let mut shown = render::new_table();
    shown.set_header([
        "task", "table", "state", "name", "minion", "attempts", "what",
    ]);
    for row in &answer.rows {
        let text = |at: usize| match row.get(at) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let what = match text(7).is_empty() {
            true => text(6),
            false => text(7),
        };
        shown.add_row([text(0), text(1), text(2), text(3), text(4), text(5), what]);
    }
    Ok(shown.to_string())
}

async fn schedule(client: &Client, task_type: Option<&str>, table: Option<&str>) -> Result<()> {
    let wanted = [("taskType", task_type), ("tableName", table)];
    let set = wanted
        .iter()
        .filter_map(|(key, value)| Some((*key, (*value)?)));
    let url = Url::parse_with_params("http://node/tasks/schedule", set)?;
    let path = format!("{}?{}", url.path(), url.query().unwrap_or(""));
    let answer = client.post(&path, json!({})).await?;
    let answer = answer.as_object().context("the answer is no object")?;
    if answer.is_empty() {
        bail!("the controller told nothing");
    }
    for (kind, job) in answer.iter().filter(|(key, _)| *key != "waits") {
        match job.as_str() {
            Some(job) => println!("{kind}: {job}"),
            None => println!("{kind}: nothing is due"),
        }
    }
    for (of, why) in answer
        .get("waits")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        println!("{of}: {}", why.as_str().unwrap_or(""));
    }
    Ok(())
}
