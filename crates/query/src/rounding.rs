//! Standard dialect: a number with a fraction that is cast to a whole one is rounded, as SQL's
//! databases do. The planner's own cast, and Pinot, cut the fraction off.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};

/// `round`: the function.
pub(crate) fn rounded_casts(plan: LogicalPlan, round: &Arc<ScalarUDF>) -> Result<LogicalPlan> {
    let rounded = plan.transform_up_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            schema = DFSchema::clone(&scan.projected_schema);
        }
        // What stands above refers to an expression by the name that it had.
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let rounded = expr.transform_up(|expr| Ok(rounded_cast(expr, &schema, round)))?;
            Ok(rounded.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(rounded.data)
}

fn rounded_cast(mut expr: Expr, schema: &DFSchema, round: &Arc<ScalarUDF>) -> Transformed<Expr> {
    let (inner, to) = match &mut expr {
        Expr::Cast(cast) => (&mut cast.expr, &cast.field),
        Expr::TryCast(cast) => (&mut cast.expr, &cast.field),
        _ => return Transformed::no(expr),
    };
    let has_fraction = |own: DataType| matches!(own, DataType::Float32 | DataType::Float64);
    if !to.data_type().is_integer() || !inner.get_type(schema).is_ok_and(has_fraction) {
        return Transformed::no(expr);
    }
    **inner = round.call(vec![inner.as_ref().clone()]);
    Transformed::yes(expr)
}
