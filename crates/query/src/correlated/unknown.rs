//! IN (SELECT …) where it matters that the answer may be unknown.
//!
//! The planner's own join marks rows that have a partner; a null that meets no equal value, or a
//! list with a null in it, is no for it. That is right where no and unknown do the same: as a part
//! of a condition by AND and OR alone. Elsewhere it is written out.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ExprSchema, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::as_exists;

/// The rows around, and names that are not taken.
type Around<'a> = (&'a LogicalPlan, &'a dyn Fn() -> String);

/// `None`: there is nothing to write out.
pub(super) fn written_out(
    predicate: &Expr,
    plan: &LogicalPlan,
    name: &dyn Fn() -> String,
) -> Result<Option<Expr>> {
    if !predicate.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))? {
        return Ok(None);
    }
    let written = conjunct(predicate.clone(), (plan, name))?;
    Ok(written.transformed.then_some(written.data))
}

/// Of what must hold, IN and NOT IN by themselves are joins that know of nulls: of those in
/// columns, not of those that are made of values.
fn conjunct(expr: Expr, around: Around<'_>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(both) if both.op == Operator::And => {
            parts(both, |part| conjunct(part, around))
        }
        Expr::InSubquery(ref within) if !within.negated || !makes_nulls(within, around.0)? => {
            Ok(Transformed::no(expr))
        }
        Expr::Not(ref inner) if is_join(inner, around.0)? => Ok(Transformed::no(expr)),
        other => part(other, around),
    }
}

fn is_join(negated: &Expr, plan: &LogicalPlan) -> Result<bool> {
    match negated {
        Expr::InSubquery(within) => Ok(!makes_nulls(within, plan)?),
        _ => Ok(false),
    }
}

/// What is looked for may be null, and no column of it is.
fn makes_nulls(within: &InSubquery, plan: &LogicalPlan) -> Result<bool> {
    let (expr, schema) = (&within.expr, plan.schema());
    let columns = expr.column_refs();
    let mut columns = columns.iter().map(|own| schema.field_from_column(own));
    let has_null = columns.any(|field| field.is_ok_and(|field| field.is_nullable()));
    Ok(!has_null && !has_subquery(expr)? && expr.nullable(schema.as_ref())?)
}

fn part(expr: Expr, (plan, name): Around<'_>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(both) if matches!(both.op, Operator::And | Operator::Or) => {
            parts(both, |one| part(one, (plan, name)))
        }
        Expr::InSubquery(within) if !within.negated => {
            Ok(Transformed::no(Expr::InSubquery(within)))
        }
        other => other.transform_down(|expr| match expr {
            Expr::InSubquery(within) if !has_subquery(&within.expr)? => Ok(Transformed::new(
                as_exists(within, plan, name())?,
                true,
                TreeNodeRecursion::Jump,
            )),
            other => Ok(Transformed::no(other)),
        }),
    }
}

fn parts(
    both: BinaryExpr,
    of: impl Fn(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<Expr>> {
    let (left, right) = (of(*both.left)?, of(*both.right)?);
    let changed = left.transformed || right.transformed;
    let both = BinaryExpr::new(Box::new(left.data), both.op, Box::new(right.data));
    Ok(Transformed::new_transformed(
        Expr::BinaryExpr(both),
        changed,
    ))
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    })
}
