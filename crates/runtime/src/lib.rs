//! What every role runs on: clock, named tasks, compute pool, memory budget, durable files,
//! back-off.
//!
//! Time, tasks and file writes are injected from here and nowhere else, so that tests can hold the
//! clock, lose what was not synced, and know which task is late.

pub mod aside;
pub mod backoff;
pub mod budget;
pub mod clock;
pub mod compute;
pub mod failpoint;
pub mod files;
mod reach;
pub mod settings;
pub mod tasks;

pub use backoff::Backoff;
pub use budget::{MemoryBudget, MemoryPermit};
pub use clock::{Clock, ManualClock, SystemClock};
pub use compute::ComputePool;
pub use files::{AppendFile, Files, OsFiles};
pub use reach::{Denied, Reach};
pub use tasks::TaskGroup;
pub use tokio_util::sync::CancellationToken;
