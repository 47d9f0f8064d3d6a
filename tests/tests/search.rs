//! The page about texts and documents: its table, its rows, and each of its examples, over
//! consuming and sealed rows, with the indexes and without.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over};
use tests::slt::{Door, run_folder};

const PAGE: &str = "../docs/reference/text-and-json.md";
const TOPIC: &str = "notes";
/// Before each statement, that no index answers it.
const WITHOUT: &str = "SET skipIndexes = '*=text,json'; ";

/// The contents of the fenced blocks of one kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let found = page.split(&fence).skip(1);
    let inside = found.map(|rest| rest.split("\n```").next().unwrap_or_default());
    inside.map(str::to_owned).collect()
}

async fn load(cluster: &Cluster, page: &str, rows_max: usize) -> Result<usize> {
    let table = blocks(page, "json table");
    let mut table: Value = serde_json::from_str(table.first().context("no table")?)?;
    table["tableConfig"]["ingestionConfig"] = json!({ "streamIngestionConfig": {
        "streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": TOPIC,
            "stream.kafka.broker.list": cluster.log(),
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "realtime.segment.flush.threshold.rows": rows_max.to_string(),
        }],
    } });
    cluster.create_topic(TOPIC, 1).await?;
    cluster.post("/v1/tables", &table).await?;
    let rows = blocks(page, "json rows").concat();
    let rows: Vec<(u32, String)> = rows.lines().map(|row| (0, row.to_owned())).collect();
    let count = rows.len();
    cluster.produce(TOPIC, rows).await?;
    cluster
        .wait_for("SELECT COUNT(*) FROM notes", count as i64)
        .await?;
    Ok(count)
}

/// The examples as they are, and with every statement's indexes forbidden.
async fn run_examples(cluster: &Cluster, page: &str) -> Result<()> {
    let examples = blocks(page, "slt").join("\n\n");
    let mut without = String::new();
    let mut is_statement = false;
    for line in examples.lines() {
        if std::mem::replace(
            &mut is_statement,
            line.starts_with("query ") || line.starts_with("statement "),
        ) {
            without.push_str(WITHOUT);
        }
        without.push_str(line);
        without.push('\n');
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("with.slt"), &examples)?;
    std::fs::write(folder.path().join("without.slt"), &without)?;
    let broker = &cluster.node(0).addresses.broker_http;
    let asked = run_folder(broker, Door::Pinot, None, folder.path()).await?;
    ensure!(asked > 50, "only {asked} examples were run");
    Ok(())
}

async fn indexes(cluster: &Cluster, sql: &str) -> Result<Vec<String>> {
    let role = schemas::cluster::Role::Broker;
    let body = json!({ "sql": sql }).to_string();
    let (_, text) = cluster
        .call(role, reqwest::Method::POST, "/v1/sql", Some(body))
        .await?;
    let answer: Value = serde_json::from_str(&text)?;
    let used = answer["stats"]["indexes"].as_array().context(text)?;
    Ok(used
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_search_is_true() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
    let cluster = Cluster::start_of(Over::Grpc, 1).await?;
    load(&cluster, &page, 1_000).await?;
    run_examples(&cluster, &page).await.context("consuming")?;
    cluster.stop().await;

    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    let rows = blocks(&page, "json rows").concat().lines().count();
    load(&cluster, &page, rows).await?;
    let sealed = "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'notes' AND status = 'DONE'";
    cluster.wait_for(sealed, 1).await?;
    run_examples(&cluster, &page).await.context("sealed")?;
    let asked = [
        ("TEXT_MATCH(body, 'fox')", "text(body)"),
        ("NOT TEXT_MATCH(tags, 'Tech') OR id = 2", "text(tags)"),
        ("JSON_MATCH(doc, '\"$.name\" = ''eve''')", "json(doc)"),
        (
            "JSON_EXTRACT_INDEX(doc, '$.name', 'STRING') IN ('bob')",
            "json(doc)",
        ),
    ];
    for (filter, index) in asked {
        let sql = format!("SELECT COUNT(*) FROM notes WHERE {filter}");
        let used = indexes(&cluster, &sql).await?;
        ensure!(used.contains(&index.to_owned()), "{sql}: {used:?}");
        let used = indexes(&cluster, &format!("{WITHOUT}{sql}")).await?;
        ensure!(!used.contains(&index.to_owned()), "{sql} without: {used:?}");
    }
    cluster.stop().await;
    Ok(())
}
