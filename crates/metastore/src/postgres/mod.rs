//! The store in PostgreSQL: for several controllers at once.
//!
//! Invariants: a transaction is one statement, so that a controller that stops in the middle holds
//! no lock; writers take turns at the one row of `tannin.store`, so that revisions become visible
//! in their order; only the database's clock judges leases. Every statement has a deadline here
//! and in the database; a connection that was not read to its end is closed and never used again.
//!
//! [`address`] says where the database is, [`open`] what it must be, [`tail`] what watchers see.

mod address;
mod open;
mod tail;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use runtime::{TaskGroup, failpoint};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use tokio::sync::{broadcast, oneshot};
use tokio_stream::wrappers::BroadcastStream;

use crate::memory::{WATCH_BEHIND_MAX, of_prefix};
use crate::net::{Net, after_prefix};
use crate::{
    Change, Compare, Entry, LeaseId, MetaError, MetaStore, Revision, Since, Txn, TxnOutcome,
};

pub use address::PostgresConfig;

/// While the database is known to be away, a caller waits no longer than this for it.
const PATIENCE_WHILE_AWAY: Duration = Duration::from_millis(500);

/// A key under a lease that has ended is not there, also before somebody deletes it.
const GET: &str = "SELECT key, value, revision FROM tannin.entries e WHERE key = $1 AND (lease IS \
                   NULL OR EXISTS (SELECT FROM tannin.leases l WHERE l.id = e.lease AND l.ends > \
                   clock_timestamp()))";
/// One statement reads as of one revision.
const PAGE: &str = "SELECT s.revision, e.key, e.value, e.revision FROM tannin.store s LEFT JOIN \
                     tannin.entries e ON e.key >= $1 AND e.key < $2 AND e.key > $3 AND (e.lease IS \
                    NULL OR EXISTS (SELECT FROM tannin.leases l WHERE l.id = e.lease AND l.ends > \
                    clock_timestamp())) ORDER BY e.key LIMIT $4";
/// In which only the changes after a revision are looked at.
const SINCE: &str = "SELECT s.revision, s.forgotten, c.revision, c.key, c.value FROM \
                     tannin.store s LEFT JOIN tannin.changes c ON c.revision > $1 AND EXISTS \
                     (SELECT FROM unnest($2::text[], $3::text[]) AS wanted (first, until) WHERE \
                     c.key >= wanted.first COLLATE \"C\" AND c.key < wanted.until COLLATE \
                     \"C\") ORDER BY c.revision, c.key";
const TXN: &str = "SELECT committed, conflict FROM tannin.txn($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const GRANT: &str = "INSERT INTO tannin.leases (ttl, ends) SELECT t.ttl, clock_timestamp() + t.ttl \
                     FROM (SELECT $1 * interval '1 millisecond' AS ttl) t RETURNING id";
const KEEP_ALIVE: &str = "UPDATE tannin.leases SET ends = clock_timestamp() + ttl WHERE id = $1 \
                          AND ends > clock_timestamp() RETURNING id";
const REVOKE: &str = "SELECT tannin.revoke($1)";
const REVISION: &str = "SELECT revision FROM tannin.store";

#[derive(Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// The tail, and transactions, which run to their end whether or not somebody still waits.
    tasks: TaskGroup,
}

struct Shared {
    pool: PgPool,
    /// For the one connection that listens.
    options: PgConnectOptions,
    place: String,
    deadline: Duration,
    changes: broadcast::Sender<Change>,
    /// Why the database did not answer last time.
    failing: Mutex<Option<String>>,
}

impl fmt::Debug for Shared {
    /// The options hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Creates what the store needs in an empty database; a database that holds something else, or
    /// the metadata of a newer version, is refused.
    pub async fn open(config: &PostgresConfig) -> Result<Self, MetaError> {
        let address = config.address()?;
        open::prepare(&address, config.deadline).await?;
        let pool = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(config.deadline)
            .connect_lazy_with(address.options.clone());
        let (changes, _) = broadcast::channel(WATCH_BEHIND_MAX);
        let shared = Arc::new(Shared {
            pool,
            options: address.options,
            place: address.place,
            deadline: config.deadline,
            changes,
            failing: Mutex::default(),
        });
        let seen = shared.revision().await?;
        let tasks = TaskGroup::new("metadata");
        let tail = tail::run(Arc::clone(&shared), seen);
        tasks.spawn("metadata changes", |stop| async move {
            stop.run_until_cancelled(tail).await;
        });
        Ok(Self { shared, tasks })
    }

