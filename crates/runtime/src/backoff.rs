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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_with_jitter() {
        let limit = Duration::from_millis(300);
        let mut backoff = Backoff::up_to(limit);
        for step_ms in [50, 100, 200, 300, 300] {
            let step = Duration::from_millis(step_ms);
            let delay = backoff.next_delay();
            assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
        let short = Duration::from_millis(3);
        assert!(Backoff::up_to(short).next_delay() <= short);
    }
}
