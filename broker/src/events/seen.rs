//! Which requests were appended already, by their idempotency keys.
//!
//! Each event of such a request carries the key and its number in a header. So what was appended of
//! it can be read from the log by any broker, also after a restart; what this broker appended it
//! remembers for [`WINDOW`], of the newest [`KEYS_MAX`] keys at least.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemas::{Offset, Partition, TableId};
use tokio::sync::OwnedMutexGuard;

/// After so long a key may be used for other rows.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
const KEYS_MAX: usize = 100_000;
/// Name of the header; its value is `number:key`.
pub(super) const HEADER: &str = "tannin-append";

/// What is in the log of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Its first so many events are there,
    first: usize,
    /// and of those behind them these.
    others: BTreeSet<usize>,
    /// Behind the last of them, of each partition.
    pub(super) ends: BTreeMap<Partition, Offset>,
}

impl Done {
    pub(super) fn add(&mut self, number: usize, partition: Partition, offset: Offset) {
        if number >= self.first {
            self.others.insert(number);
        }
        while self.others.remove(&self.first) {
            self.first += 1;
        }
        let end = self.ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }

    pub(super) fn has(&self, number: usize) -> bool {
        number < self.first || self.others.contains(&number)
    }

    pub(super) fn count(&self) -> usize {
        self.first + self.others.len()
    }
}

/// What this broker knows of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    Nothing,
    /// It was begun here and did not end well: only the log knows what is in it.
    Begun,
    Done(Done),
}

type Request = Arc<tokio::sync::Mutex<Known>>;

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
    ) -> OwnedMutexGuard<Known> {
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
        let done = Known::Done(done);
        *seen.turn(table, "a", at(11)).await = done.clone();
        assert_eq!(*seen.turn(table, "b", at(15)).await, Known::Nothing);
        assert_eq!(*seen.turn(table, "a", at(20)).await, done);
        assert_eq!(
            *seen.turn(TableId::random(), "a", at(20)).await,
            Known::Nothing
        );
        assert_eq!(*seen.turn(table, "a", at(22)).await, done);
        seen.turn(table, "b", at(40)).await;
        seen.turn(table, "b", at(60)).await;
        assert_eq!(*seen.turn(table, "a", at(61)).await, Known::Nothing);
    }

    #[test]
    fn what_is_done_takes_no_memory_for_each_event() {
        let mut done = Done::default();
        for number in [2, 0, 4, 1, 1] {
            done.add(number, 7, 10 + number as i64);
        }
        assert_eq!((done.first, done.others.len(), done.count()), (3, 1, 4));
        let there: Vec<bool> = (0..6).map(|number| done.has(number)).collect();
        assert_eq!(there, [true, true, true, false, true, false]);
        done.add(3, 7, 9);
        assert_eq!((done.first, done.others.len()), (5, 0));
        assert_eq!(done.ends, BTreeMap::from([(7, 15)]));
    }
}
