//! A controller that keeps tasks in memory and leases them by the same rules as the real one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use rpc::{ControlApi, UpdateStream};
use schemas::Fault;
use schemas::proto::*;
use schemas::task::{Task, TaskKind};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct FakeControl {
    tasks: Mutex<BTreeMap<Uuid, Task>>,
    finished: Mutex<Vec<FinishTaskRequest>>,
    heartbeat: Mutex<Option<HeartbeatRequest>>,
    /// Nobody answers.
    pub(super) away: AtomicBool,
}

impl FakeControl {
    pub(super) fn add(&self, kind: TaskKind) -> Uuid {
        let task = Task::new(kind);
        let id = task.id;
        self.tasks.lock().insert(id, task);
        id
    }

    pub(super) fn is_done(&self, id: Uuid) -> bool {
        !self.tasks.lock().contains_key(&id)
    }

    pub(super) fn summaries(&self) -> Vec<String> {
        let finished = self.finished.lock();
        let done = finished.iter().filter(|report| report.fault.is_none());
        done.map(|report| report.summary.clone()).collect()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let finished = self.finished.lock();
        let faults = finished.iter().filter_map(|report| report.fault.as_ref());
        faults.map(|fault| fault.message.clone()).collect()
    }

    pub(super) fn last_heartbeat(&self) -> Option<HeartbeatRequest> {
        self.heartbeat.lock().clone()
    }

    fn here(&self) -> Result<(), Fault> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Fault::unavailable("nobody answers"));
        }
        Ok(())
    }
}

fn not_for_minions<T>() -> Result<T, Fault> {
    Err(Fault::internal("a minion has no business here"))
}

#[async_trait]
impl ControlApi for FakeControl {
    async fn watch(&self, _: WatchRequest) -> Result<UpdateStream, Fault> {
        not_for_minions()
    }

    async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        self.here()?;
        *self.heartbeat.lock() = Some(request);
        Ok(HeartbeatReply::default())
    }

    async fn segment_consumed(
        &self,
        _: SegmentConsumedRequest,
    ) -> Result<SegmentConsumedReply, Fault> {
        not_for_minions()
    }

    async fn commit_start(&self, _: CommitStartRequest) -> Result<CommitReply, Fault> {
        not_for_minions()
    }

    async fn commit_end(&self, _: CommitEndRequest) -> Result<CommitReply, Fault> {
        not_for_minions()
    }

    async fn add_segment(&self, _: AddSegmentRequest) -> Result<CommitReply, Fault> {
        not_for_minions()
    }

    /// A task is handed out once, and again after it was reported as failed.
    async fn lease_task(&self, request: LeaseTaskRequest) -> Result<LeaseTaskReply, Fault> {
        self.here()?;
        let mut tasks = self.tasks.lock();
        let free = |task: &&mut Task| {
            task.leased_until_ms == 0 && request.kinds.iter().any(|k| k == task.kind.name())
        };
        let json = tasks.values_mut().find(free).map(|task| {
            task.leased_until_ms = i64::MAX;
            serde_json::to_vec(task).unwrap()
        });
        Ok(LeaseTaskReply {
            task: json.unwrap_or_default().into(),
        })
    }

    async fn finish_task(&self, request: FinishTaskRequest) -> Result<FinishTaskReply, Fault> {
        self.here()?;
        let id = Uuid::from_slice(&request.task_id).unwrap();
        let mut tasks = self.tasks.lock();
        match &request.fault {
            None => drop(tasks.remove(&id)),
            Some(_) => tasks.get_mut(&id).unwrap().leased_until_ms = 0,
        }
        self.finished.lock().push(request);
        Ok(FinishTaskReply {})
    }
}
