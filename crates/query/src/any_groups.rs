//! `SELECT DISTINCT … LIMIT 10`: any so many groups are asked of an aggregate. When its input turns
//! out to be in an order later, as constants are, the operator takes that for the first groups in
//! an order, and fails, as it knows none. Such a one gives out all of them; the limit is above.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// A plan that is about to run.
pub(crate) fn all_of_ordered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let misread = |node: &Arc<dyn ExecutionPlan>| {
        let aggregate = node.downcast_ref::<AggregateExec>();
        aggregate.is_some_and(is_misread)
    };
    if !plan.exists(|node| Ok(misread(node)))? {
        return Ok(plan);
    }
    plan.transform_up(|node| {
        let aggregate = node.downcast_ref::<AggregateExec>();
        let all = aggregate.filter(|aggregate| is_misread(aggregate));
        let all = all.map(|aggregate| aggregate.with_new_limit_options(None));
        Ok(match all {
            Some(all) => Transformed::yes(Arc::new(all) as _),
            None => Transformed::no(node),
        })
    })
    .data()
}

fn is_misread(aggregate: &AggregateExec) -> bool {
    let limit = aggregate.limit_options();
    let is_of_any = limit.is_some_and(|limit| limit.descending.is_none());
    is_of_any
        && aggregate.aggr_expr().is_empty()
        && !aggregate.is_unordered_unfiltered_group_by_distinct()
}
