//! Subqueries that depend on the rows around them, and any of IN and EXISTS, where the planner
//! takes none: in ORDER BY, in keys and arguments of aggregates and windows, in conditions of
//! joins. In VALUES it takes those that depend on nothing, and reads them before they ran.
//!
//! They become columns of a projection below, where it takes them, or of a filter above an inner
//! join; for what depends on both sides of an outer join see [`both_sides`].

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Sort, Union, Values, Window,
    cast,
};

use super::{both_sides, values};

pub(crate) fn hoisted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut made = 0;
    let hoisted = values::as_aggregates(plan)?.transform_up_with_subqueries(|node| {
        let hoisted = match &node {
            LogicalPlan::Sort(sort) => of_sort(sort, &mut made)?,
            LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate, &mut made)?,
            LogicalPlan::Window(window) => of_window(window, &mut made)?,
            LogicalPlan::Join(join) => of_join(join, &mut made)?,
            LogicalPlan::Values(values) => of_values(values)?,
            _ => None,
        };
        Ok(match hoisted {
            Some(hoisted) => Transformed::yes(hoisted),
            None => Transformed::no(node),
        })
    })?;
    Ok(hoisted.data)
}

fn of_sort(sort: &Sort, made: &mut usize) -> Result<Option<LogicalPlan>> {
    let mut columns = Columns::beside(&sort.input, made);
    let mut after = Vec::with_capacity(sort.expr.len());
    for by in &sort.expr {
        after.push(by.with_expr(columns.instead_of(by.expr.clone())?));
    }
    let Some(input) = columns.plan()? else {
        return Ok(None);
    };
    let sorted = LogicalPlan::Sort(Sort {
        expr: after,
        input: Arc::new(input),
        fetch: sort.fetch,
    });
    only(sorted, sort.input.schema()).map(Some)
}

fn of_aggregate(aggregate: &Aggregate, made: &mut usize) -> Result<Option<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let mut columns = Columns::beside(&aggregate.input, made);
    let mut named = |exprs: &[Expr]| {
        let exprs = exprs.iter().map(|expr| {
            let name = names.save(expr);
            Ok(name.restore(columns.instead_of(expr.clone())?))
        });
        exprs.collect::<Result<Vec<_>>>()
    };
    let (keys, values) = (named(&aggregate.group_expr)?, named(&aggregate.aggr_expr)?);
    let Some(input) = columns.plan()? else {
        return Ok(None);
    };
    let aggregate = Aggregate::try_new(Arc::new(input), keys, values)?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}

fn of_window(window: &Window, made: &mut usize) -> Result<Option<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let mut columns = Columns::beside(&window.input, made);
    let mut exprs = Vec::with_capacity(window.window_expr.len());
    for expr in &window.window_expr {
        let name = names.save(expr);
        exprs.push(name.restore(columns.instead_of(expr.clone())?));
    }
    let Some(input) = columns.plan()? else {
        return Ok(None);
    };
    let windows = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?);
    only(windows, &window.schema).map(Some)
}

fn of_join(join: &Join, made: &mut usize) -> Result<Option<LogicalPlan>> {
    let Some(condition) = &join.filter else {
        return Ok(None);
    };
    // Conditions of inner joins become filters, in which the planner takes IN and EXISTS.
    let needed = match join.join_type {
        JoinType::Inner => needed_by,
        _ => needed_by_test,
    };
    if !condition.exists(|part| Ok(needed(part).is_some()))? {
        return Ok(None);
    }
    let (mut conditions, mut dependent) = (Vec::new(), Vec::new());
    let mut left = Columns {
        needed,
        ..Columns::beside(&join.left, made)
    };
    let parts = split_conjunction(condition).into_iter();
    let parts = parts.map(|part| left.instead_of(part.clone()));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let left = left.plan()?;
    let mut right = Columns {
        needed,
        ..Columns::beside(&join.right, made)
    };
    for part in parts {
        let part = right.instead_of(part)?;
        match has_dependent(&part)? {
            true => dependent.push(part),
            false => conditions.push(part),
        }
    }
    let right = right.plan()?;
    let on = join.on.iter().cloned().map(|(left, right)| left.eq(right));
    let mut conditions: Vec<Expr> = on.chain(conditions).collect();
    let side = |changed: Option<LogicalPlan>, before: &Arc<LogicalPlan>| {
        changed.unwrap_or_else(|| before.as_ref().clone())
    };
    let (left, right) = (side(left, &join.left), side(right, &join.right));
    if join.join_type != JoinType::Inner {
        let needed = columns_of(conditions.iter().chain(&dependent))?;
        let parts = (conditions.clone(), dependent.clone());
        let joined = both_sides::joined((&left, &right), join.join_type, parts, &needed)?;
        if let Some(joined) = joined {
            return only(joined, &join.schema).map(Some);
        }
        conditions.append(&mut dependent);
    }
    let joined = LogicalPlanBuilder::from(left).join_on(right, join.join_type, conditions)?;
    let joined = match conjunction(dependent) {
        Some(above) => joined.filter(above)?,
        None => joined,
    };
    only(joined.build()?, &join.schema).map(Some)
}

