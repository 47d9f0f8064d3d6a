//! What a broker knows of servers from their answers: how fast they are, how much they have to do,
//! whether they are silent.
//!
//! Invariants:
//! - what a server was asked is in flight until its answer is whole, failed, or is not waited for;
//! - a server is silent from the moment when its connection failed or a look after it was not
//!   answered, until it answers again: a [`lookout`] looks after it in the meantime;
//! - what is asked a second time only because it is slow is paid from a budget. What a silent
//!   server was asked is asked of another in any case.

mod amounts;
mod budget;
mod lookout;
mod quantile;
mod standing;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use runtime::Clock;
use schemas::InstanceId;
use tokio::sync::watch;

use amounts::Amounts;
use budget::Budget;
pub use lookout::look_after;
use quantile::Quantiles;
pub use standing::Standing;
pub(crate) use standing::{Stands, choose};

/// What happened to a request beyond being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What a server did not answer was asked of others.
    Retried,
    /// A slow server's share was asked of another one too.
    Hedged,
    /// The other one was first.
    HedgeWon,
    /// It would have been, but the budget was spent.
    HedgeUnaffordable,
    /// A server does not answer any more.
    Silent,
    /// It does again.
    Heard,
}

/// Who counts them.
pub trait Observer: fmt::Debug + Send + Sync {
    fn happened(&self, event: Event);
}

/// Nobody.
impl Observer for () {
    fn happened(&self, _: Event) {}
}

/// Shared by all queries of a broker.
#[derive(Debug)]
pub struct Servers {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    known: RwLock<HashMap<InstanceId, Arc<Server>>>,
    shapes: Mutex<Quantiles>,
    amounts: Mutex<Amounts>,
    budget: Budget,
}

/// For operators.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub server: InstanceId,
    pub latency: Duration,
    pub in_flight: usize,
    pub silent: bool,
}

#[derive(Debug)]
struct Server {
    in_flight: AtomicUsize,
    /// Microseconds; 0: it has not answered yet.
    latency_us: AtomicU64,
    /// When it was last heard, and when the oldest request began that is in flight, on the
    /// monotonic clock in milliseconds.
    heard_ms: AtomicI64,
    busy_since_ms: AtomicI64,
    silent: watch::Sender<bool>,
}

/// Of the newest answer; the rest is what was known before.
const NEWEST_SHARE: f64 = 0.2;

impl Server {
    fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            latency_us: AtomicU64::new(0),
            heard_ms: AtomicI64::new(0),
            busy_since_ms: AtomicI64::new(0),
            silent: watch::Sender::new(false),
        }
    }

    fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    fn took(&self, elapsed: Duration) {
        let elapsed_us = elapsed.as_micros() as f64;
        let mixed = |before: u64| {
            let mixed = match before {
                0 => elapsed_us,
                before => before as f64 * (1.0 - NEWEST_SHARE) + elapsed_us * NEWEST_SHARE,
            };
            Some((mixed as u64).max(1))
        };
        let _always = self
            .latency_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, mixed);
    }

    /// It was not waited for any longer: it is at least so slow.
    fn took_more_than(&self, elapsed: Duration) {
        if elapsed.as_micros() as u64 > self.latency_us.load(Ordering::Relaxed) {
            self.took(elapsed);
        }
    }
}

/// A request that is in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    server: Arc<Server>,
    begun: Duration,
    ended: bool,
}

impl InFlight {
    /// The server said something.
    pub(crate) fn heard(&self) {
        let now_ms = self.clock.monotonic().as_millis() as i64;
        self.server.heard_ms.store(now_ms, Ordering::Relaxed);
        if self.server.silent.send_replace(false) {
            self.observer.happened(Event::Heard);
        }
    }

    /// Its answer is whole; it took so long.
    pub(crate) fn answered(mut self) -> Duration {
        self.ended = true;
        let elapsed = self.clock.monotonic().saturating_sub(self.begun);
        self.server.took(elapsed);
        elapsed
    }

    /// It said that it cannot answer, which tells nothing about its speed.
    pub(crate) fn refused(mut self) {
        self.ended = true;
    }

