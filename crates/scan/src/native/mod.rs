//! The native aggregate: filter, group by and count, sum, min, max, avg over dictionary codes.
//!
//! An optimizer step replaces a partial aggregate over our scan by [`exec::NativeAggregateExec`]
//! when every key is a column of codes or narrow numbers and every aggregate is one we know. It
//! emits the very state columns of the partial aggregate, one batch for each segment, so that
//! DataFusion's final aggregate merges them, here or at the broker. Anything else stays as it is.

mod accumulate;
mod exec;
mod keys;
mod plan;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use crate::engine::NativeOperators;
use crate::stats::Counters;

/// Replaces what can be replaced and counts both ways.
pub(crate) fn replace(
    plan: Arc<dyn ExecutionPlan>,
    native: NativeOperators,
    counters: &Counters,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform_down(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        let ours = match native {
            NativeOperators::On => plan::recognise(aggregate),
            NativeOperators::Off => None,
        };
        match ours {
            Some(ours) => {
                counters.update(|stats| stats.native_operators += 1);
                Ok(Transformed::new(
                    Arc::new(ours) as _,
                    true,
                    TreeNodeRecursion::Jump,
                ))
            }
            None => {
                counters.update(|stats| stats.fallback_operators += 1);
                Ok(Transformed::no(node))
            }
        }
    })?;
    Ok(replaced.data)
}
