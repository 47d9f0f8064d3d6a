//! Tasks for minions: leased for a time; what the controller needs done goes when it is done, what
//! was ordered stays for a while, so many of each kind.
//!
//! Invariant: tasks of a table come in the transaction that says on the table what they follow
//! from: two controllers never order the same twice.

use std::collections::BTreeSet;

use schemas::SegmentId;
use schemas::task::{Task, TaskKind, TaskType};
use uuid::Uuid;

use super::segments::StoredSegment;
use super::tables::StoredTable;
use super::{Catalog, Versioned, decode, encode, segment_key, table_key};
use crate::{MetaError, Revision, Txn, TxnOutcome};

const TASKS: &str = "/tasks/";
const STOPPED: &str = "/stopped_tasks/";

/// After the first attempt that failed; after the second twice as long, and so on.
const RETRY_AFTER_MS: i64 = 5_000;

pub(super) fn task_key(id: Uuid) -> String {
    format!("{TASKS}{id}")
}

/// Who asks for a task, and for which.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub minion: &'a str,
    /// None: any.
    pub kinds: &'a [String],
    pub now_ms: i64,
    /// It holds the task so long.
    pub until_ms: i64,
}

impl Catalog {
    pub async fn add_task(&self, kind: TaskKind, now_ms: i64) -> Result<Uuid, MetaError> {
        let task = Task {
            submitted_ms: now_ms,
            ..Task::new(kind)
        };
        self.put_task(&task).await?;
        Ok(task.id)
    }

    pub async fn put_task(&self, task: &Task) -> Result<(), MetaError> {
        let txn = Txn::default().put(task_key(task.id), encode(task));
        self.commit(txn).await
    }

