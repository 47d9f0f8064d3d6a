//! Which requests were appended already, by their idempotency keys.
//!
//! Each event of such a request carries the key and its number in a header. So what was appended of
//! it can be read from the log by any broker, also after a restart; what this broker appended it
//! remembers for [`WINDOW`], of the newest [`KEYS_MAX`] keys at least.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemas::{Offset, Partition, TableId};
use tokio::sync::OwnedMutexGuard;

/// After so long a key may be used for other rows.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
const KEYS_MAX: usize = 200_000;
/// Name of the header; its value is `number:key`.
pub(super) const HEADER: &str = "tannin-append";

/// What is in the log of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Numbers of its events.
    pub(super) events: HashSet<usize>,
    /// Behind the last of them, of each partition.
    pub(super) ends: BTreeMap<Partition, Offset>,
}

impl Done {
    pub(super) fn add(&mut self, number: usize, partition: Partition, offset: Offset) {
        self.events.insert(number);
        let end = self.ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }
}

/// `None`: nothing is known of it here.
type Request = Arc<tokio::sync::Mutex<Option<Done>>>;

/// By table and key; what is older than the window is forgotten in two steps.
#[derive(Debug, Default)]
pub(super) struct Seen {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<(TableId, String), Request>,
    old: HashMap<(TableId, String), Request>,
    since: Duration,
}

impl Seen {
    /// The request is this caller's alone as long as the guard lives. `now` grows.
    pub(super) async fn turn(
        &self,
        table: TableId,
        key: &str,
        now: Duration,
    ) -> OwnedMutexGuard<Option<Done>> {
        let request = {
            let mut generations = self.generations.lock();
            let is_full = generations.young.len() >= KEYS_MAX;
            if is_full || now.saturating_sub(generations.since) >= WINDOW {
                generations.old = std::mem::take(&mut generations.young);
                generations.since = now;
            }
            let id = (table, key.to_owned());
            let known = generations.young.get(&id).or(generations.old.get(&id));
            let request = known.map(Arc::clone).unwrap_or_default();
            generations.young.insert(id, Arc::clone(&request));
            request
        };
        request.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_known_for_the_window() {
        let (seen, table) = (Seen::default(), TableId::random());
        let at = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut done = Done::default();
        done.add(0, 3, 41);
        *seen.turn(table, "a", at(11)).await = Some(done.clone());
        assert_eq!(*seen.turn(table, "b", at(15)).await, None);
        assert_eq!(*seen.turn(table, "a", at(20)).await, Some(done.clone()));
        assert_eq!(*seen.turn(TableId::random(), "a", at(20)).await, None);
        assert_eq!(*seen.turn(table, "a", at(22)).await, Some(done));
        seen.turn(table, "b", at(40)).await;
        seen.turn(table, "b", at(60)).await;
        assert_eq!(*seen.turn(table, "a", at(61)).await, None);
    }
}
