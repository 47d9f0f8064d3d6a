//! What a subquery reads of the row around it has the type that it has there.
//!
//! The planner writes the type down when it meets the column, and the sides of a union get their
//! common type later: a subquery would compare with what was the type of the first side.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

#[derive(Debug)]
pub(crate) struct OuterTypes;

impl AnalyzerRule for OuterTypes {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !reads_outer(&plan)? {
            return Ok(plan);
        }
        let typed = typed(plan, &[])?;
        match typed.transformed {
            // Comparisons and calls are chosen by types.
            true => TypeCoercion::new().analyze(typed.data, config),
            false => Ok(typed.data),
        }
    }

    fn name(&self) -> &str {
        "outer_types"
    }
}

fn reads_outer(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = found || expr.exists(|part| Ok(is_outer(part)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

const fn is_outer(expr: &Expr) -> bool {
    matches!(expr, Expr::OuterReferenceColumn(..))
}

/// `around` are the rows that stand around the plan, the nearest last.
fn typed(plan: LogicalPlan, around: &[DFSchemaRef]) -> Result<Transformed<LogicalPlan>> {
    // The right side of a join may be LATERAL.
    let mut beside = around.to_vec();
    if let LogicalPlan::Join(join) = &plan {
        beside.push(Arc::clone(join.left.schema()));
    }
    let node = plan.map_children(|child| typed(child, &beside))?;
    let node = node.transform_data(|plan| match plan {
        LogicalPlan::Subquery(lateral) => {
            Ok(subquery(lateral, around)?.update_data(LogicalPlan::Subquery))
        }
        plan => {
            let mut inside = around.to_vec();
            let inputs = plan.inputs();
            inside.extend(inputs.iter().map(|input| Arc::clone(input.schema())));
            plan.map_expressions(|expr| in_expression(expr, around, &inside))
        }
    })?;
    match node.transformed {
        true => node.map_data(LogicalPlan::recompute_schema),
        false => Ok(node),
    }
}

fn in_expression(
    expr: Expr,
    around: &[DFSchemaRef],
    inside: &[DFSchemaRef],
) -> Result<Transformed<Expr>> {
    expr.transform(|part| match part {
        Expr::OuterReferenceColumn(field, column) => {
            let rows = around.iter().rev();
            let mut known = rows.filter_map(|rows| rows.qualified_field_from_column(&column).ok());
            match known.next() {
                Some((_, known)) if known.data_type() != field.data_type() => Ok(Transformed::yes(
                    Expr::OuterReferenceColumn(Arc::clone(known), column),
                )),
                _ => Ok(Transformed::no(Expr::OuterReferenceColumn(field, column))),
            }
        }
        Expr::ScalarSubquery(own) => Ok(subquery(own, inside)?.update_data(Expr::ScalarSubquery)),
        Expr::Exists(exists) => {
            let own = subquery(exists.subquery, inside)?;
            Ok(own.update_data(|subquery| Expr::Exists(Exists { subquery, ..exists })))
        }
        Expr::InSubquery(one_of) => {
            let own = subquery(one_of.subquery, inside)?;
            Ok(own.update_data(|subquery| Expr::InSubquery(InSubquery { subquery, ..one_of })))
        }
        Expr::SetComparison(compared) => {
            let own = subquery(compared.subquery, inside)?;
            Ok(own.update_data(|subquery| {
                Expr::SetComparison(SetComparison {
                    subquery,
                    ..compared
                })
            }))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn subquery(own: Subquery, around: &[DFSchemaRef]) -> Result<Transformed<Subquery>> {
    let plan = typed(Arc::unwrap_or_clone(Arc::clone(&own.subquery)), around)?;
    Ok(plan.update_data(|plan| Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: own.spans,
    }))
}
