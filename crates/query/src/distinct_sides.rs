//! Of what a row is only looked up in, each value is needed once.
//!
//! IN, EXISTS and their negations become semi and anti joins, which do not ask how often a key is
//! there. A side that is read from a table may have each of them a million times, and a join that
//! keeps all of its rows looks at each of those for every row of the other side. Servers find
//! distinct values of a table sooner than they send its rows.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, JoinType, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct DistinctSides;

impl OptimizerRule for DistinctSides {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let side = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => &mut join.right,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => &mut join.left,
            _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
        };
        let changed = is_of_rows(side) && can_be_grouped(side);
        if changed {
            let columns = side.schema().columns().into_iter().map(Expr::Column);
            let distinct = Aggregate::try_new(Arc::clone(side), columns.collect(), Vec::new())?;
            *side = Arc::new(LogicalPlan::Aggregate(distinct));
        }
        Ok(Transformed::new_transformed(
            LogicalPlan::Join(join),
            changed,
        ))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "distinct_sides"
    }
}

/// Rows of a table, as they are or as expressions of them.
fn is_of_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().iter().all(|input| is_of_rows(input))
        }
        _ => false,
    }
}

/// Of a column of several values each entry would be a group.
fn can_be_grouped(plan: &LogicalPlan) -> bool {
    let fields = plan.schema().fields();
    !fields.is_empty() && !fields.iter().any(|field| field.data_type().is_nested())
}
