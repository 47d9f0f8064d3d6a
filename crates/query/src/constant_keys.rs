//! PARTITION BY says nothing of what is the same in all rows.
//!
//! The planner takes a constant for sorted when it looks at the partitions of a window and not when
//! it sorts for them, and then refuses its own plan.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Window,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct ConstantKeys;

impl OptimizerRule for ConstantKeys {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Window(window) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let input = Arc::clone(&window.input);
        // What stands above refers to it by the name that it had.
        let names = NamePreserver::new_for_projection();
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let kept = expr.transform_down(|expr| Ok(without_constants(expr, &input)))?;
            Ok(kept.update_data(|expr| name.restore(expr)))
        })?
        .transform_data(each_once)
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "constant_keys"
    }
}

/// Windows that differ in a constant alone are one now, also of those right below: others would
/// take what they share out of them, and leave no window.
fn each_once(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(window) = &plan else {
        return Ok(Transformed::no(plan));
    };
    // Each with the column that holds it.
    let mut known: Vec<(Expr, Expr)> = Vec::new();
    let mut below = window.input.as_ref();
    while let LogicalPlan::Window(lower) = below {
        let columns = columns_of(lower);
        let bare = lower.window_expr.iter().map(|expr| expr.clone().unalias());
        known.extend(bare.zip(columns));
        below = &lower.input;
    }
    let mut kept = Vec::with_capacity(window.window_expr.len());
    let mut found = Vec::with_capacity(kept.capacity());
    for (expr, own) in window.window_expr.iter().zip(columns_of(window)) {
        let bare = expr.clone().unalias();
        if let Some((_, column)) = known.iter().find(|(one, _)| *one == bare) {
            found.push(column.clone());
            continue;
        }
        kept.push(expr.clone());
        found.push(own.clone());
        known.push((bare, own));
    }
    if kept.len() == found.len() {
        return Ok(Transformed::no(plan));
    }
    let own = window.schema.columns();
    let before = own.len() - found.len();
    let columns = own.into_iter().enumerate().map(|(at, own)| {
        let held = at.checked_sub(before).map(|at| found[at].clone());
        let (table, name) = (own.relation.clone(), own.name.clone());
        match (held, Expr::Column(own)) {
            (Some(held), own) if held != own => held.alias_qualified(table, name),
            (_, own) => own,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    let input = match kept.is_empty() {
        true => window.input.as_ref().clone(),
        false => LogicalPlan::Window(Window::try_new(kept, Arc::clone(&window.input))?),
    };
    let plan = LogicalPlanBuilder::from(input).project(columns)?;
    plan.build().map(Transformed::yes)
}

/// Those that hold its windows.
fn columns_of(window: &Window) -> Vec<Expr> {
    let before = window.input.schema().fields().len();
    let columns = window.schema.columns().into_iter().skip(before);
    columns.map(Expr::Column).collect()
}

fn without_constants(expr: Expr, input: &LogicalPlan) -> Transformed<Expr> {
    let Expr::WindowFunction(mut function) = expr else {
        return Transformed::no(expr);
    };
    let before = function.params.partition_by.len();
    function
        .params
        .partition_by
        .retain(|key| !is_constant(key, input));
    let changed = function.params.partition_by.len() < before;
    Transformed::new_transformed(Expr::WindowFunction(function), changed)
}

/// Whether it is the same in all rows, as far as the plan says so.
fn is_constant(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Literal(_, _) => true,
        Expr::Alias(alias) => is_constant(&alias.expr, input),
        Expr::Cast(cast) => is_constant(&cast.expr, input),
        Expr::Column(column) => is_constant_column(column, input),
        // Of constants, whatever it makes of them.
        other => {
            let of_rows = other.exists(|part| {
                Ok(match part {
                    Expr::Column(column) => !is_constant_column(column, input),
                    Expr::OuterReferenceColumn(..)
                    | Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::Placeholder(_) => true,
                    _ => false,
                })
            });
            !other.is_volatile() && !of_rows.unwrap_or(true)
        }
    }
}

fn is_constant_column(column: &Column, plan: &LogicalPlan) -> bool {
    let same_place = |from: &LogicalPlan, to: &LogicalPlan| {
        let at = from.schema().maybe_index_of_column(column)?;
        Some(Column::from(to.schema().qualified_field(at)))
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column);
            at.is_some_and(|at| is_constant(&projection.expr[at], &projection.input))
        }
        // It has one row.
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => true,
        LogicalPlan::Aggregate(aggregate) => {
            let at = aggregate.schema.maybe_index_of_column(column);
            let key = at.and_then(|at| aggregate.group_expr.get(at));
            key.is_some_and(|key| is_constant(key, &aggregate.input))
        }
        LogicalPlan::SubqueryAlias(alias) => same_place(plan, &alias.input)
            .is_some_and(|column| is_constant_column(&column, &alias.input)),
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate);
            conditions
                .into_iter()
                .any(|condition| says(condition, column))
                || is_constant_column(column, &filter.input)
        }
        LogicalPlan::Join(join) => {
            let is_of = |side: &LogicalPlan| {
                side.schema().has_column(column) && is_constant_column(column, side)
            };
            match join.join_type {
                JoinType::Inner => is_of(&join.left) || is_of(&join.right),
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => is_of(&join.left),
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => is_of(&join.right),
                _ => false,
            }
        }
        LogicalPlan::Distinct(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Repartition(_) => {
            let inputs = plan.inputs();
            let mut inputs = inputs.into_iter();
            inputs
                .any(|input| input.schema().has_column(column) && is_constant_column(column, input))
        }
        _ => false,
    }
}

/// That the column is a literal.
fn says(condition: &Expr, column: &Column) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    let is_own = |expr: &Expr| matches!(expr, Expr::Column(own) if own == column);
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(_, _));
    is_own(left) && is_literal(right) || is_own(right) && is_literal(left)
}
