//! DataFusion's memory pool on our tree of budgets, one for each fragment.
//!
//! What the pool holds is held in the fragment's budget and in all budgets above it; it is given
//! back when the fragment ends, whatever operators forgot.

use std::fmt;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;
use runtime::{MemoryBudget, MemoryPermit};

#[derive(Debug)]
pub(crate) struct BudgetPool {
    budget: MemoryBudget,
    permit: Mutex<MemoryPermit>,
}

impl BudgetPool {
    pub(crate) fn new(budget: MemoryBudget) -> Result<Self> {
        let permit = budget.try_reserve(0).map_err(exhausted)?;
        Ok(Self {
            budget,
            permit: Mutex::new(permit),
        })
    }

    pub(crate) fn take(&self, bytes: u64) -> Result<()> {
        self.permit.lock().try_grow(bytes).map_err(exhausted)
    }
}

fn exhausted(error: runtime::budget::OverBudget) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!(
        "{error}; ask for fewer rows, groups or columns, or raise `memory.query_bytes`"
    ))
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "budget of {} bytes", self.budget.limit_bytes())
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "budget"
    }

    /// For operators that cannot wait or fail; the next one that can will be refused.
    fn grow(&self, _: &MemoryReservation, additional: usize) {
        if let Err(error) = self.take(additional as u64) {
            tracing::debug!(cause = %error, "an operator took memory beyond the budget");
        }
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.permit.lock().shrink(shrink as u64);
    }

    fn try_grow(&self, _: &MemoryReservation, additional: usize) -> Result<()> {
        self.take(additional as u64)
    }

    fn reserved(&self) -> usize {
        self.permit.lock().bytes() as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.budget.limit_bytes() as usize)
    }
}

/// Bytes of the rows themselves: dictionaries that views share are not counted for every batch.
pub(crate) fn bytes_of(batch: &RecordBatch) -> u64 {
    let column = |array: &dyn Array| -> usize {
        match array.data_type() {
            DataType::Utf8View => {
                array.len() * 16 + array.as_string_view().total_buffer_bytes_used()
            }
            DataType::BinaryView => {
                array.len() * 16 + array.as_binary_view().total_buffer_bytes_used()
            }
            _ => array.get_array_memory_size(),
        }
    };
    batch
        .columns()
        .iter()
        .map(|array| column(array.as_ref()) as u64)
        .sum()
}
