//! Memory of queries that have a limit together, within that of all queries.
//!
//! Invariant: what is taken of the one is taken of the other, or of neither.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;

use crate::fault::from_fault;
use crate::gate::Memory;

/// The same but for its memory. Plans that run look up no functions.
pub(crate) fn memory_of(task: &Arc<TaskContext>, memory: &Arc<dyn Memory>) -> Arc<TaskContext> {
    let runtime = task.runtime_env();
    let pool = Within {
        all: Arc::clone(&runtime.memory_pool),
        own: Arc::clone(memory),
    };
    let limited = RuntimeEnvBuilder::from_runtime_env(&runtime).with_memory_pool(Arc::new(pool));
    match limited.build_arc() {
        Ok(limited) => {
            let config = task.session_config().clone();
            let task = TaskContext::default().with_session_config(config);
            Arc::new(task.with_runtime(limited))
        }
        Err(error) => {
            tracing::error!(%error, "a query runs without the limit of its table");
            Arc::clone(task)
        }
    }
}

#[derive(Debug)]
struct Within {
    all: Arc<dyn MemoryPool>,
    own: Arc<dyn Memory>,
}

impl std::fmt::Display for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("within a limit of its tables")
    }
}

impl MemoryPool for Within {
    fn name(&self) -> &str {
        "within"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        // What cannot be refused counts where it can be told.
        self.own.grow(additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        self.own.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let taken = self.own.take(additional).map_err(from_fault);
        taken?;
        self.all
            .try_grow(reservation, additional)
            .inspect_err(|_: &DataFusionError| self.own.give_back(additional))
    }

    fn reserved(&self) -> usize {
        self.all.reserved()
    }
}
