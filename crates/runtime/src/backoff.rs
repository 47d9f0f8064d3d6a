//! Exponential back-off with jitter, for faults that may pass.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub fn up_to(limit: Duration) -> Self {
        Self {
            next: FIRST.min(limit),
            limit,
        }
    }

    pub fn reset(&mut self) {
        self.next = FIRST.min(self.limit);
    }

    /// Doubles each time up to the limit; the result lies between half and all of the step.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.limit);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }
}
