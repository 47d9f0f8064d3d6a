//! The pool for work that keeps a core busy: scans, seals, file reads.
//!
//! At most `threads` jobs run at once; the rest wait in order of arrival. Async tasks never block:
//! they hand such work over and await it.

use std::sync::Arc;

use tokio::sync::Semaphore;

#[derive(Clone, Debug)]
pub struct ComputePool {
    permits: Arc<Semaphore>,
    threads: usize,
}

/// The job panicked; the panic itself is in the log.
#[derive(Debug, thiserror::Error)]
#[error("a compute job panicked: {0}")]
pub struct JobPanicked(String);

impl ComputePool {
    pub fn new(threads: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(threads.max(1))),
            threads: threads.max(1),
        }
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    #[expect(clippy::disallowed_methods, reason = "this is the pool")]
    pub async fn run<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let handle = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        handle.await.map_err(|error| JobPanicked(error.to_string()))
    }
}
