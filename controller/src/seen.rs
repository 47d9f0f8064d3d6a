//! Who acts on which version of the published state.
//!
//! Invariant: [`Seen::behind`] names a watcher until it has said that it acts on the version, or
//! has gone away. One that comes back is given the whole state and so cannot be behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::InstanceId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    watchers: Mutex<BTreeMap<InstanceId, Watcher>>,
    moved: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watcher {
    /// Streams that are open: an old one may end after the new one began.
    open: usize,
    /// 0: has not said anything yet.
    version: u64,
}

/// An open watch. Dropping it says that the watcher has gone.
#[derive(Debug)]
pub(crate) struct Watching {
    seen: Arc<Seen>,
    instance: InstanceId,
}

impl Seen {
    pub(crate) fn watch(self: &Arc<Self>, instance: InstanceId) -> Watching {
        let mut watchers = self.watchers.lock();
        let watcher = watchers.entry(instance.clone()).or_default();
        watcher.open += 1;
        watcher.version = 0;
        Watching {
            seen: Arc::clone(self),
            instance,
        }
    }

    pub(crate) fn acknowledge(&self, instance: &InstanceId, version: u64) {
        if let Some(watcher) = self.watchers.lock().get_mut(instance) {
            watcher.version = watcher.version.max(version);
        }
        self.moved.notify_waiters();
    }

    /// Those who act on an older version.
    pub(crate) fn behind(&self, version: u64) -> Vec<InstanceId> {
        let watchers = self.watchers.lock();
        let behind = |(_, w): &(&InstanceId, &Watcher)| w.version > 0 && w.version < version;
        let names = watchers.iter().filter(behind).map(|(id, _)| id.clone());
        names.collect()
    }

    /// Returns when nobody acts on an older version.
    pub(crate) async fn wait_for(&self, version: u64) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.behind(version).is_empty() {
                return;
            }
            moved.await;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = self.seen.watchers.lock();
        if let Some(watcher) = watchers.get_mut(&self.instance) {
            watcher.open -= 1;
            if watcher.open == 0 {
                watchers.remove(&self.instance);
            }
        }
        drop(watchers);
        self.seen.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn name(text: &str) -> InstanceId {
        InstanceId(text.to_owned())
    }

    #[test]
    fn those_behind_are_waited_for_until_they_see_or_go() {
        let seen = Arc::new(Seen::default());
        let a = seen.watch(name("a"));
        let _b = seen.watch(name("b"));
        assert!(seen.behind(5).is_empty(), "they get the newest state first");
        seen.acknowledge(&name("a"), 4);
        seen.acknowledge(&name("b"), 4);
        seen.acknowledge(&name("stranger"), 1);
        assert_eq!(seen.behind(5), [name("a"), name("b")]);
        let mut waiting = Box::pin(seen.wait_for(5));
        assert!((&mut waiting).now_or_never().is_none());
        seen.acknowledge(&name("b"), 7);
        seen.acknowledge(&name("b"), 6);
        assert!((&mut waiting).now_or_never().is_none());
        drop(a);
        assert!((&mut waiting).now_or_never().is_some());
        assert_eq!(seen.behind(8), [name("b")]);
    }

    #[test]
    fn a_watch_that_is_made_again_counts_anew() {
        let seen = Arc::new(Seen::default());
        let old = seen.watch(name("a"));
        seen.acknowledge(&name("a"), 4);
        let new = seen.watch(name("a"));
        drop(old);
        assert!(seen.behind(9).is_empty());
        seen.acknowledge(&name("a"), 8);
        assert_eq!(seen.behind(9), [name("a")]);
        drop(new);
        assert!(seen.behind(9).is_empty());
    }
}
