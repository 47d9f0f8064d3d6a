//! How many queries run at once, how many wait for a place, and how long.
//!
//! Invariants: at most `running_max` queries run; at most `waiting_max` wait, none longer than
//! `wait_max`. What is beyond is refused at once and costs next to nothing, so that queries that
//! were taken keep their latency however many are sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};
use tokio::sync::{Semaphore, SemaphorePermit};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub running_max: usize,
    pub waiting_max: usize,
    pub wait_max: Duration,
}

#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    places: Semaphore,
    waiting: AtomicUsize,
    waiting_now: IntGauge,
    rejected: IntCounter,
}

/// One of those that wait, until it is dropped: also when its client goes away.
struct Waiting<'a>(&'a Admission);

impl<'a> Waiting<'a> {
    /// `None`: there are enough.
    fn begin(admission: &'a Admission) -> Option<Self> {
        let before = admission.waiting.fetch_add(1, Ordering::Relaxed);
        admission.waiting_now.inc();
        let waiting = Self(admission);
        (before < admission.limits.waiting_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.waiting_now.dec();
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits, waiting_now: IntGauge, rejected: IntCounter) -> Self {
        Self {
            limits,
            places: Semaphore::new(limits.running_max.max(1)),
            waiting: AtomicUsize::new(0),
            waiting_now,
            rejected,
        }
    }

    /// A place for one query.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, Fault> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let Limits {
            running_max,
            waiting_max,
            wait_max,
        } = self.limits;
        let Some(_waiting) = Waiting::begin(self) else {
            return Err(self.refusal(format!(
                "{running_max} queries run and {waiting_max} wait (broker.queries_waiting_max)"
            )));
        };
        match tokio::time::timeout(wait_max, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(self.refusal(format!(
                "{running_max} queries run (broker.queries_running_max) and none ended within {} \
                 ms \
                 (broker.queries_wait_max_ms)",
                wait_max.as_millis()
            ))),
        }
    }

    fn refusal(&self, why: String) -> Fault {
        self.rejected.inc();
        let message = format!("the broker has too much to do: {why}; send it again later");
        Fault::new(
            FaultKind::Overloaded,
            pinot_code::TOO_MANY_REQUESTS,
            message,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(running_max: usize, waiting_max: usize, wait_ms: u64) -> Admission {
        let limits = Limits {
            running_max,
            waiting_max,
            wait_max: Duration::from_millis(wait_ms),
        };
        let gauge = IntGauge::new("waiting", "waiting").unwrap();
        Admission::new(
            limits,
            gauge,
            IntCounter::new("rejected", "rejected").unwrap(),
        )
    }

    #[tokio::test]
    async fn what_is_beyond_the_limits_is_refused() {
        let admission = admission(1, 1, 50);
        let first = admission.enter().await.unwrap();
        let (waited, refused) = tokio::join!(admission.enter(), admission.enter());
        let fault = waited.unwrap_err();
        assert!(fault.message.contains("within 50 ms"), "{fault}");
        let fault = refused.unwrap_err();
        assert_eq!((fault.code, fault.kind), (429, FaultKind::Overloaded));
        assert!(
            fault.message.contains("broker.queries_waiting_max"),
            "{fault}"
        );
        assert_eq!(admission.rejected.get(), 2);
        let (next, ()) = tokio::join!(admission.enter(), async { drop(first) });
        drop(next.unwrap());
        assert_eq!(
            (admission.waiting_now.get(), admission.rejected.get()),
            (0, 2)
        );
    }
}
