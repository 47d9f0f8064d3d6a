//! From a topic to answers over both transports: rejected events, the ledger, sealing under
//! questions, pausing.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, both, until};
use tests::{flights, process::number};

/// Zeros wherever no offset is lost and none is there twice.
const PROOF: &str = "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\"), \
                     MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) FROM flights GROUP BY 1 \
                     ORDER BY 1";

fn clicks(log: &str, rows_max: u32) -> Value {
    json!({
        "schema": {
            "schemaName": "clicks",
            "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": [
                { "name": "id", "dataType": "INT" },
                { "name": "page", "dataType": "STRING" },
            ],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP",
                                     "granularity": "1:MILLISECONDS" }],
        },
        "tableConfig": {
            "tableName": "clicks",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": { "nullHandlingEnabled": true },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka",
                "stream.kafka.topic.name": "clicks",
                "stream.kafka.broker.list": log,
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": rows_max.to_string(),
            }] } },
            "metadata": {},
        },
    })
}

fn click(id: u32) -> (u32, String) {
    let ts = 1_700_000_000_000u64 + u64::from(id);
    (0, json!({ "id": id, "page": "/", "ts": ts }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_loses_nothing_else() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("clicks", 1).await?;
        cluster.post("/v1/tables", &clicks(&cluster.log(), 1000)).await?;
        let bad = [
            "no json at all".to_owned(),
            json!({ "id": "seven", "page": "/", "ts": 1 }).to_string(),
            json!({ "id": 9_999_999_999u64, "page": "/", "ts": 1 }).to_string(),
        ];
        let mut events = vec![click(0)];
        events.extend(bad.iter().map(|event| (0, event.clone())));
        events.push(click(1));
        cluster.produce("clicks", events).await?;

        cluster.wait_for("SELECT COUNT(*) FROM clicks", 2).await?;
        let sql = cluster.sql();
        let rejected = "SELECT \"offset\", reason, payload FROM sys.rejected_rows WHERE \"table\" = \
                        'clicks' ORDER BY \"offset\"";
        let rows = until("the rejected rows", || async {
            let rows = sql.rows(rejected).await?;
            ensure!(rows.len() == 3, "{rows:?}");
            Ok(rows)
        })
        .await?;
        for (index, row) in rows.iter().enumerate() {
            ensure!(number(&row[0]) == index as i64 + 1, "{row:?}");
            ensure!(row[2].as_str() == Some(&bad[index]), "{row:?}");
        }
        ensure!(
            rows[1][1].as_str().is_some_and(|reason| reason.contains("id")),
            "the reason does not name the column: {:?}",
            rows[1]
        );
        until("the status", || async {
            let status = cluster.get("/v1/tables/clicks/status").await?;
            ensure!(status["partitions"][0]["rejected"] == 3, "{status}");
            Ok(())
        })
        .await?;
        let ledger = "SELECT \"rows\", rejected FROM sys.segments WHERE \"table\" = 'clicks'";
        ensure!(sql.numbers(ledger).await? == [2, 3], "the ledger is wrong");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_segment_being_sealed() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("flights", flights::PARTITIONS).await?;
        let mut table = flights::table(&cluster.log(), "flights", 1);
        let maps = &mut table["tableConfig"]["ingestionConfig"]["streamIngestionConfig"];
        maps["streamConfigMaps"][0]["realtime.segment.flush.threshold.rows"] = json!("700");
        cluster.post("/v1/tables", &table).await?;
        let rows = 12_000;
        let events = flights::events(rows)?;
        let produce = async {
            for chunk in events.chunks(500) {
                cluster.produce("flights", chunk.to_vec()).await?;
            }
            Ok(())
        };
        let (produced, asked) = tokio::join!(produce, watch_growth(&cluster, rows as i64));
        produced.and(asked)?;
        for row in cluster.sql().rows(PROOF).await? {
            ensure!(number(&row[1]) == 0 && number(&row[2]) == 0, "{row:?}");
        }
        // Everything that reached its limit is sealed, and the ledger closes.
        let ledger = "SELECT COUNT(*), SUM(end_offset - start_offset - \"rows\" - rejected - \
                      filtered - absent) FROM sys.segments WHERE \"table\" = 'flights' AND \
                      status = 'DONE'";
        until("all segments are sealed", || async {
            let found = cluster.sql().numbers(ledger).await?;
            ensure!(found == [(rows / 2 / 700 * 2) as i64, 0], "{found:?}");
            Ok(())
        })
        .await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Asks until all rows are there: at no moment a row is there twice or gone again.
async fn watch_growth(cluster: &Cluster, rows: i64) -> Result<()> {
    let sql = cluster.sql();
    let mut seen = 0;
    let begin = std::time::Instant::now();
    while seen < rows {
        ensure!(
            begin.elapsed() < tests::cluster::PATIENCE,
            "{seen} of {rows} rows"
        );
        let Ok(answer) = sql.rows(PROOF).await else {
            // Until the broker knows the table.
            ensure!(seen == 0, "a question failed after {seen} rows");
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        for row in &answer {
            ensure!(number(&row[1]) == 0 && number(&row[2]) == 0, "{row:?}");
        }
        let count = sql.numbers("SELECT COUNT(*) FROM flights").await?[0];
        ensure!(count >= seen, "{seen} rows, then {count}");
        seen = count;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_table_says_so_and_goes_on_later() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("clicks", 1).await?;
        cluster
            .post("/v1/tables", &clicks(&cluster.log(), 1000))
            .await?;
        let status = cluster.get("/v1/tables/clicks/status").await?;
        ensure!(
            status["verdict"]
                .as_str()
                .is_some_and(|v| v.contains("empty") || v.contains("no server")),
            "{status}"
        );
        cluster.produce("clicks", (0..10).map(click)).await?;
        cluster.wait_for("SELECT COUNT(*) FROM clicks", 10).await?;

        cluster
            .post("/tables/clicks/pauseConsumption", &json!({}))
            .await?;
        until("it is paused", || async {
            let status = cluster.get("/v1/tables/clicks/status").await?;
            ensure!(status["partitions"][0]["state"] == "PAUSED", "{status}");
            Ok(())
        })
        .await?;
        cluster.produce("clicks", (10..20).map(click)).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = cluster.pinot("SELECT COUNT(*) FROM clicks").await?;
        ensure!(answer["resultTable"]["rows"][0][0] == 10, "{answer}");
        let warning = answer["warnings"][0].as_str().unwrap_or_default();
        ensure!(
            warning.starts_with("`clicks`: partition 0 is PAUSED, read up to offset 10"),
            "{answer}"
        );
        let status = cluster.get("/v1/tables/clicks/status").await?;
        ensure!(
            status["verdict"]
                .as_str()
                .is_some_and(|v| v.contains("paused")),
            "{status}"
        );

        cluster
            .post("/tables/clicks/resumeConsumption", &json!({}))
            .await?;
        cluster.wait_for("SELECT COUNT(*) FROM clicks", 20).await?;
        let answer = cluster.pinot("SELECT COUNT(*) FROM clicks").await?;
        ensure!(answer["warnings"] == json!([]), "{answer}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_columns_are_there_and_hidden() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("clicks", 1).await?;
        cluster
            .post("/v1/tables", &clicks(&cluster.log(), 4))
            .await?;
        cluster.produce("clicks", (0..6).map(click)).await?;
        cluster.wait_for("SELECT COUNT(*) FROM clicks", 6).await?;
        let sql = cluster.sql();
        let all = sql.rows("SELECT * FROM clicks WHERE id = 5").await?;
        ensure!(all[0].len() == 3, "{all:?}");
        let hidden = "SELECT \"$segmentName\", \"$docId\", \"$partition\", \"$partitionId\", \
                      \"$offset\", \"$ingestTime\" FROM clicks WHERE id = 5";
        let row = sql.rows(hidden).await?.remove(0);
        ensure!(
            row[0]
                .as_str()
                .is_some_and(|name| name.starts_with("clicks__0__1__")),
            "{row:?}"
        );
        ensure!(
            row[1..5].iter().map(number).collect::<Vec<_>>() == [1, 0, 0, 5],
            "{row:?}"
        );
        cluster.stop().await;
        Ok(())
    })
    .await
}
