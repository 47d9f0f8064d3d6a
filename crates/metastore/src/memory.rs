//! The store in memory: the model that the others are held to, and what tests use.
//!
//! The rules of transactions and leases are here once: [`Rules`] decides what a transaction does to
//! a set of entries, the stores keep the entries.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use runtime::Clock;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::{
    Change, Compare, Entry, LeaseId, MetaError, MetaStore, Op, Revision, Since, Txn, TxnOutcome,
};

/// Changes that a watcher may be behind.
pub(crate) const WATCH_BEHIND_MAX: usize = 4096;
/// Changes that can be asked for later.
const CHANGES_KEPT: usize = 4096;

/// All entries in memory with their rules. The SQLite store keeps one of these and writes through.
#[derive(Debug)]
pub(crate) struct Rules {
    clock: Arc<dyn Clock>,
    entries: BTreeMap<String, Stored>,
    revision: Revision,
    leases: HashMap<LeaseId, Lease>,
    last_lease: u64,
    /// A lease ended and its keys may still be there.
    stale: bool,
    changes: broadcast::Sender<Change>,
    /// The newest, in their order.
    past: VecDeque<Change>,
    /// Changes up to this revision may not be among them.
    forgotten: Revision,
}

#[derive(Debug)]
struct Stored {
    value: Bytes,
    revision: Revision,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Duration,
}

/// What a transaction changes, before it is applied: each key once, with its last value.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) revision: Revision,
    pub(crate) keys: BTreeMap<String, Effect>,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Put(Bytes, Option<LeaseId>),
    Delete,
}

impl Rules {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (changes, _) = broadcast::channel(WATCH_BEHIND_MAX);
        Self {
            clock,
            entries: BTreeMap::new(),
            revision: 0,
            leases: HashMap::new(),
            last_lease: 0,
            stale: false,
            changes,
            past: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Takes entries as they were stored.
    pub(crate) fn load(&mut self, entries: impl IntoIterator<Item = Entry>, revision: Revision) {
        for Entry {
            key,
            value,
            revision,
        } in entries
        {
            self.entries.insert(
                key,
                Stored {
                    value,
                    revision,
                    lease: None,
                },
            );
        }
        self.revision = revision;
        self.forgotten = revision;
    }

    pub(crate) fn since(&self, prefixes: &[String], since: Revision) -> Option<Since> {
        if since < self.forgotten || since > self.revision {
            return None;
        }
        let begin = self
            .past
            .partition_point(|change| change.revision() <= since);
        let wanted = |change: &&Change| {
            let key = change.key();
            prefixes
                .iter()
                .any(|prefix| key.is_some_and(|key| key.starts_with(prefix)))
        };
        Some(Since {
            changes: self.past.range(begin..).filter(wanted).cloned().collect(),
            revision: self.revision,
        })
    }

    fn remember(&mut self, change: Change) {
        if self.past.len() == CHANGES_KEPT
            && let Some(oldest) = self.past.pop_front()
        {
            self.forgotten = oldest.revision();
        }
        self.past.push_back(change.clone());
        // Nobody watches: fine.
        let _ = self.changes.send(change);
    }

    /// Keys of leases that ended. They must be deleted before anything else is looked at.
    pub(crate) fn expired(&mut self) -> Option<Effects> {
        let now = self.clock.monotonic();
        let before = self.leases.len();
        self.leases.retain(|_, lease| lease.ends > now);
        self.stale |= self.leases.len() != before;
        if !self.stale {
            return None;
        }
        // Stays stale until nothing is left: a store may fail to write these effects.
        let effects = self.orphans();
        self.stale = effects.is_some();
        effects
    }

    /// Deletes what belongs to leases that are not there any more.
    fn orphans(&self) -> Option<Effects> {
        let gone = |stored: &Stored| stored.lease.is_some_and(|l| !self.leases.contains_key(&l));
        let keys: BTreeMap<String, Effect> = self
            .entries
            .iter()
            .filter(|(_, stored)| gone(stored))
            .map(|(key, _)| (key.clone(), Effect::Delete))
            .collect();
        let revision = self.revision + 1;
        (!keys.is_empty()).then_some(Effects { revision, keys })
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        let stored = self.entries.get(key)?;
        let (value, revision) = (stored.value.clone(), stored.revision);
        Some(Entry {
            key: key.to_owned(),
            value,
            revision,
        })
    }

    fn keys_of(&self, prefix: &str, after: &str) -> impl Iterator<Item = (&String, &Stored)> {
        let prefix = prefix.to_owned();
        let first = match after < prefix.as_str() {
            true => Bound::Included(prefix.clone()),
            false => Bound::Excluded(after.to_owned()),
        };
        let from = self.entries.range((first, Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(&prefix))
    }

    pub(crate) fn page(&self, prefix: &str, after: &str, most: usize) -> (Vec<Entry>, Revision) {
        let entries = self.keys_of(prefix, after).take(most).map(|(key, stored)| {
            let (value, revision) = (stored.value.clone(), stored.revision);
            Entry {
                key: key.clone(),
                value,
                revision,
            }
        });
        (entries.collect(), self.revision)
    }

    /// What `txn` would do; `Err` names what was not as compared.
    pub(crate) fn decide(&self, txn: Txn) -> Result<Effects, String> {
        for compare in &txn.compares {
            match compare {
                Compare::Revision { key, revision } => {
                    let current = self.entries.get(key).map_or(0, |stored| stored.revision);
                    if current != *revision {
                        return Err(key.clone());
                    }
                }
                Compare::Lease(lease) if !self.leases.contains_key(lease) => {
                    return Err("lease".to_owned());
                }
                Compare::Lease(_) => {}
            }
        }
        let mut effects = Effects {
            revision: self.revision + 1,
            ..Effects::default()
        };
        for op in txn.ops {
            match op {
                Op::Put {
                    lease: Some(lease), ..
                } if !self.leases.contains_key(&lease) => return Err("lease".to_owned()),
                Op::Put { key, value, lease } => {
                    effects.keys.insert(key, Effect::Put(value, lease));
                }
                Op::Delete { key } => {
                    effects.keys.insert(key, Effect::Delete);
                }
                Op::DeleteRange { prefix } => {
                    effects.keys.retain(|key, _| !key.starts_with(&prefix));
                    let stored = self.keys_of(&prefix, "");
                    let gone = stored.map(|(key, _)| (key.clone(), Effect::Delete));
                    effects.keys.extend(gone);
                }
            }
        }
        Ok(effects)
    }

    pub(crate) fn apply(&mut self, effects: Effects) -> Revision {
        let revision = effects.revision;
        self.revision = revision;
        for (key, effect) in effects.keys {
            let change = match effect {
                Effect::Delete if self.entries.remove(&key).is_none() => continue,
                Effect::Delete => Change::Delete { key, revision },
                Effect::Put(value, lease) => {
                    let stored = Stored {
                        value: value.clone(),
                        revision,
                        lease,
                    };
                    self.entries.insert(key.clone(), stored);
                    Change::Put(Entry {
                        key,
                        value,
                        revision,
                    })
                }
            };
            self.remember(change);
        }
        revision
    }

    pub(crate) fn watch(&self, prefix: &str) -> BoxStream<'static, Change> {
        of_prefix(BroadcastStream::new(self.changes.subscribe()), prefix)
    }

    pub(crate) fn grant(&mut self, ttl: Duration) -> LeaseId {
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(
            id,
            Lease {
                ttl,
                ends: self.clock.monotonic() + ttl,
            },
        );
        id
    }

    pub(crate) fn keep_alive(&mut self, id: LeaseId) -> bool {
        let now = self.clock.monotonic();
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.ends > now) else {
            return false;
        };
        lease.ends = now + lease.ttl;
        true
    }

