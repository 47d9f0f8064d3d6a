//! The transactional key-value store behind the controller, and its typed catalog.
//!
//! Keys are paths, values are bytes, and every change is a transaction of compares and operations
//! that happens whole or not at all. Revisions grow with each transaction; a key's revision is that
//! of its last change. Only the controller opens a store.

pub mod catalog;
pub mod dump;
mod error;
mod fenced;
mod memory;
mod net;
mod postgres;
mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use error::MetaError;
pub use fenced::{Fence, FencedStore};
pub use memory::MemoryStore;
pub use postgres::{PostgresConfig, PostgresStore};
pub use sqlite::SqliteStore;

pub type Revision = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// Of its last change.
    pub revision: Revision,
}

#[derive(Clone, Debug)]
pub enum Compare {
    /// The key's last change is this revision; 0 = the key does not exist.
    Revision { key: String, revision: Revision },
    /// The lease has not ended.
    Lease(LeaseId),
}

#[derive(Clone, Debug)]
pub enum Op {
    /// With a lease the key goes when the lease ends.
    Put {
        key: String,
        value: Bytes,
        lease: Option<LeaseId>,
    },
    Delete {
        key: String,
    },
    DeleteRange {
        prefix: String,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    Committed(Revision),
    /// Nothing happened; this key (or `lease`) was not as compared.
    Conflict {
        key: String,
    },
}

/// What a watcher sees, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Delete {
        key: String,
        revision: Revision,
    },
    /// The watcher fell behind: read the range again.
    Resync,
}

/// Changes of some keys, in their order, with everything up to a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    pub changes: Vec<Change>,
    pub revision: Revision,
}

impl Change {
    /// 0: of a resync, which is of no transaction.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Delete { revision, .. } => *revision,
            Self::Resync => 0,
        }
    }

    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Put(entry) => Some(&entry.key),
            Self::Delete { key, .. } => Some(key),
            Self::Resync => None,
        }
    }
}

#[async_trait]
pub trait MetaStore: Debug + Send + Sync + 'static {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError>;
    /// The first keys with the prefix that come behind `after`, no more than `most` (which is not
    /// 0), in order, as of one revision.
    async fn page(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<(Vec<Entry>, Revision), MetaError>;
    /// All keys with the prefix, in order, as of one revision.
    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), MetaError> {
        self.page(prefix, "", usize::MAX).await
    }
    /// What changed after `revision` among the keys with one of the prefixes, as of one revision.
    /// `None`: that is not known any more, or was in another history; read the range.
    async fn since(
        &self,
        prefixes: &[String],
        revision: Revision,
    ) -> Result<Option<Since>, MetaError>;
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError>;
    /// Every change from now on.
    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError>;
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError>;
    /// `false`: the lease has ended.
    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError>;
    /// Ends it now; its keys go.
    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError>;
    /// Why the store cannot be reached at present; nothing where that cannot happen.
    fn failing(&self) -> Option<String> {
        None
    }
}

impl Txn {
    #[must_use]
    pub fn if_revision(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.compares.push(Compare::Revision {
            key: key.into(),
            revision,
        });
        self
    }

    #[must_use]
    pub fn if_absent(self, key: impl Into<String>) -> Self {
        self.if_revision(key, 0)
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        });
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    #[must_use]
    pub fn delete_range(mut self, prefix: impl Into<String>) -> Self {
        self.ops.push(Op::DeleteRange {
            prefix: prefix.into(),
        });
        self
    }
}

#[cfg(test)]
mod conformance;
