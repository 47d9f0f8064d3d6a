//! Under memory pressure: states of groups go out as they are, and a final aggregate above joins
//! them, which can spill.
//!
//! A worker that is refused memory gives out what it has and goes on with nothing. A group may come
//! several times then, which a final aggregate expects of states anyway. An operator that answers
//! with values is run again as one that gives out states.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use runtime::compute::Turn;
use tokio::sync::mpsc;

use super::exec::NativeAggregateExec;
use super::merge::merge;
use super::plan::recognise;
use super::worker::Part;

/// Batches that wait for whoever joins them.
const QUEUE: usize = 2;
const BATCH_ROWS: usize = 1024;
/// One of so many parts of the memory is for states that wait to be joined.
const SHARE: usize = 4;

/// Where workers give out states.
#[derive(Debug)]
pub(super) struct Chunks {
    queue: mpsc::Sender<RecordBatch>,
    is_used: AtomicBool,
    /// More than this no worker holds.
    bytes_max: usize,
}

impl Chunks {
    pub(super) fn new(bytes_max: usize) -> (Self, mpsc::Receiver<RecordBatch>) {
        let (queue, batches) = mpsc::channel(QUEUE);
        let chunks = Self {
            queue,
            is_used: AtomicBool::new(false),
            bytes_max,
        };
        (chunks, batches)
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Memory was short at least once.
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Gives out the states of the parts, joined. Where nobody reads any more there is nothing left
    /// to do, which the end of the query tells.
    pub(super) fn put(
        &self,
        turn: &mut Turn,
        operator: &NativeAggregateExec,
        parts: Vec<Part>,
    ) -> Result<()> {
        self.is_used.store(true, Ordering::Relaxed);
        if parts.is_empty() {
            return Ok(());
        }
        let grouped = merge(operator, turn, 1, parts)?;
        for piece in 0..grouped.pieces() {
            self.send(turn, &grouped.rows(piece, None)?)?;
        }
        Ok(())
    }

    pub(super) fn send(&self, turn: &mut Turn, rows: &RecordBatch) -> Result<()> {
        let count = rows.num_rows();
        for from in (0..count).step_by(BATCH_ROWS) {
            let batch = rows.slice(from, BATCH_ROWS.min(count - from));
            if turn.aside(|| self.queue.blocking_send(batch)).is_err() {
                return Err(left());
            }
        }
        Ok(())
    }
}

fn left() -> DataFusionError {
    DataFusionError::Execution("nobody reads the states any more".to_owned())
}

/// What each of so many workers may hold, so that who joins their states has most of the memory.
pub(super) fn share(pool: &dyn MemoryPool, workers: usize) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => bytes / SHARE / workers.max(1),
        _ => usize::MAX,
    }
}

/// Whether it was memory that was not enough.
pub(crate) fn is_short(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

impl NativeAggregateExec {
    /// The same as a final aggregate over states, which needs no more memory than there is; `None`:
    /// it is that already, or its aggregates have no states.
    pub(crate) fn in_chunks(&self) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(whole) = &self.whole else {
            return Ok(None);
        };
        let (keys, functions) = (whole.group_expr(), whole.aggr_expr());
        let partial = AggregateExec::try_new(
            AggregateMode::Partial,
            keys.clone(),
            functions.to_vec(),
            whole.filter_expr().to_vec(),
            Arc::clone(whole.input()),
            whole.input_schema(),
        )?;
        let Some(states) = recognise(&partial)? else {
            return Ok(None);
        };
        let joined = AggregateExec::try_new(
            AggregateMode::Final,
            keys.as_final(),
            functions.to_vec(),
            vec![None; functions.len()],
            Arc::new(states.joined_above(self)),
            whole.input_schema(),
        )?;
        let is_same = joined.schema() == self.schema();
        Ok(is_same.then(|| Arc::new(joined) as _))
    }
}
