//! The store in one SQLite file: for one controller process, which holds the data dir's lock.
//!
//! Invariants: a transaction is committed to the file, synced, before it is seen by anyone; what is
//! in memory is what is in the file, also when a caller goes away in the middle of a transaction.
//! Leases are not stored: they end with the process, and keys under a lease are removed when the
//! file is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use runtime::{Clock, TaskGroup, failpoint};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use tokio::sync::{Mutex, MutexGuard, oneshot};

use crate::error::reason;
use crate::memory::{Effect, Effects, Rules};
use crate::{Change, Entry, LeaseId, MetaError, MetaStore, Revision, Since, Txn, TxnOutcome};

/// Version of the tables in the file.
const FORMAT: i64 = 1;

#[derive(Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
    /// Transactions run here to their end, whether or not somebody still waits for them.
    writes: TaskGroup,
}

#[derive(Debug)]
struct Inner {
    file: SqlitePool,
    /// One writer: the lock is held from the decision to the commit.
    rules: Mutex<Rules>,
}

impl SqliteStore {
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, MetaError> {
        let name = path.display().to_string();
        let failed = |error: sqlx::Error| MetaError::Open {
            path: name.clone(),
            reason: reason(&error),
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
        let rules = Mutex::new(rules);
        Ok(Self {
            inner: Arc::new(Inner { file, rules }),
            writes: TaskGroup::new("metadata"),
        })
    }

    async fn to_its_end<T, W>(&self, work: W) -> Result<T, MetaError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, MetaError>> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        self.writes.spawn("transaction", |_| async move {
            // Nobody waits for it when the caller went away.
            let _ = done.send(work.await);
        });
        outcome.await.map_err(|_| MetaError::Stopped)?
    }
}

impl Inner {
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

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let mut rules = self.current().await?;
        if let Some(effects) = rules.revoke(lease) {
            self.commit(&effects).await?;
            rules.apply(effects);
        }
        Ok(())
    }

    async fn commit(&self, effects: &Effects) -> Result<(), MetaError> {
        failpoint::hit("metastore.before_commit");
        let mut txn = self.file.begin().await?;
        for (key, effect) in &effects.keys {
            let query = match effect {
                Effect::Delete => sqlx::query("DELETE FROM entries WHERE key = ?").bind(key),
                Effect::Put(value, lease) => {
                    sqlx::query("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)")
                        .bind(key)
                        .bind(&value[..])
                        .bind(effects.revision as i64)
                        .bind(lease.map(|lease| lease.0 as i64))
                }
            };
            query.execute(&mut *txn).await?;
        }
        sqlx::query("UPDATE store SET revision = ?")
            .bind(effects.revision as i64)
            .execute(&mut *txn)
            .await?;
        txn.commit().await?;
        failpoint::hit("metastore.after_commit");
        Ok(())
    }

    /// The state after leases that ended. Deleting their keys twice is fine.
    async fn current(&self) -> Result<MutexGuard<'_, Rules>, MetaError> {
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
        Ok(self.inner.current().await?.get(key))
    }

    async fn page(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<(Vec<Entry>, Revision), MetaError> {
        Ok(self.inner.current().await?.page(prefix, after, most))
    }

    async fn since(
        &self,
        prefixes: &[String],
        revision: Revision,
    ) -> Result<Option<Since>, MetaError> {
        Ok(self.inner.current().await?.since(prefixes, revision))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let inner = Arc::clone(&self.inner);
        self.to_its_end(async move { inner.txn(txn).await }).await
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError> {
        Ok(self.inner.current().await?.watch(prefix))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError> {
        Ok(self.inner.current().await?.grant(ttl))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError> {
        Ok(self.inner.current().await?.keep_alive(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let inner = Arc::clone(&self.inner);
        self.to_its_end(async move { inner.revoke(lease).await })
            .await
    }
}

#[cfg(test)]
mod tests {
    use runtime::ManualClock;

    use super::*;

    async fn open(path: &Path, clock: &Arc<ManualClock>) -> SqliteStore {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        SqliteStore::open(path, clock).await.unwrap()
    }

    async fn writable(store: &SqliteStore, yes: bool) {
        let pragma = if yes {
            "PRAGMA query_only = OFF"
        } else {
            "PRAGMA query_only = ON"
        };
        let file = &store.inner.file;
        sqlx::query(pragma).execute(file).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_no_half_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metastore.db");
        let clock = ManualClock::at_ms(0);
        let store = open(&path, &clock).await;
        for polls in 1..20 {
            let txn = Txn::default().put(format!("/{polls:02}"), "here");
            let mut abandoned = store.txn(txn);
            for _ in 0..polls {
                let pending = futures::poll!(&mut abandoned).is_pending();
                if !pending {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            drop(abandoned);
        }
        // It waits its turn behind all others.
        store
            .txn(Txn::default().put("/last", "here"))
            .await
            .unwrap();
        let seen = store.range("/").await.unwrap();
        drop(store);
        let stored = open(&path, &clock).await.range("/").await.unwrap();
        assert_eq!(seen, stored, "memory is what the file is");
        assert_eq!(seen.0.len(), 20, "what was begun is done");
    }

    #[tokio::test]
    async fn a_write_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metastore.db");
        let clock = ManualClock::at_ms(0);
        let store = open(&path, &clock).await;
        let lease = store.grant_lease(Duration::from_secs(1)).await.unwrap();
        let ops = vec![crate::Op::Put {
            key: "/leased".to_owned(),
            value: Bytes::new(),
            lease: Some(lease),
        }];
        let compares = vec![];
        store.txn(Txn { compares, ops }).await.unwrap();

        writable(&store, false).await;
        let refused = store.txn(Txn::default().put("/new", "1")).await;
        assert!(matches!(refused, Err(MetaError::Store(_))));
        assert!(store.get("/new").await.unwrap().is_none());
        clock.advance(Duration::from_secs(2));
        assert!(store.get("/leased").await.is_err(), "it cannot be deleted");

        writable(&store, true).await;
        assert!(store.get("/leased").await.unwrap().is_none());
        store.txn(Txn::default().put("/new", "2")).await.unwrap();
        let (entries, revision) = store.range("/").await.unwrap();
        drop(store);
        let stored = open(&path, &clock).await.range("/").await.unwrap();
        assert_eq!((entries, revision), stored);
    }

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metastore.db");
        let clock = ManualClock::at_ms(0);
        let store = open(&path, &clock).await;
        let newer = "UPDATE store SET format = 99";
        sqlx::query(newer).execute(&store.inner.file).await.unwrap();
        drop(store);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let error = SqliteStore::open(&path, shared).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("it has format 99, this version reads 1")
        );
    }
}
