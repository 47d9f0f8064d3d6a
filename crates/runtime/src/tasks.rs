//! Every spawned task has a name, an owner, a cancel token and a join; nothing is detached.
//!
//! A [`TaskGroup`] owns its tasks. Cancelling it cancels its children; joining it waits for its own
//! tasks and for theirs, and names those who are late. A panic in a task is logged with the task's
//! name and ends that task only.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

#[derive(Clone, Debug)]
pub struct TaskGroup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    stop: CancellationToken,
    running: Mutex<Running>,
    children: Mutex<Vec<Weak<Inner>>>,
}

#[derive(Debug, Default)]
struct Running {
    set: JoinSet<()>,
    names: HashMap<Id, (String, AbortHandle)>,
}

impl TaskGroup {
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_token(name.into(), CancellationToken::new())
    }

    /// A group that stops when this one stops and can be stopped and joined alone.
    pub fn child(&self, name: impl Into<String>) -> Self {
        let child = Self::with_token(name.into(), self.inner.stop.child_token());
        let mut children = self.inner.children.lock();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.inner));
        child
    }

    fn with_token(name: String, stop: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                stop,
                running: Mutex::default(),
                children: Mutex::default(),
            }),
        }
    }

    pub fn token(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Runs `task` with a token that tells it to stop.
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let future = task(self.inner.stop.child_token());
        let mut running = self.inner.running.lock();
        running.reap();
        let handle = running.set.spawn(future);
        running.names.insert(handle.id(), (name.into(), handle));
    }

    pub fn cancel(&self) {
        self.inner.stop.cancel();
    }

    /// Waits for every task, those of children too; those still running after `grace` are aborted
    /// and their names returned.
    pub async fn join_within(&self, grace: Duration) -> Vec<String> {
        self.join_until(Instant::now() + grace).await
    }

    async fn join_until(&self, deadline: Instant) -> Vec<String> {
        let mut late = self.join_own(deadline).await;
        // Nobody is left who would make more of them.
        let children = std::mem::take(&mut *self.inner.children.lock());
        for inner in children.iter().filter_map(Weak::upgrade) {
            let child = Self { inner };
            late.extend(Box::pin(child.join_until(deadline)).await);
        }
        late
    }

    async fn join_own(&self, deadline: Instant) -> Vec<String> {
        let mut running = std::mem::take(&mut *self.inner.running.lock());
        let all = async {
            while let Some(ended) = running.set.join_next_with_id().await {
                running.names.remove(&ended_id(&ended));
                report(&self.inner.name, ended);
            }
        };
        if tokio::time::timeout_at(deadline, all).await.is_ok() {
            return Vec::new();
        }
        let mut late: Vec<String> = running.names.into_values().map(|(name, _)| name).collect();
        late.sort();
        warn!(
            group = self.inner.name,
            ?late,
            "tasks did not stop in time, aborted"
        );
        running.set.shutdown().await;
        late
    }

    /// Cancels, then joins.
    pub async fn stop(&self, grace: Duration) -> Vec<String> {
        self.cancel();
        self.join_within(grace).await
    }
}

impl Running {
    /// Forgets tasks that ended, so that a long-lived group does not grow.
    fn reap(&mut self) {
        while let Some(ended) = self.set.try_join_next_with_id() {
            let name = self.names.remove(&ended_id(&ended)).map(|(name, _)| name);
            report(name.as_deref().unwrap_or("task"), ended);
        }
    }
}

type Ended = Result<(Id, ()), tokio::task::JoinError>;

fn ended_id(ended: &Ended) -> Id {
    match ended {
        Ok((id, ())) => *id,
        Err(error) => error.id(),
    }
}

fn report(name: &str, ended: Ended) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(task = name, %error, "task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_tasks_are_named() {
        let group = TaskGroup::new("test");
        group.spawn("obeys", |stop| async move { stop.cancelled().await });
        group.spawn("deaf", |_| std::future::pending());
        assert_eq!(group.stop(Duration::from_millis(20)).await, ["deaf"]);
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent() {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child");
        child.spawn("obeys", |stop| async move { stop.cancelled().await });
        parent.cancel();
        assert!(child.join_within(Duration::from_secs(5)).await.is_empty());
    }

    #[tokio::test]
    async fn a_parent_waits_for_its_children_and_theirs() {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child");
        let (said, mut heard) = tokio::sync::oneshot::channel();
        let grandchild = child.child("grandchild");
        grandchild.spawn("slow", |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = said.send("ended");
        });
        child.spawn("deaf", |_| std::future::pending());
        assert_eq!(parent.stop(Duration::from_millis(500)).await, ["deaf"]);
        assert!(heard.try_recv().is_ok(), "it was aborted");
    }
}
