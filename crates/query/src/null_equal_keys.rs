//! Keys of joins for which null is equal to null, and others, are not keys of one join.
//!
//! A join has one answer for all of its keys. The planner makes keys of `x IS NOT DISTINCT FROM y`
//! where a join has no others, and would add `a = b` to them later, when a condition comes down
//! from above or joins are put together anew: then nulls of `a` and `b` would be equal, too. So the
//! rules that do it leave such joins alone.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Makes keys of the conditions of a join, one join at a time.
pub(crate) const OF_CONDITIONS: &str = "extract_equijoin_predicate";
/// Puts inner joins together anew, all that are in a plan.
pub(crate) const OF_JOINS: &str = "eliminate_cross_join";

#[derive(Debug)]
pub(crate) struct KeysApart(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for KeysApart {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let leaves = match self.0.name() == OF_JOINS {
            true => plan.exists(|node| Ok(is_null_equal(node) && is_inner(node)))?,
            false => is_null_equal(&plan),
        };
        match leaves {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

fn is_null_equal(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Join(join) => {
            join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty()
        }
        _ => false,
    }
}

fn is_inner(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner)
}
