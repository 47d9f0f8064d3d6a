//! Joins that compare each row with each, or with all of the same key, notice that their query is
//! over.
//!
//! They can go on for hours from one row that they give out to the next, and until then nobody else
//! has a say on their thread. Their condition is asked once a batch: it looks whether anybody still
//! waits for the answer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, SortMergeJoinExec,
};
use runtime::{CancellationToken, Clock};
use schemas::Fault;

use crate::fault::{from_fault, timed_out};

type Plan = Arc<dyn ExecutionPlan>;
type Expr = Arc<dyn PhysicalExpr>;

/// What ends a query.
#[derive(Clone, Debug)]
pub struct Watch {
    pub cancel: CancellationToken,
    /// Where nobody else can tell in time.
    pub deadline: Option<Deadline>,
}

#[derive(Clone, Debug)]
pub struct Deadline {
    pub clock: Arc<dyn Clock>,
    /// Epoch milliseconds.
    pub at_ms: i64,
    pub timeout_ms: u64,
}

impl Watch {
    /// The condition, which looks whether the query is over each time it is asked.
    fn over(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Watched {
            condition: Arc::clone(filter.expression()),
            watch: self.clone(),
        };
        JoinFilter::new(
            Arc::new(condition),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(from_fault(Fault::cancelled("the query was cancelled")));
        }
        match &self.deadline {
            Some(deadline) if deadline.clock.now_ms() >= deadline.at_ms => {
                let fault = timed_out("the query did not end", deadline.timeout_ms);
                Err(from_fault(fault))
            }
            _ => Ok(()),
        }
    }
}

/// The plan of one run, whose joins end with it.
pub fn watched(plan: Plan, watch: &Watch) -> Result<Plan> {
    if !compares_all(&plan) {
        return Ok(plan);
    }
    let watched = plan.transform_up(|node| {
        if let Some((join, filter)) = hashed(&node) {
            let join = HashJoinExecBuilder::from(join).with_filter(Some(watch.over(filter)));
            return Ok(Transformed::yes(join.build_exec()?));
        }
        let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(Transformed::no(node));
        };
        // Without a condition every pair is given out, and the join gives way.
        let Some(filter) = join.filter() else {
            return Ok(Transformed::no(node));
        };
        let join = NestedLoopJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            Some(watch.over(filter)),
            join.join_type(),
            join.projection().as_ref().map(|columns| columns.to_vec()),
        )?;
        Ok(Transformed::yes(Arc::new(join) as Plan))
    })?;
    Ok(watched.data)
}

/// A join makes many rows of few, long after its leaves have nothing more to give: it must itself
/// give way now and then, so that the end of its query is noticed.
pub fn giving_way(plan: Plan) -> Result<Plan> {
    let changed = plan.transform_up(|node| {
        let joins = node.is::<CrossJoinExec>()
            || node.is::<HashJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<SortMergeJoinExec>();
        Ok(match joins {
            true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Plan),
            false => Transformed::no(node),
        })
    })?;
    Ok(changed.data)
}

fn compares_all(plan: &Plan) -> bool {
    plan.is::<NestedLoopJoinExec>()
        || hashed(plan).is_some()
        || plan.children().into_iter().any(compares_all)
}

/// A join by keys that asks a condition of each pair.
fn hashed(plan: &Plan) -> Option<(&HashJoinExec, &JoinFilter)> {
    let join = plan.downcast_ref::<HashJoinExec>()?;
    Some((join, join.filter()?))
}

#[derive(Debug)]
struct Watched {
    condition: Expr,
    watch: Watch,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.watch.check()?;
        self.condition.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Expr>) -> Result<Expr> {
        Ok(match children.pop() {
            Some(condition) => Arc::new(Self {
                condition,
                watch: self.watch.clone(),
            }),
            None => self,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
