//! Typed access to what the controller keeps: schemas, tables, segments, partition heads, tasks.
//!
//! ```text
//! /cluster                                 Cluster: made once, tells clusters apart
//! /leaders/<group>                         LeaderRecord, under a lease
//! /importing                               while a dump is put into the store
//! /schemas/<name>                          the schema as it was posted
//! /names/<physical name>                   id of the table
//! /tables/<id>                             StoredTable
//! /segments/<id>/<partition>/<sequence>    StoredSegment
//! /heads/<id>/<partition>                  Head: the first segment that is not committed;
//!                                          of an OFFLINE table the next free sequence
//! /tasks/<id>                              Task
//! /stopped_tasks/<type>                    no task of the type is begun
//! /instances/<id>                          StoredInstance: what operators ordered
//! ```
//! Numbers in keys have ten digits, so that keys sort as numbers do. Every change is one
//! transaction with compares: two controllers cannot both win.

mod changes;
mod check;
mod cluster;
mod instances;
mod leaders;
mod moves;
mod replacements;
mod segments;
mod tables;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemas::{InstanceId, Partition, Sequence, TableId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Entry, MetaError, MetaStore, Revision, Txn, TxnOutcome};

pub use changes::{CatalogChange, SegmentPages, TableChanges, WholeTable};
pub use check::{Checked, WantedObject, check};
pub use cluster::Cluster;
pub(crate) use cluster::IMPORTING;
pub use instances::StoredInstance;
pub(crate) use leaders::LEADERS;
pub use leaders::{Group, LeaderRecord, lead, leader};
pub use moves::{Move, Moves, RebalanceJob, RebalanceOptions, RebalanceStatus};
pub use segments::{CommitOutcome, StoredSegment};
pub use tables::{CreateOutcome, StoredTable};
pub use tasks::Asking;

#[derive(Clone, Debug)]
pub struct Catalog {
    store: Arc<dyn MetaStore>,
}

/// A value with the revision of its last change.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    pub value: T,
    pub revision: Revision,
}

/// Where a partition's consumption stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub sequence: Sequence,
    pub start: schemas::Offset,
    /// Raised at each election of a committer; an older one is fenced.
    pub epoch: u64,
}

impl Catalog {
    pub fn new(store: Arc<dyn MetaStore>) -> Self {
        Self { store }
    }

    /// Why the store cannot be reached at present.
    pub fn failing(&self) -> Option<String> {
        self.store.failing()
    }

    async fn read<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Versioned<T>>, MetaError> {
        self.store
            .get(key)
            .await?
            .map(|entry| decode(&entry))
            .transpose()
    }

    async fn read_all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, MetaError> {
        let (entries, _) = self.store.range(prefix).await?;
        entries
            .iter()
            .map(|entry| Ok(decode(entry)?.value))
            .collect()
    }

    /// A conflict becomes an error that says to try again.
    async fn commit(&self, txn: Txn) -> Result<(), MetaError> {
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(()),
            TxnOutcome::Conflict { key } => Err(MetaError::Conflict { key }),
        }
    }

    pub async fn schema(&self, name: &str) -> Result<Option<String>, MetaError> {
        let entry = self.store.get(&schema_key(name)).await?;
        Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
    }

    pub async fn schema_names(&self) -> Result<Vec<String>, MetaError> {
        let (entries, _) = self.store.range(SCHEMAS).await?;
        Ok(entries
            .into_iter()
            .map(|entry| entry.key[SCHEMAS.len()..].to_owned())
            .collect())
    }

    pub async fn put_schema(&self, name: &str, json: String) -> Result<(), MetaError> {
        self.commit(Txn::default().put(schema_key(name), json))
            .await
    }

    pub async fn delete_schema(&self, name: &str) -> Result<(), MetaError> {
        self.commit(Txn::default().delete(schema_key(name))).await
    }
}

const SCHEMAS: &str = "/schemas/";

fn schema_key(name: &str) -> String {
    format!("{SCHEMAS}{name}")
}

fn table_key(id: TableId) -> String {
    format!("/tables/{id}")
}

fn name_key(physical: &str) -> String {
    format!("/names/{physical}")
}

fn segments_prefix(id: TableId) -> String {
    format!("/segments/{id}/")
}

fn segment_key(id: TableId, partition: Partition, sequence: Sequence) -> String {
    format!("/segments/{id}/{partition:010}/{sequence:010}")
}

fn heads_prefix(id: TableId) -> String {
    format!("/heads/{id}/")
}

fn head_key(id: TableId, partition: Partition) -> String {
    format!("/heads/{id}/{partition:010}")
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<Versioned<T>, MetaError> {
    let value = serde_json::from_slice(&entry.value).map_err(|error| MetaError::Corrupt {
        key: entry.key.clone(),
        detail: error.to_string(),
    })?;
    Ok(Versioned {
        value,
        revision: entry.revision,
    })
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types are JSON")
}

/// Servers of a segment, in the order in which they are preferred.
pub type Assigned = Vec<InstanceId>;
