//! A controller over a real listener, with its metadata in memory and in SQLite, and servers that
//! are doubles: they follow the state and say that they hold what they are given.

/// Each of these tests runs with the metadata in memory and in SQLite.
macro_rules! over_both_stores {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&$crate::tests::World::memory().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&$crate::tests::World::sqlite().await).await;
            })*
        }
    };
}

mod bare;
mod consumption;
mod control;
mod deltas;
mod double;
mod election;
mod protocol;
mod reconcilers;
mod replacements;
mod scale;
mod schema_api;
mod segment_api;
mod simulation;
mod table_api;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deepstore::DeepStore;
use metastore::{MemoryStore, MetaStore, SqliteStore};
use rest::Entrance;
use rpc::{ControlApi, InProcessNetwork};
use runtime::{Clock, SystemClock, TaskGroup};
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::{SegmentId, TableId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Config, Controller, Parts, start};
use double::{FakeServer, FakeStreams, NoCheck};

pub(crate) const SCHEMA: &str = r#"{"schemaName":"orders","enableColumnBasedNullHandling":true,
 "dimensionFieldSpecs":[{"name":"order_id","dataType":"STRING"},{"name":"city","dataType":"STRING"}],
 "metricFieldSpecs":[{"name":"amount","dataType":"DOUBLE"}],
 "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"1:MILLISECONDS:TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;

pub(crate) const REALTIME: &str = r#"{"tableName":"orders_REALTIME","tableType":"REALTIME",
 "segmentsConfig":{"timeColumnName":"ts","retentionTimeUnit":"DAYS","retentionTimeValue":"7","replication":"1"},
 "tenants":{"broker":"DefaultTenant","server":"DefaultTenant"},
 "tableIndexConfig":{"loadMode":"MMAP","invertedIndexColumns":["city"],
  "streamConfigs":{"streamType":"kafka","stream.kafka.topic.name":"orders","stream.kafka.broker.list":"localhost:9092",
   "stream.kafka.decoder.class.name":"org.apache.pinot.plugin.stream.kafka.KafkaJSONMessageDecoder",
   "realtime.segment.flush.threshold.rows":"1000"}},
 "metadata":{}}"#;

pub(crate) const OFFLINE: &str = r#"{"tableName":"orders","tableType":"OFFLINE",
 "segmentsConfig":{"timeColumnName":"ts","replication":"1"},"tableIndexConfig":{"loadMode":"MMAP"},"metadata":{}}"#;

pub(crate) struct World {
    pub(crate) controller: Controller,
    pub(crate) deep: DeepStore,
    pub(crate) streams: FakeStreams,
    pub(crate) network: Arc<InProcessNetwork>,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What HTTP answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The sentence of a refusal, whose shape is Pinot's.
    pub(crate) fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let body = self.json();
        assert_eq!(body["code"], status);
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}

impl World {
    pub(crate) async fn memory() -> Self {
        let clock = SystemClock::shared();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        Self::over(store, clock, folder).await
    }

    pub(crate) async fn sqlite() -> Self {
        let clock = SystemClock::shared();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metastore.db");
        let store = SqliteStore::open(&path, Arc::clone(&clock)).await;
        Self::over(Arc::new(store.unwrap()), clock, folder).await
    }

