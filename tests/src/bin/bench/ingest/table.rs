//! Topics and tables of the benchmark, and how far a table has come.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tests::process::{Ports, Sql};

use super::events::{self, Event};

const WAIT_MAX: Duration = Duration::from_secs(300);
/// Without one more row.
const STALL_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
const ORDER_EVERY: Duration = Duration::from_millis(500);

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Avro,
}

impl Format {
    pub(crate) fn payload(self, event: &Event) -> Vec<u8> {
        match self {
            Self::Json => event.json(),
            Self::Avro => event.avro(),
        }
    }
}

/// A table of events.
#[derive(Clone, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    pub(crate) brokers: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) format: Format,
    pub(crate) upsert: bool,
    /// Rows of a segment.
    pub(crate) flush_rows: u64,
}

impl Table<'_> {
    fn config(&self) -> Value {
        let mut stream = json!({
            "streamType": "kafka",
            "stream.kafka.topic.name": self.topic,
            "stream.kafka.broker.list": self.brokers,
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "realtime.segment.flush.threshold.rows": self.flush_rows.to_string(),
        });
        let decoder = match self.format {
            Format::Json => "json",
            Format::Avro => {
                stream["stream.kafka.decoder.prop.schema"] = json!(events::avro_schema());
                "avro"
            }
        };
        stream["stream.kafka.decoder.class.name"] = json!(decoder);
        let mode = if self.upsert { "FULL" } else { "NONE" };
        json!({
            "tableName": self.name,
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": {
                "loadMode": "MMAP", "invertedIndexColumns": events::INVERTED
            },
            "ingestionConfig": {
                "streamIngestionConfig": { "streamConfigMaps": [stream] }
            },
            "upsertConfig": { "mode": mode },
            "metadata": {}
        })
    }

    /// Its topic, with partitions, is there already, or its first append makes it.
    pub(crate) async fn create(&self, http: &reqwest::Client, ports: &Ports) -> Result<()> {
        create(http, ports, &events::schema(self.name), &self.config()).await
    }

    /// Until all of `rows` are told by a query.
    pub(crate) async fn wait_rows(&self, sql: &Sql, rows: u64) -> Result<()> {
        let all = if self.upsert {
            "SET skipUpsert = true; "
        } else {
            ""
        };
        let statement = format!("{all}SELECT COUNT(*) FROM {}", self.name);
        wait_for(sql, &statement, rows).await
    }

    /// Seals what is left and waits until all rows are in sealed segments.
    pub(crate) async fn seal(
        &self,
        http: &reqwest::Client,
        ports: &Ports,
        sql: &Sql,
        rows: u64,
    ) -> Result<()> {
        let name = self.name;
        let url = format!("http://{}/tables/{name}/forceCommit", ports.controller);
        let statement = format!(
            "SELECT SUM(\"rows\") FROM sys.segments WHERE \"table\" = '{name}' AND status = 'DONE'"
        );
        // An order names the segments that there are: one that follows needs another.
        let (wanted, begin) = (i64::try_from(rows)?, Instant::now());
        while sql.numbers(&statement).await? != [wanted] {
            ensure!(begin.elapsed() < WAIT_MAX, "not sealed after {WAIT_MAX:?}");
            post(http, &url, &Value::Null).await?;
            tokio::time::sleep(ORDER_EVERY).await;
        }
        Ok(())
    }
}

pub(super) async fn create(
    http: &reqwest::Client,
    ports: &Ports,
    schema: &Value,
    config: &Value,
) -> Result<()> {
    for (path, body) in [("/schemas", schema), ("/tables", config)] {
        post(http, &format!("http://{}{path}", ports.controller), body).await?;
    }
    Ok(())
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Result<()> {
    let answer = http.post(url).json(body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "POST {url}: {status}: {text}");
    Ok(())
}

/// Until the one number of an answer is `wanted`.
pub(super) async fn wait_for(sql: &Sql, statement: &str, wanted: u64) -> Result<()> {
    let (wanted, mut last) = (i64::try_from(wanted)?, (0, Instant::now()));
    loop {
        // Before its first segment a table cannot be asked.
        let found = sql.numbers(statement).await;
        let found = found.ok().and_then(|row| row.first().copied()).unwrap_or(0);
        if found == wanted {
            return Ok(());
        }
        ensure!(
            found < wanted,
            "{statement}: {found} are more than {wanted}"
        );
        if found != last.0 {
            last = (found, Instant::now());
        }
        ensure!(
            last.1.elapsed() < STALL_MAX,
            "{statement}: {found} of {wanted}, no more for {STALL_MAX:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Makes a topic and fills it; the mean size of a message in bytes. Events of a key are in one
/// partition.
pub(crate) async fn fill(
    brokers: &str,
    topic: &str,
    partitions: u32,
    events: u64,
    format: Format,
) -> Result<f64> {
    KafkaSource::new(brokers, &[], "bench")?
        .create_topic(topic, partitions)
        .await?;
    let producer = KafkaProducer::with_options(brokers, &[("linger.ms", "50")])?;
    let mut bytes = 0;
    for n in 0..events {
        let event = Event::new(n);
        let payload = format.payload(&event);
        let partition = i32::try_from(event.user % u64::from(partitions))?;
        bytes += payload.len();
        producer
            .send(topic, Some(partition), None, &payload)
            .await?;
    }
    producer.flush(WAIT_MAX).await.context("filling a topic")?;
    Ok(bytes as f64 / events.max(1) as f64)
}
