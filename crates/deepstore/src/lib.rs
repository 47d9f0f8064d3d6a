//! Upload, download and removal of segments in the object store: S3, GCS, Azure, or a folder.
//!
//! An object is written once under a key that names its content, so that a retry never changes what
//! is there. A folder is written through `runtime::Files`, whole and synced or not at all.
//!
//! Requests that fail in a way that may pass are tried again with growing delays, at random so that
//! nodes do not come back all at once; each has a deadline, and so has the whole.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod credentials;
mod download;
mod error;
mod folder;
mod place;
mod proof;
mod upload;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, path};
use runtime::{ComputePool, Files};

pub use error::DeepStoreError;
use folder::Folder;
pub use place::Config;
use place::Place;

/// Larger objects go and come in several parts.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// Of one object.
pub(crate) const PARTS_AT_ONCE: usize = 4;
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(2);
/// For a whole object: so long, and longer by its size.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

#[derive(Clone)]
pub struct DeepStore {
    objects: Arc<dyn ObjectStore>,
    /// As it is told to people.
    place: Arc<str>,
    folder: Option<Folder>,
    /// Whether the store itself refuses to write what is there already.
    decides: Arc<AtomicBool>,
}

/// A store knows its credentials: they are not shown.
impl fmt::Debug for DeepStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeepStore").field(&self.place).finish()
    }
}

/// One object in a listing.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
    /// Epoch milliseconds.
    pub modified_ms: i64,
    /// Changes with the content.
    pub version: String,
}

impl DeepStore {
    /// What the settings name. Nothing is asked yet, see [`Self::prove`].
    pub fn open(
        config: &Config,
        files: Arc<dyn Files>,
        pool: ComputePool,
    ) -> Result<Self, DeepStoreError> {
        match Place::parse(&config.url)? {
            Place::Folder(folder) => Self::local(&folder, files, pool),
            Place::Bucket {
                cloud,
                bucket,
                prefix,
            } => {
                let objects = place::open(config, cloud, &bucket, &prefix)?;
                Ok(Self::of(objects, config.url.trim_end_matches('/'), None))
            }
        }
    }

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
        let path = folder.canonicalize().map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&path)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let place = path.display().to_string();
        let folder = Folder { path, files, pool };
        Ok(Self::of(Arc::new(objects), &place, Some(folder)))
    }

    /// Lasts as long as the process: for tests.
    pub fn in_memory() -> Self {
        let objects = object_store::memory::InMemory::new();
        Self::of(Arc::new(objects), "memory", None)
    }

    fn of(objects: Arc<dyn ObjectStore>, place: &str, folder: Option<Folder>) -> Self {
        Self {
            objects,
            place: place.into(),
            folder,
            decides: Arc::new(AtomicBool::new(true)),
        }
    }

    fn decides_who_is_first(&self) -> bool {
        self.decides.load(Ordering::Relaxed)
    }

    /// Deleting what is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<(), DeepStoreError> {
        let delete = async {
            match self.objects.delete(&at(key)).await {
                Ok(()) => Ok(()),
                Err(error) => match DeepStoreError::of_key(key, &error) {
                    DeepStoreError::Missing { .. } => Ok(()),
                    error => Err(error),
                },
            }
        };
        self.in_time(key, 0, delete).await
    }

    /// `None`: it is not there.
    pub async fn head(&self, key: &str) -> Result<Option<Object>, DeepStoreError> {
        let head = async {
            match self.objects.head(&at(key)).await {
                Ok(meta) => Ok(Some(object(key.to_owned(), meta))),
                Err(error) => match DeepStoreError::of_key(key, &error) {
                    DeepStoreError::Missing { .. } => Ok(None),
                    error => Err(error),
                },
            }
        };
        self.in_time(key, 0, head).await
    }

    /// All objects below `prefix`, a folder; all there are when it is empty.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, DeepStoreError> {
        let prefix_path = (!prefix.is_empty()).then(|| path::Path::from(prefix));
        let listed = self.objects.list(prefix_path.as_ref());
        let listed = listed.map_ok(|meta| object(meta.location.to_string(), meta));
        listed
            .try_collect()
            .await
            .map_err(|error| DeepStoreError::of_key(prefix, &error))
    }

    /// A store that accepts and never answers is no reason to wait for ever.
    async fn in_time<T>(
        &self,
        key: &str,
        bytes: u64,
        work: impl Future<Output = Result<T, DeepStoreError>>,
    ) -> Result<T, DeepStoreError> {
        let within = PATIENCE + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        let done = tokio::time::timeout(within, work).await;
        done.unwrap_or_else(|_| {
            Err(DeepStoreError::Late {
                key: key.to_owned(),
                within,
            })
        })
    }
}

/// Only a listing tells keys without the store's prefix.
fn object(key: String, meta: object_store::ObjectMeta) -> Object {
    let modified_ms = meta.last_modified.timestamp_millis();
    Object {
        key,
        bytes: meta.size,
        modified_ms,
        version: meta
            .e_tag
            .unwrap_or_else(|| format!("{}-{modified_ms}", meta.size)),
    }
}

/// A key as it is listed, or one that needs escapes.
pub(crate) fn at(key: &str) -> path::Path {
    path::Path::parse(key).unwrap_or_else(|_| path::Path::from(key))
}
