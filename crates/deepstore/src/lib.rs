//! Upload, download and removal of segments in the object store.
//!
//! An object is written once under a key that names its content, so that a retry never changes what
//! is there. The local folder is written through `runtime::Files`, whole and synced or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path};
use runtime::{ComputePool, Files};
use schemas::{Fault, FaultKind};

#[derive(Clone, Debug)]
pub struct DeepStore {
    objects: Arc<dyn ObjectStore>,
    local: Option<Local>,
}

#[derive(Clone, Debug)]
struct Local {
    folder: PathBuf,
    files: Arc<dyn Files>,
    pool: ComputePool,
}

#[derive(Debug, thiserror::Error)]
pub enum DeepStoreError {
    #[error("the deep store folder `{folder}` cannot be used")]
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("`{key}` cannot be written to the deep store")]
    Upload {
        key: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("`{key}` is not in the deep store")]
    Missing { key: String },
    #[error("the deep store does not answer for `{key}`")]
    Unavailable {
        key: String,
        source: object_store::Error,
    },
}

impl DeepStoreError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Missing { .. } => FaultKind::NotFound,
            _ => FaultKind::Unavailable,
        }
    }
}

impl From<DeepStoreError> for Fault {
    fn from(error: DeepStoreError) -> Self {
        Self::from_chain(error.kind(), &error)
    }
}

/// One object in a listing.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
    /// Epoch milliseconds.
    pub modified_ms: i64,
}

impl DeepStore {
    /// A folder on this machine, which is made when it is missing.
    pub fn local(
        folder: &Path,
        files: Arc<dyn Files>,
        pool: ComputePool,
    ) -> Result<Self, DeepStoreError> {
        let failed = |source| DeepStoreError::Folder {
            folder: folder.to_owned(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let local = Some(Local {
            folder,
            files,
            pool,
        });
        Ok(Self {
            objects: Arc::new(objects),
            local,
        })
    }

    /// Any other store: S3, GCS, Azure, or one in memory.
    pub fn remote(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            local: None,
        }
    }

    /// Lasts as long as the process: for tests.
    pub fn in_memory() -> Self {
        Self::remote(Arc::new(object_store::memory::InMemory::new()))
    }

    /// Durable when it returns. The same key with the same content may be uploaded again.
    pub async fn upload(&self, key: &str, content: Bytes) -> Result<(), DeepStoreError> {
        let failed = |source| DeepStoreError::Upload {
            key: key.to_owned(),
            source,
        };
        match &self.local {
            Some(local) => local
                .write(key, content)
                .await
                .map_err(|error| failed(Box::new(error))),
            None => {
                let put = self
                    .objects
                    .put(&path::Path::from(key), PutPayload::from(content))
                    .await;
                put.map(|_| ()).map_err(|error| failed(Box::new(error)))
            }
        }
    }

    pub async fn download(&self, key: &str) -> Result<Bytes, DeepStoreError> {
        let answer = self.objects.get(&path::Path::from(key)).await;
        let object = answer.map_err(|source| explain(key, source))?;
        object.bytes().await.map_err(|source| explain(key, source))
    }

    /// Deleting what is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<(), DeepStoreError> {
        match self.objects.delete(&path::Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(explain(key, source)),
        }
    }

    /// `None`: it is not there.
    pub async fn head(&self, key: &str) -> Result<Option<Object>, DeepStoreError> {
        match self.objects.head(&path::Path::from(key)).await {
            Ok(meta) => Ok(Some(object(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(explain(key, source)),
        }
    }

    /// All objects below `prefix`, a folder; all there are when it is empty.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, DeepStoreError> {
        let prefix_path = (!prefix.is_empty()).then(|| path::Path::from(prefix));
        let listed = self.objects.list(prefix_path.as_ref()).map_ok(object);
        listed
            .try_collect()
            .await
            .map_err(|source| explain(prefix, source))
    }
}

impl Local {
    async fn write(&self, key: &str, content: Bytes) -> std::io::Result<()> {
        let (target, files) = (self.folder.join(key), Arc::clone(&self.files));
        let written = self.pool.run(move || {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            files.write_new(&target, "upload", &mut |to| to.write_all(&content))
        });
        written.await.map_err(std::io::Error::other)?
    }
}

fn object(meta: object_store::ObjectMeta) -> Object {
    Object {
        key: meta.location.to_string(),
        bytes: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
    }
}

fn explain(key: &str, source: object_store::Error) -> DeepStoreError {
    match source {
        object_store::Error::NotFound { .. } => DeepStoreError::Missing {
            key: key.to_owned(),
        },
        source => DeepStoreError::Unavailable {
            key: key.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::OsFiles;

    async fn suite(store: DeepStore) {
        let key = "t/0/1-00000abc.seg";
        assert!(matches!(
            store.download(key).await,
            Err(DeepStoreError::Missing { .. })
        ));
        store
            .upload(key, Bytes::from_static(b"content"))
            .await
            .unwrap();
        store
            .upload(key, Bytes::from_static(b"content"))
            .await
            .unwrap();
        assert_eq!(store.download(key).await.unwrap(), "content");
        let listed = store.list("").await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].key.as_str(), listed[0].bytes), (key, 7));
        let head = store.head(key).await.unwrap().unwrap();
        assert_eq!((head.key.as_str(), head.bytes), (key, 7));
        assert_eq!(head.modified_ms, listed[0].modified_ms);
        assert!(store.list("other").await.unwrap().is_empty());
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
        assert!(store.list("t").await.unwrap().is_empty());
        assert!(store.head(key).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn local_folder() {
        let folder = tempfile::tempdir().unwrap();
        let pool = ComputePool::new(1);
        suite(DeepStore::local(folder.path(), Arc::new(OsFiles), pool).unwrap()).await;
    }

    #[tokio::test]
    async fn in_memory() {
        suite(DeepStore::in_memory()).await;
    }
}
