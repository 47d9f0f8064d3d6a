//! Columns that come while events do and questions are asked: no answer mixes what was before and
//! after, and nothing but columns can come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::{Cluster, both, until};

/// Rows without a value have the default of its column.
const DEFAULTS: &str = "SET enableNullHandling = false; ";
const ROUNDS: i64 = 4;
/// Events of each round.
const EVENTS: i64 = 300;

/// With the columns of so many rounds: each has a default, and its values are the round's number.
fn schema(rounds: i64) -> Value {
    let mut dimensions = vec![json!({ "name": "id", "dataType": "LONG" })];
    let mut metrics = vec![json!({ "name": "one", "dataType": "LONG" })];
    for round in 1..=rounds {
        let (dimension, metric) = (format!("d{round}"), format!("m{round}"));
        dimensions.push(json!({ "name": dimension, "dataType": "STRING",
            "defaultNullValue": "before" }));
        metrics.push(json!({ "name": metric, "dataType": "LONG", "defaultNullValue": 0 }));
    }
    json!({
        "schemaName": "events",
        "dimensionFieldSpecs": dimensions,
        "metricFieldSpecs": metrics,
        "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "LONG",
            "format": "1:MILLISECONDS:EPOCH", "granularity": "1:MILLISECONDS" }],
    })
}

fn table(cluster: &Cluster) -> Value {
    json!({
        "schema": schema(0),
        "tableConfig": {
            "tableName": "events", "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "2" },
            "tenants": {}, "metadata": {}, "tableIndexConfig": {},
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka", "stream.kafka.topic.name": "events",
                "stream.kafka.broker.list": cluster.log(),
                "stream.kafka.decoder.class.name": "json",
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": "120",
            }] } },
        },
    })
}

/// Events of a round have what is in the schema from then on, and from the beginning what comes
/// later: it is not read before its column is there.
fn events(round: i64) -> impl Iterator<Item = (u32, String)> {
    (0..EVENTS).map(move |at| {
        let id = round * EVENTS + at;
        let mut event = json!({ "id": id, "one": 1, "ts": id });
        for column in 1..=round {
            event[format!("d{column}")] = json!(format!("round {column}"));
            event[format!("m{column}")] = json!(1);
        }
        ((id % 2) as u32, event.to_string())
    })
}

async fn put(cluster: &Cluster, schema: &Value) -> Result<(u16, String)> {
    let (path, body) = ("/schemas/events", Some(schema.to_string()));
    let (status, said) = cluster
        .call(Role::Controller, Method::PUT, path, body)
        .await?;
    Ok((status.as_u16(), said))
}

/// Of every answer: the old columns agree with each other, and of the newest ones both are there for
/// a row or neither is.
async fn ask(sql: tests::process::Sql, rounds: &AtomicU64, over: &AtomicBool) -> Result<u64> {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let known = rounds.load(Ordering::Acquire);
        let (mut wanted, mut columns) = (Vec::new(), String::new());
        for column in 1..=known {
            columns.push_str(&format!(
                ", SUM(m{column}), SUM(CASE WHEN d{column} = 'round {column}' THEN 1 ELSE 0 END), \
                 SUM(CASE WHEN d{column} <> 'before' AND m{column} = 0 THEN 1 ELSE 0 END)"
            ));
        }
        let statement = format!("{DEFAULTS}SELECT COUNT(*), SUM(one){columns} FROM events");
        let found = sql.numbers(&statement).await?;
        wanted.push(found[0]);
        for column in 0..known as usize {
            let sums = &found[2 + 3 * column..5 + 3 * column];
            ensure!(sums[0] == sums[1] && sums[2] == 0, "{statement}: {found:?}");
        }
        ensure!(found[0] == found[1], "{statement}: {found:?}");
        answers += 1;
    }
    Ok(answers)
}

/// What is no new column is refused, and says why.
async fn refused(cluster: &Cluster, round: i64) -> Result<()> {
    let known = schema(round);
    let change = |path: &str, value: Value| {
        let mut changed = known.clone();
        *changed.pointer_mut(path).expect("a place in the schema") = value;
        changed
    };
    for (changed, reason) in [
        (
            change("/dimensionFieldSpecs/0/name", json!("other")),
            "columns are not removed",
        ),
        (
            change("/dimensionFieldSpecs/0/dataType", json!("STRING")),
            "cannot become",
        ),
        (
            change("/metricFieldSpecs/0/dataType", json!("DOUBLE")),
            "cannot become",
        ),
        (
            change("/dateTimeFieldSpecs/0/dataType", json!("TIMESTAMP")),
            "cannot",
        ),
    ] {
        let (status, said) = put(cluster, &changed).await?;
        ensure!(status == 400 && said.contains(reason), "{status}: {said}");
    }
    Ok(())
}

async fn grow(cluster: &Cluster, rounds: &AtomicU64) -> Result<()> {
    for round in 1..=ROUNDS {
        refused(cluster, round - 1).await?;
        let (status, said) = put(cluster, &schema(round)).await?;
        ensure!(status == 200, "{said}");
        let column = format!("SELECT COUNT(m{round}) FROM events");
        // Of each replica.
        until("the column is known", || async {
            for _ in 0..4 {
                cluster.sql().numbers(&column).await?;
            }
            Ok(())
        })
        .await?;
        rounds.store(round as u64, Ordering::Release);
        cluster.produce("events", events(round)).await?;
        let all = (round + 1) * EVENTS;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM events", all)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_while_events_do_and_questions_are_asked() -> Result<()> {
    both(async |mut cluster: Cluster| {
        cluster.create_topic("events", 2).await?;
        cluster.post("/v1/tables", &table(&cluster)).await?;
        cluster.produce("events", events(0)).await?;
        cluster
            .wait_for_each("SELECT COUNT(*) FROM events", EVENTS)
            .await?;
        let (rounds, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let grown = async {
            let grown = grow(&cluster, &rounds).await;
            over.store(true, Ordering::Relaxed);
            grown
        };
        let (asked, grown) = tokio::join!(ask(cluster.sql(), &rounds, &over), grown);
        grown?;
        let answers = asked.context("an answer mixes columns of before and after")?;
        ensure!(answers > 10, "only {answers} answers");
        whole(&cluster).await?;
        // The same after a start.
        cluster.stop_node(1).await;
        cluster.stop_node(0).await;
        cluster.start_node(0).await?;
        cluster.start_node(1).await?;
        cluster.wait_ready().await?;
        whole(&cluster).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Rows from before a column have its default, on each replica.
async fn whole(cluster: &Cluster) -> Result<()> {
    for round in 1..=ROUNDS {
        let later = (ROUNDS - round + 1) * EVENTS;
        for (statement, wanted) in [
            (format!("{DEFAULTS}SELECT SUM(m{round}) FROM events"), later),
            (
                format!("{DEFAULTS}SELECT COUNT(*) FROM events WHERE d{round} = 'before'"),
                round * EVENTS,
            ),
            (
                format!("{DEFAULTS}SELECT COUNT(DISTINCT d{round}) FROM events"),
                2,
            ),
        ] {
            cluster.wait_for_each(&statement, wanted).await?;
        }
    }
    Ok(())
}
