//! Removing objects from the deep store.
//!
//! Invariants: an orphan is removed only when its key has the form of a segment's object, the
//! catalog did not know it, and it is old, also in the moment before it is removed; other people's
//! objects in the same store are never touched. One object that cannot be removed does not keep the
//! others; the fault tells how many are left.

use std::collections::HashSet;

use deepstore::{DeepStoreError, Object};
use futures::{StreamExt, stream};
use schemas::Fault;
use schemas::segment::SegmentRecord;

use crate::Core;

/// Requests to the deep store that are under way at once.
const AT_ONCE: usize = 16;

/// Objects of segments that the catalog has let go of.
pub(crate) async fn objects(core: &Core, keys: &[String]) -> Result<String, Fault> {
    let removals = keys.iter().map(|key| async move {
        core.deep.delete(key).await?;
        Ok(Removed::Yes)
    });
    let removals: Vec<_> = removals.collect();
    all(core, removals).await
}

/// Objects that nobody refers to and that are not part of a commit under way.
pub(crate) async fn orphans(
    core: &Core,
    known: &[String],
    older_than_ms: i64,
) -> Result<String, Fault> {
    let known: HashSet<&str> = known.iter().map(String::as_str).collect();
    let listed = core.deep.list("").await?;
    let orphans: Vec<Object> = listed
        .into_iter()
        .filter(|object| is_ours(&object.key) && !known.contains(object.key.as_str()))
        .filter(|object| object.modified_ms < older_than_ms)
        .collect();
    let removals = orphans.into_iter().map(|orphan| async move {
        // A retried commit may have written it again since it was listed.
        match core.deep.head(&orphan.key).await? {
            Some(now) if now.modified_ms < older_than_ms => core.deep.delete(&now.key).await?,
            _ => return Ok(Removed::No),
        }
        Ok(Removed::Yes)
    });
    let removals: Vec<_> = removals.collect();
    all(core, removals).await
}

/// Also what an upload left behind that was cut off.
fn is_ours(key: &str) -> bool {
    let key = key.strip_suffix(".tmp").unwrap_or(key);
    SegmentRecord::parse_object_key(key).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removed {
    Yes,
    No,
}

async fn all<F>(core: &Core, removals: Vec<F>) -> Result<String, Fault>
where
    F: Future<Output = Result<Removed, DeepStoreError>>,
{
    let (mut removed, mut left) = (0usize, 0usize);
    let mut first: Option<DeepStoreError> = None;
    let mut outcomes = stream::iter(removals).buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(Removed::Yes) => removed += 1,
            Ok(Removed::No) => {}
            Err(error) => {
                left += 1;
                first.get_or_insert(error);
            }
        }
    }
    core.metrics.objects_removed.inc_by(removed as u64);
    match first {
        None => Ok(format!("removed {removed} objects")),
        Some(error) => {
            let mut fault = Fault::from(error);
            fault.message = format!("{left} objects are left: {}", fault.message);
            Err(fault)
        }
    }
}
