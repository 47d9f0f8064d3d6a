//! A condition stays above an aggregate that makes a row of no rows.
//!
//! That is one without keys, or with a grouping among whose sets there may be the empty one. The
//! planner puts a condition that names no column below it: `false` there still leaves that row.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Of the planner's rules the one that puts conditions down.
pub(crate) const RULE: &str = "push_down_filter";

/// That rule, but for such aggregates, below which nothing may be put.
#[derive(Debug)]
pub(crate) struct StaysAbove(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for StaysAbove {
    fn name(&self) -> &str {
        RULE
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Filter(filter) if makes_row_of_nothing(&filter.input) => {
                Ok(Transformed::no(plan))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn makes_row_of_nothing(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(Aggregate { group_expr, .. }) = plan else {
        return false;
    };
    let is_grouping = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    group_expr.is_empty() || group_expr.iter().any(is_grouping)
}
