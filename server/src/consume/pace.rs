//! How many messages a second a partition may take.
//!
//! Invariant: over any time no more than the rate times that time, and what a tenth of a second
//! allows beyond it, are taken; a partition that waited long does not catch up in one burst.

use std::time::Duration;

/// Of the rate, in seconds: what may be taken at once.
const BURST_SECONDS: f64 = 0.1;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Messages a second; `None`: no limit.
    rate: Option<f64>,
    allowed: f64,
    at: Duration,
}

impl Pace {
    pub(super) fn set(&mut self, rate: Option<f64>, now: Duration) {
        if self.rate != rate {
            *self = Self {
                rate,
                allowed: 0.0,
                at: now,
            };
        }
    }

    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Messages that may be taken now, at most `wanted`; or how long to wait for the next.
    pub(super) fn allow(&mut self, wanted: usize, now: Duration) -> Result<usize, Duration> {
        let Some(rate) = self.rate else {
            return Ok(wanted);
        };
        let burst = (rate * BURST_SECONDS).max(1.0);
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.allowed = (self.allowed + passed * rate).min(burst);
        self.at = now;
        if self.allowed >= 1.0 {
            return Ok(wanted.min(self.allowed as usize));
        }
        // Not for each single message: a good part of a burst comes at once.
        let missing = (burst / 2.0).max(1.0) - self.allowed;
        Err(Duration::from_secs_f64((missing / rate).min(1.0)))
    }

    pub(super) fn took(&mut self, messages: usize) {
        if self.rate.is_some() {
            self.allowed -= messages as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_taken() {
        for rate in [0.5, 7.0, 1000.0, 250_000.0] {
            let (mut pace, mut now, mut taken) = (Pace::default(), Duration::ZERO, 0);
            pace.set(Some(rate), now);
            // Two minutes without anything to take.
            now += Duration::from_secs(120);
            let begun = now;
            while now < begun + Duration::from_secs(20) {
                match pace.allow(4096, now) {
                    Ok(count) => {
                        assert!(count > 0);
                        pace.took(count);
                        taken += count;
                    }
                    Err(wait) => now += wait,
                }
            }
            let seconds = (now - begun).as_secs_f64();
            let most = rate * (seconds + BURST_SECONDS) + 1.0;
            assert!(taken as f64 <= most, "{taken} at {rate}/s");
            assert!(
                taken as f64 >= rate * seconds * 0.8 - 2.0,
                "{taken} at {rate}/s"
            );
        }
    }

    #[test]
    fn without_a_rate_all_is_taken() {
        let mut pace = Pace::default();
        assert_eq!(pace.allow(4096, Duration::ZERO), Ok(4096));
        pace.took(4096);
        assert_eq!(pace.allow(4096, Duration::ZERO), Ok(4096));
    }
}
