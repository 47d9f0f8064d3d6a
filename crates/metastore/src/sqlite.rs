//! The store in one SQLite file: for one controller process, which holds the data dir's lock.
//!
//! Invariants: a transaction is committed to the file, synced, before it is seen by anyone; what is
//! in memory is what is in the file. Leases are not stored: they end with the process, and keys
//! under a lease are removed when the file is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use runtime::{Clock, failpoint};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use tokio::sync::Mutex;

use crate::memory::{Effects, Rules};
use crate::{Change, Entry, LeaseId, MetaError, MetaStore, Revision, Txn, TxnOutcome};

/// Version of the tables in the file.
const FORMAT: i64 = 1;

#[derive(Debug)]
pub struct SqliteStore {
    file: SqlitePool,
    /// One writer: the lock is held from the decision to the commit.
    rules: Mutex<Rules>,
}

impl SqliteStore {
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, MetaError> {
        let name = path.display().to_string();
        let failed = |source| MetaError::Open {
            path: name.clone(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-1024")
            .busy_timeout(Duration::from_secs(5));
        let file = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(failed)?;
        check_format(&file, &name).await?;
        let rules = load(&file, clock).await.map_err(failed)?;
        Ok(Self {
            file,
            rules: Mutex::new(rules),
        })
    }

    async fn commit(&self, effects: &Effects) -> Result<(), MetaError> {
        failpoint::hit("metastore.before_commit");
        let mut txn = self.file.begin().await?;
        for key in &effects.deletes {
            sqlx::query("DELETE FROM entries WHERE key = ?")
                .bind(key)
                .execute(&mut *txn)
                .await?;
        }
        for (key, value, lease) in &effects.puts {
            sqlx::query("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)")
                .bind(key)
                .bind(&value[..])
                .bind(effects.revision as i64)
                .bind(lease.map(|lease| lease.0 as i64))
                .execute(&mut *txn)
                .await?;
        }
        sqlx::query("UPDATE store SET revision = ?")
            .bind(effects.revision as i64)
            .execute(&mut *txn)
            .await?;
        txn.commit().await?;
        failpoint::hit("metastore.after_commit");
        Ok(())
    }

    /// The state after leases that ended.
    async fn current(&self) -> Result<tokio::sync::MutexGuard<'_, Rules>, MetaError> {
        let mut rules = self.rules.lock().await;
        if let Some(effects) = rules.expired() {
            self.commit(&effects).await?;
            rules.apply(effects);
        }
        Ok(rules)
    }
}

async fn check_format(file: &SqlitePool, name: &str) -> Result<(), MetaError> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS store (format INTEGER NOT NULL, revision INTEGER NOT NULL)",
    )
    .execute(file)
    .await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, \
         revision INTEGER NOT NULL, lease INTEGER) WITHOUT ROWID",
    )
    .execute(file)
    .await?;
    let format = sqlx::query("SELECT format FROM store")
        .fetch_optional(file)
        .await?;
    match format.map(|row| row.get::<i64, _>(0)) {
        Some(FORMAT) => Ok(()),
        None => {
            sqlx::query("INSERT INTO store VALUES (?, 0)")
                .bind(FORMAT)
                .execute(file)
                .await?;
            Ok(())
        }
        Some(other) => Err(MetaError::Corrupt {
            key: name.to_owned(),
            detail: format!("it has format {other}, this version reads {FORMAT}"),
        }),
    }
}

async fn load(file: &SqlitePool, clock: Arc<dyn Clock>) -> Result<Rules, sqlx::Error> {
    sqlx::query("DELETE FROM entries WHERE lease IS NOT NULL")
        .execute(file)
        .await?;
    let revision: i64 = sqlx::query("SELECT revision FROM store")
        .fetch_one(file)
        .await?
        .get(0);
    let rows = sqlx::query("SELECT key, value, revision FROM entries")
        .fetch_all(file)
        .await?;
    let entries = rows.into_iter().map(|row| Entry {
        key: row.get(0),
        value: Bytes::from(row.get::<Vec<u8>, _>(1)),
        revision: row.get::<i64, _>(2) as Revision,
    });
    let mut rules = Rules::new(clock);
    rules.load(entries, revision as Revision);
    Ok(rules)
}

#[async_trait]
impl MetaStore for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        Ok(self.current().await?.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), MetaError> {
        Ok(self.current().await?.range(prefix))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let mut rules = self.current().await?;
        match rules.decide(txn) {
            Ok(effects) => {
                self.commit(&effects).await?;
                Ok(TxnOutcome::Committed(rules.apply(effects)))
            }
            Err(key) => Ok(TxnOutcome::Conflict { key }),
        }
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError> {
        Ok(self.current().await?.watch(prefix))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError> {
        Ok(self.current().await?.grant(ttl))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError> {
        Ok(self.current().await?.keep_alive(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let mut rules = self.current().await?;
        if let Some(effects) = rules.revoke(lease) {
            self.commit(&effects).await?;
            rules.apply(effects);
        }
        Ok(())
    }
}
