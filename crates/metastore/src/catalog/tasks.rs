//! Tasks for minions: leased for a time, removed when finished.

use schemas::task::{Task, TaskKind};
use uuid::Uuid;

use super::{Catalog, Versioned, decode, encode};
use crate::{MetaError, Txn, TxnOutcome};

const TASKS: &str = "/tasks/";

pub(super) fn task_key(id: Uuid) -> String {
    format!("{TASKS}{id}")
}

impl Catalog {
    pub async fn add_task(&self, kind: TaskKind) -> Result<(), MetaError> {
        let task = Task::new(kind);
        self.commit(Txn::default().put(task_key(task.id), encode(&task)))
            .await
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
            if task.leased_until_ms > now_ms || !wanted {
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

    /// It stays leased until its time is over, then somebody tries again.
    pub async fn task_failed(&self, id: Uuid, error: &str) -> Result<(), MetaError> {
        let key = task_key(id);
        let Some(entry) = self.store.get(&key).await? else {
            return Ok(());
        };
        let Versioned { value, revision } = decode::<Task>(&entry)?;
        let failed = Task {
            leased_by: String::new(),
            last_error: error.to_owned(),
            ..value
        };
        let txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&failed));
        // Whoever changed it meanwhile has leased it anew.
        self.store.txn(txn).await?;
        Ok(())
    }

    /// Finishing twice is fine.
    pub async fn finish_task(&self, id: Uuid) -> Result<(), MetaError> {
        self.commit(Txn::default().delete(task_key(id))).await
    }
}
