//! A time that becomes a number and a time again stays a time.
//!
//! Pinot's functions of times give epoch milliseconds, and its clients cast them back. Below such a
//! pair of casts operators and indexes would not know the function.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

#[derive(Debug)]
pub(crate) struct SameTime;

impl OptimizerRule for SameTime {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let schema = match &plan {
            LogicalPlan::TableScan(scan) => DFSchema::clone(&scan.projected_schema),
            node => merge_schema(&node.inputs()),
        };
        // What stands above refers to it by the name that it had.
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let same = expr.transform_up(|expr| there_and_back(expr, &schema))?;
            Ok(same.update_data(|expr| name.restore(expr)))
        })
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "same_time"
    }
}

fn there_and_back(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Cast(outer) = &expr
        && *outer.field.data_type() == TIME
        && let Expr::Cast(inner) = outer.expr.as_ref()
        && *inner.field.data_type() == DataType::Int64
        && inner.expr.get_type(schema)? == TIME
    {
        return Ok(Transformed::yes(inner.expr.as_ref().clone()));
    }
    Ok(Transformed::no(expr))
}
