//! `7 NOT IN (SELECT y FROM t)`: no key joins a constant with `y`, which leaves the planner's join
//! that knows of nulls without keys. Its condition `7 = y` then goes down to `t`, where it leaves
//! out the nulls for which nothing holds. So the condition asks what it means, and the join is one
//! like any other: no row of which it is not false that it is 7.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// To run when there are keys of what can be one.
#[derive(Debug)]
pub(crate) struct ConstantLists;

impl OptimizerRule for ConstantLists {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let filter = match is_without_keys(&join) {
            true => join.filter.take(),
            false => None,
        };
        let Some(filter) = filter else {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        };
        join.filter = Some(Expr::IsNotFalse(Box::new(filter)));
        join.null_aware = false;
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "constant_lists"
    }
}

fn is_without_keys(join: &Join) -> bool {
    join.null_aware && join.join_type == JoinType::LeftAnti && join.on.is_empty()
}
