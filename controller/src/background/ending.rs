//! How tasks end: done, failed, or cancelled; and what they leave behind.

use std::collections::BTreeSet;
use std::collections::HashSet;

use schemas::lineage::{Lineage, ReplacementState};
use schemas::segment::SegmentRecord;
use schemas::task::{CompactOrder, RewriteOrder, Task, TaskKind, TaskType};
use schemas::{Fault, FaultKind, SegmentId};
use uuid::Uuid;

use crate::state::State;

/// Objects whose place others have taken stay for so long: of a backup that is being made.
const KEEPS_MS: i64 = 3_600_000;

impl State {
    /// A minion says how a task ended. Of a task that is somebody else's by now nothing is noted.
    pub(crate) async fn task_ended(
        &self,
        id: Uuid,
        minion: &str,
        outcome: Result<(&str, Vec<SegmentRecord>), &Fault>,
    ) -> Result<(), Fault> {
        let Some(task) = self.catalog.task(id).await? else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        match outcome {
            Ok((summary, made)) => {
                if let TaskKind::Compact(order) = &task.kind {
                    self.compacted(order, made).await?;
                }
                if let TaskKind::Rewrite(order) = &task.kind
                    && order.task_type == TaskType::PurgeTask
                {
                    let ids: Vec<SegmentId> = order.inputs.iter().map(|one| one.id).collect();
                    self.catalog.note_purged(&ids, task.submitted_ms).await?;
                }
                self.catalog.finish_task(id, summary, now_ms).await?;
            }
            Err(fault) => {
                let is_over = is_over_with(&task, fault);
                tracing::warn!(task = %id, instance = minion, cause = %fault, is_over,
                    "task failed");
                let failing =
                    self.catalog
                        .task_failed(id, minion, &fault.message, (now_ms, is_over));
                if failing.await? && is_over {
                    self.metrics.tasks_failed.inc();
                    self.abandon(&task).await?;
                }
            }
        }
        Ok(())
    }

    /// Files take the place of those that they were made of, each by itself. What somebody has
    /// removed or changed meanwhile stays as it is.
    async fn compacted(&self, order: &CompactOrder, made: Vec<SegmentRecord>) -> Result<(), Fault> {
        let now_ms = self.clock.now_ms();
        for record in &made {
            if !order.inputs.iter().any(|input| input.id == record.id) {
                let id = record.id;
                return Err(Fault::invalid(format!(
                    "segment {id} is none of the task's"
                )));
            }
            let turned = self.catalog.take_place(record, (now_ms, KEEPS_MS)).await?;
            tracing::info!(segment = %record.id, turned, rows = record.ledger.rows, "compacted");
        }
        Ok(self.publish(order.spec.id).await?)
    }

    /// Whether it was under way. What it has made never counts.
    pub(crate) async fn cancel_task(&self, task: &Task, why: &str) -> Result<bool, Fault> {
        let now_ms = self.clock.now_ms();
        let was_open = self.catalog.cancel_task(task.id, why, now_ms).await?;
        if was_open {
            self.abandon(task).await?;
        }
        Ok(was_open)
    }

    /// Takes back a replacement that the task has under way: others may replace the same segments.
    async fn abandon(&self, task: &Task) -> Result<(), Fault> {
        let table = match &task.kind {
            TaskKind::Rewrite(order) => order.target,
            TaskKind::ImportFiles(order) => order.table,
            TaskKind::RemoveObjects { .. }
            | TaskKind::RemoveOrphans { .. }
            | TaskKind::Compact(_)
            | TaskKind::Export(_) => return Ok(()),
        };
        if self.catalog.table(table).await?.is_none() {
            return Ok(());
        }
        let (key, now_ms) = (task.replacement_key(), self.clock.now_ms());
        let revert = |lineage: &mut Lineage, there: &HashSet<&str>| {
            if let Some(id) = lineage.under_way(&key).map(|one| one.id) {
                lineage.revert(id, true, there, now_ms)?;
            }
            Ok(BTreeSet::new())
        };
        self.catalog.change_lineage(table, revert).await?;
        self.publish(table).await?;
        Ok(())
    }

    /// The order of a task that is not over.
    pub(crate) async fn open_rewrite(&self, id: Uuid) -> Result<Box<RewriteOrder>, Fault> {
        let task = self.catalog.task(id).await?;
        match task {
            Some(task) if task.is_over() => Err(Fault::cancelled(format!(
                "task {id} is over: {}",
                task.last_error
            ))),
            Some(Task {
                kind: TaskKind::Rewrite(order),
                ..
            }) => Ok(order),
            _ => Err(Fault::not_found(format!("there is no such task: {id}"))),
        }
    }
}

/// Whether a task that failed so is not tried again. A task of ours is right; what a user or a
/// config ordered may never be.
fn is_over_with(task: &Task, fault: &Fault) -> bool {
    const ATTEMPTS_MAX: u32 = 3;
    let attempts_max = match task.attempts_max {
        0 => ATTEMPTS_MAX,
        most => most,
    };
    let may_help =
        fault.kind.retryable() || matches!(fault.kind, FaultKind::Cancelled | FaultKind::Internal);
    task.kind.is_order() && (!may_help || task.attempts >= attempts_max)
}

/// A replacement that is done, made by the task with this key.
pub(crate) fn done_before(lineage: &Lineage, key: &str) -> Option<Uuid> {
    let mut all = lineage.replacements().iter();
    let found =
        all.find(|one| one.state == ReplacementState::Completed && one.key.as_deref() == Some(key));
    found.map(|one| one.id)
}
