//! The sample of the tests: the first flights of 2013, and the tables beside them.
//!
//! Expected answers in `slt/` come from DuckDB over the same rows (`slt/expect.py`).

use anyhow::Result;
use serde_json::{Value, json};
use tannin::sample;

use crate::cluster::Cluster;

/// Flights that are loaded; also in `slt/expect.py`.
pub const ROWS: u64 = 20_000;
pub const PARTITIONS: u32 = 2;
/// So that each partition has sealed segments and a consuming one.
pub const SEGMENT_ROWS: u64 = 3_000;

/// Flights as JSON with the partition each belongs to, at the times of the file.
pub fn events(rows: u64) -> Result<Vec<(u32, String)>> {
    let mut flights = sample::Flights::from(0)?;
    (0..rows)
        .map(|index| {
            let flight = flights.next_flight()?;
            let event = String::from_utf8(flight.at(flight.event_ms).to_vec())?;
            Ok(((index % u64::from(PARTITIONS)) as u32, event))
        })
        .collect()
}

/// Schema and config for `POST /v1/tables`.
pub fn table(brokers: &str, topic: &str, replication: u32) -> Value {
    let mut config = sample::flights_config(brokers);
    config["segmentsConfig"]["replication"] = json!(replication.to_string());
    // Rows of 2013 must stay.
    config["segmentsConfig"]["retentionTimeValue"] = json!("36500");
    let stream = &mut config["ingestionConfig"]["streamIngestionConfig"]["streamConfigMaps"][0];
    stream["stream.kafka.topic.name"] = json!(topic);
    stream["realtime.segment.flush.threshold.rows"] = json!(SEGMENT_ROWS.to_string());
    json!({ "schema": sample::flights_schema(), "tableConfig": config })
}

/// Everything loaded and answering: `flights`, `airlines`, `airports`, `planes`, `weather`.
pub async fn load(cluster: &Cluster) -> Result<()> {
    let addresses = &cluster.node(0).addresses;
    cluster.create_topic("flights", PARTITIONS).await?;
    let body = table(&cluster.log(), "flights", 1);
    cluster.post("/v1/tables", &body).await?;
    cluster.produce("flights", events(ROWS)?).await?;
    sample::load_offline(&addresses.broker_http, &addresses.controller_http).await?;
    let rows = i64::try_from(ROWS)?;
    cluster
        .wait_for("SELECT COUNT(*) FROM flights", rows)
        .await?;
    // A partition of 10,000 rows: three segments are sealed, the fourth consumes.
    let sealed =
        "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
    let segments = ROWS / u64::from(PARTITIONS) / SEGMENT_ROWS * u64::from(PARTITIONS);
    cluster.wait_for(sealed, i64::try_from(segments)?).await
}
