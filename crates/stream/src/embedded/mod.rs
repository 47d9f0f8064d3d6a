//! The built-in log: topics of partitions behind Kafka's wire protocol, for one node.
//!
//! It serves what Kafka clients need to produce (idempotent and transactional too), to consume by
//! assignment, and to manage topics. It has no consumer groups and no replication: for development,
//! tests and the quickstart. A cluster uses Apache Kafka.
//!
//! Invariant: an acknowledged batch has been written; with [`SyncPolicy::OnAck`] it is also synced,
//! and no reader sees what is not.

mod answers;
mod batch;
mod connection;
mod file;
mod history;
mod partition;
mod records;
mod shape;
mod state;
mod topics;
mod transactions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{CancellationToken, Clock, ComputePool, Files, TaskGroup};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

use batch::end_marker;
use history::Outcome;
use partition::Limits;
use topics::Topics;
use transactions::{Ending, Transactions};

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
    pub(super) const INVALID_REPLICATION_FACTOR: i16 = 38;
    pub(super) const OUT_OF_ORDER_SEQUENCE: i16 = 45;
    pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(super) const INVALID_TRANSACTION_STATE: i16 = 48;
    pub(super) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    pub(super) const CONCURRENT_TRANSACTIONS: i16 = 51;
    pub(super) const STORAGE_ERROR: i16 = 56;
    pub(super) const INVALID_RECORD: i16 = 87;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Every acknowledged message survives a power cut.
    OnAck,
    /// It survives a kill of the process; a power cut may lose so much, also of what was read.
    Every(Duration),
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub folder: PathBuf,
    /// Oldest data is dropped above this size, over all topics.
    pub retention_bytes: u64,
    /// Files whose newest message is older are dropped.
    pub retention_ms: Option<i64>,
    /// A file of a partition is followed by the next at this size; data is dropped by files.
    pub file_bytes: u64,
    pub sync: SyncPolicy,
}

impl LogConfig {
    /// 1 GiB in files of 64 MiB, synced before each acknowledgement.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            retention_bytes: 1 << 30,
            retention_ms: None,
            file_bytes: 64 << 20,
            sync: SyncPolicy::OnAck,
        }
    }
}

/// The log of this node.
#[derive(Debug)]
pub struct EmbeddedLog {
    config: LogConfig,
    topics: Topics,
    /// Taken before any lock of a partition.
    transactions: Mutex<Transactions>,
    clock: Arc<dyn Clock>,
    pool: ComputePool,
    /// Woken at each append.
    appended: Notify,
}

const RETENTION_EVERY: Duration = Duration::from_secs(5);
const SYNC_EVERY_LEAST: Duration = Duration::from_millis(10);
const CONNECTIONS_MAX: usize = 2048;
const DISK_THREADS: usize = 4;
const CONNECTIONS_GRACE: Duration = Duration::from_secs(1);
/// Dropping less is not worth a file.
const ROLL_BYTES_LEAST: u64 = 64 << 10;

impl EmbeddedLog {
    /// Opens the folder and serves on `listener` until `tasks` is cancelled.
    pub fn start(
        config: LogConfig,
        listener: TcpListener,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        tasks: &TaskGroup,
    ) -> std::io::Result<Arc<Self>> {
        let limits = Limits {
            sync: config.sync,
            file_bytes: config.file_bytes,
        };
        let topics = Topics::open(&config.folder, Arc::clone(&files), limits)?;
        // By the clock, as ids of producers that left no batch are remembered nowhere.
        let used = topics.all().iter().map(|p| p.greatest_producer()).max();
        let floor = used.unwrap_or(-1).max(clock.now_ms());
        let transactions = Transactions::open(&config.folder, files, floor)?;
        let log = Arc::new(Self {
            config,
            topics,
            transactions: Mutex::new(transactions),
            clock,
            pool: ComputePool::new(DISK_THREADS),
            appended: Notify::new(),
        });
        log.end_transactions_of_before()?;
        let connections = TaskGroup::new("log connections");
        let (served, kept) = (Arc::clone(&log), Arc::clone(&log));
        tasks.spawn("built-in log", |stop| async move {
            served.accept(listener, &connections, stop).await;
            connections.stop(CONNECTIONS_GRACE).await;
            served.on_disk(Self::sync).await;
        });
        tasks.spawn("log retention", |stop| async move {
            stop.run_until_cancelled(kept.keep_house()).await;
        });
        if log.config.sync != SyncPolicy::OnAck {
            let synced = Arc::clone(&log);
            tasks.spawn("log sync", |stop| async move {
                stop.run_until_cancelled(synced.keep_synced()).await;
            });
        }
        Ok(log)
    }

