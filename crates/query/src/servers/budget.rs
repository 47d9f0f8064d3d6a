//! How much may be asked twice.
//!
//! Invariant: of all requests at most the given share is sent a second time, and [`BURST`] more.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many may follow one another without requests in between.
const BURST: u64 = 10;
/// One request.
const WHOLE: u64 = 100;

#[derive(Debug)]
pub(super) struct Budget {
    percent: u64,
    /// In hundredths of a request.
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(percent: u64) -> Self {
        let left = if percent == 0 { 0 } else { BURST * WHOLE };
        Self {
            percent,
            left: AtomicU64::new(left),
        }
    }

    pub(super) fn earn(&self) {
        let more = |left: u64| Some((left + self.percent).min(BURST * WHOLE));
        if self.percent > 0 {
            let _always = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    pub(super) fn spend(&self) -> bool {
        let less = |left: u64| left.checked_sub(WHOLE);
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        spent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_requests_and_a_burst() {
        let budget = Budget::new(5);
        let burst = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(burst, BURST as usize);
        let mut twice = 0;
        for _ in 0..1000 {
            budget.earn();
            twice += usize::from(budget.spend());
        }
        assert_eq!(twice, 50);
        let none = Budget::new(0);
        none.earn();
        assert!(!none.spend());
    }
}
