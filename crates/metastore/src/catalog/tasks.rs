//! Tasks for minions: leased for a time, removed when finished; imports stay for a while.

use schemas::task::{Task, TaskKind};
use uuid::Uuid;

use super::{Catalog, Versioned, decode, encode};
use crate::{MetaError, Revision, Txn, TxnOutcome};

const TASKS: &str = "/tasks/";

pub(super) fn task_key(id: Uuid) -> String {
    format!("{TASKS}{id}")
}

impl Catalog {
    pub async fn add_task(&self, kind: TaskKind, now_ms: i64) -> Result<Uuid, MetaError> {
        let task = Task {
            submitted_ms: now_ms,
            ..Task::new(kind)
        };
        let txn = Txn::default().put(task_key(task.id), encode(&task));
        self.commit(txn).await?;
        Ok(task.id)
    }

    pub async fn tasks(&self) -> Result<Vec<Task>, MetaError> {
        self.read_all(TASKS).await
    }

    /// The first task of one of `kinds` that nobody holds, held until `until_ms`. No kinds: any.
    pub async fn lease_task(
        &self,
        kinds: &[String],
        minion: &str,
        (now_ms, until_ms): (i64, i64),
    ) -> Result<Option<Task>, MetaError> {
        let (entries, _) = self.store.range(TASKS).await?;
        for entry in entries {
            let Versioned {
                value: task,
                revision,
            } = decode::<Task>(&entry)?;
            let wanted = kinds.is_empty() || kinds.iter().any(|kind| kind == task.kind.name());
            if task.leased_until_ms > now_ms || task.is_over() || !wanted {
                continue;
            }
            let leased = Task {
                leased_until_ms: until_ms,
                leased_by: minion.to_owned(),
                attempts: task.attempts + 1,
                ..task
            };
            let txn = Txn::default()
                .if_revision(&entry.key, revision)
                .put(&entry.key, encode(&leased));
            if matches!(self.store.txn(txn).await?, TxnOutcome::Committed(_)) {
                return Ok(Some(leased));
            }
        }
        Ok(None)
    }

    /// It stays leased until its time is over, then somebody tries again; or it is over, where
    /// trying again would not help.
    pub async fn task_failed(
        &self,
        id: Uuid,
        error: &str,
        over_at_ms: Option<i64>,
    ) -> Result<(), MetaError> {
        let Some(found) = self.read::<Task>(&task_key(id)).await? else {
            return Ok(());
        };
        let failed = Task {
            leased_by: String::new(),
            last_error: error.to_owned(),
            finished_ms: over_at_ms,
            ..found.value
        };
        self.task_moved(failed, found.revision).await
    }

    /// Finishing twice is fine. An import stays, for people.
    pub async fn finish_task(&self, id: Uuid, summary: &str, now_ms: i64) -> Result<(), MetaError> {
        let Some(found) = self.read::<Task>(&task_key(id)).await? else {
            return Ok(());
        };
        if !matches!(found.value.kind, TaskKind::ImportFiles(_)) {
            return self.forget_task(id).await;
        }
        let done = Task {
            leased_by: String::new(),
            last_error: String::new(),
            summary: summary.to_owned(),
            finished_ms: Some(now_ms),
            ..found.value
        };
        self.task_moved(done, found.revision).await
    }

    /// Whoever changed it meanwhile has leased it anew. What was put into the deep store for it is
    /// removed when it is over.
    async fn task_moved(&self, task: Task, revision: Revision) -> Result<(), MetaError> {
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
        self.store.txn(txn).await?;
        Ok(())
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
