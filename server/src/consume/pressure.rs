//! Who seals early when the memory for consuming rows is used up.
//!
//! Invariant: at most one partition at a time is asked to, the one that holds most over all tables;
//! the next is asked when the memory of the one before has come back, or its consumer is gone.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{Partition, TableId};

type Key = (TableId, Partition);

/// A partition that holds less than this part of an even share is not worth sealing.
const WORTH: u64 = 8;

#[derive(Debug, Default)]
pub(crate) struct Pressure {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the growing segment of each partition.
    held: HashMap<Key, u64>,
    chosen: Option<Key>,
}

impl Pressure {
    pub(super) fn note(&self, key: Key, bytes: u64) {
        self.state.lock().held.insert(key, bytes);
    }

    /// There is no memory left of `limit` bytes: somebody shall seal.
    pub(super) fn relieve(&self, limit: u64) {
        let mut state = self.state.lock();
        if state.chosen.is_some() {
            return;
        }
        let fattest = state.held.iter().max_by_key(|(_, bytes)| **bytes);
        let least = limit / (WORTH * state.held.len().max(1) as u64);
        // With less in it, what is frozen holds the memory, which comes back.
        let worth = fattest.filter(|(_, bytes)| **bytes > 0 && **bytes >= least);
        state.chosen = worth.map(|(key, _)| *key);
    }

    pub(super) fn is_chosen(&self, key: Key) -> bool {
        self.state.lock().chosen == Some(key)
    }

    /// The chosen partition has ended its segment; when the result is dropped the memory is back.
    pub(super) fn relief(self: &Arc<Self>, key: Key) -> Option<Relief> {
        self.is_chosen(key).then(|| Relief {
            pressure: Arc::clone(self),
            key,
        })
    }

    pub(super) fn forget(&self, key: Key) {
        self.state.lock().held.remove(&key);
        self.release(key);
    }

    fn release(&self, key: Key) {
        let mut state = self.state.lock();
        if state.chosen == Some(key) {
            state.chosen = None;
        }
    }
}

/// Memory that comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Relief {
    pressure: Arc<Pressure>,
    key: Key,
}

impl Drop for Relief {
    fn drop(&mut self) {
        self.pressure.release(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fattest_of_all_tables_is_asked_one_at_a_time() {
        let pressure = Arc::new(Pressure::default());
        let (a, b) = ((TableId::random(), 0), (TableId::random(), 3));
        pressure.relieve(100);
        pressure.note(a, 40);
        pressure.note(b, 50);
        pressure.relieve(100);
        assert!(pressure.is_chosen(b) && !pressure.is_chosen(a));
        pressure.note(a, 60);
        pressure.relieve(100);
        assert!(pressure.is_chosen(b), "its memory is not back yet");
        let relief = pressure.relief(b);
        pressure.note(b, 0);
        pressure.relieve(100);
        assert!(!pressure.is_chosen(a));
        drop(relief);
        pressure.relieve(100);
        assert!(pressure.is_chosen(a));
        pressure.forget(a);
        pressure.relieve(100);
        assert!(
            !pressure.is_chosen(a) && !pressure.is_chosen(b),
            "nothing is worth it"
        );
        assert!(pressure.relief(b).is_none());
    }
}