    pub(crate) async fn over(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        folder: tempfile::TempDir,
    ) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = http.local_addr().unwrap();
        let (deep, streams) = (DeepStore::in_memory(), FakeStreams::default());
        let config = Config {
            instance: "Controller_test".to_owned(),
            address: "127.0.0.1:9000".to_owned(),
            version: "9.9.9",
            liveness: Duration::from_secs(5),
            clock_skew_max: Duration::from_secs(60),
            reconcile_every: Duration::from_millis(50),
            entrance: Entrance::default(),
            election: None,
        };
        let parts = Parts {
            store,
            deep: deep.clone(),
            streams: Arc::new(streams.clone()),
            check: Arc::new(NoCheck),
            clock,
            tasks: TaskGroup::new("controller"),
            http,
            grpc: None,
        };
        let controller = start(config, parts).await.unwrap();
        let network = Arc::new(InProcessNetwork::default());
        network.register_controller(controller.api());
        Self {
            controller,
            deep,
            streams,
            network,
            http: address,
            _folder: folder,
        }
    }

    pub(crate) fn api(&self) -> Arc<dyn ControlApi> {
        self.controller.api()
    }

    /// A server that lives as long as what is returned.
    pub(crate) async fn server(&self, name: &str) -> FakeServer {
        FakeServer::start(name, &self.network).await
    }

    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Answered {
        let mut connection = TcpStream::connect(self.http).await.unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            self.http,
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answered {
            status: head[9..12].parse().unwrap(),
            body: body.to_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.ask(&format!("GET {path}"), "", b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered {
        self.ask(&format!("DELETE {path}"), "", b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answered {
        let headers = "Content-Type: application/json\r\n";
        self.ask(&format!("POST {path}"), headers, body.as_bytes())
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answered {
        let headers = "Content-Type: application/json\r\n";
        self.ask(&format!("PUT {path}"), headers, body.as_bytes())
            .await
    }

    /// Schema and table.
    pub(crate) async fn create(&self, config: &str) -> TableId {
        self.post("/schemas", SCHEMA).await.ok();
        self.post("/tables", config).await.ok();
        let config: Value = serde_json::from_str(config).unwrap();
        let raw = config["tableName"].as_str().unwrap();
        let kind = config["tableType"].as_str().unwrap();
        let raw = raw.trim_end_matches("_REALTIME");
        let spec = self
            .get(&format!("/v1/tables/{raw}_{kind}/spec"))
            .await
            .ok();
        serde_json::from_value(spec["spec"]["id"].clone()).unwrap()
    }

    /// One segment of an OFFLINE table, as `tannin import` uploads it.
    pub(crate) async fn upload(&self, table: &str, record: &SegmentRecord) -> Answered {
        let header = format!(
            "x-tannin-segment: {}\r\n",
            serde_json::to_string(record).unwrap()
        );
        let line = format!("POST /v1/segments/{table}");
        self.ask(&line, &header, b"a packed segment").await
    }
}

/// A sealed segment with one row for each offset.
pub(crate) fn sealed(id: SegmentId, start: i64, end: i64, crc: u32) -> SegmentRecord {
    SegmentRecord {
        id,
        name: String::new(),
        status: SegmentStatus::Done,
        start,
        end: Some(end),
        ledger: Ledger {
            rows: (end - start) as u64,
            ..Ledger::default()
        },
        crc,
        bytes: 1000,
        stored_bytes: 0,
        uri: None,
        unstored: false,
        created_ms: 1,
        sealed_ms: Some(2),
        time_range: Some((10, 20)),
        column_ranges: Vec::new(),
        partitions: Vec::new(),
        source: None,
        earlier: Vec::new(),
        marks: Default::default(),
    }
}

pub(crate) fn segment(table: TableId, partition: u32, sequence: u32) -> SegmentId {
    SegmentId {
        table,
        partition,
        sequence,
    }
}

/// Asks again until it is so.
pub(crate) async fn eventually<F: AsyncFn() -> bool>(what: &str, done: F) {
    for _ in 0..1000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn what_every_role_has() {
    let world = World::memory().await;
    assert_eq!(world.get("/health").await.body, "OK");
    assert_eq!(world.get("/pinot-controller/admin").await.body, "GOOD");
    assert_eq!(world.get("/ready").await.status, 200);
    assert_eq!(world.get("/version").await.ok(), json!({"tannin": "9.9.9"}));
    let metrics = world.get("/metrics").await.body;
    assert!(metrics.contains("tannin_controller_tables 0"));
    let nope = world.get("/nope").await.refused(404);
    assert_eq!(nope, "there is no endpoint `/nope`");
}
