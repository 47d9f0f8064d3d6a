//! The plan of a subquery for all values that it depends on: each of its rows has the values of the
//! domain that it belongs to beside its own columns.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result, ScalarValue};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprFunctionExt, ExprSchemable, FetchType, Join, JoinType, Limit,
    LogicalPlan, LogicalPlanBuilder, Projection, SkipType, Sort, Subquery, Union,
    WindowFunctionDefinition, lit,
};

use super::{alike, same};

/// The distinct values that a subquery depends on.
pub(super) struct Domain {
    pub(super) outer: Vec<Column>,
    rows: Arc<LogicalPlan>,
}

pub(super) struct Pushed {
    pub(super) plan: LogicalPlan,
    /// Where the values of the domain stand, in its order.
    pub(super) domain: Vec<Column>,
}

type Names<'a> = &'a dyn Fn(&str) -> String;

impl Domain {
    /// `None`: the subquery depends on more than the rows of `plan`.
    pub(super) fn new(plan: &Arc<LogicalPlan>, subquery: &Subquery) -> Option<Self> {
        let outer = outer_of(&subquery.subquery).ok()?;
        let known = outer.iter().all(|column| plan.schema().has_column(column));
        known.then(|| Self {
            outer,
            rows: Arc::clone(plan),
        })
    }

    /// Its values, under new names.
    fn values(&self, names: Names<'_>) -> Result<Pushed> {
        let own: Vec<String> = self.outer.iter().map(|_| names("outer")).collect();
        let columns = self.outer.iter().cloned().zip(&own);
        let columns = columns.map(|(column, name)| Expr::Column(column).alias(name));
        let plan = LogicalPlanBuilder::from(self.rows.as_ref().clone())
            .project(columns.collect::<Vec<_>>())?
            .distinct()?
            .build()?;
        Ok(Pushed {
            plan,
            domain: own.into_iter().map(Column::from_name).collect(),
        })
    }

    fn replaced(&self, expr: Expr, by: &[Column]) -> Result<Expr> {
        let replaced = expr.transform_up(|expr| {
            let Expr::OuterReferenceColumn(_, column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let at = self.outer.iter().position(|own| own == column);
            Ok(match at.and_then(|at| by.get(at)) {
                Some(column) => Transformed::yes(Expr::Column(column.clone())),
                None => Transformed::no(expr),
            })
        })?;
        Ok(replaced.data)
    }
}

/// No more than one row for each value of the domain.
pub(super) fn is_single_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1))))
                || is_single_row(&limit.input)
        }
        LogicalPlan::Projection(projection) => is_single_row(&projection.input),
        LogicalPlan::Filter(filter) => is_single_row(&filter.input),
        LogicalPlan::Sort(sort) => sort.fetch == Some(1) || is_single_row(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => is_single_row(&alias.input),
        LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
}

pub(super) fn depends(plan: &LogicalPlan) -> Result<bool> {
    Ok(!outer_of(plan)?.is_empty())
}

/// The columns of rows around the plan that it reads. What a subquery within reads of the rows of
/// the plan itself is none of them.
fn outer_of(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut outer: Vec<Column> = Vec::new();
    let mut add = |column: &Column| {
        if !outer.contains(column) {
            outer.push(column.clone());
        }
    };
    plan.apply(|node| {
        let inputs = node.inputs();
        let is_own = |column: &Column| {
            let mut schemas = inputs.iter().map(|input| input.schema());
            schemas.any(|schema| schema.has_column(column))
        };
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::OuterReferenceColumn(_, column) = part {
                    add(column);
                } else if let Some(subquery) = subquery_of(part) {
                    let within = outer_of(&subquery.subquery)?;
                    within
                        .iter()
                        .filter(|column| !is_own(column))
                        .for_each(&mut add);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(outer)
}

const fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(compared) => Some(&compared.subquery),
        _ => None,
    }
}

fn columns(of: &[Column]) -> impl Iterator<Item = Expr> + '_ {
    of.iter().cloned().map(Expr::Column)
}

