//! Plans in the form that the planner's rules for subqueries take.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, Subquery};

use super::push::depends;

/// What a subquery is compared with may have made a cast of its column, which is called like the
/// column: the column itself, when a condition needs it too, would be another of that name.
pub(super) fn with_named_casts(
    plan: LogicalPlan,
    name: &dyn Fn(&str) -> String,
) -> Result<Transformed<LogicalPlan>> {
    plan.map_expressions(|expr| {
        expr.transform_down(|expr| match expr {
            Expr::InSubquery(mut within) => {
                let changed = name_cast(&mut within.subquery, name)?;
                Ok(Transformed::new_transformed(
                    Expr::InSubquery(within),
                    changed,
                ))
            }
            // Its column may be called like one of the rows around.
            Expr::SetComparison(mut compared) if !is_named(&compared.subquery) => {
                if !name_cast(&mut compared.subquery, name)? {
                    name_column(&mut compared.subquery, name)?;
                }
                Ok(Transformed::yes(Expr::SetComparison(compared)))
            }
            other => Ok(Transformed::no(other)),
        })
    })
}

/// What names made here begin with.
const OWN: &str = "__";

fn is_named(subquery: &Subquery) -> bool {
    let columns = subquery.subquery.schema().columns();
    columns.iter().all(|column| column.name.starts_with(OWN))
}

fn name_column(subquery: &mut Subquery, name: &dyn Fn(&str) -> String) -> Result<()> {
    let columns = subquery.subquery.schema().columns().into_iter();
    let named = columns.map(|column| Expr::Column(column).alias(name("compared")));
    let named: Vec<Expr> = named.collect();
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    subquery.subquery = Arc::new(plan.project(named)?.build()?);
    Ok(())
}

fn name_cast(subquery: &mut Subquery, name: &dyn Fn(&str) -> String) -> Result<bool> {
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else {
        return Ok(false);
    };
    let [cast @ Expr::Cast(_)] = projection.expr.as_slice() else {
        return Ok(false);
    };
    if !depends(&subquery.subquery)? {
        return Ok(false);
    }
    let named = vec![cast.clone().alias(name("cast"))];
    let named = Projection::try_new(named, Arc::clone(&projection.input))?;
    subquery.subquery = Arc::new(LogicalPlan::Projection(named));
    Ok(true)
}

/// The planner's rule for LATERAL leaves more columns than there were, and some plans above keep
/// count of those below them.
pub(super) fn with_projected_laterals(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if matches!(plan, LogicalPlan::Projection(_)) {
        return Ok(Transformed::no(plan));
    }
    plan.map_children(|child| match &child {
        LogicalPlan::Join(join) if lateral(join).is_some() => {
            let columns = child.schema().columns().into_iter().map(Expr::Column);
            let columns: Vec<Expr> = columns.collect();
            let projected = LogicalPlanBuilder::from(child).project(columns)?.build()?;
            Ok(Transformed::yes(projected))
        }
        _ => Ok(Transformed::no(child)),
    })
}

/// The subquery of a join with LATERAL, and its alias.
pub(super) fn lateral(join: &Join) -> Option<(&Subquery, Option<&TableReference>)> {
    match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(&alias.alias))),
            _ => None,
        },
        _ => None,
    }
}
