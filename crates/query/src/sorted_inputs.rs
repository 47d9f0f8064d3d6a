//! What an operator wants sorted is sorted, also where the planner took it for sorted.
//!
//! It sorts the sides of a union by what one of them needs: by the first of two columns that are
//! equal there, and not at all by what is constant there, though it is neither in the other sides.
//! The union is not sorted then, and the planner refuses its own plan. This runs just before that.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

#[derive(Debug)]
pub(crate) struct SortedInputs;

impl PhysicalOptimizerRule for SortedInputs {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(with_sorted_inputs).data()
    }

    fn name(&self) -> &str {
        "sorted_inputs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn with_sorted_inputs(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut inputs: Vec<_> = plan.children().into_iter().cloned().collect();
    let mut changed = false;
    for (input, wanted) in inputs.iter_mut().zip(plan.required_input_ordering()) {
        let Some(wanted) = wanted.map(|wanted| wanted.into_single()) else {
            continue;
        };
        let known = input.equivalence_properties();
        if known.ordering_satisfy_requirement(wanted.clone())? {
            continue;
        }
        let sort = SortExec::new(LexOrdering::from(wanted), Arc::clone(input));
        *input = Arc::new(sort.with_preserve_partitioning(true));
        changed = true;
    }
    match changed {
        true => {
            let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            plan.replace_children(inputs, recompute)
                .map(Transformed::yes)
        }
        false => Ok(Transformed::no(plan)),
    }
}
