//! The slots that queries hand from turn to turn.
//!
//! Invariants: as many slots as threads, each free or held by one turn; while one is free nobody
//! waits. A slot that was sent to somebody who has left comes back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{QUERIES_MAX, TooManyQueries};

/// A job gives way after so long, when somebody else's turn is due.
pub(super) const SLICE: Duration = Duration::from_micros(500);

/// Every so many turns go to whoever has waited longest, whatever it has used.
const OLDEST_EVERY: u64 = 4;

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// As many as wait, read without the lock.
    waiting: AtomicUsize,
    queries: AtomicUsize,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Vec<Waiter>,
    /// Turns so far, and arrivals so far.
    turns: u64,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiter {
    account: Arc<Account>,
    arrival: u64,
    /// The split that it helps in.
    split: Option<u64>,
    wake: oneshot::Sender<Slot>,
}

/// What one query has used.
#[derive(Debug)]
pub(super) struct Account {
    gate: Arc<Gate>,
    used_ns: AtomicU64,
    /// Workers that shared some work, at most.
    workers: AtomicUsize,
}

/// The right to keep a core busy.
#[derive(Debug)]
pub(super) struct Slot {
    gate: Option<Arc<Gate>>,
}

/// A slot, or where it will come. The sender is dropped when nobody needs the wait any more.
#[derive(Debug)]
pub(super) enum Asked {
    Now(Slot),
    Later(oneshot::Receiver<Slot>),
}

impl Account {
    pub(super) fn open(gate: Arc<Gate>) -> Result<Arc<Self>, TooManyQueries> {
        if gate.queries.fetch_add(1, Ordering::Relaxed) >= QUERIES_MAX {
            gate.queries.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManyQueries);
        }
        Ok(Arc::new(Self {
            gate,
            used_ns: AtomicU64::new(0),
            workers: AtomicUsize::new(1),
        }))
    }

    /// Takes a place whether there is one or not.
    pub(super) fn of_nobody(gate: Arc<Gate>) -> Arc<Self> {
        gate.queries.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            gate,
            used_ns: AtomicU64::new(0),
            workers: AtomicUsize::new(1),
        })
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn add(&self, used: Duration) {
        self.used_ns
            .fetch_add(used.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    pub(super) fn shared_by(&self, workers: usize) {
        self.workers.fetch_max(workers, Ordering::Relaxed);
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// In whole slices: who has used none goes in order of arrival.
    fn slices(&self) -> u64 {
        self.used_ns.load(Ordering::Relaxed) / SLICE.as_nanos() as u64
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.gate.queries.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.hand_on();
        }
    }
}

impl Gate {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: threads,
                waiting: Vec::new(),
                turns: 0,
                arrivals: 0,
            }),
            waiting: AtomicUsize::new(0),
            queries: AtomicUsize::new(0),
        }
    }

    pub(super) fn anybody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn ask(self: &Arc<Self>, account: &Arc<Account>, split: Option<u64>) -> Asked {
        let mut state = self.state.lock();
        if state.free > 0 {
            state.free -= 1;
            state.turns += 1;
            return Asked::Now(self.slot());
        }
        Asked::Later(self.enqueue(&mut state, account, split))
    }

    /// A number for a split.
    pub(super) fn split(&self) -> u64 {
        let mut state = self.state.lock();
        state.arrivals += 1;
        state.arrivals
    }

    /// Ends the waits of a split's helpers.
    pub(super) fn withdraw(&self, split: u64) {
        let mut state = self.state.lock();
        state.waiting.retain(|waiter| waiter.split != Some(split));
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
    }

    /// Hands `slot` to whoever is before `account`, which then waits; otherwise gives it back.
    pub(super) fn give_way(self: &Arc<Self>, slot: Slot, account: &Arc<Account>) -> Asked {
        let mut state = self.state.lock();
        let Some(at) = state.next() else {
            return Asked::Now(slot);
        };
        if !state.is_oldest_due() && state.waiting[at].account.slices() >= account.slices() {
            return Asked::Now(slot);
        }
        let next = state.take(at);
        let own = self.enqueue(&mut state, account, None);
        drop(state);
        // Who left in between drops the slot, which then goes to the next, us among them.
        drop(next.wake.send(slot));
        Asked::Later(own)
    }

    fn slot(self: &Arc<Self>) -> Slot {
        Slot {
            gate: Some(Arc::clone(self)),
        }
    }

    fn enqueue(
        &self,
        state: &mut State,
        account: &Arc<Account>,
        split: Option<u64>,
    ) -> oneshot::Receiver<Slot> {
        let (wake, woken) = oneshot::channel();
        state.arrivals += 1;
        state.waiting.push(Waiter {
            account: Arc::clone(account),
            arrival: state.arrivals,
            split,
            wake,
        });
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
        woken
    }

    fn hand_on(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let Some(at) = state.next() else {
                state.free += 1;
                return;
            };
            let next = state.take(at);
            self.waiting.store(state.waiting.len(), Ordering::Relaxed);
            drop(state);
            match next.wake.send(self.slot()) {
                Ok(()) => return,
                // Nobody is there: the next one, without a slot that hands itself on.
                Err(mut slot) => slot.gate = None,
            }
        }
    }
}

impl State {
    fn is_oldest_due(&self) -> bool {
        self.turns % OLDEST_EVERY == OLDEST_EVERY - 1
    }

    /// Whose turn is next.
    fn next(&self) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate();
        let next = match self.is_oldest_due() {
            true => waiting.min_by_key(|(_, waiter)| waiter.arrival),
            false => waiting.min_by_key(|(_, waiter)| (waiter.account.slices(), waiter.arrival)),
        };
        next.map(|(at, _)| at)
    }

    fn take(&mut self, at: usize) -> Waiter {
        self.turns += 1;
        self.waiting.swap_remove(at)
    }
}