    /// Bytes of all topics.
    pub fn log_bytes(&self) -> u64 {
        self.topics.all().iter().map(|p| p.bytes()).sum()
    }

    /// Their coordinator's memory is gone: without an end they would hide all that follows.
    fn end_transactions_of_before(&self) -> std::io::Result<()> {
        let partitions = self.topics.all();
        let open = partitions.iter().flat_map(|p| p.open_transactions());
        let open: Vec<(i64, i16)> = open.collect();
        let mark = |ending: &Ending<'_>| self.mark(ending);
        let recovered = self.transactions.lock().recover(&open, &mark);
        let ended = recovered.and_then(|()| {
            for partition in &partitions {
                for (producer, epoch) in partition.open_transactions() {
                    let now_ms = self.clock.now_ms();
                    let marker = end_marker(producer, epoch, Outcome::Abort, now_ms);
                    partition.append_marker(producer, &marker)?;
                }
            }
            Ok(())
        });
        ended.map_err(|code| {
            let why = format!("cannot end the transactions of the run before (Kafka error {code})");
            std::io::Error::other(why)
        })
    }

    async fn accept(
        self: &Arc<Self>,
        listener: TcpListener,
        connections: &TaskGroup,
        stop: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the built-in log cannot accept");
                    let pause = self.clock.sleep(Duration::from_millis(100));
                    stop.run_until_cancelled(pause).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                tracing::warn!(%peer, CONNECTIONS_MAX, "refused, too many connections");
                continue;
            };
            let log = Arc::clone(self);
            connections.spawn(format!("log connection {peer}"), |stop| async move {
                let _permit = permit;
                match stop.run_until_cancelled(log.serve(stream)).await {
                    Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                        tracing::warn!(%peer, %error, "closed a connection to the built-in log");
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%peer, %error, "a connection to the built-in log ended");
                    }
                    Some(Ok(())) | None => {}
                }
            });
        }
    }

    async fn on_disk(self: &Arc<Self>, job: fn(&Self)) {
        let log = Arc::clone(self);
        if let Err(error) = self.pool.run(move || job(&log)).await {
            tracing::error!(%error, "the built-in log");
        }
    }

    async fn keep_house(self: Arc<Self>) {
        loop {
            self.clock.sleep(RETENTION_EVERY).await;
            self.on_disk(Self::expire_transactions).await;
            self.on_disk(Self::drop_old).await;
            self.on_disk(Self::drop_oldest).await;
        }
    }

    async fn keep_synced(self: Arc<Self>) {
        let SyncPolicy::Every(interval) = self.config.sync else {
            return;
        };
        loop {
            self.clock.sleep(interval.max(SYNC_EVERY_LEAST)).await;
            self.on_disk(Self::sync).await;
        }
    }

    fn expire_transactions(&self) {
        let now = self.clock.monotonic();
        let mark = |ending: &Ending<'_>| self.mark(ending);
        if let Err(error) = self.transactions.lock().expire(now, &mark) {
            tracing::error!(
                error,
                "the built-in log cannot abort a transaction, tries again"
            );
        }
    }

    fn sync(&self) {
        for partition in self.topics.all() {
            if let Err(error) = partition.sync() {
                tracing::error!(%error, "the built-in log cannot sync and takes no more");
            }
        }
    }

    /// Drops whole files that are older than the log keeps; the last one too, when a new one is
    /// begun behind it.
    fn drop_old(&self) {
        let Some(age_max_ms) = self.config.retention_ms else {
            return;
        };
        let since_ms = self.clock.now_ms() - age_max_ms;
        for partition in self.topics.all() {
            if partition
                .newest_ms()
                .is_some_and(|newest| newest < since_ms)
                && let Err(error) = partition.roll()
            {
                tracing::warn!(%error, "the built-in log cannot begin a file");
            }
            while let Some((newest_ms, end)) = partition.oldest_file()
                && newest_ms < since_ms
            {
                if partition.delete_before(end).is_err() {
                    break;
                }
            }
        }
    }

    /// Drops whole files, oldest first, until the log is within its size.
    fn drop_oldest(&self) {
        while self.log_bytes() > self.config.retention_bytes {
            let partitions = self.topics.all();
            let oldest = partitions
                .iter()
                .filter_map(|partition| Some((partition.oldest_file()?, partition)))
                .min_by_key(|((timestamp, _), _)| *timestamp);
            let gone_on = match oldest {
                Some(((_, end), partition)) => partition.delete_before(end).is_ok(),
                // Every partition has but one file: the largest begins another.
                None => {
                    let largest = partitions.iter().max_by_key(|p| p.bytes());
                    largest.is_some_and(|p| p.bytes() >= ROLL_BYTES_LEAST && p.roll().is_ok())
                }
            };
            if !gone_on {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
