//! The suite on the built-in log, and on a real Kafka where one is named.

use std::sync::Arc;
use std::time::Duration;

use runtime::{OsFiles, SystemClock, TaskGroup};
use tokio::net::TcpListener;

use super::{apache_kafka, conformance};
use crate::embedded::{EmbeddedLog, LogConfig, SyncPolicy};

async fn check_built_in(sync: SyncPolicy) {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let tasks = TaskGroup::new("log");
    let config = LogConfig {
        sync,
        ..LogConfig::new(folder.path().to_owned())
    };
    let clock = SystemClock::shared();
    let log = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks).unwrap();
    let passed = conformance(&brokers)
        .await
        .unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(passed.len(), 19);
    drop(log);
    assert!(tasks.stop(Duration::from_secs(5)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_log_conforms() {
    check_built_in(SyncPolicy::Every(Duration::from_millis(50))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_log_conforms_when_it_syncs_each_batch() {
    check_built_in(SyncPolicy::OnAck).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_conforms() {
    let Some(brokers) = apache_kafka("apache_kafka_conforms") else {
        return;
    };
    let passed = conformance(&brokers).await;
    let passed = passed.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(passed.len(), 19);
}