/// `None`: there is an operator that this cannot go through.
pub(super) fn push(
    plan: &LogicalPlan,
    domain: &mut Domain,
    names: Names<'_>,
) -> Result<Option<Pushed>> {
    if domain.outer.is_empty() {
        return Ok(Some(Pushed {
            plan: plan.clone(),
            domain: Vec::new(),
        }));
    }
    if !depends(plan)? {
        let values = domain.values(names)?;
        let plan = LogicalPlanBuilder::from(values.plan)
            .cross_join(plan.clone())?
            .build()?;
        return Ok(Some(Pushed { plan, ..values }));
    }
    match plan {
        LogicalPlan::Join(join) => return push_join(join, domain, names),
        LogicalPlan::Union(union) => return push_union(union, domain, names),
        LogicalPlan::Aggregate(aggregate) => return push_aggregate(aggregate, domain, names),
        LogicalPlan::Limit(limit) => return push_limit(limit, domain, names),
        _ => {}
    }
    let inputs = plan.inputs();
    let [input] = inputs[..] else {
        return Ok(None);
    };
    let Some(Pushed {
        plan: input,
        domain: keys,
    }) = push(input, domain, names)?
    else {
        return Ok(None);
    };
    let input = LogicalPlanBuilder::from(input);
    let plan = match plan {
        LogicalPlan::Filter(filter) => {
            let predicate = domain.replaced(filter.predicate.clone(), &keys)?;
            input.filter(predicate)?.build()?
        }
        LogicalPlan::Projection(projection) => {
            let own = projection.expr.iter().cloned();
            let own = own.map(|expr| {
                let name = expr.qualified_name();
                let expr = domain.replaced(expr, &keys)?.unalias();
                Ok(expr.alias_qualified(name.0, name.1))
            });
            let all = columns(&keys).map(Ok).chain(own);
            input.project(all.collect::<Result<Vec<_>>>()?)?.build()?
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let plan = input.build()?;
            let pushed = Pushed { plan, domain: keys };
            return pushed.under(&alias.alias).map(Some);
        }
        LogicalPlan::Sort(Sort { expr, fetch, .. }) => {
            let sorts = sorts(expr, domain, &keys)?;
            let plan = input.build()?;
            let pushed = Pushed { plan, domain: keys };
            return first_rows(pushed, sorts, (0, *fetch), names).map(Some);
        }
        LogicalPlan::Distinct(Distinct::All(_)) => input.distinct()?.build()?,
        LogicalPlan::Window(window) => {
            let windows = window.window_expr.iter().cloned();
            let windows = windows.map(|expr| by_domain(domain.replaced(expr, &keys)?, &keys));
            input
                .window(windows.collect::<Result<Vec<_>>>()?)?
                .build()?
        }
        _ => return Ok(None),
    };
    Ok(Some(Pushed { plan, domain: keys }))
}

fn sorts(sorts: &[SortExpr], domain: &Domain, keys: &[Column]) -> Result<Vec<SortExpr>> {
    let sorts = sorts.iter().cloned();
    let sorts = sorts.map(|sort| {
        let expr = domain.replaced(sort.expr.clone(), keys)?;
        Ok(sort.with_expr(expr))
    });
    sorts.collect()
}

