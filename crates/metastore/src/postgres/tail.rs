//! What watchers see: the changes of all controllers, in the order of their revisions.
//!
//! Invariant: every change after `seen` is sent once, in order, or a resync stands for it. A
//! notification only says "look now": one that is missed costs a poll, nothing else. Whoever was
//! away reads on where it stopped; what is forgotten by then is a resync, and so is a database that
//! went back to a backup.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::Backoff;
use sqlx::Row;
use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use tokio::time::{Instant, timeout};

use super::{REVOKE, Shared, number};
use crate::{Change, Entry, MetaError, Revision};

const CHANNEL: &str = "tannin";
/// How often the database is asked though nothing was heard.
const POLL: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Revisions that one read takes.
const REVISIONS_MAX: i64 = 256;
/// Revisions that the database keeps for watchers that were away.
const REVISIONS_KEPT: i64 = 10_000;
const FORGET_EVERY: Duration = Duration::from_secs(60);

const NEWS: &str = "SELECT s.revision, s.forgotten, EXISTS (SELECT FROM tannin.leases WHERE ends \
                    <= clock_timestamp()), c.revision, c.key, c.value FROM tannin.store s LEFT \
                    JOIN tannin.changes c ON c.revision > $1 AND c.revision <= $1 + $2 ORDER BY \
                    c.revision, c.key";
const FORGET: &str = "SELECT tannin.forget($1)";

pub(super) async fn run(shared: Arc<Shared>, seen: Revision) {
    let mut tail = Tail {
        shared,
        seen,
        backoff: Backoff::up_to(RETRY_MAX),
        forget_at: Instant::now() + FORGET_EVERY,
    };
    loop {
        let Err(error) = tail.follow().await;
        tail.shared.is_away(&error);
        tokio::time::sleep(tail.backoff.next_delay()).await;
    }
}

struct Tail {
    shared: Arc<Shared>,
    seen: Revision,
    backoff: Backoff,
    forget_at: Instant,
}

impl Tail {
    async fn follow(&mut self) -> Result<Infallible, MetaError> {
        let mut ear = self.listen().await?;
        // What came between the last read and the first notification.
        self.read().await?;
        loop {
            self.backoff.reset();
            let heard = timeout(POLL, ear.try_recv()).await;
            while ear.next_buffered().is_some() {}
            let news = self.read().await?;
            let is_deaf = match heard {
                Ok(Ok(Some(_))) => false,
                Ok(Ok(None) | Err(_)) => true,
                Err(_nothing_heard) => news,
            };
            if is_deaf {
                ear = self.listen().await?;
            }
            if Instant::now() >= self.forget_at {
                self.forget_at = Instant::now() + FORGET_EVERY;
                let forget = sqlx::query(FORGET).bind(REVISIONS_KEPT);
                self.shared.rows(forget).await?;
            }
        }
    }

    /// On a connection of its own, so that it takes none from the pool.
    async fn listen(&self) -> Result<PgListener, MetaError> {
        let shared = &self.shared;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(shared.deadline)
            .connect_lazy_with(shared.options.clone());
        let listening = async {
            let mut ear = PgListener::connect_with(&pool).await?;
            ear.eager_reconnect(false);
            ear.listen(CHANNEL).await?;
            Ok(ear)
        };
        let ear = timeout(shared.deadline, listening).await;
        let ear = ear.map_err(|_| shared.late(shared.deadline))?;
        ear.map_err(|error| shared.fault(error))
    }

    /// Sends what is new; whether there was anything. Leases whose time is over are ended.
    async fn read(&mut self) -> Result<bool, MetaError> {
        let mut news = false;
        loop {
            let query = sqlx::query(NEWS).bind(self.seen as i64).bind(REVISIONS_MAX);
            let rows = self.shared.rows(query).await?;
            let first = rows.first().ok_or_else(|| self.shared.no_row())?;
            let head = Head::of(first).map_err(|error| self.shared.fault(error))?;
            if head.forgotten > self.seen || head.revision < self.seen {
                self.send(Change::Resync);
                self.seen = head.revision;
                return Ok(true);
            }
            for row in &rows {
                if let Some(change) = change(row, 3).map_err(|error| self.shared.fault(error))? {
                    self.send(change);
                    news = true;
                }
            }
            self.seen = head.revision.min(self.seen + REVISIONS_MAX as u64);
            if head.leases_ended {
                let end = sqlx::query(REVOKE).bind(None::<i64>);
                self.shared.rows(end).await?;
            } else if self.seen == head.revision {
                return Ok(news);
            }
        }
    }

    fn send(&self, change: Change) {
        // Nobody watches: fine.
        let _ = self.shared.changes.send(change);
    }
}

/// What every row of [`NEWS`] begins with.
struct Head {
    revision: Revision,
    forgotten: Revision,
    leases_ended: bool,
}

impl Head {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            revision: number(row, 0)?,
            forgotten: number(row, 1)?,
            leases_ended: row.try_get(2)?,
        })
    }
}

/// Of the columns from `at` on; `None`: there is no change in this row.
pub(super) fn change(row: &PgRow, at: usize) -> Result<Option<Change>, sqlx::Error> {
    let Some(revision) = row.try_get::<Option<i64>, _>(at)? else {
        return Ok(None);
    };
    let (key, revision) = (row.try_get(at + 1)?, revision as Revision);
    let value: Option<Vec<u8>> = row.try_get(at + 2)?;
    Ok(Some(match value {
        Some(value) => Change::Put(Entry {
            key,
            value: Bytes::from(value),
            revision,
        }),
        None => Change::Delete { key, revision },
    }))
}
