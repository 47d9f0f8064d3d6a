//! What operators ordered about instances: their tags, and whether they get and keep segments.
//! Who says nothing of an instance leaves it with the tags of its role, enabled.

use schemas::InstanceId;
use schemas::placement::InstanceOrder;
use serde::{Deserialize, Serialize};

use super::{Catalog, encode};
use crate::{MetaError, Txn};

const INSTANCES: &str = "/instances/";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInstance {
    pub id: InstanceId,
    /// `None`: those of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default)]
    pub order: InstanceOrder,
}

impl StoredInstance {
    pub fn usual(id: InstanceId) -> Self {
        Self {
            id,
            tags: None,
            order: InstanceOrder::default(),
        }
    }
}

fn instance_key(id: &InstanceId) -> String {
    format!("{INSTANCES}{id}")
}

impl Catalog {
    pub async fn instances(&self) -> Result<Vec<StoredInstance>, MetaError> {
        self.read_all(INSTANCES).await
    }

    /// Applies `change` to what is stored now.
    pub async fn change_instance(
        &self,
        id: &InstanceId,
        change: impl FnOnce(&mut StoredInstance),
    ) -> Result<StoredInstance, MetaError> {
        let key = instance_key(id);
        let found = self.read::<StoredInstance>(&key).await?;
        let (mut value, revision) = match found {
            Some(found) => (found.value, found.revision),
            None => (StoredInstance::usual(id.clone()), 0),
        };
        change(&mut value);
        let txn = Txn::default().if_revision(&key, revision);
        self.commit(txn.put(&key, encode(&value))).await?;
        Ok(value)
    }

    pub async fn forget_instance(&self, id: &InstanceId) -> Result<(), MetaError> {
        self.commit(Txn::default().delete(instance_key(id))).await
    }
}
