//! Brings the sample tables about. What is there already is left alone, so that a start that was
//! killed at any point is finished by the next one.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use runtime::{CancellationToken, Files, TaskGroup};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream::{KafkaSource, StreamSource};

use super::feeder::{Feeder, shift_for};
use crate::client::Client;
use crate::node::Node;
use crate::sample::{self, FLIGHTS, PARTITIONS, flights_config, flights_schema};

const SERVER_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

pub(super) struct Seed<'a> {
    pub client: &'a Client,
    pub node: &'a Node,
    pub events_per_second: u32,
}

/// What has to be the same at every start.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Added to the times of the history.
    shift_ms: i64,
}

impl Seed<'_> {
    /// Creates what is missing, and lets flights arrive as a task of `tasks`.
    pub(super) async fn plant(&self, tasks: &TaskGroup) -> Result<()> {
        self.wait_for_server().await?;
        let feeder = self.feeder()?;
        let source = KafkaSource::new(&self.node.addresses.log, &[], "quickstart")?;
        source.create_topic(FLIGHTS, PARTITIONS).await?;
        self.flights().await?;
        tasks.spawn("sample flights", |stop: CancellationToken| async move {
            if let Err(error) = feeder.run(stop).await {
                tracing::error!("no more sample flights: {error:#}");
            }
        });
        let (clock, files) = (Arc::clone(&self.node.clock), Arc::clone(&self.node.files));
        sample::load_missing(self.client, clock, files).await
    }

    async fn wait_for_server(&self) -> Result<()> {
        let begun = self.node.clock.monotonic();
        loop {
            let cluster = self.client.get("/v1/cluster").await?;
            let instances = cluster["instances"].as_array();
            let lives = |one: &Value| one["role"] == "server" && one["alive"] == true;
            if instances.is_some_and(|all| all.iter().any(lives)) {
                return Ok(());
            }
            if self.node.clock.monotonic() - begun > SERVER_WITHIN {
                bail!("the server has not reached the controller");
            }
            self.node.clock.sleep(POLL).await;
        }
    }

    fn feeder(&self) -> Result<Feeder> {
        let path = self.node.data_dir.join("quickstart.json");
        let now_ms = self.node.clock.now_ms();
        let remembered = remembered(&path, &*self.node.files, now_ms)?;
        Ok(Feeder {
            log: self.node.addresses.log.clone(),
            clock: Arc::clone(&self.node.clock),
            shift_ms: remembered.shift_ms,
            events_per_second: self.events_per_second,
        })
    }

    async fn flights(&self) -> Result<()> {
        let config = flights_config(&self.node.addresses.log);
        let existing = self.client.find(&format!("/tables/{FLIGHTS}")).await?;
        let Some(mut existing) = existing else {
            let body = json!({ "schema": flights_schema(), "tableConfig": config });
            self.client.post("/v1/tables", body).await?;
            return Ok(());
        };
        // The log is where this start put it.
        let stream = crate::configs::stream_of(&mut existing["REALTIME"]);
        let brokers = &mut stream["stream.kafka.broker.list"];
        if *brokers != json!(self.node.addresses.log) {
            *brokers = json!(self.node.addresses.log);
            let changed = existing["REALTIME"].take();
            self.client
                .put(&format!("/tables/{FLIGHTS}"), changed)
                .await?;
        }
        Ok(())
    }
}

fn remembered(path: &Path, files: &dyn Files, now_ms: i64) -> Result<Remembered> {
    match std::fs::read(path) {
        Ok(json) => {
            return serde_json::from_slice(&json)
                .with_context(|| format!("`{}` is not understood", path.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    }
    let fresh = Remembered {
        shift_ms: shift_for(now_ms),
    };
    let json = serde_json::to_vec(&fresh)?;
    files
        .write_new(path, "quickstart", &mut |out: &mut dyn Write| {
            out.write_all(&json)
        })
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(fresh)
}
