//! A clock for tests in which days pass at once.
//!
//! Only the wall time jumps: leases of connections, back-offs and liveness go on as they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use runtime::{Clock, SystemClock};

#[derive(Debug)]
pub struct JumpingClock {
    real: Arc<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl JumpingClock {
    pub fn shared() -> Arc<Self> {
        Arc::new(Self {
            real: SystemClock::shared(),
            ahead_ms: AtomicI64::new(0),
        })
    }

    pub fn jump(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for JumpingClock {
    fn now_ms(&self) -> i64 {
        self.real.now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.real.sleep(duration).await;
    }
}
