//! The native aggregate: filter, group by and count, sum, min, max, avg over dictionary codes.
//!
//! An optimizer rule replaces a partial aggregate over our scan by [`exec::NativeAggregateExec`]
//! when every aggregate is one we know. It emits the very state columns of the partial aggregate,
//! so that DataFusion's final aggregate merges them, here or at the broker. Anything else stays as
//! it is.

mod accumulate;
mod exec;
mod fold;
mod groups;
mod input;
mod keys;
mod merge;
mod number;
mod plan;
mod rows;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use crate::shared::Shared;

/// Replaces what can be replaced and counts both ways.
#[derive(Debug)]
pub(crate) struct NativeAggregates {
    pub(crate) shared: Arc<Shared>,
}

impl PhysicalOptimizerRule for NativeAggregates {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_down(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            let ours = match self.shared.options.without_native_operators {
                false => plan::recognise(aggregate)?,
                true => None,
            };
            let counters = &self.shared.counters;
            match ours {
                Some(ours) => {
                    counters.update(|stats| stats.native_operators += 1);
                    let ours: Arc<dyn ExecutionPlan> = Arc::new(ours);
                    Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump))
                }
                None => {
                    counters.update(|stats| stats.fallback_operators += 1);
                    Ok(Transformed::no(node))
                }
            }
        })?;
        Ok(replaced.data)
    }

    fn name(&self) -> &str {
        "native_aggregates"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
