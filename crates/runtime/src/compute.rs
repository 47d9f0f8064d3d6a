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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_jobs_run_at_once_than_there_are_threads() {
        let pool = ComputePool::new(2);
        assert_eq!((pool.threads(), ComputePool::new(0).threads()), (2, 1));
        let running = Arc::new(AtomicUsize::new(0));
        let jobs = (0..12).map(|number| {
            let running = Arc::clone(&running);
            pool.run(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::sleep(Duration::from_millis(2));
                running.fetch_sub(1, Ordering::SeqCst);
                (number, now)
            })
        });
        let outcomes = futures::future::join_all(jobs).await;
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let (number, at_once) = outcome.unwrap();
            assert_eq!(number, at);
            assert!(at_once <= 2, "{at_once} at once");
        }
    }

    #[tokio::test]
    async fn a_job_that_panics_leaves_its_place_to_others() {
        let pool = ComputePool::new(1);
        let broken = pool.run(|| -> () { panic!("on purpose") }).await;
        assert!(broken.unwrap_err().to_string().contains("panicked"));
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
