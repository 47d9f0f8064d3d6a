//! Keys of joins for which null is equal to null, and others, are not keys of one join.
//!
//! A join has one answer for all of its keys. The planner makes keys of `x IS NOT DISTINCT FROM y`
//! where a join has no others, and adds `a = b` to them later, when a condition from above comes
//! down or joins are put together anew: then nulls of `a` and `b` would be equal, too. So such keys
//! are conditions again before that happens. What has no other keys after it gets them back.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Before this rule, which puts inner joins together anew.
pub(crate) const BEFORE: &str = "eliminate_cross_join";

#[derive(Debug)]
pub(crate) struct NullEqualKeys;

impl OptimizerRule for NullEqualKeys {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        if !may_get_others(&join) {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let keys = std::mem::take(&mut join.on).into_iter();
        let same = keys.map(|(l, r)| binary_expr(l, Operator::IsNotDistinctFrom, r));
        join.filter = conjunction(join.filter.into_iter().chain(same));
        join.null_equality = NullEquality::NullEqualsNothing;
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "null_equal_keys"
    }
}

fn may_get_others(join: &Join) -> bool {
    let is_equality = |condition: &Expr| match condition {
        Expr::BinaryExpr(binary) => binary.op == Operator::Eq,
        _ => false,
    };
    let mut conditions = join.filter.iter().flat_map(split_conjunction);
    join.null_equality == NullEquality::NullEqualsNull
        && !join.on.is_empty()
        && !join.null_aware
        && (join.join_type == JoinType::Inner || conditions.any(is_equality))
}