    /// The way to it is broken.
    pub(crate) fn broke(mut self) {
        self.ended = true;
        if !self.server.silent.send_replace(true) {
            self.observer.happened(Event::Silent);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let elapsed = self.clock.monotonic().saturating_sub(self.begun);
        if !self.ended {
            self.server.took_more_than(elapsed);
        }
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request is sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It takes longer than nearly all of its kind.
    Slow,
    Silent,
}

/// What is not known well is not asked twice before this.
const UNKNOWN_PATIENCE: Duration = Duration::from_millis(500);
/// Nor is anything: a second request costs more than so long a wait.
const PATIENCE_MIN: Duration = Duration::from_millis(5);

impl Servers {
    /// Of a hundred requests so many may be sent a second time for being slow.
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn Observer>, hedge_percent: u64) -> Self {
        Self {
            clock,
            observer,
            known: RwLock::default(),
            shapes: Mutex::default(),
            amounts: Mutex::default(),
            budget: Budget::new(hedge_percent.min(100)),
        }
    }

    fn of(&self, id: &InstanceId) -> Arc<Server> {
        if let Some(known) = self.known.read().get(id) {
            return Arc::clone(known);
        }
        let mut known = self.known.write();
        let server = known
            .entry(id.clone())
            .or_insert_with(|| Arc::new(Server::new()));
        Arc::clone(server)
    }

    pub(crate) fn happened(&self, event: Event) {
        self.observer.happened(event);
    }

    pub(crate) fn asked(&self, id: &InstanceId) -> InFlight {
        let server = self.of(id);
        let begun = self.clock.monotonic();
        if server.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            let now_ms = begun.as_millis() as i64;
            server.busy_since_ms.store(now_ms, Ordering::Relaxed);
        }
        InFlight {
            clock: Arc::clone(&self.clock),
            observer: Arc::clone(&self.observer),
            server,
            begun,
            ended: false,
        }
    }

    /// A first request for its share: it pays into the budget.
    pub(crate) fn earn(&self) {
        self.budget.earn();
    }

    pub(crate) fn can_hedge(&self) -> bool {
        let can = self.budget.spend();
        self.happened(match can {
            true => Event::Hedged,
            false => Event::HedgeUnaffordable,
        });
        can
    }

    /// A fragment of this shape was answered after so long.
    pub(crate) fn learn(&self, shape: u64, elapsed: Duration) {
        self.shapes.lock().observe(shape, elapsed);
    }

    /// A fragment of this shape brought this part of the rows that were expected to be read.
    pub(crate) fn brought(&self, shape: u64, share: f64) {
        self.amounts.lock().observe(shape, share);
    }

    /// What it brought when it was run last.
    pub(crate) fn brings(&self, shape: u64) -> Option<f64> {
        self.amounts.lock().share(shape)
    }

    /// Returns when an answer to a fragment of this shape is late.
    pub(crate) async fn late(&self, shape: u64, id: &InstanceId) -> Late {
        let usual = self.shapes.lock().p95(shape);
        let patience = usual.map_or(UNKNOWN_PATIENCE, |p95| p95.max(PATIENCE_MIN));
        tokio::select! {
            () = self.silent(id) => Late::Silent,
            () = self.clock.sleep(patience) => Late::Slow,
        }
    }

    /// Returns when the server is silent.
    pub(crate) async fn silent(&self, id: &InstanceId) {
        let mut silent = self.of(id).silent.subscribe();
        if silent.wait_for(|silent| *silent).await.is_err() {
            // The sender lives as long as the server is known.
            std::future::pending::<()>().await;
        }
    }

    /// How the servers stand now, for the query with this turn; and whose turn it is then.
    pub fn standing(&self, turn: usize) -> (usize, Standing) {
        let known = self.known.read();
        let standing = Standing::of(known.iter().map(|(id, server)| {
            let latency_us = server.latency_us.load(Ordering::Relaxed);
            let in_flight = server.in_flight.load(Ordering::Relaxed);
            (id.clone(), latency_us, in_flight, server.is_silent())
        }));
        standing.for_turn(turn)
    }

    pub fn estimates(&self) -> Vec<Estimate> {
        let known = self.known.read();
        let estimates = known.iter().map(|(id, server)| Estimate {
            server: id.clone(),
            latency: Duration::from_micros(server.latency_us.load(Ordering::Relaxed)),
            in_flight: server.in_flight.load(Ordering::Relaxed),
            silent: server.is_silent(),
        });
        estimates.collect()
    }
}

#[cfg(test)]
mod tests;
