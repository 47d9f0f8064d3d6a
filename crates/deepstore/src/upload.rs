//! Writing objects.
//!
//! Invariants: an object that is there is never changed but by [`DeepStore::replace`]. Where the
//! store decides who is first (`If-None-Match`), it does; where it cannot, and for objects in
//! several parts, a look goes before the write: two who write at once write the same, as a key
//! names its content. An object is seen whole or not at all.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult};
use runtime::Backoff;

use crate::error::{is_refusal, reason};
use crate::folder::{Folder, Written};
use crate::{DeepStore, DeepStoreError, PART_BYTES, PARTS_AT_ONCE, RETRY_MAX, at};

/// A store takes at most 10,000.
const PARTS_MAX: usize = 9_000;
/// What was cut off may have been done or not: the next attempt finds out.
const ATTEMPTS: usize = 4;

type Put<T> = Result<T, object_store::Error>;

impl DeepStore {
    /// Durable when it returns. What is there already stays: with the same content that is fine,
    /// with another it is a [`DeepStoreError::Conflict`].
    pub async fn upload(&self, key: &str, content: Bytes) -> Result<(), DeepStoreError> {
        if let Some(folder) = &self.folder {
            return into_folder(folder, key, content, false).await;
        }
        let bytes = content.len() as u64;
        self.in_time(key, bytes, self.upload_once(key, content))
            .await
    }

    /// Also where something is already. For whoever knows that what is there is worth nothing.
    pub async fn replace(&self, key: &str, content: Bytes) -> Result<(), DeepStoreError> {
        if let Some(folder) = &self.folder {
            return into_folder(folder, key, content, true).await;
        }
        let (bytes, put) = (content.len() as u64, self.put_over(key, content));
        self.in_time(key, bytes, async {
            put.await.map_err(|error| not_written(key, &error))
        })
        .await
    }

    async fn upload_once(&self, key: &str, content: Bytes) -> Result<(), DeepStoreError> {
        let is_large = content.len() > 2 * PART_BYTES;
        if (is_large || !self.decides_who_is_first()) && self.head(key).await?.is_some() {
            return self.compare(key, &content).await;
        }
        if is_large || !self.decides_who_is_first() {
            let put = self.put_over(key, content).await;
            return put.map_err(|error| not_written(key, &error));
        }
        let mut backoff = Backoff::up_to(RETRY_MAX);
        let mut attempt = 1;
        loop {
            match self.put_first(key, content.clone()).await {
                Ok(_) => return Ok(()),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    return self.compare(key, &content).await;
                }
                Err(error) if attempt == ATTEMPTS || is_refusal(&error) => {
                    return Err(not_written(key, &error));
                }
                Err(_) => tokio::time::sleep(backoff.next_delay()).await,
            }
            attempt += 1;
        }
    }

    /// Fails where something is already.
    pub(crate) async fn put_first(&self, key: &str, content: Bytes) -> Put<PutResult> {
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(content);
        self.objects.put_opts(&at(key), payload, options).await
    }

    async fn put_over(&self, key: &str, content: Bytes) -> Put<()> {
        let at = at(key);
        if content.len() <= 2 * PART_BYTES {
            return self.objects.put(&at, content.into()).await.map(drop);
        }
        let part_bytes = PART_BYTES.max(content.len().div_ceil(PARTS_MAX));
        let mut upload = self.objects.put_multipart(&at).await?;
        let starts = (0..content.len()).step_by(part_bytes);
        let parts = stream::iter(starts).map(|start| {
            let end = content.len().min(start + part_bytes);
            // Not a copy.
            upload.put_part(content.slice(start..end).into())
        });
        let sent: Put<()> = parts.buffer_unordered(PARTS_AT_ONCE).try_collect().await;
        let done = match sent {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // What is left of it costs room until the bucket's rules remove it.
            let _ = upload.abort().await;
        }
        done
    }

    /// Whether what is there is this, byte for byte.
    async fn compare(&self, key: &str, content: &Bytes) -> Result<(), DeepStoreError> {
        let conflict = || DeepStoreError::Conflict {
            key: key.to_owned(),
        };
        let failed = |error| DeepStoreError::of_key(key, &error);
        let there = self.objects.get(&at(key)).await;
        let there = there.map_err(failed)?;
        if there.meta.size != content.len() as u64 {
            return Err(conflict());
        }
        let mut rest = content.clone();
        let mut pieces = there.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            if piece.len() > rest.len() || rest.split_to(piece.len()) != piece {
                return Err(conflict());
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(conflict()),
        }
    }
}

async fn into_folder(
    folder: &Folder,
    key: &str,
    content: Bytes,
    over: bool,
) -> Result<(), DeepStoreError> {
    match folder.write(key, content, over).await {
        Ok(Written::Now | Written::Before) => Ok(()),
        Ok(Written::Conflict) => Err(DeepStoreError::Conflict {
            key: key.to_owned(),
        }),
        Err(error) => Err(DeepStoreError::Upload {
            key: key.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn not_written(key: &str, error: &object_store::Error) -> DeepStoreError {
    DeepStoreError::Upload {
        key: key.to_owned(),
        reason: reason(error),
    }
}
