//! The page about upserts: its table, its rows, and each of its examples, over consuming rows, over
//! sealed ones, over both, and after a start.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, until};
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

/// Two producers write their own columns of a row, each with its own version.
fn merged(cluster: &Cluster) -> Value {
    let text = |name: &str| json!({ "name": name, "dataType": "STRING" });
    let long = |name: &str| json!({ "name": name, "dataType": "LONG" });
    let list = |name: &str, data_type: &str| {
        let mut list = json!({ "name": name, "dataType": data_type });
        list["singleValueField"] = false.into();
        list
    };
    json!({
        "schema": {
            "schemaName": "merged",
            "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": [
                text("id"), text("a"), text("b"), list("tags", "STRING"), list("seen", "LONG"),
                long("a_version"), long("b_version"),
            ],
            "dateTimeFieldSpecs": [{
                "name": "ts",
                "dataType": "LONG",
                "format": "1:MILLISECONDS:EPOCH",
                "granularity": "1:MILLISECONDS",
            }],
            "primaryKeyColumns": ["id"],
        },
        "tableConfig": {
            "tableName": "merged",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": {},
            "routing": { "instanceSelectorType": "strictReplicaGroup" },
            "upsertConfig": {
                "mode": "PARTIAL",
                "comparisonColumns": ["a_version", "b_version"],
                "partialUpsertStrategies": { "tags": "UNION", "seen": "APPEND" },
                "enableCommitTimeCompaction": true,
            },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka",
                "stream.kafka.topic.name": "merged",
                "stream.kafka.broker.list": cluster.log(),
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": "3",
            }] } },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_made_by_two_producers() -> Result<()> {
    let cluster = Cluster::start_of(Over::Grpc, 1).await?;
    cluster.create_topic("merged", 1).await?;
    cluster.post("/v1/tables", &merged(&cluster)).await?;
    let rows = [
        r#"{"id":"x","a":"a1","tags":["p","q"],"seen":[1],"a_version":10,"ts":1}"#,
        r#"{"id":"x","b":"b1","tags":["q","r"],"seen":[2,1],"b_version":5,"ts":2}"#,
        r#"{"id":"x","a":"late","tags":["z"],"seen":[9],"a_version":9,"ts":3}"#,
        r#"{"id":"y","ts":4}"#,
        r#"{"id":"y","a_version":2,"b_version":3,"ts":5}"#,
        r#"{"id":"x","b":"b2","seen":[3],"b_version":5,"ts":6}"#,
        r#"{"id":"y","a":"only","a_version":1,"ts":7}"#,
    ];
    let rows = rows.map(|row| (0, row.to_owned()));
    cluster.produce("merged", rows.to_vec()).await?;
    cluster.wait_for("SELECT COUNT(*) FROM merged", 2).await?;
    let wanted = json!([["a1", "b2", ["p", "q", "r"], [1, 2, 1, 3], 10, 5]]);
    let sql = "SELECT a, b, tags, seen, a_version, b_version FROM merged WHERE id = 'x'";
    let asked = cluster.sql();
    let is_so = || async {
        let found = json!(asked.rows(sql).await?);
        ensure!(found == wanted, "{found}");
        anyhow::Ok(())
    };
    until("rows are merged", is_so).await?;
    let rejected = "SELECT COUNT(*), MIN(\"offset\"), MAX(\"offset\") FROM sys.rejected_rows \
                    WHERE reason LIKE '%`a_version`, `b_version`%'";
    until("rows without a version are rejected", || async {
        let found = asked.numbers(rejected).await?;
        ensure!(found == [2, 3, 4], "{found:?}");
        Ok(())
    })
    .await?;
    // Sealed, without the rows that had been replaced then.
    let offsets = "SELECT SUM(\"rows\") + SUM(filtered) + SUM(rejected) FROM sys.segments \
                   WHERE \"table\" = 'merged'";
    cluster.wait_for(offsets, 7).await?;
    cluster
        .wait_for("SELECT LEAST(SUM(filtered), 1) FROM sys.segments", 1)
        .await?;
    until("rows are as they were", is_so).await?;
    cluster.stop().await;
    Ok(())
}
