//! Long work that nobody waits for: it gives way to everything else on the machine.
//!
//! Each job has a thread of its own with the least priority. Whoever starts them sees to it that
//! they are few.

use std::thread;

use tokio::sync::oneshot;

/// Of the thread; higher numbers are lower priorities.
const LEAST: i32 = 19;

#[derive(Debug, thiserror::Error)]
#[error("the job `{0}` panicked or could not begin")]
pub struct JobLost(String);

/// Runs the job beside all others and returns what it made.
pub async fn run<T, F>(name: &str, job: F) -> Result<T, JobLost>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let lost = || JobLost(name.to_owned());
    let (made, result) = oneshot::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        // Whoever wanted it may be gone.
        let _ = made.send(job());
    });
    started.map_err(|_| lost())?;
    result.await.map_err(|_| lost())
}

/// From now on the thread that calls has the least priority.
fn give_way() {
    // SAFETY: the call takes numbers and changes no memory of this process. On Linux the process 0
    // is the calling thread.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LEAST) } != 0;
    if failed {
        tracing::debug!("a job aside has the priority of all others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority() -> i32 {
        // SAFETY: as above.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[tokio::test]
    async fn jobs_give_way_and_panics_are_told() {
        let before = priority();
        assert_eq!(run("build", priority).await.unwrap(), LEAST);
        assert_eq!(priority(), before, "other threads keep theirs");
        let lost: Result<(), _> = run("broken", || panic!("on purpose")).await;
        assert!(lost.unwrap_err().to_string().contains("`broken`"));
    }
}
