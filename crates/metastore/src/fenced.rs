//! The store of somebody who may write only while a lease has not ended.
//!
//! Invariant: every transaction compares the lease inside the store, so that whoever sleeps past
//! its end changes nothing when it wakes, whatever it still believes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use crate::{
    Change, Compare, Entry, LeaseId, MetaError, MetaStore, Revision, Since, Txn, TxnOutcome,
};

/// The lease in force; `None`: nothing may be written.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<LeaseId>>>);

impl Fence {
    pub fn open(&self, lease: LeaseId) {
        *self.0.lock() = Some(lease);
    }

    pub fn close(&self) {
        *self.0.lock() = None;
    }

    pub fn lease(&self) -> Option<LeaseId> {
        *self.0.lock()
    }
}

#[derive(Debug)]
pub struct FencedStore {
    store: Arc<dyn MetaStore>,
    fence: Fence,
}

impl FencedStore {
    pub fn new(store: Arc<dyn MetaStore>, fence: Fence) -> Self {
        Self { store, fence }
    }
}

#[async_trait]
impl MetaStore for FencedStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.store.get(key).await
    }

    async fn page(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<(Vec<Entry>, Revision), MetaError> {
        self.store.page(prefix, after, most).await
    }

    async fn since(
        &self,
        prefixes: &[String],
        revision: Revision,
    ) -> Result<Option<Since>, MetaError> {
        self.store.since(prefixes, revision).await
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnOutcome, MetaError> {
        let lease = self.fence.lease().ok_or(MetaError::Fenced)?;
        txn.compares.insert(0, Compare::Lease(lease));
        match self.store.txn(txn).await? {
            TxnOutcome::Conflict { key } if key == "lease" => Err(MetaError::Fenced),
            outcome => Ok(outcome),
        }
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError> {
        self.store.watch(prefix).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError> {
        self.store.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.store.revoke(lease).await
    }

    fn failing(&self) -> Option<String> {
        self.store.failing()
    }
}

#[cfg(test)]
mod tests {
    use runtime::ManualClock;

    use super::*;
    use crate::MemoryStore;

    #[tokio::test]
    async fn only_a_lease_that_has_not_ended_lets_through() {
        let clock = ManualClock::at_ms(0);
        let shared = Arc::clone(&clock) as Arc<dyn runtime::Clock>;
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(shared));
        let fence = Fence::default();
        let fenced = FencedStore::new(Arc::clone(&store), fence.clone());
        let write = |key: &str| Txn::default().put(key, "1");
        assert!(matches!(
            fenced.txn(write("/1")).await,
            Err(MetaError::Fenced)
        ));
        let lease = store.grant_lease(Duration::from_secs(5)).await.unwrap();
        fence.open(lease);
        fenced.txn(write("/2")).await.unwrap();
        clock.advance(Duration::from_secs(6));
        assert!(matches!(
            fenced.txn(write("/3")).await,
            Err(MetaError::Fenced)
        ));
        fence.open(store.grant_lease(Duration::from_secs(5)).await.unwrap());
        let stale = write("/4").if_revision("/2", 77);
        assert!(matches!(
            fenced.txn(stale).await,
            Ok(TxnOutcome::Conflict { .. })
        ));
        fenced.txn(write("/5")).await.unwrap();
        fence.close();
        assert!(matches!(
            fenced.txn(write("/6")).await,
            Err(MetaError::Fenced)
        ));
        let (entries, _) = fenced.range("/").await.unwrap();
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["/2", "/5"]);
    }
}
