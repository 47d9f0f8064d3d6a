//! Rows of which only the first few of each value of some columns are wanted: the newest event of
//! each user, by ROW_NUMBER or RANK over the rows themselves.
//!
//! A row goes on unless as many rows as are wanted are known to come before it in its partition by
//! the first column of the order. So more go on than are wanted, and never fewer: the sort, the
//! window and its condition stay above, and have little left to do. Of rows in any order about
//! `few * ln(rows / few)` of each partition go on.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, future};
use hashbrown::HashMap;

use super::Plan;
use super::first_of_each::{Firsts, ranks};

/// After so many rows it is known whether it is worth it.
const ROWS_TRIED: usize = 1 << 16;
/// About what a partition takes beside its values.
const PARTITION_BYTES: usize = 80;

#[derive(Clone, Debug)]
pub(crate) struct FirstOfRowsExec {
    input: Plan,
    of_each: Vec<Arc<dyn PhysicalExpr>>,
    by: PhysicalSortExpr,
    fetch: usize,
}

impl FirstOfRowsExec {
    /// `fetch` is at least 1.
    pub(super) fn new(
        input: Plan,
        of_each: Vec<Arc<dyn PhysicalExpr>>,
        by: PhysicalSortExpr,
        fetch: usize,
    ) -> Self {
        Self {
            input,
            of_each,
            by,
            fetch,
        }
    }
}

/// What is known of the rows that came.
#[derive(Debug)]
struct Seen {
    own: FirstOfRowsExec,
    converter: RowConverter,
    /// Of each partition.
    firsts: HashMap<Vec<u8>, Firsts>,
    came: usize,
    went_on: usize,
    memory: MemoryReservation,
    /// All go on: too many would, or there is no memory for their partitions.
    is_off: bool,
}

impl Seen {
    fn new(own: FirstOfRowsExec, schema: &SchemaRef, memory: MemoryReservation) -> Result<Self> {
        let fields = own.of_each.iter().map(|expr| expr.data_type(schema));
        let fields = fields.map(|kind| Ok(SortField::new(kind?)));
        Ok(Self {
            converter: RowConverter::new(fields.collect::<Result<_>>()?)?,
            own,
            firsts: HashMap::new(),
            came: 0,
            went_on: 0,
            memory,
            is_off: false,
        })
    }

    fn reaching(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.is_off || batch.num_rows() == 0 {
            return Ok(batch);
        }
        let count = batch.num_rows();
        let values = self.own.by.expr.evaluate(&batch)?.into_array(count)?;
        let Some(ranks) = ranks(&values, self.own.by.options) else {
            return Ok(batch);
        };
        let columns = self.own.of_each.iter();
        let columns = columns.map(|expr| expr.evaluate(&batch)?.into_array(count));
        let rows = self
            .converter
            .convert_columns(&columns.collect::<Result<Vec<_>>>()?)?;
        let fetch = self.own.fetch;
        let mut bytes = 0;
        let mut reaches = Vec::with_capacity(count);
        for (row, rank) in rows.iter().zip(ranks) {
            let firsts = self.firsts.entry_ref(row.data()).or_insert_with(|| {
                bytes += PARTITION_BYTES + row.data().len();
                Firsts::default()
            });
            reaches.push(firsts.offer(rank, fetch));
        }
        let batch = filter_record_batch(&batch, &BooleanArray::from(reaches))?;
        // No more ranks than these are kept of them.
        bytes += batch.num_rows() * size_of::<u64>();
        self.came += count;
        self.went_on += batch.num_rows();
        let is_vain = self.came >= ROWS_TRIED && self.went_on > self.came / 2;
        if is_vain || self.memory.try_grow(bytes).is_err() {
            self.is_off = true;
            self.firsts = HashMap::new();
            self.memory.free();
        }
        Ok(batch)
    }
}

impl DisplayAs for FirstOfRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_each = self.of_each.iter().map(ToString::to_string);
        let of_each = of_each.collect::<Vec<_>>().join(", ");
        let (first, by) = (self.fetch, &self.by);
        write!(
            f,
            "FirstOfRowsExec: first={first}, of_each=[{of_each}], order=[{by}]"
        )
    }
}

impl ExecutionPlan for FirstOfRowsExec {
    fn name(&self) -> &str {
        "FirstOfRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for expr in self.of_each.iter().chain([&self.by.expr]) {
            next = next.visit_sibling(|| visit(expr))?;
        }
        Ok(next)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        _: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        let Ok([input]) = <[Plan; 1]>::try_from(children) else {
            return internal_err!("rows come from one plan");
        };
        Ok(Arc::new(Self {
            input,
            ..Self::clone(&self)
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep),
        )
    }

    fn execute(&self, at: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let memory = MemoryConsumer::new("first rows of each").register(task.memory_pool());
        let mut seen = Seen::new(self.clone(), &schema, memory)?;
        let batches = self.input.execute(at, task)?;
        let reaching = batches.map(move |batch| seen.reaching(batch?));
        let filled = reaching.filter(|batch| {
            let is_empty = batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0);
            future::ready(!is_empty)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, filled)))
    }
}
