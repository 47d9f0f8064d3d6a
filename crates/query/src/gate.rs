//! Whom a query must ask for leave when its tables are known, and before anybody reads them.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use schemas::Fault;
use schemas::cluster::ClusterState;

/// Leave to run, until it is dropped.
pub struct Pass {
    _held: Box<dyn Any + Send>,
    /// What the query may hold together with others of its tables; `None`: as much as is there.
    pub memory: Option<Arc<dyn Memory>>,
}

/// Bytes that several queries share.
pub trait Memory: fmt::Debug + Send + Sync {
    /// A refusal says whose limit it is.
    fn take(&self, bytes: usize) -> Result<(), Fault>;
    /// What cannot be refused.
    fn grow(&self, bytes: usize);
    fn give_back(&self, bytes: usize);
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("memory", &self.memory)
            .finish()
    }
}

impl Pass {
    pub fn new(held: impl Any + Send, memory: Option<Arc<dyn Memory>>) -> Self {
        Self {
            _held: Box::new(held),
            memory,
        }
    }
}

pub trait Gate: fmt::Debug + Send + Sync {
    /// Tables as the statement names them. A query that is planned again asks again.
    fn enter(&self, tables: &BTreeSet<String>, cluster: &ClusterState) -> Result<Pass, Fault>;
}

/// Lets everybody through.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn enter(&self, _: &BTreeSet<String>, _: &ClusterState) -> Result<Pass, Fault> {
        Ok(Pass::new((), None))
    }
}