    async fn to_its_end<T, W>(&self, work: W) -> Result<T, MetaError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, MetaError>> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        self.tasks.spawn("transaction", |_| async move {
            // Nobody waits for it when the caller went away.
            let _ = done.send(work.await);
        });
        outcome.await.map_err(|_| MetaError::Stopped)?
    }
}

/// A connection that is closed unless its answer was read to the end.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(unfinished) = self.0.take() {
            drop(unfinished.detach());
        }
    }
}

impl Shared {
    async fn rows(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, MetaError> {
        let outcome = self.rows_in_time(query).await;
        match &outcome {
            Ok(_) => self.answers(),
            Err(error @ MetaError::Unreachable { .. }) => self.is_away(error),
            Err(_) => {}
        }
        outcome
    }

    async fn rows_in_time(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, MetaError> {
        let is_away = self.failing.lock().is_some();
        let patience = if is_away {
            PATIENCE_WHILE_AWAY.min(self.deadline)
        } else {
            self.deadline
        };
        let connecting = tokio::time::timeout(patience, self.pool.acquire()).await;
        let connection = connecting.map_err(|_| self.late(patience))?;
        let mut lent = Lent(Some(connection.map_err(|error| self.fault(error))?));
        let rows = match &mut lent.0 {
            Some(connection) => {
                let answer = query.fetch_all(&mut **connection);
                let answer = tokio::time::timeout(self.deadline, answer).await;
                answer.map_err(|_| self.late(self.deadline))?
            }
            None => return Err(MetaError::Stopped),
        };
        // The database answered, if only with an error: the connection is good.
        if !matches!(&rows, Err(error) if error.as_database_error().is_none()) {
            drop(lent.0.take());
        }
        rows.map_err(|error| self.fault(error))
    }

    fn late(&self, patience: Duration) -> MetaError {
        MetaError::Unreachable {
            place: self.place.clone(),
            reason: format!("no answer within {} ms", patience.as_millis()),
        }
    }

    fn fault(&self, error: sqlx::Error) -> MetaError {
        address::fault(&self.place, error)
    }

    fn is_away(&self, error: &MetaError) {
        let before = self.failing.lock().replace(error.to_string());
        if before.is_none() {
            tracing::warn!(cause = %error, "the metadata cannot be reached, commits wait");
        }
    }

    fn answers(&self) {
        if self.failing.lock().take().is_some() {
            tracing::info!(place = self.place, "the metadata can be reached again");
        }
    }

    async fn revision(&self) -> Result<Revision, MetaError> {
        let rows = self.rows(sqlx::query(REVISION)).await?;
        let row = rows.first().ok_or_else(|| self.no_row())?;
        number(row, 0).map_err(|error| self.fault(error))
    }

    fn no_row(&self) -> MetaError {
        MetaError::Unusable {
            place: self.place.clone(),
            reason: "the row of tannin.store is gone; restore it from a backup".to_owned(),
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        failpoint::hit("metastore.before_commit");
        let (mut keys, mut revisions, mut leases) = (Vec::new(), Vec::new(), Vec::new());
        for compare in txn.compares {
            match compare {
                Compare::Revision { key, revision } => {
                    keys.push(key);
                    revisions.push(revision as i64);
                }
                Compare::Lease(lease) => leases.push(lease.0 as i64),
            }
        }
        let net = Net::of(txn.ops);
        let gone: Vec<String> = net.gone.into_iter().collect();
        let first: Vec<String> = net.gone_prefixes.into_iter().collect();
        let until: Vec<String> = first.iter().map(|prefix| after_prefix(prefix)).collect();
        let (mut puts, mut values, mut put_leases) = (Vec::new(), Vec::new(), Vec::new());
        for (key, (value, lease)) in net.puts {
            puts.push(key);
            values.push(value.to_vec());
            put_leases.push(lease.map(|lease| lease.0 as i64));
        }
        let query = sqlx::query(TXN)
            .bind(keys)
            .bind(revisions)
            .bind(leases)
            .bind(gone)
            .bind(first)
            .bind(until)
            .bind(puts)
            .bind(values)
            .bind(put_leases);
        let rows = self.rows(query).await?;
        failpoint::hit("metastore.after_commit");
        let row = rows.first().ok_or_else(|| self.no_row())?;
        let outcome = || -> Result<TxnOutcome, sqlx::Error> {
            Ok(match row.try_get::<Option<String>, _>(1)? {
                Some(key) => TxnOutcome::Conflict { key },
                None => TxnOutcome::Committed(number(row, 0)?),
            })
        };
        outcome().map_err(|error| self.fault(error))
    }
}

/// Revisions and ids are never negative.
fn number(row: &PgRow, at: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(at)? as u64)
}

fn entry(row: &PgRow, at: usize) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        key: row.try_get(at)?,
        value: Bytes::from(row.try_get::<Vec<u8>, _>(at + 1)?),
        revision: number(row, at + 2)?,
    })
}

