//! One query's way to the cores.
//!
//! A job runs on a thread that may block; it calls [`Turn::check`] once a block of rows, which
//! costs nanoseconds, and is held there while it is somebody else's turn. State of the job stays
//! where it is, on its stack.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::gate::{Account, Asked, Gate, SLICE, Slot};
use super::{JobPanicked, TooManyQueries};
use crate::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("the query was cancelled")]
pub struct Cancelled;

/// The turns of one query. Clones belong to the same query.
#[derive(Clone, Debug)]
pub struct Turns {
    account: Arc<Account>,
    cancel: CancellationToken,
    threads: usize,
}

/// What a running job holds.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    /// `None`: the job runs on the caller's thread and gives way to nobody.
    slot: Option<Slot>,
    since: Instant,
}

impl Turns {
    pub(super) fn new(
        gate: Arc<Gate>,
        threads: usize,
        cancel: CancellationToken,
    ) -> Result<Self, TooManyQueries> {
        Ok(Self {
            account: Account::open(gate)?,
            cancel,
            threads,
        })
    }

    pub(super) fn of_nobody(gate: Arc<Gate>, threads: usize) -> Self {
        Self {
            account: Account::of_nobody(gate),
            cancel: CancellationToken::new(),
            threads,
        }
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// How long the query's jobs kept cores busy, as far as they have given way or ended.
    pub fn used(&self) -> Duration {
        self.account.used()
    }

    /// The most threads that shared a piece of work so far.
    pub fn workers(&self) -> usize {
        self.account.workers()
    }

    /// Runs a job when it is the query's turn. The job calls [`Turn::check`] once a block.
    #[expect(clippy::disallowed_methods, reason = "this is the pool")]
    pub async fn run<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce(&mut Turn) -> T + Send + 'static,
    {
        let slot = match self.account.gate().ask(&self.account, None) {
            Asked::Now(slot) => slot,
            Asked::Later(woken) => woken
                .await
                .map_err(|_| JobPanicked("its turn never came".to_owned()))?,
        };
        let turns = self.clone();
        let handle = tokio::task::spawn_blocking(move || job(&mut turns.turn(Some(slot))));
        handle.await.map_err(|error| JobPanicked(error.to_string()))
    }

    /// For work of less than about 100 microseconds, done on the caller's thread at once: to wait
    /// for a turn and to wake a thread would take longer.
    pub fn here(&self) -> Turn {
        self.clone().turn(None)
    }

    fn turn(self, slot: Option<Slot>) -> Turn {
        Turn {
            turns: self,
            slot,
            since: Instant::now(),
        }
    }
}

impl Turn {
    /// To be called once a block of rows: ends a cancelled query, and gives way to others whose
    /// turn it is.
    #[inline]
    pub fn check(&mut self) -> Result<(), Cancelled> {
        if self.turns.cancel.is_cancelled() {
            return Err(Cancelled);
        }
        if self.turns.account.gate().anybody_waits() {
            self.give_way();
        }
        Ok(())
    }

    fn give_way(&mut self) {
        if self.slot.is_none() || self.since.elapsed() < SLICE {
            return;
        }
        self.book();
        let Some(slot) = self.slot.take() else {
            return;
        };
        let account = &self.turns.account;
        let asked = account.gate().give_way(slot, account);
        self.wait(asked);
    }

    fn wait(&mut self, asked: Asked) {
        self.slot = match asked {
            Asked::Now(slot) => Some(slot),
            // Only helpers that have not begun are turned away.
            Asked::Later(woken) => woken.blocking_recv().ok(),
        };
        self.since = Instant::now();
    }

    fn book(&mut self) {
        self.turns.account.add(self.since.elapsed());
        self.since = Instant::now();
    }

    /// Does what may block, such as waiting for room in a queue, while others have the core.
    pub fn aside<T>(&mut self, blocking: impl FnOnce() -> T) -> T {
        if self.slot.is_none() {
            return blocking();
        }
        self.book();
        self.slot = None;
        let result = blocking();
        let account = &self.turns.account;
        let asked = account.gate().ask(account, None);
        self.wait(asked);
        result
    }

    /// Runs `work` on up to `workers` threads, this one among them, which take from one supply
    /// until it is empty. A helper begins when a core is free for it, and not at all once this
    /// thread has found the supply empty; so there is a result for each worker that ran.
    ///
    /// What `work` borrows is shared by all workers. Worth it from about a millisecond of work.
    pub fn split<T, F>(&mut self, workers: usize, work: F) -> Vec<T>
    where
        T: Send,
        F: Fn(&mut Self) -> T + Sync,
    {
        let helpers = workers.min(self.turns.threads).saturating_sub(1);
        if helpers == 0 || self.slot.is_none() {
            return vec![work(self)];
        }
        let turns = self.turns.clone();
        let gate = turns.account.gate();
        let split = gate.split();
        let (turns, work) = (&turns, &work);
        thread::scope(|scope| {
            let mut running = Vec::with_capacity(helpers);
            for _ in 0..helpers {
                let asked = gate.ask(&turns.account, Some(split));
                let help = move || {
                    let mut turn = turns.clone().turn(None);
                    turn.wait(asked);
                    turn.slot.is_some().then(|| work(&mut turn))
                };
                let builder = thread::Builder::new().name("compute".to_owned());
                // Without a thread for it there is no helper.
                running.extend(builder.spawn_scoped(scope, help));
            }
            let own = catch_unwind(AssertUnwindSafe(|| work(self)));
            gate.withdraw(split);
            // Helpers may wait for a slot to go on, this one if there is no other.
            self.aside(|| {
                let mut results = vec![own.unwrap_or_else(|panic| resume_unwind(panic))];
                for helper in running {
                    let result = helper.join();
                    results.extend(result.unwrap_or_else(|panic| resume_unwind(panic)));
                }
                turns.account.shared_by(results.len());
                results
            })
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.book();
    }
}
