//! Which cluster this is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Catalog, encode};
use crate::{MetaError, Txn};

pub(super) const CLUSTER: &str = "/cluster";
/// There while a dump is put into the store.
pub(crate) const IMPORTING: &str = "/importing";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: Uuid,
    pub created_ms: i64,
}

impl Catalog {
    /// Of several controllers that start at once, one makes it. A store with half a dump is none.
    pub async fn cluster(&self, now_ms: i64) -> Result<Cluster, MetaError> {
        if self.store.get(IMPORTING).await?.is_some() {
            return Err(MetaError::Corrupt {
                key: IMPORTING.to_owned(),
                detail: "an import was cut off; empty the store, and import again".to_owned(),
            });
        }
        loop {
            if let Some(found) = self.read(CLUSTER).await? {
                return Ok(found.value);
            }
            let cluster = Cluster {
                id: Uuid::new_v4(),
                created_ms: now_ms,
            };
            let txn = Txn::default().if_absent(CLUSTER);
            // Made, or somebody else made it: it is there now.
            self.store.txn(txn.put(CLUSTER, encode(&cluster))).await?;
        }
    }
}
