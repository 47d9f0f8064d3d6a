//! What all operators of a fragment share, and how they come to a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use runtime::CancellationToken;
use runtime::compute::{Turn, Turns};
use schemas::proto::{ScanOptions, ScanStats};
use segment::BLOCK_ROWS;

use crate::columns::external;
use crate::stats::Counters;
use crate::suspects::Suspects;

/// Rows below which a second worker costs more than it brings.
const ROWS_PER_WORKER: u64 = 200_000;
/// A tenth of these rows are read sooner than another thread would begin.
const HERE: u64 = 10;
/// A quarter of a million rows: some tenths of a millisecond of work.
const MORSEL_BLOCKS: u32 = 64;

/// Rows below which one table of all groups is as good as partitions.
pub(crate) const PARTITIONED_ROWS_MIN: u64 = 250_000;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) turns: Turns,
    pub(crate) counters: Counters,
    pub(crate) options: ScanOptions,
    pub(crate) many_groups: Arc<ManyGroups>,
    pub(crate) suspects: Suspects,
}

/// From when on groups are partitioned, and how often they were.
#[derive(Debug)]
pub(crate) struct ManyGroups {
    /// 0: always where they can be.
    pub(crate) rows_min: u64,
    partitioned: AtomicU64,
}

impl ManyGroups {
    pub(crate) fn new(rows_min: u64) -> Self {
        Self {
            rows_min,
            partitioned: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self) {
        self.partitioned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn partitioned(&self) -> u64 {
        self.partitioned.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Threads that the query may keep busy here.
    pub(crate) fn threads(&self) -> usize {
        match self.options.threads_max {
            0 => self.turns.threads(),
            threads => self.turns.threads().min(threads as usize),
        }
    }

    /// How many workers share the work of so many rows, for [`Turn::split`].
    pub(crate) fn workers(&self, rows: u64) -> usize {
        let worth = (rows / self.rows_per_worker() + 1) as usize;
        worth.min(self.threads())
    }

    pub(crate) fn rows_per_worker(&self) -> u64 {
        match self.options.thread_rows {
            0 => ROWS_PER_WORKER,
            rows => u64::from(rows),
        }
    }

    /// No more rows than these are read on the caller's thread.
    pub(crate) fn rows_here_max(&self) -> u64 {
        self.rows_per_worker() / HERE
    }

    /// Blocks that a worker takes at once.
    pub(crate) fn morsel_blocks(&self) -> u32 {
        match self.options.thread_rows {
            0 => MORSEL_BLOCKS,
            rows => (rows / BLOCK_ROWS).clamp(1, MORSEL_BLOCKS),
        }
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        self.turns.cancel()
    }

    /// What was done so far, all jobs of the query together.
    pub(crate) fn stats(&self) -> ScanStats {
        let mut stats = self.counters.snapshot();
        stats.cpu_ns = self.turns.used().as_nanos() as u64;
        stats.threads = self.turns.workers() as u32;
        stats
    }

    /// Runs a job that reads about so many rows. It calls [`checked`] once a block.
    pub(crate) async fn run<T, F>(&self, rows: u64, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Turn) -> Result<T> + Send + 'static,
    {
        if rows <= self.rows_here_max() {
            return job(&mut self.turns.here());
        }
        self.turns.run(job).await.map_err(external)?
    }
}

/// The results of `work` for `0..count`, in that order, from several threads.
pub(crate) fn in_turns<T: Send>(
    turn: &mut Turn,
    workers: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if count == 1 {
        return Ok(vec![work(0)?]);
    }
    let next = AtomicUsize::new(0);
    let done = turn.split(workers, |turn| {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok::<_, DataFusionError>(done);
            }
            checked(turn)?;
            done.push((at, work(at)?));
        }
    });
    let mut all = Vec::with_capacity(count);
    for done in done {
        all.extend(done?);
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// Ends a cancelled query, and holds the others while it is somebody else's turn.
#[inline]
pub(crate) fn checked(turn: &mut Turn) -> Result<()> {
    turn.check().map_err(|_| cancelled())
}

fn cancelled() -> DataFusionError {
    external(schemas::Fault::cancelled("the query was cancelled"))
}
