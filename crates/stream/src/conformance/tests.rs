//! The suite on the built-in log, and on a real Kafka where one is named.

use std::sync::Arc;
use std::time::Duration;

use runtime::{OsFiles, SystemClock, TaskGroup};
use tokio::net::TcpListener;

use super::conformance;
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
    assert_eq!(passed.len(), 17);
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

/// `tests/kafka_bootstrap` holds `host:port` of an Apache Kafka; without it there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_conforms() {
    let named = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka_bootstrap");
    let Ok(brokers) = std::fs::read_to_string(named) else {
        eprintln!("skipped: `{named}` does not exist");
        return;
    };
    let passed = conformance(brokers.trim()).await;
    let passed = passed.unwrap_or_else(|failed| panic!("{failed}"));
    eprintln!("passed on {}: {passed:?}", brokers.trim());
}
