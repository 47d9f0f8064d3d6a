//! `tannin node`: nodes and their tags, draining; and `tannin table rebalance`. Both return when
//! what was asked for is done.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::args::{NodeAction, NodeCommand, RebalanceArgs};
use crate::client::Client;
use crate::{render, units};

const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(command: NodeCommand) -> Result<()> {
    let client = Client::new(&command.node)?;
    match command.action {
        NodeAction::List => list(&client).await,
        NodeAction::Drain { name, no_wait } => drain(&client, &name, no_wait).await,
        NodeAction::Enable { name } => set_state(&client, &name, "ENABLE").await,
        NodeAction::Disable { name } => set_state(&client, &name, "DISABLE").await,
        NodeAction::Tag { name, tags } => {
            let path = format!("/instances/{name}/updateTags?tags={}", tags.join(","));
            client.put(&path, json!({})).await?;
            println!("{name} has the tags {}", tags.join(", "));
            Ok(())
        }
        NodeAction::Remove { name } => {
            client.delete(&format!("/instances/{name}")).await?;
            println!("{name} is forgotten");
            Ok(())
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

async fn list(client: &Client) -> Result<()> {
    let all = client.get("/instances").await?;
    let names = all.get("instances").and_then(Value::as_array).cloned();
    let mut table = render::new_table();
    table.set_header(["node", "role", "lives", "order", "segments", "tags"]);
    for name in names.unwrap_or_default() {
        let name = name.as_str().unwrap_or_default();
        let one = client.get(&format!("/instances/{name}")).await?;
        let tags = one.get("tags").and_then(Value::as_array);
        let tags: Vec<&str> = tags
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let lives = one.get("alive") == Some(&Value::Bool(true));
        table.add_row([
            name,
            text(&one, "role"),
            if lives { "yes" } else { "no" },
            text(&one, "order"),
            &number(&one, "segments").to_string(),
            &tags.join(", "),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn set_state(client: &Client, name: &str, state: &str) -> Result<()> {
    let path = format!("/instances/{name}/state?state={state}");
    let answer = client.put(&path, json!({})).await?;
    println!("{}", text(&answer, "status"));
    Ok(())
}

/// Returns when others have what it had.
async fn drain(client: &Client, name: &str, no_wait: bool) -> Result<()> {
    set_state(client, name, "DRAIN").await?;
    if no_wait {
        return Ok(());
    }
    let mut told = None;
    loop {
        let one = client.get(&format!("/instances/{name}")).await?;
        let (left, leaving) = (number(&one, "segments"), number(&one, "segmentsLeaving"));
        if left == 0 {
            println!("nothing is left on {name}: it may be stopped");
            return Ok(());
        }
        if text(&one, "order") != "DRAINING" {
            bail!(
                "{name} is {} again; {left} segments are on it",
                text(&one, "order")
            );
        }
        if told != Some((left, leaving)) {
            let stay = match left - leaving.min(left) {
                0 => String::new(),
                stay => format!(", {stay} wait for a server that can have them"),
            };
            eprintln!("{left} segments are left{stay}");
            told = Some((left, leaving));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Returns when every segment is where it shall be.
pub(super) async fn rebalance(client: &Client, args: &RebalanceArgs) -> Result<()> {
    let RebalanceArgs {
        name,
        table_type,
        dry_run,
        cancel,
        no_wait,
    } = args;
    let of_type = match table_type {
        Some(table_type) => format!("type={table_type}&"),
        None => String::new(),
    };
    let path = format!("/tables/{name}/rebalance?{of_type}");
    if *cancel {
        client.delete(&path).await?;
        println!("{name}: what was on its way goes back");
        return Ok(());
    }
    let answer = client
        .post(&format!("{path}dryRun={dry_run}"), json!({}))
        .await?;
    println!("{}", moves(&answer));
    let Some(job) = answer.get("jobId").and_then(Value::as_str) else {
        return Ok(());
    };
    if *no_wait {
        println!("it goes on; GET /rebalanceStatus/{job} tells how far it is");
        return Ok(());
    }
    let mut told = String::new();
    loop {
        let status = client.get(&format!("/rebalanceStatus/{job}")).await?;
        let stats = status.get("tableRebalanceProgressStats");
        let stats = stats.context("the answer does not tell how far it is")?;
        let progress = text(stats, "completionStatusMsg");
        if progress != told {
            eprintln!("{progress}");
            progress.clone_into(&mut told);
        }
        match text(stats, "status") {
            "IN_PROGRESS" => tokio::time::sleep(POLL).await,
            "DONE" => {
                println!("{name} is balanced");
                return Ok(());
            }
            other => bail!("the rebalance is {other}"),
        }
    }
}

/// What moves, server by server.
fn moves(answer: &Value) -> String {
    let summary = answer.get("rebalanceSummaryResult").unwrap_or(&Value::Null);
    let segments = summary.get("segmentInfo").unwrap_or(&Value::Null);
    let count = number(segments, "totalSegmentsToBeMoved");
    if count == 0 && number(segments, "totalSegmentsToBeDeleted") == 0 {
        return "every segment is where it shall be".to_owned();
    }
    let mut table = render::new_table();
    table.set_header(["server", "segments", "come", "go", "then"]);
    let servers = summary.pointer("/serverInfo/serverSegmentChangeInfo");
    for (name, change) in servers.and_then(Value::as_object).into_iter().flatten() {
        table.add_row([
            name.clone(),
            number(change, "totalSegmentsBeforeRebalance").to_string(),
            number(change, "segmentsAdded").to_string(),
            number(change, "segmentsDeleted").to_string(),
            number(change, "totalSegmentsAfterRebalance").to_string(),
        ]);
    }
    let bytes = number(segments, "totalEstimatedDataToBeMovedInBytes");
    format!("{table}\n{count} segments move, {}", units::bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_told_by_server() {
        let nothing = json!({ "rebalanceSummaryResult": { "segmentInfo": {} } });
        assert_eq!(moves(&nothing), "every segment is where it shall be");
        let change = json!({
            "totalSegmentsBeforeRebalance": 4, "totalSegmentsAfterRebalance": 2,
            "segmentsAdded": 0, "segmentsDeleted": 2,
        });
        let segments = json!({
            "totalSegmentsToBeMoved": 2, "totalEstimatedDataToBeMovedInBytes": 10,
        });
        let answer = json!({ "rebalanceSummaryResult": {
            "serverInfo": { "serverSegmentChangeInfo": { "s1": change } },
            "segmentInfo": segments,
        } });
        let told = moves(&answer);
        assert!(
            told.contains("s1") && told.contains("2 segments move"),
            "{told}"
        );
    }
}
