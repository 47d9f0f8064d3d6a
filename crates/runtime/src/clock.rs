//! Time, injected. Wall time is UTC in epoch milliseconds; durations never come from it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// Epoch milliseconds, UTC. May jump when the machine's clock is set.
    fn now_ms(&self) -> i64;
    /// Time since an arbitrary moment; never goes back.
    fn monotonic(&self) -> Duration;
    async fn sleep(&self, duration: Duration);
}

#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self {
            started: Instant::now(),
        })
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_ms(&self) -> i64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |elapsed| elapsed.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Stands still until told. `sleep` returns when the clock has been advanced far enough.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Duration>,
    moved: tokio::sync::Notify,
}

impl ManualClock {
    pub fn at_ms(now_ms: i64) -> Arc<Self> {
        let now = Duration::from_millis(now_ms.max(0) as u64);
        Arc::new(Self {
            now: Mutex::new(now),
            moved: tokio::sync::Notify::new(),
        })
    }

    pub fn advance(&self, by: Duration) {
        *self.now.lock() += by;
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now.lock().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        *self.now.lock()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.monotonic() + duration;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.monotonic() >= until {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn sleepers_wake_when_the_clock_was_moved_far_enough() {
        let clock = ManualClock::at_ms(1000);
        let mut sleeper = clock.sleep(Duration::from_secs(10)).boxed();
        assert!((&mut sleeper).now_or_never().is_none());
        clock.advance(Duration::from_secs(9));
        assert!((&mut sleeper).now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        assert!((&mut sleeper).now_or_never().is_some());
        assert_eq!(clock.now_ms(), 12_000 - 1000);
        assert!(clock.sleep(Duration::ZERO).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_system_clock_goes_on() {
        let clock = SystemClock::shared();
        let (wall, before) = (clock.now_ms(), clock.monotonic());
        clock.sleep(Duration::from_millis(5)).await;
        assert!(clock.monotonic() >= before + Duration::from_millis(5));
        assert!(wall > 1_700_000_000_000 && clock.now_ms() >= wall);
    }
}
