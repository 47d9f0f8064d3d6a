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
        let task = Task {
            id: Uuid::new_v4(),
            kind,
            leased_until_ms: 0,
        };
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
        now_ms: i64,
        until_ms: i64,
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

    /// Finishing twice is fine.
    pub async fn finish_task(&self, id: Uuid) -> Result<(), MetaError> {
        self.commit(Txn::default().delete(task_key(id))).await
    }
}
