//! Which cluster this is.
//!
//! Invariant: the id is made once, by whoever comes first, and never changes: what else belongs to
//! the cluster, such as its deep store, is known by it.

use uuid::Uuid;

use super::{Catalog, encode};
use crate::{MetaError, Txn, TxnOutcome};

const CLUSTER: &str = "/cluster";

impl Catalog {
    pub async fn cluster_id(&self) -> Result<Uuid, MetaError> {
        if let Some(known) = self.read(CLUSTER).await? {
            return Ok(known.value);
        }
        let id = Uuid::new_v4();
        let made = Txn::default().if_absent(CLUSTER).put(CLUSTER, encode(&id));
        match self.store.txn(made).await? {
            TxnOutcome::Committed(_) => Ok(id),
            // Another controller was first.
            TxnOutcome::Conflict { key } => match self.read(CLUSTER).await? {
                Some(known) => Ok(known.value),
                None => Err(MetaError::Conflict { key }),
            },
        }
    }
}
