//! A clock for tests in which days pass at once.
//!
//! [`JumpingClock::jump`] sets the wall time only: back-offs and liveness go on as they do.
//! [`JumpingClock::pass`] is as if everybody had slept for so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use runtime::{Clock, SystemClock};

#[derive(Debug)]
pub struct JumpingClock {
    real: Arc<dyn Clock>,
    /// Of the wall time, and of the monotonic time.
    ahead_ms: AtomicI64,
    passed_ms: AtomicI64,
}

impl JumpingClock {
    pub fn shared() -> Arc<Self> {
        Arc::new(Self {
            real: SystemClock::shared(),
            ahead_ms: AtomicI64::new(0),
            passed_ms: AtomicI64::new(0),
        })
    }

    pub fn jump(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub fn back(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        self.ahead_ms.fetch_sub(by_ms, Ordering::Relaxed);
    }

    pub fn pass(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        self.passed_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.jump(by);
    }
}

#[async_trait]
impl Clock for JumpingClock {
    fn now_ms(&self) -> i64 {
        self.real.now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        let passed_ms = self.passed_ms.load(Ordering::Relaxed);
        self.real.monotonic() + Duration::from_millis(passed_ms.unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        self.real.sleep(duration).await;
    }
}
