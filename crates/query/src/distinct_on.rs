//! DISTINCT ON: the first row of each key, by first values of groups.
//!
//! The planner has a rule that does the same, after the operators above have settled for columns
//! without nulls; a first value may be null for all it knows, and a UNION above refuses it then.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::normalize_cols;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Distinct, DistinctOn, Expr, ExprFunctionExt, LogicalPlan,
    LogicalPlanBuilder, Union,
};

/// `first`: the function of the first value.
pub(crate) fn firsts_of_keys(plan: LogicalPlan, first: &Arc<AggregateUDF>) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Distinct(Distinct::On(_)));
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    if !found {
        return Ok(plan);
    }
    let replaced = plan.transform_up_with_subqueries(|node| {
        Ok(Transformed::yes(match node {
            LogicalPlan::Distinct(Distinct::On(on)) => firsts(on, first)?,
            LogicalPlan::Union(union) => with_nulls(union)?,
            other => other.recompute_schema()?,
        }))
    })?;
    Ok(replaced.data)
}

fn firsts(on: DistinctOn, first: &Arc<AggregateUDF>) -> Result<LogicalPlan> {
    let order = on.sort_expr.unwrap_or_default();
    let keys = normalize_cols(on.on_expr, &on.input)?;
    let values = on.select_expr.into_iter().enumerate().map(|(at, expr)| {
        let value = first.call(vec![expr]);
        let value = match order.is_empty() {
            true => value,
            false => value.order_by(order.clone()).build()?,
        };
        Ok(value.alias(format!("__first_{at}")))
    });
    let values = normalize_cols(values.collect::<Result<Vec<_>>>()?, &on.input)?;
    let (of_keys, key_count) = (order.into_iter().take(keys.len()), keys.len());
    let grouped = LogicalPlan::Aggregate(Aggregate::try_new(on.input, keys, values)?);
    let found = grouped.schema().iter().skip(key_count);
    let named = found.zip(on.schema.iter()).map(|(found, (table, field))| {
        let value = Expr::Column(Column::from(found));
        value.alias_qualified(table.cloned(), field.name())
    });
    let named: Vec<Expr> = named.collect();
    LogicalPlanBuilder::from(grouped)
        .sort(of_keys)?
        .project(named)?
        .build()
}

/// A column has nulls where one of the sides has some.
fn with_nulls(union: Union) -> Result<LogicalPlan> {
    let fields = union.schema.iter().enumerate().map(|(at, (table, field))| {
        let mut sides = union.inputs.iter().map(|side| side.schema().field(at));
        let is_nullable = field.is_nullable() || sides.any(|own| own.is_nullable());
        let field = field.as_ref().clone().with_nullable(is_nullable);
        (table.cloned(), Arc::new(field))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
    Ok(LogicalPlan::Union(Union {
        inputs: union.inputs,
        schema: Arc::new(schema),
    }))
}
