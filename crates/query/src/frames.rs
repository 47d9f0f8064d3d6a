//! RANGE frames over values between which there is no distance: BYTES, UUID, texts, BOOLEAN, lists.
//!
//! A frame that ends with the rows of the current value, or has no end, needs no distance: it is
//! the frame of GROUPS, which the planner has for every type. One that reaches so far before or
//! behind the current value is a mistake; the planner would take it for one without an end.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

/// Before types are coerced, those of bounds among them.
#[derive(Debug)]
pub(crate) struct FramesOfAnyType;

impl AnalyzerRule for FramesOfAnyType {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mended = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Window(Window { input, .. }) = &node else {
                return Ok(Transformed::no(node));
            };
            let schema = DFSchema::clone(input.schema());
            // What stands above refers to it by the name that it had.
            let names = NamePreserver::new_for_projection();
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let mended = expr.transform_up(|expr| mended(expr, &schema))?;
                Ok(mended.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(mended.data)
    }

    fn name(&self) -> &str {
        "frames_of_any_type"
    }
}

fn mended(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(function) = expr else {
        return Ok(Transformed::no(expr));
    };
    let no = |function| Ok(Transformed::no(Expr::WindowFunction(function)));
    let WindowFunction { params, .. } = function.as_ref();
    let frame = &params.window_frame;
    let Some(first) = params.order_by.first() else {
        return no(function);
    };
    let data_type = first.expr.get_type(schema)?;
    if frame.units != WindowFrameUnits::Range || has_distance(&data_type) {
        return no(function);
    }
    if reaches(&frame.start_bound) || reaches(&frame.end_bound) {
        return plan_err!(
            "RANGE with PRECEDING or FOLLOWING by so much needs an order by numbers or times, and \
             this one is by {data_type}; use ROWS or GROUPS"
        );
    }
    let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
    let mut function = function;
    function.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    Ok(Transformed::yes(Expr::WindowFunction(function)))
}

fn has_distance(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type.is_temporal() || data_type.is_null()
}

/// By so much, not to the end.
fn reaches(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => !by.is_null(),
        WindowFrameBound::CurrentRow => false,
    }
}
