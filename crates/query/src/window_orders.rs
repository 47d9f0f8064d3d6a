//! What an aggregate over a frame that loses rows gives is not sorted, whatever its rows are sorted
//! by.
//!
//! The planner takes it for sorted where more rows only make it grow, or fall: MIN, MAX and COUNT.
//! But the least value of a frame that ends is null, at the other end of the order than the planner
//! says, and a count falls where nulls come into the frame. An ORDER BY of such a column would be
//! left out. So it becomes an expression of which the planner cannot tell an order; its values do
//! not change.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::SetMonotonicity;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::{SlidingAggregateWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::outer_constants::hidden;

type Plan = Arc<dyn ExecutionPlan>;

/// Before the rule that leaves out sorts.
#[derive(Debug)]
pub(crate) struct WindowOrders;

impl PhysicalOptimizerRule for WindowOrders {
    fn optimize(&self, plan: Plan, options: &ConfigOptions) -> Result<Plan> {
        let options = Arc::new(options.clone());
        plan.transform_up(|node| above(node, &options)).data()
    }

    fn name(&self) -> &str {
        "window_orders"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn above(node: Plan, options: &Arc<ConfigOptions>) -> Result<Transformed<Plan>> {
    let whole = node.downcast_ref::<WindowAggExec>();
    let whole = whole.map(|window| window.window_expr());
    let bounded = node.downcast_ref::<BoundedWindowAggExec>();
    let bounded = bounded.map(|window| window.window_expr());
    let Some(functions) = whole.or(bounded) else {
        return Ok(Transformed::no(node));
    };
    let schema = node.schema();
    let first = schema.fields().len() - functions.len();
    let taken_for_sorted = |at: usize| at >= first && loses_rows(&functions[at - first]);
    if !(first..schema.fields().len()).any(taken_for_sorted) {
        return Ok(Transformed::no(node));
    }
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        let shown = match taken_for_sorted(at) {
            true => hidden(column, options)?,
            false => column,
        };
        Ok((shown, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let shown = ProjectionExec::try_new(columns, Arc::clone(&node))?;
    Ok(Transformed::yes(Arc::new(shown)))
}

fn loses_rows(function: &Arc<dyn WindowExpr>) -> bool {
    let sliding = function
        .as_any()
        .downcast_ref::<SlidingAggregateWindowExpr>();
    sliding.is_some_and(|sliding| {
        sliding.get_aggregate_expr().set_monotonicity() != SetMonotonicity::NotMonotonic
    })
}
