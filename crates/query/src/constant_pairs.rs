//! A join by a constant that is the same on both sides is a join without it.
//!
//! Such pairs are left of conditions like `x IS NULL = y IS NULL` over columns that have no nulls.
//! The planner makes a column of each side, gives both the same name, and then names all columns of
//! a side anew by their last part, which need not be the name of one column alone.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct ConstantPairs;

impl OptimizerRule for ConstantPairs {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let before = join.on.len();
        join.on.retain(|(left, right)| !is_true(left, right));
        let changed = join.on.len() < before;
        Ok(Transformed::new_transformed(
            LogicalPlan::Join(join),
            changed,
        ))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "constant_pairs"
    }
}

fn is_true(left: &Expr, right: &Expr) -> bool {
    match (left, right) {
        (Expr::Literal(one, _), Expr::Literal(other, _)) => one == other && !one.is_null(),
        _ => false,
    }
}
