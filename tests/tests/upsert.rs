//! The page about upserts: its table, its rows, and each of its examples, over consuming rows, over
//! sealed ones, over both, and after a start.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over};
use tests::slt::{Door, run_folder};

const PAGE: &str = "../docs/reference/upsert.md";
const TOPIC: &str = "orders";
const ALL: &str = "SET skipUpsert = true; SELECT COUNT(*) FROM orders";

/// The contents of the fenced blocks of one kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let found = page.split(&fence).skip(1);
    let inside = found.map(|rest| rest.split("\n```").next().unwrap_or_default());
    inside.map(str::to_owned).collect()
}

fn table(page: &str, cluster: &Cluster, rows_max: usize) -> Result<Value> {
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
    Ok(table)
}

/// The examples, by native and by general operators, and without indexes.
async fn run_examples(cluster: &Cluster, page: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let examples = blocks(page, "slt").join("\n\n");
    std::fs::write(folder.path().join("page.slt"), examples)?;
    let broker = &cluster.node(0).addresses.broker_http;
    for way in [
        None,
        Some(("nativeOperators", "false")),
        Some(("skipIndexes", "*=*")),
    ] {
        let asked = run_folder(broker, Door::Standard, way, folder.path()).await?;
        ensure!(asked >= 7, "only {asked} examples were run");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_upserts_is_true() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
    let rows = blocks(&page, "json rows").concat();
    let rows: Vec<(u32, String)> = rows.lines().map(|row| (0, row.to_owned())).collect();
    for (over, rows_max, sealed) in [
        (Over::Grpc, 1_000, 0),
        (Over::InProcess, rows.len(), 1),
        (Over::Grpc, 4, 1),
    ] {
        let cluster = Cluster::start_of(over, 1).await?;
        cluster.create_topic(TOPIC, 1).await?;
        let table = table(&page, &cluster, rows_max)?;
        cluster.post("/v1/tables", &table).await?;
        cluster.produce(TOPIC, rows.clone()).await?;
        cluster.wait_for(ALL, rows.len() as i64).await?;
        // A segment may grow past its limit while the one before is committed.
        let done = "SELECT LEAST(COUNT(*), 1) FROM sys.segments \
                    WHERE \"table\" = 'orders' AND status = 'DONE'";
        cluster.wait_for(done, sealed).await?;
        run_examples(&cluster, &page)
            .await
            .with_context(|| format!("sealed after {rows_max} rows"))?;
        cluster.stop().await;
    }
    Ok(())
}
