//! What each operator of a plan gave and how long it took, for EXPLAIN ANALYZE.
//!
//! Every operator is put into one that counts and waits: from when a batch is asked for until it is
//! there. That is the time of the operator and of all below it; its own is what is left without
//! theirs. Operators and their streams are the same as without.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, displayable,
};
use futures::{Stream, StreamExt};

use crate::explain::grouped;

type Plan = Arc<dyn ExecutionPlan>;

/// The plan with every operator measured.
pub fn measured(plan: Plan) -> Result<Plan> {
    let measured = plan.transform_up(|inner| {
        let partitions = inner.properties().partitioning.partition_count();
        Ok(Transformed::yes(Arc::new(Measured {
            inner,
            numbers: Arc::new(Numbers {
                ran: AtomicBool::new(false),
                rows: AtomicU64::new(0),
                waited_ns: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            }),
        }) as Plan))
    })?;
    Ok(measured.data)
}

/// The operator itself.
pub fn unmeasured(plan: &Plan) -> &Plan {
    plan.downcast_ref::<Measured>()
        .map_or(plan, |measured| &measured.inner)
}

/// An operator in a line, and what was measured.
pub fn line(plan: &Plan) -> String {
    let shown = displayable(unmeasured(plan).as_ref())
        .one_line()
        .to_string();
    let told = plan.downcast_ref::<Measured>().and_then(Measured::told);
    format!("{}{}", shown.trim_end(), told.unwrap_or_default())
}

/// A line for each operator, indented by two spaces a level.
pub fn lines(plan: &Plan) -> String {
    let mut text = String::new();
    add_lines(plan, 0, &mut text);
    text
}

fn add_lines(plan: &Plan, depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
    text.push_str(&line(plan));
    text.push('\n');
    for child in plan.children() {
        add_lines(child, depth + 1, text);
    }
}

#[derive(Debug)]
struct Numbers {
    ran: AtomicBool,
    rows: AtomicU64,
    /// Of each partition, the operators below included.
    waited_ns: Vec<AtomicU64>,
}

#[derive(Debug)]
struct Measured {
    inner: Plan,
    numbers: Arc<Numbers>,
}

impl Measured {
    /// Partitions are waited for at the same time.
    fn waited(&self) -> Duration {
        let waited = self.numbers.waited_ns.iter();
        let longest = waited.map(|ns| ns.load(Ordering::Relaxed)).max();
        Duration::from_nanos(longest.unwrap_or(0))
    }

    /// `None`: it did not run.
    fn told(&self) -> Option<String> {
        if !self.numbers.ran.load(Ordering::Relaxed) {
            return None;
        }
        let below = self.inner.children().into_iter();
        let below = below.filter_map(|child| child.downcast_ref::<Self>());
        let below: Duration = below.map(Self::waited).sum();
        let rows = grouped(self.numbers.rows.load(Ordering::Relaxed));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (all, own) = (self.waited(), self.waited().saturating_sub(below));
        let (all, own) = (ms(all), ms(own));
        Some(format!(
            "; gave {rows} rows in {all:.2} ms, {own:.2} ms its own"
        ))
    }
}

impl DisplayAs for Measured {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(format, f)
    }
}

impl ExecutionPlan for Measured {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        self.inner.children()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        Ok(Arc::new(Self {
            inner: Arc::clone(&self.inner).replace_children(children, options)?,
            numbers: Arc::clone(&self.numbers),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let begun = Instant::now();
        let inner = self.inner.execute(partition, task)?;
        let rows = Rows {
            inner,
            numbers: Arc::clone(&self.numbers),
            partition,
            asked: None,
        };
        rows.add(begun);
        self.numbers.ran.store(true, Ordering::Relaxed);
        Ok(Box::pin(rows))
    }
}

struct Rows {
    inner: SendableRecordBatchStream,
    numbers: Arc<Numbers>,
    partition: usize,
    /// When the batch that is waited for was.
    asked: Option<Instant>,
}

impl Rows {
    fn add(&self, since: Instant) {
        if let Some(waited) = self.numbers.waited_ns.get(self.partition) {
            waited.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let asked = *self.asked.get_or_insert_with(Instant::now);
        let polled = self.inner.poll_next_unpin(context);
        if let Poll::Ready(batch) = &polled {
            self.add(asked);
            self.asked = None;
            if let Some(Ok(batch)) = batch {
                let rows = batch.num_rows() as u64;
                self.numbers.rows.fetch_add(rows, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl RecordBatchStream for Rows {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