#[async_trait]
impl MetaStore for PostgresStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        let rows = self.shared.rows(sqlx::query(GET).bind(key)).await?;
        let found = rows.first().map(|row| entry(row, 0)).transpose();
        found.map_err(|error| self.shared.fault(error))
    }

    async fn page(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<(Vec<Entry>, Revision), MetaError> {
        let query = sqlx::query(PAGE)
            .bind(prefix)
            .bind(after_prefix(prefix))
            .bind(after)
            .bind(i64::try_from(most).ok());
        let rows = self.shared.rows(query).await?;
        let first = rows.first().ok_or_else(|| self.shared.no_row())?;
        let read = || -> Result<(Vec<Entry>, Revision), sqlx::Error> {
            let is_there = |row: &&PgRow| !matches!(row.try_get::<Option<&str>, _>(1), Ok(None));
            let entries = rows.iter().filter(is_there).map(|row| entry(row, 1));
            Ok((entries.collect::<Result<_, _>>()?, number(first, 0)?))
        };
        read().map_err(|error| self.shared.fault(error))
    }

    async fn since(
        &self,
        prefixes: &[String],
        revision: Revision,
    ) -> Result<Option<Since>, MetaError> {
        let until: Vec<String> = prefixes.iter().map(|prefix| after_prefix(prefix)).collect();
        let query = sqlx::query(SINCE)
            .bind(revision as i64)
            .bind(prefixes)
            .bind(until);
        let rows = self.shared.rows(query).await?;
        let first = rows.first().ok_or_else(|| self.shared.no_row())?;
        let read = || -> Result<Option<Since>, sqlx::Error> {
            let (now, forgotten) = (number(first, 0)?, number(first, 1)?);
            if revision < forgotten || revision > now {
                return Ok(None);
            }
            let changes = rows.iter().map(|row| tail::change(row, 2));
            let changes = changes.filter_map(Result::transpose);
            Ok(Some(Since {
                changes: changes.collect::<Result<_, _>>()?,
                revision: now,
            }))
        };
        read().map_err(|error| self.shared.fault(error))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let shared = Arc::clone(&self.shared);
        self.to_its_end(async move { shared.txn(txn).await }).await
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError> {
        let changes = BroadcastStream::new(self.shared.changes.subscribe());
        // The tail may be behind: what it reads later may be older than now.
        let now = self.shared.revision().await?;
        let is_new = move |change: &Change| match change {
            Change::Put(entry) => entry.revision > now,
            Change::Delete { revision, .. } => *revision > now,
            Change::Resync => true,
        };
        let changes = of_prefix(changes, prefix);
        Ok(changes
            .filter(move |change| std::future::ready(is_new(change)))
            .boxed())
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError> {
        let query = sqlx::query(GRANT).bind(ttl.as_millis() as f64);
        let rows = self.shared.rows(query).await?;
        let row = rows.first().ok_or_else(|| self.shared.no_row())?;
        let id = number(row, 0).map_err(|error| self.shared.fault(error))?;
        Ok(LeaseId(id))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError> {
        let query = sqlx::query(KEEP_ALIVE).bind(lease.0 as i64);
        Ok(!self.shared.rows(query).await?.is_empty())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let shared = Arc::clone(&self.shared);
        let ending = async move {
            let query = sqlx::query(REVOKE).bind(Some(lease.0 as i64));
            shared.rows(query).await.map(|_| ())
        };
        self.to_its_end(ending).await
    }

    fn failing(&self) -> Option<String> {
        self.shared.failing.lock().clone()
    }
}