    pub(crate) fn revoke(&mut self, id: LeaseId) -> Option<Effects> {
        self.stale |= self.leases.remove(&id).is_some();
        self.expired()
    }
}

/// Those of the keys with the prefix; whoever falls behind is told.
pub(crate) fn of_prefix(
    changes: BroadcastStream<Change>,
    prefix: &str,
) -> BoxStream<'static, Change> {
    let prefix = prefix.to_owned();
    changes
        .filter_map(move |change| {
            let kept = match change {
                Err(_behind) => Some(Change::Resync),
                Ok(Change::Put(entry)) if !entry.key.starts_with(&prefix) => None,
                Ok(Change::Delete { key, .. }) if !key.starts_with(&prefix) => None,
                Ok(change) => Some(change),
            };
            std::future::ready(kept)
        })
        .boxed()
}

#[derive(Debug)]
pub struct MemoryStore {
    rules: Mutex<Rules>,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            rules: Mutex::new(Rules::new(clock)),
        }
    }

    /// The state after leases that ended.
    fn current(&self) -> parking_lot::MutexGuard<'_, Rules> {
        let mut rules = self.rules.lock();
        if let Some(effects) = rules.expired() {
            rules.apply(effects);
        }
        rules
    }
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        Ok(self.current().get(key))
    }

    async fn page(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<(Vec<Entry>, Revision), MetaError> {
        Ok(self.current().page(prefix, after, most))
    }

    async fn since(
        &self,
        prefixes: &[String],
        revision: Revision,
    ) -> Result<Option<Since>, MetaError> {
        Ok(self.current().since(prefixes, revision))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let mut rules = self.current();
        Ok(match rules.decide(txn) {
            Ok(effects) => TxnOutcome::Committed(rules.apply(effects)),
            Err(key) => TxnOutcome::Conflict { key },
        })
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, Change>, MetaError> {
        Ok(self.current().watch(prefix))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetaError> {
        Ok(self.current().grant(ttl))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, MetaError> {
        Ok(self.current().keep_alive(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let mut rules = self.current();
        if let Some(effects) = rules.revoke(lease) {
            rules.apply(effects);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use runtime::ManualClock;

    use super::*;

    #[tokio::test]
    async fn what_is_forgotten_is_told_to_be() {
        let store = MemoryStore::new(ManualClock::at_ms(0));
        let prefix = ["/".to_owned()];
        for at in 0..=CHANGES_KEPT as u64 {
            let txn = Txn::default().put(format!("/{}", at % 7), "x");
            store.txn(txn).await.unwrap();
        }
        assert_eq!(store.since(&prefix, 0).await.unwrap(), None);
        let since = store.since(&prefix, 1).await.unwrap().unwrap();
        assert_eq!(since.changes.len(), CHANGES_KEPT);
        assert_eq!(since.changes[0].revision(), 2);
    }
}
