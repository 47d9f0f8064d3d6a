//! The pool for work that keeps a core busy.
//!
//! - Queries take turns ([`ComputePool::turns`]): at most `threads` of their jobs run at once,
//!   whichever queries they belong to, and a job looks once a block whether its turn is over. Then
//!   the query that has used least goes on, so small ones pass big ones; every fourth turn goes to
//!   whoever has waited longest, so big ones get on too.
//! - What else keeps a core busy or blocks (file reads) goes through [`ComputePool::run`]: at most
//!   `threads` such jobs run at once, in order of arrival, beside the queries.
//! - What takes long and nobody waits for (seals, imports) goes to [`ComputePool::run_behind`]:
//!   the same, on threads that give way to all others.
//! - What takes milliseconds and is waited for (decoding) goes through [`ComputePool::run_soon`]:
//!   on such threads too, beside all of these, so that two seals do not hold up what is consumed.
//!
//! Async tasks never block: they hand such work over and await it.

mod behind;
mod gate;
mod turns;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::CancellationToken;

pub use self::turns::{Cancelled, Turn, Turns};

use self::gate::Gate;

/// Queries that may take turns at once; they are admitted before they come here.
const QUERIES_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub struct ComputePool {
    permits: Arc<Semaphore>,
    behind: Arc<Semaphore>,
    soon: Arc<Semaphore>,
    gate: Arc<Gate>,
    threads: usize,
}

/// The job panicked; the panic itself is in the log.
#[derive(Debug, thiserror::Error)]
#[error("a compute job panicked: {0}")]
pub struct JobPanicked(String);

#[derive(Debug, thiserror::Error)]
#[error("{QUERIES_MAX} queries are under way already, which is the most; retry later")]
pub struct TooManyQueries;

impl ComputePool {
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            permits: Arc::new(Semaphore::new(threads)),
            behind: Arc::new(Semaphore::new(threads)),
            soon: Arc::new(Semaphore::new(threads)),
            gate: Arc::new(Gate::new(threads)),
            threads,
        }
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The turns of one query, which ends when `cancel` says so.
    pub fn turns(&self, cancel: CancellationToken) -> Result<Turns, TooManyQueries> {
        Turns::new(Arc::clone(&self.gate), self.threads, cancel)
    }

    /// The turns of nobody, for what is kept between queries and runs nothing.
    pub fn turns_of_nobody(&self) -> Turns {
        Turns::of_nobody(Arc::clone(&self.gate), self.threads)
    }

    /// A job that belongs to no query.
    pub async fn run<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::run_with(&self.permits, None, job).await
    }

    /// A long job that nobody waits for.
    pub async fn run_behind<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::run_with(&self.behind, behind::handle(), job).await
    }

    /// A short job that is waited for and belongs to no query.
    pub async fn run_soon<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::run_with(&self.soon, behind::handle(), job).await
    }

    #[expect(clippy::disallowed_methods, reason = "this is the pool")]
    async fn run_with<T, F>(
        permits: &Arc<Semaphore>,
        place: Option<&Handle>,
        job: F,
    ) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = Arc::clone(permits).acquire_owned().await;
        let job = move || {
            let _permit = permit;
            job()
        };
        let handle = match place {
            Some(place) => place.spawn_blocking(job),
            None => tokio::task::spawn_blocking(job),
        };
        handle.await.map_err(|error| JobPanicked(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
