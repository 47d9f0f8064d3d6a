//! How old an event is when a query first sees it: one event a millisecond, asked as fast as the
//! broker answers. The clock runs from before the event is handed to the producer until the answer
//! that holds it is parsed, so it holds the log, the decoder and one query.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tests::process::{Ports, Sql};

use crate::figures::Times;

const TOPIC: &str = "fresh";
const WARM_UP: usize = 3000;
const EVENTS: usize = 20_000;
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn measure(http: &reqwest::Client, ports: &Ports) -> Result<Times> {
    create(http, ports).await?;
    let sql = Sql::new(http, &ports.broker);
    let producer = KafkaProducer::new(&ports.log)?;
    // The first event brings the partition to life.
    producer.produce(TOPIC, Some(0), None, &payload(0)).await?;
    wait_for_first(&sql).await?;
    let begin = Instant::now();
    let total = WARM_UP + EVENTS;
    let (sent, times) = tokio::join!(produce(&producer, begin, total), watch(&sql, begin, total));
    sent?;
    times
}

/// Event i is due i milliseconds after the beginning, also when an earlier one was late.
fn due(i: usize) -> Duration {
    Duration::from_millis(i as u64)
}

fn payload(id: usize) -> Vec<u8> {
    let body =
        json!({ "id": id, "who": format!("user-{}", id % 500), "ts": 1_700_000_000_000_u64 });
    body.to_string().into_bytes()
}

async fn produce(producer: &KafkaProducer, begin: Instant, total: usize) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut next = 1;
    while next <= total {
        ticks.tick().await;
        while next <= total && begin.elapsed() >= due(next) {
            producer.send(TOPIC, Some(0), None, &payload(next)).await?;
            next += 1;
        }
    }
    Ok(producer.flush(WAIT_MAX).await?)
}

async fn watch(sql: &Sql, begin: Instant, total: usize) -> Result<Times> {
    let mut times = Times::default();
    let mut seen = 0;
    while seen < total {
        let newest = sql.numbers("SELECT MAX(id) FROM fresh").await?;
        let now = begin.elapsed();
        let newest = newest.first().copied().unwrap_or(0);
        let newest = usize::try_from(newest)?;
        for id in (seen + 1)..=newest {
            if id > WARM_UP {
                times.add(now.saturating_sub(due(id)));
            }
        }
        seen = seen.max(newest);
        ensure!(
            now < due(total) + WAIT_MAX,
            "saw {seen} of {total} events in {now:?}"
        );
    }
    Ok(times)
}

async fn wait_for_first(sql: &Sql) -> Result<()> {
    let begin = Instant::now();
    loop {
        let count = sql.numbers("SELECT COUNT(*) FROM fresh").await;
        if count.is_ok_and(|count| count.first().is_some_and(|count| *count > 0)) {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < WAIT_MAX,
            "the first event is not there after {WAIT_MAX:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn create(http: &reqwest::Client, ports: &Ports) -> Result<()> {
    let source = KafkaSource::new(&ports.log, &[], "bench")?;
    source.create_topic(TOPIC, 1).await?;
    let schema = json!({
        "schemaName": TOPIC,
        "dimensionFieldSpecs": [
            { "name": "id", "dataType": "LONG" },
            { "name": "who", "dataType": "STRING" }
        ],
        "dateTimeFieldSpecs": [{
            "name": "ts", "dataType": "TIMESTAMP", "format": "1:MILLISECONDS:TIMESTAMP",
            "granularity": "1:MILLISECONDS"
        }]
    });
    let table = json!({
        "tableName": TOPIC,
        "tableType": "REALTIME",
        "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
        "tenants": {},
        "tableIndexConfig": { "loadMode": "MMAP", "invertedIndexColumns": ["who"] },
        "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": TOPIC,
            "stream.kafka.broker.list": ports.log,
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "stream.kafka.decoder.class.name":
                "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder"
        }] } },
        "metadata": {}
    });
    for (path, body) in [("/schemas", schema), ("/tables", table)] {
        let url = format!("http://{}{path}", ports.controller);
        let answer = http
            .post(url)
            .json(&body)
            .send()
            .await
            .context("the controller")?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "POST {path}: {status}: {text}");
    }
    Ok(())
}
