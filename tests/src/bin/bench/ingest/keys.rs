//! A table of very many keys: how fast their rows come, what a key takes, and how soon a node that
//! was killed serves all of them again.
//!
//! The topic is in the node's own log, whose work is in its processor time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tests::process::Sql;

use super::cpu::Cpu;
use super::table;
use crate::engine::node::Tannin;
use crate::figures::{Figures, Goal};

const NAME: &str = "keyed";
const PARTITIONS: u32 = 2;
/// Of a segment.
const ROWS: u64 = 2_500_000;
const FLUSH_MAX: Duration = Duration::from_secs(60);
const HEALTHY_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(
    node: &mut Tannin,
    http: &reqwest::Client,
    keys: u64,
    figures: &mut Figures,
) -> Result<()> {
    let millions = format!("{} M keys", keys as f64 / 1e6);
    let sql = Sql::new(http, node.broker());
    let log = node.ports().log.clone();
    let source = KafkaSource::new(&log, &[], "bench")?;
    source.create_topic(NAME, PARTITIONS).await?;
    let (schema, config) = table(&log);
    let before = Cpu::of(node.pid())?;
    table::create(http, node.ports(), &schema, &config).await?;
    produce(&log, keys).await?;
    let count = format!("SELECT COUNT(*) FROM {NAME}");
    table::wait_for(&sql, &count, keys).await?;
    let used = Cpu::of(node.pid())?.since(&before);
    let rate = keys as f64 / used.all.as_secs_f64();
    let what = format!("{millions}: a core, the log among it");
    figures.add(&what, rate, "events/s", None);
    figures.note(&format!("{millions}: {}", used.shares()));

    let ready = node.start_again().await?;
    table::wait_for(&sql, &count, keys).await?;
    healthy(http, node).await?;
    let served = node.age();
    figures.add(
        &format!("{millions}: killed and started, all answered and GOOD"),
        served.as_secs_f64(),
        "s",
        Some(Goal::AtMost(30.0)),
    );
    let what = format!("{millions}: of it until it is ready");
    figures.add(&what, ready.as_secs_f64(), "s", None);
    let metrics = format!("http://{}/metrics", node.ports().server);
    let metrics = http.get(metrics).send().await?.text().await?;
    let of = |name: &str| {
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.with_context(|| format!("no {name} in the server's metrics"))
    };
    let bytes = of("tannin_server_key_bytes")? / of("tannin_server_keys")?;
    let what = format!("{millions}: memory of a key");
    figures.add(&what, bytes, "bytes", Some(Goal::AtMost(32.0)));
    Ok(())
}

fn table(log: &str) -> (Value, Value) {
    let column = |name: &str, of: &str| json!({ "name": name, "dataType": of });
    let schema = json!({
        "schemaName": NAME,
        "dimensionFieldSpecs": [column("id", "LONG"), column("amount", "INT")],
        "dateTimeFieldSpecs": [{
            "name": "ts", "dataType": "TIMESTAMP", "format": "1:MILLISECONDS:TIMESTAMP",
            "granularity": "1:MILLISECONDS"
        }],
        "primaryKeyColumns": ["id"]
    });
    let stream = json!({
        "streamType": "kafka",
        "stream.kafka.topic.name": NAME,
        "stream.kafka.broker.list": log,
        "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
        "stream.kafka.decoder.class.name": "json",
        "realtime.segment.flush.threshold.rows": ROWS.to_string(),
    });
    let config = json!({
        "tableName": NAME,
        "tableType": "REALTIME",
        "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
        "tenants": {},
        "tableIndexConfig": { "loadMode": "MMAP" },
        "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [stream] } },
        "upsertConfig": { "mode": "FULL" },
        "metadata": {}
    });
    (schema, config)
}

async fn produce(log: &str, keys: u64) -> Result<()> {
    let producer = KafkaProducer::with_options(log, &[("linger.ms", "50")])?;
    for key in 0..keys {
        let partition = i32::try_from(key % u64::from(PARTITIONS))?;
        // Keys are spread over all whole numbers, as ids mostly are.
        let id = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed();
        let ts = 1_788_220_800_000 + key / 1_000;
        let payload = format!(r#"{{"id":{id},"amount":{},"ts":{ts}}}"#, key % 1_000);
        let sent = producer.send(NAME, Some(partition), None, payload.as_bytes());
        sent.await?;
    }
    producer.flush(FLUSH_MAX).await.context("producing keys")
}

async fn healthy(http: &reqwest::Client, node: &Tannin) -> Result<()> {
    let url = format!("http://{}/v1/tables/{NAME}/status", node.ports().controller);
    loop {
        let status: Value = http.get(&url).send().await?.json().await?;
        if status["state"] == "GOOD" {
            return Ok(());
        }
        ensure!(node.age() < HEALTHY_MAX, "{status}");
        tokio::time::sleep(POLL).await;
    }
}
