//! What a deep store must do for us, and the means to try it on a store that fails.
//!
//! Invariant: the same checks pass on a folder, in memory and on S3, and on S3 behind a network
//! that cuts, delays and answers with errors.

mod proxy;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

pub use proxy::{FaultyProxy, SLOW_DOWN, Trouble};

use crate::{Config, DeepStore, DeepStoreError, PART_BYTES};

type Problem = Box<dyn Error + Send + Sync>;
pub type Outcome = Result<(), Problem>;

/// Names an S3 to the tests, as `http://host:port/bucket`. `cargo xtask test` starts one, which
/// takes any credentials, and sets it.
pub const S3_VARIABLE: &str = "TEST_S3";

/// The S3 that `test` shall use: its address and a bucket. Without one the terminal says that the
/// test did not run, past the test harness, which hides what passing tests print.
pub fn test_s3(test: &str) -> Option<(String, String)> {
    let named = std::env::var_os(S3_VARIABLE);
    let named = named.and_then(|address| address.into_string().ok());
    let parts = named
        .as_deref()
        .and_then(|address| address.rsplit_once('/'));
    if parts.is_none() {
        // A closed terminal is no reason to fail.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} needs an S3; `cargo xtask test` starts one, or set \
             {S3_VARIABLE}=http://host:port/bucket"
        );
    }
    parts.map(|(endpoint, bucket)| (endpoint.to_owned(), bucket.to_owned()))
}

/// A place of its own in a bucket of the tests' S3; credentials are written to `folder`.
pub fn s3_config(endpoint: &str, bucket: &str, folder: &Path) -> std::io::Result<Config> {
    let credentials = folder.join("credentials");
    std::fs::write(
        &credentials,
        "[default]\naws_access_key_id = test\naws_secret_access_key = not-a-secret\n",
    )?;
    Ok(Config {
        url: format!("s3://{bucket}/{}", Uuid::new_v4()),
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        path_style: true,
        allow_http: true,
        credentials_file: credentials.display().to_string(),
        request_within: Duration::from_secs(20),
    })
}

/// Fails the check with a sentence.
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+).into());
        }
    };
}

/// All that is asked of a store that is empty; `scratch` is a folder for files.
pub async fn suite(store: &DeepStore, scratch: &Path) -> Outcome {
    proven_and_owned(store).await?;
    written_once(store).await?;
    listed_and_removed(store).await?;
    in_parts(store, scratch).await
}

async fn proven_and_owned(store: &DeepStore) -> Outcome {
    ensure!(
        store.owner().await?.is_none(),
        "an empty store has an owner"
    );
    store.prove().await?;
    ensure!(
        store.list("").await?.is_empty(),
        "the proof has left something"
    );
    let cluster = Uuid::new_v4();
    store.claim(cluster).await?;
    store.claim(cluster).await?;
    let other = store.claim(Uuid::new_v4()).await;
    ensure!(
        matches!(other, Err(DeepStoreError::OtherCluster { .. })),
        "another cluster gets {other:?}"
    );
    Ok(())
}

async fn written_once(store: &DeepStore) -> Outcome {
    let key = "t/0/1-00000abc.seg";
    let missing = store.download(key).await;
    ensure!(
        matches!(missing, Err(DeepStoreError::Missing { .. })),
        "what is not there is {missing:?}"
    );
    let content = Bytes::from_static(b"content");
    store.upload(key, content.clone()).await?;
    store.upload(key, content.clone()).await?;
    for other in [&b"another content"[..], b"CONTENT"] {
        let over = store.upload(key, Bytes::from_static(other)).await;
        ensure!(
            matches!(over, Err(DeepStoreError::Conflict { .. })),
            "another content gives {over:?}"
        );
    }
    ensure!(
        store.download(key).await? == content,
        "the content has changed"
    );
    store.replace(key, Bytes::from_static(b"better")).await?;
    ensure!(store.download(key).await? == "better", "it is not replaced");
    store.replace(key, content).await?;
    Ok(())
}

async fn listed_and_removed(store: &DeepStore) -> Outcome {
    let key = "t/0/1-00000abc.seg";
    let listed = store.list("t").await?;
    ensure!(listed.len() == 1, "{listed:?}");
    ensure!(
        (listed[0].key.as_str(), listed[0].bytes) == (key, 7),
        "{listed:?}"
    );
    let head = store.head(key).await?.ok_or("it has no head")?;
    ensure!((head.key.as_str(), head.bytes) == (key, 7), "{head:?}");
    // A header tells whole seconds, a listing may tell more.
    let apart_ms = (head.modified_ms - listed[0].modified_ms).abs();
    ensure!(apart_ms < 1000, "{head:?} {listed:?}");
    ensure!(
        store.list("other").await?.is_empty(),
        "`other` is not empty"
    );
    store.delete(key).await?;
    store.delete(key).await?;
    ensure!(store.list("t").await?.is_empty(), "it is still listed");
    ensure!(store.head(key).await?.is_none(), "it still has a head");
    Ok(())
}

/// Several parts, the last of which is not whole; and nothing at all.
async fn in_parts(store: &DeepStore, scratch: &Path) -> Outcome {
    let to = scratch.join("downloaded");
    let large = pattern(3 * PART_BYTES + 12_345);
    for (key, content) in [("large", large.clone()), ("empty", Bytes::new())] {
        store.upload(key, content.clone()).await?;
        store.upload(key, content.clone()).await?;
        let bytes = store.download_to(key, &to).await?.bytes;
        ensure!(
            bytes == content.len() as u64,
            "{bytes} bytes of `{key}` came"
        );
        ensure!(std::fs::read(&to)? == content, "`{key}` came back changed");
    }
    let mut other = large.to_vec();
    other[PART_BYTES] ^= 1;
    let over = store.upload("large", other.into()).await;
    ensure!(
        matches!(over, Err(DeepStoreError::Conflict { .. })),
        "another content in parts gives {over:?}"
    );
    let missing = store.download_to("missing", &to).await;
    ensure!(
        matches!(missing, Err(DeepStoreError::Missing { .. })),
        "what is not there is {missing:?}"
    );
    Ok(())
}

/// Bytes of which no two parts are alike.
pub fn pattern(bytes: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(bytes);
    out.into()
}

#[cfg(test)]
mod tests;
