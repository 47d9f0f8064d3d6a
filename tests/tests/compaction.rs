//! Segments of tables with upserts are written anew without their dead rows, beside readers: every
//! key is seen once, whichever file a server or a broker has turned to, and whoever stops.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, both_with_minions, until};

const KEYS: i64 = 400;
const PARTITIONS: i64 = 2;
const ROWS_MAX: i64 = 150;
const SERVER: usize = 1;
const MINION: usize = 2;

fn table(cluster: &Cluster) -> Value {
    json!({
        "schema": {
            "schemaName": "orders",
            "dimensionFieldSpecs": [
                { "name": "id", "dataType": "LONG" },
                { "name": "state", "dataType": "STRING" },
            ],
            "metricFieldSpecs": [{ "name": "amount", "dataType": "LONG" }],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "LONG",
                "format": "1:MILLISECONDS:EPOCH", "granularity": "1:MILLISECONDS" }],
            "primaryKeyColumns": ["id"],
        },
        "tableConfig": {
            "tableName": "orders", "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "2" },
            "tenants": {}, "metadata": {},
            "tableIndexConfig": { "sortedColumn": ["state"], "invertedIndexColumns": ["id"] },
            "upsertConfig": { "mode": "FULL" },
            "routing": { "instanceSelectorType": "strictReplicaGroup" },
            "task": { "taskTypeConfigsMap": { "UpsertCompactionTask": {
                "schedule": "*/1 * * * * ?", "bufferTimePeriod": "0d",
                "invalidRecordsThresholdPercent": "30", "invalidRecordsThresholdCount": "10",
            } } },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka", "stream.kafka.topic.name": "orders",
                "stream.kafka.broker.list": cluster.log(),
                "stream.kafka.decoder.class.name": "json",
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": ROWS_MAX.to_string(),
            }] } },
        },
    })
}

/// What a key's rows have in common is the amount, so that sums stay whichever row counts.
fn row(id: i64, version: i64) -> (u32, String) {
    let (partition, state) = (id % PARTITIONS, version * 31 % 7);
    let row = json!({ "id": id, "state": format!("state {state}"), "amount": id, "ts": version });
    (partition as u32, row.to_string())
}

#[derive(Default)]
struct Asked {
    over: AtomicBool,
    answers: AtomicU64,
    faults: AtomicU64,
}

/// Every answer is right; a server that stops may cost some.
async fn ask(cluster_sql: tests::process::Sql, asked: &Asked) -> Result<()> {
    let upper = (KEYS / 2..KEYS).sum::<i64>();
    let statements = [
        (
            "SELECT COUNT(*), SUM(amount), COUNT(DISTINCT id) FROM orders".to_owned(),
            vec![KEYS, KEYS * (KEYS - 1) / 2, KEYS],
        ),
        (
            format!(
                "SELECT COUNT(*), SUM(amount) FROM orders WHERE id >= {}",
                KEYS / 2
            ),
            vec![KEYS / 2, upper],
        ),
        (
            "SELECT COUNT(*) FROM (SELECT id FROM orders GROUP BY id HAVING COUNT(*) = 1)"
                .to_owned(),
            vec![KEYS],
        ),
    ];
    while !asked.over.load(Ordering::Relaxed) {
        for (statement, wanted) in &statements {
            match cluster_sql.numbers(statement).await {
                Ok(found) => {
                    ensure!(found == *wanted, "{statement}: {found:?}, not {wanted:?}");
                    asked.answers.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => drop(asked.faults.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
    Ok(())
}

/// Rows that are stored, and that are not any more, of sealed segments.
async fn stored(cluster: &Cluster) -> Result<[i64; 2]> {
    let sql = "SELECT COALESCE(SUM(\"rows\"), 0), COALESCE(SUM(filtered), 0) FROM sys.segments \
               WHERE \"table\" = 'orders' AND status = 'DONE'";
    let found = cluster.sql().numbers(sql).await?;
    Ok([found[0], found[1]])
}

/// Every key is written again; then until more rows were left out than before.
async fn round(cluster: &Cluster, version: i64) -> Result<()> {
    let [_, before] = stored(cluster).await?;
    // Some keys are written more often than others.
    let often = (0..KEYS / 4).map(|id| row(id, 2 * version));
    let all = (0..KEYS).map(|id| row(id, 2 * version + 1));
    cluster.produce("orders", often.chain(all)).await?;
    until("dead rows are left out", || async {
        let [_, filtered] = stored(cluster).await?;
        ensure!(filtered > before, "still {filtered}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_seen_once_while_their_segments_are_compacted() -> Result<()> {
    both_with_minions(2, async |mut cluster: Cluster| {
        cluster.create_topic("orders", PARTITIONS as u32).await?;
        cluster.post("/v1/tables", &table(&cluster)).await?;
        let rows = (0..KEYS).map(|id| row(id, 0));
        cluster.produce("orders", rows).await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM orders", KEYS)
            .await?;
        let asked = Asked::default();
        let reading = ask(cluster.sql(), &asked);
        let working = async {
            let worked = async {
                round(&cluster, 1).await?;
                // One of two minions; the other goes on.
                cluster.stop_node(MINION).await;
                round(&cluster, 2).await?;
                // A server that starts again has the files of before, and may have to load others.
                cluster.stop_node(SERVER).await;
                round(&cluster, 3).await?;
                cluster.start_node(SERVER).await?;
                cluster.wait_ready().await?;
                round(&cluster, 4).await?;
                round(&cluster, 5).await
            };
            let worked = worked.await;
            asked.over.store(true, Ordering::Relaxed);
            worked
        };
        let (read, worked) = tokio::join!(reading, working);
        read?;
        worked?;
        let (answers, faults) = (asked.answers.into_inner(), asked.faults.into_inner());
        ensure!(
            answers > 20 && faults * 10 < answers,
            "{faults} faults, {answers} answers"
        );
        whole(&cluster).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Every offset is accounted for, every key has its newest row on each replica, and what is stored
/// is what `skipUpsert` shows.
async fn whole(cluster: &Cluster) -> Result<()> {
    cluster
        .wait_for_each("SELECT COUNT(*) FROM orders WHERE ts = 11", KEYS)
        .await?;
    let sql = cluster.sql();
    let total = KEYS + 5 * (KEYS + KEYS / 4);
    let ledger =
        "SELECT SUM(\"rows\") + SUM(filtered) FROM sys.segments WHERE \"table\" = 'orders'";
    cluster.wait_for(ledger, total).await?;
    until("stored rows are those of the ledger", || async {
        let stored = sql
            .numbers("SELECT SUM(\"rows\") FROM sys.segments WHERE \"table\" = 'orders'")
            .await?;
        let all = "SET skipUpsert = true; SELECT COUNT(*) FROM orders";
        let shown = sql.numbers(all).await?;
        ensure!(shown == stored, "{shown:?}, {stored:?}");
        ensure!(stored[0] < total * 7 / 10, "{stored:?} of {total}");
        Ok(())
    })
    .await?;
    let failed = "SELECT COUNT(*) FROM sys.tasks WHERE state = 'FAILED'";
    let failed = sql.numbers(failed).await?;
    ensure!(failed == [0], "{failed:?} tasks failed");
    let path = "/tasks/UpsertCompactionTask/tasks";
    let jobs = cluster.get(path).await?;
    let jobs = jobs.as_array().context("no jobs")?;
    ensure!(!jobs.is_empty());
    Ok(())
}
