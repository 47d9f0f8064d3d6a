//! The built-in log: topics of partitions behind Kafka's wire protocol, for one node.
//!
//! It serves what Kafka clients need to produce (idempotent and transactional too), to consume by
//! assignment, and to manage topics. It has no consumer groups and no replication: for development,
//! tests and the quickstart. A cluster uses Apache Kafka.
//!
//! Invariant: an acknowledged batch has been written; with [`SyncPolicy::OnAck`] it is also synced.

mod answers;
mod batch;
mod connection;
mod file;
mod partition;
mod topics;
mod transactions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Clock, Files, TaskGroup};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use topics::Topics;
use transactions::Transactions;

/// Kafka's error codes, as far as they are answered here.
mod kafka_error {
    pub(super) const NONE: i16 = 0;
    pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub(super) const CORRUPT_MESSAGE: i16 = 2;
    pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(super) const INVALID_TOPIC: i16 = 17;
    pub(super) const UNSUPPORTED_VERSION: i16 = 35;
    pub(super) const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub(super) const INVALID_PARTITIONS: i16 = 37;
    pub(super) const OUT_OF_ORDER_SEQUENCE: i16 = 45;
    pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(super) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    pub(super) const STORAGE_ERROR: i16 = 56;
    pub(super) const PRODUCER_FENCED: i16 = 90;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Every acknowledged message survives a power cut.
    OnAck,
    /// It survives a kill of the process; a power cut may lose so much.
    Every(Duration),
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub folder: PathBuf,
    /// Oldest data is dropped above this size, over all topics.
    pub retention_bytes: u64,
    pub sync: SyncPolicy,
}

/// The log of this node.
#[derive(Debug)]
pub struct EmbeddedLog {
    config: LogConfig,
    host: String,
    port: i32,
    topics: Topics,
    transactions: Mutex<Transactions>,
    clock: Arc<dyn Clock>,
    /// Woken at each append.
    appended: Notify,
}

const RETENTION_EVERY: Duration = Duration::from_secs(5);

impl EmbeddedLog {
    /// Opens the folder and serves on `listener` until `tasks` is cancelled.
    pub fn start(
        config: LogConfig,
        listener: TcpListener,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        tasks: &TaskGroup,
    ) -> std::io::Result<Arc<Self>> {
        let address = listener.local_addr()?;
        let topics = Topics::open(&config.folder, files, config.sync)?;
        let log = Arc::new(Self {
            topics,
            host: address.ip().to_string(),
            port: i32::from(address.port()),
            transactions: Mutex::new(Transactions::starting_at(clock.now_ms())),
            clock,
            appended: Notify::new(),
            config,
        });
        let served = Arc::clone(&log);
        let connections = tasks.child("log connections");
        tasks.spawn("built-in log", |stop| async move {
            stop.run_until_cancelled(served.accept(listener, connections))
                .await;
        });
        let kept = Arc::clone(&log);
        tasks.spawn("log retention", |stop| async move {
            stop.run_until_cancelled(kept.keep_house()).await;
            kept.sync();
        });
        Ok(log)
    }

    /// Bytes of all topics.
    pub fn bytes(&self) -> u64 {
        self.topics
            .all()
            .iter()
            .map(|partition| partition.bytes())
            .sum()
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, connections: TaskGroup) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let log = Arc::clone(&self);
                    connections.spawn(format!("log connection {peer}"), |stop| async move {
                        let served = stop.run_until_cancelled(log.serve(stream)).await;
                        if let Some(Err(error)) = served {
                            tracing::debug!(%peer, %error, "connection to the built-in log ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the built-in log cannot accept");
                    self.clock.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn keep_house(&self) {
        let every = match self.config.sync {
            SyncPolicy::OnAck => RETENTION_EVERY,
            SyncPolicy::Every(interval) => interval.max(Duration::from_millis(10)),
        };
        loop {
            self.clock.sleep(every).await;
            self.sync();
            self.drop_oldest();
        }
    }

    fn sync(&self) {
        for partition in self.topics.all() {
            if let Err(error) = partition.sync() {
                tracing::error!(%error, "the built-in log cannot sync");
            }
        }
    }

    /// Drops whole files, oldest first, until the log is within its size.
    fn drop_oldest(&self) {
        while self.bytes() > self.config.retention_bytes {
            let partitions = self.topics.all();
            let oldest = partitions
                .iter()
                .filter_map(|partition| Some((partition.oldest_file()?, partition)))
                .min_by_key(|((timestamp, _), _)| *timestamp);
            let Some(((_, end), partition)) = oldest else {
                return;
            };
            if partition.delete_before(end).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