/// Those that the conditions look at, each once.
fn columns_of<'e>(conditions: impl Iterator<Item = &'e Expr>) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for condition in conditions {
        condition.apply(|expr| {
            let own = match expr {
                Expr::Column(column) => vec![column.clone()],
                other => needed_by(other).unwrap_or_default(),
            };
            for column in own {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(columns)
}

/// Each row as a projection.
fn of_values(values: &Values) -> Result<Option<LogicalPlan>> {
    let mut exprs = values.values.iter().flatten();
    if !exprs.any(|expr| expr.exists(|part| Ok(is_subquery(part))).unwrap_or(true)) {
        return Ok(None);
    }
    let rows = values.values.iter().map(|row| {
        let named = row.iter().zip(values.schema.fields()).map(|(expr, field)| {
            let value = cast(expr.clone(), field.data_type().clone());
            value.alias(field.name())
        });
        let row = LogicalPlanBuilder::empty(true).project(named)?.build()?;
        Ok(Arc::new(row))
    });
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    Ok(Some(match rows.len() {
        1 => Arc::unwrap_or_clone(rows.remove(0)),
        _ => LogicalPlan::Union(Union::try_new_with_loose_types(rows)?),
    }))
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
    )
}

/// The columns of `schema`.
fn only(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    let columns = schema.columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// What subqueries give, beside the rows of `input`.
struct Columns<'a> {
    input: &'a Arc<LogicalPlan>,
    /// As [`needed_by`].
    needed: fn(&Expr) -> Option<Vec<Column>>,
    found: Vec<(Expr, String)>,
    made: &'a mut usize,
}

impl<'a> Columns<'a> {
    fn beside(input: &'a Arc<LogicalPlan>, made: &'a mut usize) -> Self {
        Self {
            input,
            needed: needed_by_test,
            found: Vec::new(),
            made,
        }
    }

    /// With columns in the place of subqueries that depend on the rows of `input` and no others.
    fn instead_of(&mut self, expr: Expr) -> Result<Expr> {
        let schema = self.input.schema();
        let replaced = expr.transform_down(|expr| {
            let Some(needed) = (self.needed)(&expr) else {
                return Ok(Transformed::no(expr));
            };
            if !needed.iter().all(|column| schema.has_column(column)) {
                return Ok(Transformed::no(expr));
            }
            let known = self.found.iter().find(|(own, _)| *own == expr);
            let name = match known {
                Some((_, name)) => name.clone(),
                None => {
                    *self.made += 1;
                    let name = format!("__hoisted_{}", self.made);
                    self.found.push((expr, name.clone()));
                    name
                }
            };
            let column = Expr::Column(Column::from_name(name));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(replaced.data)
    }

    /// `None`: there were none.
    fn plan(self) -> Result<Option<LogicalPlan>> {
        if self.found.is_empty() {
            return Ok(None);
        }
        let own = self.input.schema().columns().into_iter().map(Expr::Column);
        let found = self.found.into_iter();
        let found = found.map(|(subquery, name)| subquery.alias(name));
        LogicalPlanBuilder::from(self.input.as_ref().clone())
            .project(own.chain(found))?
            .build()
            .map(Some)
    }
}

fn has_dependent(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(needed_by(expr).is_some()))
}

/// As [`needed_by`], and those of a test of IN or EXISTS whose subquery depends on nothing.
fn needed_by_test(expr: &Expr) -> Option<Vec<Column>> {
    let tested = match expr {
        Expr::InSubquery(within) => within.expr.column_refs(),
        Expr::Exists(_) => HashSet::new(),
        _ => return needed_by(expr),
    };
    let of_test = || Some(tested.into_iter().cloned().collect());
    needed_by(expr).or_else(of_test)
}

/// The columns around a subquery that it depends on. `None`: it depends on none, or is no subquery.
fn needed_by(expr: &Expr) -> Option<Vec<Column>> {
    let (subquery, tested) = match expr {
        Expr::ScalarSubquery(subquery) => (subquery, None),
        Expr::Exists(exists) => (&exists.subquery, None),
        Expr::InSubquery(within) => (&within.subquery, Some(&within.expr)),
        _ => return None,
    };
    let outer = subquery.outer_ref_columns.iter();
    let mut needed: Vec<Column> = outer
        .filter_map(|outer| match outer {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        })
        .collect();
    if needed.is_empty() {
        return None;
    }
    let tested = tested.into_iter().flat_map(|tested| tested.column_refs());
    needed.extend(tested.cloned());
    Some(needed)
}