    /// Tasks of a table, together with what `change` says on it. `false`: others have changed the
    /// table since it was read.
    pub async fn order_tasks(
        &self,
        table: Versioned<StoredTable>,
        change: impl FnOnce(&mut StoredTable),
        tasks: &[Task],
    ) -> Result<bool, MetaError> {
        let Versioned {
            mut value,
            revision,
        } = table;
        change(&mut value);
        let key = table_key(value.spec.id);
        let txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&value));
        let put = |txn: Txn, task: &Task| txn.put(task_key(task.id), encode(task));
        let txn = tasks.iter().fold(txn, put);
        let outcome = self.store.txn(txn).await?;
        Ok(matches!(outcome, TxnOutcome::Committed(_)))
    }

    /// Types of which no task is begun.
    pub async fn stopped_tasks(&self) -> Result<BTreeSet<TaskType>, MetaError> {
        let (entries, _) = self.store.range(STOPPED).await?;
        let names = entries
            .iter()
            .map(|entry| entry.key[STOPPED.len()..].parse());
        Ok(names.filter_map(Result::ok).collect())
    }

    pub async fn stop_tasks(&self, of: TaskType, is_stopped: bool) -> Result<(), MetaError> {
        let key = format!("{STOPPED}{}", of.name());
        self.commit(match is_stopped {
            true => Txn::default().put(key, "true"),
            false => Txn::default().delete(key),
        })
        .await
    }

    /// Rows that shall go were removed from these segments, as far as they are still there.
    pub async fn note_purged(&self, ids: &[SegmentId], at_ms: i64) -> Result<(), MetaError> {
        for id in ids {
            let key = segment_key(id.table, id.partition, id.sequence);
            let Some(found) = self.read::<StoredSegment>(&key).await? else {
                continue;
            };
            let mut purged = found.value;
            purged.record.marks.purged_ms = Some(at_ms);
            let txn = Txn::default()
                .if_revision(&key, found.revision)
                .put(&key, encode(&purged));
            // Whoever changed it meanwhile: it is looked at again, which does no harm.
            self.store.txn(txn).await?;
        }
        Ok(())
    }

    pub async fn tasks(&self) -> Result<Vec<Task>, MetaError> {
        self.read_all(TASKS).await
    }

    /// The first task that is wanted and `is_free`, or whose lease is over.
    pub async fn lease_task(
        &self,
        asking: Asking<'_>,
        is_free: impl Fn(&Task) -> bool,
    ) -> Result<Option<Task>, MetaError> {
        let Asking { now_ms, kinds, .. } = asking;
        let (entries, _) = self.store.range(TASKS).await?;
        let mut found = Vec::new();
        for entry in &entries {
            found.push(decode::<Task>(entry)?);
        }
        // Those that wait longest first.
        found.sort_by_key(|task| (task.value.submitted_ms, task.value.part));
        for Versioned {
            value: mut task,
            revision,
        } in found
        {
            let wanted = kinds.is_empty() || kinds.iter().any(|kind| kind == task.kind.name());
            let is_held = task.leased_until_ms > now_ms && !is_free(&task);
            if is_held || task.is_over() || !wanted {
                continue;
            }
            task.leased_until_ms = asking.until_ms;
            task.leased_by = asking.minion.to_owned();
            task.begin_attempt(asking.minion, now_ms);
            let key = task_key(task.id);
            let txn = Txn::default()
                .if_revision(&key, revision)
                .put(&key, encode(&task));
            if matches!(self.store.txn(txn).await?, TxnOutcome::Committed(_)) {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }

    /// It stays leased for a while, then somebody tries again; or it is over, where
    /// trying again would not help. Only whoever has leased it may say so.
    pub async fn task_failed(
        &self,
        id: Uuid,
        minion: &str,
        error: &str,
        (now_ms, is_over): (i64, bool),
    ) -> Result<bool, MetaError> {
        let Some(found) = self.read::<Task>(&task_key(id)).await? else {
            return Ok(false);
        };
        let mut failed = found.value;
        if failed.is_over() || failed.leased_by != minion {
            return Ok(false);
        }
        failed.end_attempt(now_ms, error);
        failed.leased_by.clear();
        failed.last_error = error.to_owned();
        failed.finished_ms = is_over.then_some(now_ms);
        if failed.kind.is_order() {
            failed.leased_until_ms = now_ms + RETRY_AFTER_MS * i64::from(failed.attempts);
        }
        self.task_moved(failed, found.revision).await
    }

    /// It is over, whoever works on it. `false`: it was already.
    pub async fn cancel_task(&self, id: Uuid, why: &str, now_ms: i64) -> Result<bool, MetaError> {
        loop {
            let Some(found) = self.read::<Task>(&task_key(id)).await? else {
                return Ok(false);
            };
            let mut task = found.value;
            if task.is_over() {
                return Ok(false);
            }
            task.end_attempt(now_ms, why);
            task.leased_by.clear();
            task.is_cancelled = true;
            task.last_error = why.to_owned();
            task.finished_ms = Some(now_ms);
            if self.task_moved(task, found.revision).await? {
                return Ok(true);
            }
        }
    }

    /// Finishing twice is fine. What was ordered stays, for people.
    pub async fn finish_task(&self, id: Uuid, summary: &str, now_ms: i64) -> Result<(), MetaError> {
        let Some(found) = self.read::<Task>(&task_key(id)).await? else {
            return Ok(());
        };
        let mut done = found.value;
        if !done.kind.is_order() {
            return self.forget_task(id).await;
        }
        if done.is_over() {
            return Ok(());
        }
        done.end_attempt(now_ms, "");
        done.leased_by.clear();
        done.last_error.clear();
        done.summary = summary.to_owned();
        done.finished_ms = Some(now_ms);
        self.task_moved(done, found.revision).await?;
        Ok(())
    }

    /// `false`: whoever changed it meanwhile has leased it anew. What was put into the deep store
    /// for it is removed when it is over.
    async fn task_moved(&self, task: Task, revision: Revision) -> Result<bool, MetaError> {
        let key = task_key(task.id);
        let mut txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&task));
        if let TaskKind::ImportFiles(order) = &task.kind
            && task.is_over()
            && !order.staged.is_empty()
        {
            let removal = Task::new(TaskKind::RemoveObjects {
                keys: order.staged.iter().map(|file| file.key.clone()).collect(),
                segments: Vec::new(),
            });
            txn = txn.put(task_key(removal.id), encode(&removal));
        }
        let outcome = self.store.txn(txn).await?;
        Ok(matches!(outcome, TxnOutcome::Committed(_)))
    }

    /// The lease goes on until `until_ms`. `false`: somebody else has it, or it is over.
    pub async fn renew_task(
        &self,
        id: Uuid,
        minion: &str,
        until_ms: i64,
        summary: &str,
    ) -> Result<bool, MetaError> {
        let key = task_key(id);
        let Some(found) = self.read::<Task>(&key).await? else {
            return Ok(false);
        };
        if found.value.is_over() || found.value.leased_by != minion {
            return Ok(false);
        }
        let renewed = Task {
            leased_until_ms: until_ms,
            summary: summary.to_owned(),
            ..found.value
        };
        let txn = Txn::default()
            .if_revision(&key, found.revision)
            .put(&key, encode(&renewed));
        Ok(matches!(
            self.store.txn(txn).await?,
            TxnOutcome::Committed(_)
        ))
    }

    pub async fn task(&self, id: Uuid) -> Result<Option<Task>, MetaError> {
        Ok(self.read(&task_key(id)).await?.map(|found| found.value))
    }

    pub async fn forget_task(&self, id: Uuid) -> Result<(), MetaError> {
        self.commit(Txn::default().delete(task_key(id))).await
    }
}
