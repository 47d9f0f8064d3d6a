//! The operator of an aggregate over joins with small tables: it reads these, then asks the native
//! operator, which looks rows up.
//!
//! Where a small table is not small, or a key that must be there once is not, the plan that joins
//! is run in its place; nothing but reading small tables was done twice then.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use futures::{StreamExt, TryStreamExt, stream};
use schemas::proto::Explain;

use super::chunks::is_short;
use super::exec::NativeAggregateExec;
use super::looked_up::Small;
use super::lookup::{Known, LookupExpr};
use crate::memory::bytes_of;

type Plan = Arc<dyn ExecutionPlan>;

/// More rows than these are not small.
const SMALL_ROWS_MAX: usize = 1 << 20;
/// Nor are more than one for so many of the scan.
const ROWS_PER_KEY: u64 = 4;

#[derive(Clone, Debug)]
pub(crate) struct LookupAggregateExec {
    native: NativeAggregateExec,
    small: Vec<Small>,
    /// The plans of the small sides, then the one that joins.
    children: Vec<Plan>,
    /// The one that joins has a native operator too.
    is_native_anyway: bool,
    /// That it joins is counted.
    has_told: Arc<AtomicBool>,
}

impl LookupAggregateExec {
    pub(super) fn new(
        native: NativeAggregateExec,
        small: Vec<Small>,
        joins: Plan,
        is_native_anyway: bool,
    ) -> Self {
        let plans = small.iter().map(|own| Arc::clone(&own.plan));
        Self {
            children: plans.chain([joins]).collect(),
            native,
            small,
            is_native_anyway,
            has_told: Arc::default(),
        }
    }

    async fn stream(self: Arc<Self>, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new("small sides of joins");
        let memory = consumer.register(task.memory_pool());
        for (small, plan) in self.small.iter().zip(&self.children) {
            let is_unique = match small.things.is_unique() {
                Some(is_unique) => Some(is_unique),
                None => {
                    let held = memory.new_empty();
                    let rows = execute_stream(Arc::clone(plan), Arc::clone(&task))?;
                    match self.read(rows, &held).await? {
                        Some(rows) => Some(small.things.fill(&rows, &small.keys, held)?),
                        None => None,
                    }
                }
            };
            if !is_unique.is_some_and(|is_unique| is_unique || !small.must_be_unique) {
                return self.joined(task);
            }
        }
        self.with_what_is_known()?.execute(0, task)
    }

    /// All rows of a small side; `None`: it is not small.
    async fn read(
        &self,
        mut batches: SendableRecordBatchStream,
        memory: &MemoryReservation,
    ) -> Result<Option<RecordBatch>> {
        let most = (self.native.rows() / ROWS_PER_KEY).max(1);
        let most = SMALL_ROWS_MAX.min(usize::try_from(most).unwrap_or(usize::MAX));
        let (mut read, mut count) = (Vec::new(), 0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            count += batch.num_rows();
            // Its rows, and its keys.
            match memory.try_grow(2 * bytes_of(&batch) as usize) {
                Err(error) if !is_short(&error) => return Err(error),
                Err(_) => return Ok(None),
                Ok(()) if count > most => return Ok(None),
                Ok(()) => read.push(batch),
            }
        }
        Ok(Some(concat_batches(&batches.schema(), &read)?))
    }

    fn joined(&self, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(joins) = self.children.last() else {
            return internal_err!("a lookup without a plan beside it");
        };
        // The small side of another one is asked again where that one joins, too.
        if !self.is_native_anyway && !self.has_told.swap(true, Ordering::Relaxed) {
            self.native.shared().counters.update(|stats| {
                stats.native_operators -= 1;
                stats.fallback_operators += 1;
            });
        }
        execute_stream(Arc::clone(joins), task)
    }

    /// The native operator with what is known of its conditions by now.
    fn with_what_is_known(&self) -> Result<NativeAggregateExec> {
        // EXPLAIN reads no small table.
        if self.native.shared().options.explain() == Explain::Plan {
            return Ok(self.native.clone());
        }
        let mut description = self.native.description.as_ref().clone();
        let mut bounds = Vec::new();
        for filter in &mut description.filters {
            let Some(lookup) = filter.downcast_ref::<LookupExpr>() else {
                continue;
            };
            match lookup.known(&description.table_schema)? {
                Known::Nothing => {}
                Known::Same(other) => *filter = other,
                Known::Between(both) => bounds.extend(both),
            }
        }
        description.filters.extend(bounds);
        Ok(self.native.reading(Arc::new(description)))
    }
}

impl DisplayAs for LookupAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.small.iter().flat_map(|small| &small.keys);
        let keys = keys.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "LookupAggregateExec: by=[{keys}], ")?;
        self.native.fmt_as(format, f)
    }
}

impl ExecutionPlan for LookupAggregateExec {
    fn name(&self) -> &str {
        "LookupAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.native.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        self.children.iter().collect()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.native.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        _: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        Ok(Arc::new(Self {
            children,
            ..Self::clone(&self)
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        Ok(Arc::new(Self {
            children,
            ..Self::clone(&self)
        }))
    }

    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = stream::once(Arc::new(self.clone()).stream(task));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches.try_flatten(),
        )))
    }
}
