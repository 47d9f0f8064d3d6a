//! Reading objects.
//!
//! Invariants: all parts of a file are of one object, the one that was there when it began; a part
//! that was cut is asked for again from where it was cut; memory holds a few parts, whatever the
//! size. What arrives is not trusted: who asked for it knows its checksum.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;

use crate::{DeepStore, DeepStoreError, Object, PART_BYTES, PARTS_AT_ONCE, at, object};

impl DeepStore {
    /// The whole object in memory: for small ones.
    pub async fn download(&self, key: &str) -> Result<Bytes, DeepStoreError> {
        let get = async {
            let answer = self.objects.get(&at(key)).await?;
            answer.bytes().await
        };
        let got = async {
            get.await
                .map_err(|error| DeepStoreError::of_key(key, &error))
        };
        self.in_time(key, 0, got).await
    }

    /// Where the object lies, if it is a file of this machine. It is not to be changed.
    pub fn file(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path_of(key))
    }

    /// Writes the object to the file at `to`, which is made; it is not synced. Tells which object
    /// it was.
    pub async fn download_to(&self, key: &str, to: &Path) -> Result<Object, DeepStoreError> {
        let failed = |error| DeepStoreError::of_key(key, &error);
        let meta = self.objects.head(&at(key)).await;
        let meta = meta.map_err(failed)?;
        let parts = self.parts_to(key, &meta, to);
        self.in_time(key, meta.size, parts).await?;
        Ok(object(key.to_owned(), meta))
    }

    async fn parts_to(
        &self,
        key: &str,
        meta: &ObjectMeta,
        to: &Path,
    ) -> Result<(), DeepStoreError> {
        let failed = |source| DeepStoreError::Disk {
            key: key.to_owned(),
            path: to.to_owned(),
            source,
        };
        let mut file = tokio::fs::File::create(to).await.map_err(failed)?;
        let parts = (0..meta.size)
            .step_by(PART_BYTES)
            .map(|start| start..meta.size.min(start + PART_BYTES as u64));
        let mut parts = stream::iter(parts)
            .map(|part| self.part(key, meta, part))
            .buffered(PARTS_AT_ONCE);
        while let Some(part) = parts.try_next().await? {
            file.write_all(&part).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    async fn part(
        &self,
        key: &str,
        meta: &ObjectMeta,
        part: Range<u64>,
    ) -> Result<Bytes, DeepStoreError> {
        let wanted = part.end - part.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(part)),
            if_match: meta.e_tag.clone(),
            ..GetOptions::default()
        };
        let get = async {
            let answer = self.objects.get_opts(&at(key), options).await?;
            answer.bytes().await
        };
        let bytes = get
            .await
            .map_err(|error| DeepStoreError::of_key(key, &error))?;
        match bytes.len() as u64 {
            found if found == wanted => Ok(bytes),
            found => Err(DeepStoreError::Cut {
                key: key.to_owned(),
                wanted,
                found,
            }),
        }
    }
}
