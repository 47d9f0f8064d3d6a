//! Consumption as operators order it and as table configs say: several topics, files, force
//! commits, going on elsewhere; events and answers tell of it.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, both, until};

/// A table of these streams, each a JSON object of Pinot's keys.
fn clicks(streams: Value, custom: Value) -> Value {
    json!({
        "schema": {
            "schemaName": "clicks",
            "dimensionFieldSpecs": [{ "name": "id", "dataType": "INT" }],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP",
                                     "granularity": "1:MILLISECONDS" }],
        },
        "tableConfig": {
            "tableName": "clicks",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": {},
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": streams } },
            "metadata": { "customConfigs": custom },
        },
    })
}

fn topic(log: &str, name: &str) -> Value {
    json!({
        "streamType": "kafka",
        "stream.kafka.topic.name": name,
        "stream.kafka.broker.list": log,
        "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
    })
}

fn event(id: u32) -> String {
    json!({ "id": id, "ts": 1_700_000_000_000_u64 + u64::from(id) }).to_string()
}

const COUNT: &str = "SELECT COUNT(*) FROM clicks";

/// Rows by partition.
async fn by_partition(cluster: &Cluster) -> Result<Vec<i64>> {
    let sql = "SELECT \"$partition\", COUNT(*) FROM clicks GROUP BY 1 ORDER BY 1";
    let rows = cluster.sql().rows(sql).await?;
    Ok(rows.iter().flatten().filter_map(Value::as_i64).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_and_orders_about_them() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("a", 2).await?;
        cluster.create_topic("b", 3).await?;
        let log = cluster.log();
        let mut second = topic(&log, "b");
        second["stream.kafka.partition.ids"] = json!("0,2");
        let table = clicks(json!([topic(&log, "a"), second]), json!({}));
        cluster.post("/v1/tables", &table).await?;
        cluster
            .produce("a", (0..10).map(|n| (n % 2, event(n))))
            .await?;
        cluster
            .produce("b", (10..40).map(|n| (n % 3, event(n))))
            .await?;
        cluster.wait_for(COUNT, 30).await?;
        let found = by_partition(&cluster).await?;
        ensure!(found == [0, 5, 1, 5, 10_000, 10, 10_002, 10], "{found:?}");

        let path = "/tables/clicks/forceCommit?partitions=1,10000";
        let job = cluster.post(path, &json!({})).await?["forceCommitJobId"].clone();
        let job = job.as_str().context("no job")?.to_owned();
        until("it is committed", || async {
            let status = cluster
                .get(&format!("/tables/forceCommitStatus/{job}"))
                .await?;
            ensure!(status["numberOfSegmentsYetToBeCommitted"] == 0, "{status}");
            Ok(())
        })
        .await?;
        let done = "SELECT SUM(\"partition\") FROM sys.segments WHERE status = 'DONE'";
        cluster.wait_for(done, 10_001).await?;

        // The second topic rests and goes on with what is new.
        cluster
            .post("/tables/clicks/pauseConsumption?topics=1", &json!({}))
            .await?;
        until("it rests", || async {
            let states = "SELECT COUNT(*) FROM sys.partitions WHERE state = 'PAUSED'";
            ensure!(cluster.sql().numbers(states).await? == [2]);
            Ok(())
        })
        .await?;
        cluster
            .produce("b", (40..43).map(|n| (0, event(n))))
            .await?;
        cluster.produce("a", [(0, event(50))]).await?;
        cluster.wait_for(COUNT, 31).await?;
        let path = "/tables/clicks/resumeConsumption?topics=1&consumeFrom=largest";
        cluster.post(path, &json!({})).await?;
        cluster.produce("b", [(0, event(60))]).await?;
        cluster.wait_for(COUNT, 32).await?;
        let skipped = "SELECT from_offset, to_offset FROM sys.ingest_events WHERE kind = 'SKIPPED'";
        until("it is told", || async {
            let told = cluster.sql().numbers(skipped).await?;
            ensure!(told == [10, 13], "{told:?}");
            Ok(())
        })
        .await?;
        let ids = "SELECT SUM(id) FROM clicks WHERE \"$partition\" = 10000";
        let sum: i64 = (10..40).filter(|n| n % 3 == 0).sum::<i64>() + 60;
        cluster.wait_for(ids, sum).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_grow_are_a_stream() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let allowed = format!("node.stream_folders=[\"{}\"]", folder.path().display());
    let cluster = Cluster::start_set(Over::InProcess, &[&allowed]).await?;
    let write = |partition: u32, ids: std::ops::Range<u32>| -> Result<()> {
        let path = folder.path().join(format!("clicks-{partition}.ndjson"));
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        for id in ids {
            writeln!(file, "{}", event(id))?;
        }
        Ok(())
    };
    write(0, 0..10)?;
    let stream = json!({
        "streamType": "files",
        "stream.files.folder": folder.path(),
        "stream.files.name": "clicks",
        "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
    });
    let table = clicks(json!([stream]), json!({}));
    cluster.post("/v1/tables", &table).await?;
    cluster.wait_for(COUNT, 10).await?;
    write(0, 10..20)?;
    write(1, 20..50)?;
    cluster.wait_for(COUNT, 50).await?;
    ensure!(by_partition(&cluster).await? == [0, 20, 1, 30]);
    let proof = "SELECT SUM(end_offset - start_offset - \"rows\" - rejected - filtered - absent) \
                 FROM sys.segments";
    ensure!(cluster.sql().numbers(proof).await? == [0]);
    let lag = "SELECT SUM(log_end_offset - next_offset) FROM sys.partitions";
    cluster.wait_for(lag, 0).await?;

    // Nobody else's files.
    let mut other = clicks(
        json!([{
            "streamType": "files", "stream.files.folder": "/etc", "stream.files.name": "passwd",
        }]),
        json!({}),
    );
    other["schema"]["schemaName"] = json!("secrets");
    other["tableConfig"]["tableName"] = json!("secrets");
    cluster.post("/v1/tables", &other).await?;
    let status = cluster.get("/v1/tables/secrets/status").await?;
    let verdict = status["verdict"].as_str().unwrap_or_default();
    ensure!(verdict.contains("node.stream_folders"), "{status}");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bad_events_stop_a_table_loudly() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    cluster.create_topic("clicks", 1).await?;
    let streams = json!([topic(&cluster.log(), "clicks")]);
    let table = clicks(streams, json!({ "tannin.ingest.rejectedRowsMax": "3" }));
    cluster.post("/v1/tables", &table).await?;
    let bad = || (0, "{".to_owned());
    cluster
        .produce("clicks", [(0, event(1)), bad(), bad(), bad(), bad()])
        .await?;
    until("it is stopped", || async {
        let health = cluster.get("/tables/clicks/status").await?;
        let health = &health["ingestionStatus"];
        ensure!(health["ingestionState"] == "UNHEALTHY", "{health}");
        let reason = health["errorMessage"].as_str().unwrap_or_default();
        ensure!(reason.contains("4 of 5 messages were rejected"), "{reason}");
        Ok(())
    })
    .await?;
    let answer = cluster.pinot(COUNT).await?;
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    ensure!(warning.contains("partition 0 is ERROR"), "{answer}");
    cluster.produce("clicks", [(0, event(2))]).await?;
    cluster
        .post("/tables/clicks/resumeConsumption", &json!({}))
        .await?;
    cluster.wait_for(COUNT, 2).await?;
    until("it is well again", || async {
        let health = cluster.get("/tables/clicks/status").await?;
        let state = &health["ingestionStatus"]["ingestionState"];
        ensure!(state == "HEALTHY", "{health}");
        Ok(())
    })
    .await?;
    cluster.stop().await;
    Ok(())
}

/// What is rejected again has a new offset; what was sent once is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_messages_are_sent_again_once() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    cluster.create_topic("clicks", 1).await?;
    let streams = json!([topic(&cluster.log(), "clicks")]);
    cluster
        .post("/v1/tables", &clicks(streams, json!({})))
        .await?;
    let bad = || (0, "{".to_owned());
    cluster
        .produce("clicks", [(0, event(1)), bad(), (0, event(2)), bad()])
        .await?;
    let rejected = "SELECT COUNT(*), MIN(\"offset\"), MAX(\"offset\") FROM sys.rejected_rows";
    let wait = async |wanted: [i64; 3]| {
        until("it is rejected", || async {
            let found = cluster.sql().numbers(rejected).await?;
            ensure!(found == wanted, "{found:?}");
            Ok(())
        })
        .await
    };
    wait([2, 1, 3]).await?;
    let path = "/v1/tables/clicks/retryRejected";
    let wanted = json!({ "offsets": { "0": [3, 1, 999] } });
    let answer = cluster.post(path, &wanted).await?;
    ensure!(
        answer == json!({ "sent": 2, "gone": 1, "sentBefore": 0 }),
        "{answer}"
    );
    wait([4, 1, 5]).await?;
    let answer = cluster
        .post(path, &json!({ "offsets": { "0": [1, 3] } }))
        .await?;
    ensure!(
        answer == json!({ "sent": 0, "gone": 0, "sentBefore": 2 }),
        "{answer}"
    );
    cluster.wait_for(COUNT, 2).await?;
    cluster.stop().await;
    Ok(())
}
