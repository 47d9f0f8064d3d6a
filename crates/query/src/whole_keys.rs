//! Groups of more than what one side of a join is unique in are not unique in that alone.
//!
//! The planner notes of `SELECT DISTINCT a` that no two rows have the same `a`, of a join with it
//! that they may, and of GROUP BY a, b above the join that they may not, whatever `b` is: it then
//! leaves out what makes `a` distinct, or groups by `a` instead of both. It knows keys by their
//! names, so groups get names of their own.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Dependency, Result};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct WholeKeys;

impl OptimizerRule for WholeKeys {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let groups = match &plan {
            LogicalPlan::Aggregate(aggregate)
                if are_misread(&aggregate.group_expr, aggregate.input.schema()) =>
            {
                aggregate.clone()
            }
            // What it makes unique is known of an aggregate alone.
            LogicalPlan::Distinct(Distinct::All(input)) if !are_unique(input.schema()) => {
                let columns = input.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<Expr> = columns.collect();
                let is_misread = are_misread(&columns, input.schema());
                let groups = Aggregate::try_new(Arc::clone(input), columns, Vec::new())?;
                if !is_misread {
                    return Ok(Transformed::yes(LogicalPlan::Aggregate(groups)));
                }
                groups
            }
            _ => return Ok(Transformed::no(plan)),
        };
        with_own_names(&groups).map(Transformed::yes)
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "whole_keys"
    }
}

/// No two rows are the same, or there is nothing to group by.
fn are_unique(schema: &DFSchema) -> bool {
    let mut dependencies = schema.functional_dependencies().iter();
    schema.fields().is_empty()
        || dependencies.any(|dependency| dependency.mode == Dependency::Single)
}

/// Some of the keys tell rows apart no more, and do not tell what all others are.
fn are_misread(keys: &[Expr], input: &DFSchema) -> bool {
    let dependencies = input.functional_dependencies();
    if dependencies.is_empty() || keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return false;
    }
    let names = input.field_names();
    let keys: Vec<String> = keys
        .iter()
        .map(|key| key.schema_name().to_string())
        .collect();
    dependencies.iter().any(|dependency| {
        let mut sources = dependency.source_indices.iter().map(|at| &names[*at]);
        let told = |key: &String| {
            let mut told = dependency.target_indices.iter().map(|at| &names[*at]);
            told.any(|name| name == key)
        };
        dependency.mode == Dependency::Multi
            && sources.all(|source| keys.contains(source))
            && !keys.iter().all(told)
    })
}

fn with_own_names(groups: &Aggregate) -> Result<LogicalPlan> {
    let own = |at: usize| format!("__whole_key_{at}");
    let keys = groups.group_expr.iter().cloned().enumerate();
    let keys: Vec<Expr> = keys.map(|(at, key)| key.unalias().alias(own(at))).collect();
    let count = keys.len();
    let renamed = Aggregate::try_new(Arc::clone(&groups.input), keys, groups.aggr_expr.clone())?;
    let shown = groups.schema.iter().enumerate();
    let shown = shown.map(|(at, (table, field))| match at < count {
        true => {
            Expr::Column(Column::from_name(own(at))).alias_qualified(table.cloned(), field.name())
        }
        false => Expr::Column(Column::new(table.cloned(), field.name())),
    });
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(renamed))
        .project(shown.collect::<Vec<_>>())?
        .build()
}
