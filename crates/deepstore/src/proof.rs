//! What a node makes sure of before it starts: that it can write, read, list and delete, and that
//! the place is its cluster's own.
//!
//! Invariant: the object `CLUSTER` names one cluster; it is written by the first and changed by
//! nobody.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::error::{is_bucket_missing, is_refusal, reason};
use crate::{DeepStore, DeepStoreError, at};

const MARKER: &str = "CLUSTER";
const PROOF: &str = ".proof";
const CONTENT: &[u8] = b"written by a node that starts, removed by it";
const WITHIN: Duration = Duration::from_secs(30);

impl DeepStore {
    /// Writes, reads, lists and deletes a small object; finds out whether the store decides who is
    /// first.
    pub async fn prove(&self) -> Result<(), DeepStoreError> {
        let proof = tokio::time::timeout(WITHIN, self.prove_each());
        proof.await.unwrap_or_else(|_| {
            Err(DeepStoreError::Away {
                place: self.place.to_string(),
                action: "be reached",
                reason: format!("it has not answered within {WITHIN:?}"),
            })
        })
    }

    async fn prove_each(&self) -> Result<(), DeepStoreError> {
        let key = format!("{PROOF}-{}", Uuid::new_v4());
        let at = at(&key);
        let content = Bytes::from_static(CONTENT);
        let put = self.objects.put(&at, content.clone().into()).await;
        put.map_err(|error| self.unproven("write", &error))?;
        let got = async { self.objects.get(&at).await?.bytes().await };
        let got = got.await.map_err(|error| self.unproven("read", &error))?;
        if got != content {
            return Err(DeepStoreError::Away {
                place: self.place.to_string(),
                action: "read",
                reason: "what it returns is not what was written".to_owned(),
            });
        }
        // It is there: a store that decides who is first says so.
        let is_decided = matches!(
            self.put_first(&key, content).await,
            Err(object_store::Error::AlreadyExists { .. })
        );
        self.decides.store(is_decided, Ordering::Relaxed);
        if !is_decided {
            tracing::warn!(place = %self.place,
                "the deep store does not honour If-None-Match; a look goes before each write");
        }
        let listed = self.objects.list(None).try_next().await;
        listed.map_err(|error| self.unproven("list", &error))?;
        let deleted = self.objects.delete(&at).await;
        deleted.map_err(|error| self.unproven("delete", &error))
    }

    fn unproven(&self, action: &'static str, error: &object_store::Error) -> DeepStoreError {
        let place = self.place.to_string();
        let mut reason = reason(error);
        if is_bucket_missing(error) {
            reason.push_str("; make the bucket, or mend deepstore.url");
        }
        match is_refusal(error) {
            true => DeepStoreError::Refused {
                place,
                action,
                reason,
            },
            false => DeepStoreError::Away {
                place,
                action,
                reason,
            },
        }
    }

    /// The cluster that the place belongs to, if it does to one.
    pub async fn owner(&self) -> Result<Option<String>, DeepStoreError> {
        match self.download(MARKER).await {
            Ok(content) => Ok(Some(String::from_utf8_lossy(&content).trim().to_owned())),
            Err(DeepStoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the place the cluster's own, or makes sure that it is.
    pub async fn claim(&self, cluster: Uuid) -> Result<(), DeepStoreError> {
        let ours = cluster.to_string();
        if self.owner().await?.is_none() {
            match self.upload(MARKER, format!("{ours}\n").into()).await {
                // Somebody was first: it is looked at below.
                Ok(()) | Err(DeepStoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match self.owner().await? {
            Some(theirs) if theirs != ours => Err(DeepStoreError::OtherCluster {
                place: self.place.to_string(),
                theirs,
                ours,
            }),
            _ => Ok(()),
        }
    }
}
