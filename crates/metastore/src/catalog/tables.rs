//! Tables: created under a name that is free, changed in place, dropped with everything they own.

use std::collections::BTreeMap;

use schemas::cluster::{ConsumptionOrders, ReloadJob};
use schemas::lineage::Lineage;
use schemas::{TableId, TableSpec};
use serde::{Deserialize, Serialize};

use super::tasks::task_key;
use super::{
    Catalog, Moves, StoredSegment, Versioned, decode, encode, heads_prefix, name_key, schema_key,
    segments_prefix, table_key,
};
use crate::{MetaError, Txn, TxnOutcome};
use schemas::task::{Task, TaskKind, TaskType};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTable {
    pub spec: TableSpec,
    /// The table config as it was posted.
    pub config_json: String,
    /// The schema as it was when the table was created or last changed.
    pub schema_json: String,
    pub paused: bool,
    #[serde(default)]
    pub orders: ConsumptionOrders,
    pub time_boundary_ms: Option<i64>,
    /// Up to here somebody said that the OFFLINE part is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_boundary_ms: Option<i64>,
    /// The newest, in the order in which they were asked for.
    #[serde(default)]
    pub reloads: Vec<ReloadJob>,
    /// Which of its segments count.
    #[serde(default, skip_serializing_if = "Lineage::is_empty")]
    pub lineage: Lineage,
    /// Up to where tasks have worked on its rows, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, i64>,
    /// Up to when the schedule of each type of tasks was followed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scheduled: BTreeMap<TaskType, i64>,
    /// When what its segments are made by changed last.
    #[serde(default)]
    pub spec_changed_ms: i64,
    /// What was ordered about where its segments are.
    #[serde(default, skip_serializing_if = "Moves::is_empty")]
    pub moves: Moves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    Created,
    NameTaken,
}

impl Catalog {
    /// Its schema is put beside it.
    pub async fn create_table(&self, table: &StoredTable) -> Result<CreateOutcome, MetaError> {
        let spec = &table.spec;
        let name = name_key(&spec.physical_name());
        let txn = Txn::default()
            .if_absent(&name)
            .put(&name, spec.id.to_string())
            .put(schema_key(spec.name.as_str()), table.schema_json.clone())
            .put(table_key(spec.id), encode(table));
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(CreateOutcome::Created),
            TxnOutcome::Conflict { .. } => Ok(CreateOutcome::NameTaken),
        }
    }

    pub async fn table(&self, id: TableId) -> Result<Option<Versioned<StoredTable>>, MetaError> {
        self.read(&table_key(id)).await
    }

    pub async fn tables(&self) -> Result<Vec<StoredTable>, MetaError> {
        self.read_all("/tables/").await
    }

    /// Applies `change` to what is stored now; `None`: the table is gone.
    pub async fn change_table(
        &self,
        id: TableId,
        change: impl FnOnce(&mut StoredTable),
    ) -> Result<Option<StoredTable>, MetaError> {
        let Some(Versioned {
            mut value,
            revision,
        }) = self.table(id).await?
        else {
            return Ok(None);
        };
        change(&mut value);
        let key = table_key(id);
        self.commit(
            Txn::default()
                .if_revision(&key, revision)
                .put(&key, encode(&value)),
        )
        .await?;
        Ok(Some(value))
    }

    /// The table, its segments and heads go, and the task that removes the objects comes, at once.
    pub async fn drop_table(&self, table: &StoredTable) -> Result<(), MetaError> {
        loop {
            match self.try_drop_table(table).await? {
                TxnOutcome::Committed(_) => return Ok(()),
                // A segment was committed meanwhile: its object belongs to the task too.
                TxnOutcome::Conflict { .. } => {}
            }
        }
    }

    async fn try_drop_table(&self, table: &StoredTable) -> Result<TxnOutcome, MetaError> {
        let id = table.spec.id;
        let Some(stored) = self.store.get(&table_key(id)).await? else {
            return Ok(TxnOutcome::Committed(0));
        };
        let (heads, _) = self.store.range(&heads_prefix(id)).await?;
        let (entries, _) = self.store.range(&segments_prefix(id)).await?;
        let mut keys = Vec::new();
        let mut segments = Vec::new();
        for entry in &entries {
            let segment = decode::<StoredSegment>(entry)?.value;
            keys.extend(segment.record.uri);
            segments.push(segment.record.id);
        }
        let task = Task::new(TaskKind::RemoveObjects { keys, segments });
        let unmoved = heads.into_iter().fold(
            Txn::default().if_revision(table_key(id), stored.revision),
            |txn, head| txn.if_revision(head.key, head.revision),
        );
        let txn = unmoved
            .delete(name_key(&table.spec.physical_name()))
            .delete(table_key(id))
            .delete_range(segments_prefix(id))
            .delete_range(heads_prefix(id))
            .put(task_key(task.id), encode(&task));
        self.store.txn(txn).await
    }
}