/// A window looks at the rows of one value of the domain. Its name stays.
fn by_domain(window: Expr, keys: &[Column]) -> Result<Expr> {
    let name = window.qualified_name();
    let changed = window.transform_down(|expr| match expr {
        Expr::WindowFunction(mut function) => {
            function.params.partition_by.extend(columns(keys));
            let function = Expr::WindowFunction(function);
            Ok(Transformed::new(function, true, TreeNodeRecursion::Stop))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(changed.data.unalias().alias_qualified(name.0, name.1))
}

fn push_limit(limit: &Limit, domain: &mut Domain, names: Names<'_>) -> Result<Option<Pushed>> {
    // Below a projection, which may hide what the order is of.
    if let LogicalPlan::Projection(projection) = limit.input.as_ref() {
        let input = Limit {
            input: Arc::clone(&projection.input),
            ..limit.clone()
        };
        let projection = Projection::try_new_with_schema(
            projection.expr.clone(),
            Arc::new(LogicalPlan::Limit(input)),
            Arc::clone(&projection.schema),
        )?;
        return push(&LogicalPlan::Projection(projection), domain, names);
    }
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    // Its order is that of the rows that are left.
    let (input, sort) = match limit.input.as_ref() {
        LogicalPlan::Sort(Sort {
            expr,
            input,
            fetch: None,
        }) => (input.as_ref(), expr.as_slice()),
        LogicalPlan::Sort(Sort {
            expr,
            input,
            fetch: Some(own),
        }) if fetch.is_none_or(|fetch| skip + fetch <= *own) => (input.as_ref(), expr.as_slice()),
        input => (input, [].as_slice()),
    };
    let Some(pushed) = push(input, domain, names)? else {
        return Ok(None);
    };
    let sorts = sorts(sort, domain, &pushed.domain)?;
    first_rows(pushed, sorts, (skip, fetch), names).map(Some)
}

/// Of the rows of each value of the domain.
fn first_rows(
    pushed: Pushed,
    sorts: Vec<SortExpr>,
    (skip, fetch): (usize, Option<usize>),
    names: Names<'_>,
) -> Result<Pushed> {
    if skip == 0 && fetch.is_none() {
        return Ok(pushed);
    }
    let Pushed { plan, domain } = pushed;
    let row = names("row");
    let number = Expr::from(WindowFunction::new(
        WindowFunctionDefinition::WindowUDF(row_number_udwf()),
        vec![],
    ));
    let number = number
        .partition_by(columns(&domain).collect())
        .order_by(sorts)
        .build()?
        .alias(&row);
    let of_plan = plan.schema().columns();
    let row = Expr::Column(Column::from_name(row));
    let mut wanted = row.clone().gt(lit(skip as u64));
    if let Some(fetch) = fetch {
        wanted = wanted.and(row.lt_eq(lit((skip + fetch) as u64)));
    }
    let plan = LogicalPlanBuilder::from(plan)
        .window(vec![number])?
        .filter(wanted)?
        .project(columns(&of_plan).collect::<Vec<_>>())?
        .build()?;
    Ok(Pushed { plan, domain })
}

fn push_aggregate(
    aggregate: &Aggregate,
    domain: &mut Domain,
    names: Names<'_>,
) -> Result<Option<Pushed>> {
    let Some(Pushed { plan, domain: keys }) = push(&aggregate.input, domain, names)? else {
        return Ok(None);
    };
    let replaced = |exprs: &[Expr]| {
        let exprs = exprs.iter().cloned();
        let exprs = exprs.map(|expr| {
            let name = expr.qualified_name();
            let changed = domain.replaced(expr.clone(), &keys)?;
            Ok(match changed == expr {
                true => expr,
                false => changed.alias_qualified(name.0, name.1),
            })
        });
        exprs.collect::<Result<Vec<Expr>>>()
    };
    if matches!(aggregate.group_expr[..], [Expr::GroupingSet(_)]) {
        return Ok(None);
    }
    let groups = replaced(&aggregate.group_expr)?;
    let aggregates = replaced(&aggregate.aggr_expr)?;
    let grouped = LogicalPlanBuilder::from(plan)
        .aggregate(groups.into_iter().chain(columns(&keys)), aggregates)?
        .build()?;
    if !aggregate.group_expr.is_empty() {
        return Ok(Some(Pushed {
            plan: grouped,
            domain: keys,
        }));
    }
    // Values of the domain without rows have one too.
    let values = domain.values(names)?;
    let defaults = defaults(aggregate)?;
    let own = aggregate.schema.columns();
    let filled = own.into_iter().map(|column| {
        let default = defaults.get(&column.name).cloned();
        let (table, name) = (column.relation.clone(), column.name.clone());
        let value = Expr::Column(column);
        match default {
            Some(default) => coalesce(vec![value, lit(default)]).alias_qualified(table, name),
            None => value,
        }
    });
    let all: Vec<Expr> = columns(&values.domain).chain(filled).collect();
    let same = same(&values.domain, values.plan.schema(), keys)?;
    let plan = LogicalPlanBuilder::from(values.plan)
        .join_on(grouped, JoinType::Left, same)?
        .project(all)?
        .build()?;
    Ok(Some(Pushed {
        plan,
        domain: values.domain,
    }))
}

/// What aggregates give without rows, by name, where that is not null.
fn defaults(aggregate: &Aggregate) -> Result<HashMap<String, ScalarValue>> {
    let mut defaults = HashMap::new();
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(AggregateFunction { func, .. }) =
            expr.clone().unalias_nested().data
        else {
            continue;
        };
        let default = func.default_value(&expr.get_type(aggregate.input.schema())?)?;
        if !default.is_null() {
            defaults.insert(expr.qualified_name().1, default);
        }
    }
    Ok(defaults)
}

fn push_join(join: &Join, domain: &mut Domain, names: Names<'_>) -> Result<Option<Pushed>> {
    // Rows of the first side are kept, or rows of both.
    let (first, second, join_type) = match join.join_type {
        JoinType::Inner
        | JoinType::Left
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::Full => (&join.left, &join.right, join.join_type),
        JoinType::Right => (&join.right, &join.left, JoinType::Left),
        _ => return Ok(None),
    };
    let Some(first) = push(first, domain, names)? else {
        return Ok(None);
    };
    let on = conditions(join)?.into_iter();
    let on = on.map(|expr| domain.replaced(expr, &first.domain));
    let mut on = on.collect::<Result<Vec<Expr>>>()?;
    let second = match join_type == JoinType::Full || depends(second)? {
        false => Pushed {
            plan: second.as_ref().clone(),
            domain: Vec::new(),
        },
        true => match push(second, domain, names)? {
            Some(second) => second,
            None => return Ok(None),
        },
    };
    let of_first = &first.domain[..second.domain.len()];
    let of_second = second.domain.iter().cloned();
    on.extend(same(of_first, first.plan.schema(), of_second)?);
    let joined = LogicalPlanBuilder::from(first.plan).join_on(second.plan, join_type, on)?;
    let own = join.schema.columns();
    let (plan, domain) = match join.join_type {
        JoinType::Right => {
            let all = columns(&first.domain).chain(columns(&own));
            (joined.project(all)?, first.domain)
        }
        JoinType::Full => {
            let keys: Vec<String> = first.domain.iter().map(|_| names("outer")).collect();
            let values = columns(&first.domain).zip(columns(&second.domain));
            let values = values.zip(&keys).map(|((of_first, of_second), key)| {
                // One of them is null where a row has no partner.
                coalesce(vec![of_first, of_second]).alias(key)
            });
            let plan = joined.project(values.chain(columns(&own)))?;
            (plan, keys.into_iter().map(Column::from_name).collect())
        }
        _ => (joined, first.domain),
    };
    let plan = plan.build()?;
    Ok(Some(Pushed { plan, domain }))
}

/// All that rows which are joined must hold.
fn conditions(join: &Join) -> Result<Vec<Expr>> {
    let mut conditions: Vec<Expr> = Vec::new();
    for (left, right) in &join.on {
        match join.null_equality {
            NullEquality::NullEqualsNothing => conditions.push(left.clone().eq(right.clone())),
            // Of set operations.
            NullEquality::NullEqualsNull => {
                let (_, field) = left.to_field(join.left.schema())?;
                conditions.extend(alike((left.clone(), right.clone()), &field));
            }
        }
    }
    conditions.extend(join.filter.clone());
    Ok(conditions)
}

fn push_union(union: &Union, domain: &mut Domain, names: Names<'_>) -> Result<Option<Pushed>> {
    let keys: Vec<String> = domain.outer.iter().map(|_| names("outer")).collect();
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let Some(pushed) = push(input, domain, names)? else {
            return Ok(None);
        };
        let named = columns(&pushed.domain).zip(&keys);
        let named = named.map(|(column, name)| column.alias(name));
        let own = input.schema().columns();
        let all: Vec<Expr> = named.chain(columns(&own)).collect();
        let input = LogicalPlanBuilder::from(pushed.plan)
            .project(all)?
            .build()?;
        inputs.push(Arc::new(input));
    }
    let plan = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
    // Its columns have the names of the union that it stands for.
    let made = plan.schema().columns();
    let own = union.schema.columns();
    let renamed = made
        .iter()
        .skip(keys.len())
        .zip(own)
        .map(|(made, own)| Expr::Column(made.clone()).alias_qualified(own.relation, own.name));
    let all: Vec<Expr> = columns(&made[..keys.len()]).chain(renamed).collect();
    let domain = made[..keys.len()].to_vec();
    let plan = LogicalPlanBuilder::from(plan).project(all)?.build()?;
    Ok(Some(Pushed { plan, domain }))
}
