//! What is the same in all rows of a table is not behind an outer join, which puts nulls beside it,
//! nor among grouping sets, whose keys are null where a set leaves them out.
//!
//! The planner does not know that: it would leave out a sort by such a column, and take all rows
//! for one partition of a window. So there such columns become expressions of which it cannot tell
//! that they are constant. Nothing else of the plan changes, and their values do not.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::functions::math::random;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, Column, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, PhysicalGroupBy};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;

type Plan = Arc<dyn ExecutionPlan>;
type Expr = Arc<dyn PhysicalExpr>;

/// Before all other rules, so that they see no constant where there is none.
#[derive(Debug)]
pub(crate) struct OuterConstants;

impl PhysicalOptimizerRule for OuterConstants {
    fn optimize(&self, plan: Plan, options: &ConfigOptions) -> Result<Plan> {
        let options = Arc::new(options.clone());
        let hidden = plan.transform_up(|node| below(node, &options))?;
        Ok(hidden.data)
    }

    fn name(&self) -> &str {
        "outer_constants"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn below(node: Plan, options: &Arc<ConfigOptions>) -> Result<Transformed<Plan>> {
    if let Some(sets) = node.downcast_ref::<AggregateExec>() {
        let hidden = without_constant_keys(sets, options)?;
        return Ok(hidden.map_or(Transformed::no(node), Transformed::yes));
    }
    let sides = match join_type(&node) {
        Some(JoinType::Left) => [false, true],
        Some(JoinType::Right) => [true, false],
        Some(JoinType::Full) => [true, true],
        _ => return Ok(Transformed::no(node)),
    };
    let mut changed = false;
    let children = node.children().into_iter().zip(sides);
    let children = children.map(|(child, gets_nulls)| {
        let hidden = match gets_nulls {
            true => without_constants(child, options)?,
            false => None,
        };
        changed |= hidden.is_some();
        Ok(hidden.unwrap_or_else(|| Arc::clone(child)))
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    if !changed {
        return Ok(Transformed::no(node));
    }
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(Transformed::yes(
        node.replace_children(children, recompute)?,
    ))
}

fn join_type(node: &Plan) -> Option<JoinType> {
    let hash = node
        .downcast_ref::<HashJoinExec>()
        .map(HashJoinExec::join_type);
    let loops = node.downcast_ref::<NestedLoopJoinExec>();
    let merge = node.downcast_ref::<SortMergeJoinExec>();
    let others = loops.map(NestedLoopJoinExec::join_type);
    let merge = merge.map(SortMergeJoinExec::join_type);
    hash.or(others).copied().or(merge)
}

/// `None`: it has none, or no grouping sets.
fn without_constant_keys(
    sets: &AggregateExec,
    options: &Arc<ConfigOptions>,
) -> Result<Option<Plan>> {
    if !sets.group_expr().has_grouping_set() || sets.mode().input_mode() != AggregateInputMode::Raw
    {
        return Ok(None);
    }
    let known = &sets.input().properties().eq_properties;
    let mut found = false;
    let keys = sets.group_expr().expr().iter().map(|(key, name)| {
        let shown = match known.is_expr_constant(key) {
            None => Arc::clone(key),
            Some(_) => {
                found = true;
                hidden(Arc::clone(key), options)?
            }
        };
        Ok((shown, name.clone()))
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    if !found {
        return Ok(None);
    }
    let groups = PhysicalGroupBy::new(
        keys,
        sets.group_expr().null_expr().to_vec(),
        sets.group_expr().groups().to_vec(),
        true,
    );
    Ok(Some(Arc::new(AggregateExec::try_new(
        *sets.mode(),
        groups,
        sets.aggr_expr().to_vec(),
        sets.filter_expr().to_vec(),
        Arc::clone(sets.input()),
        sets.input_schema(),
    )?)))
}

/// `None`: it has none.
fn without_constants(plan: &Plan, options: &Arc<ConfigOptions>) -> Result<Option<Plan>> {
    let known = &plan.properties().eq_properties;
    let schema = plan.schema();
    let mut found = false;
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Expr = Arc::new(Column::new(field.name(), at));
        let shown = match known.is_expr_constant(&column) {
            None => column,
            Some(_) => {
                found = true;
                hidden(column, options)?
            }
        };
        Ok((shown, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    if !found {
        return Ok(None);
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(
        columns,
        Arc::clone(plan),
    )?)))
}

/// The column, whatever chance says.
pub(crate) fn hidden(column: Expr, options: &Arc<ConfigOptions>) -> Result<Expr> {
    let none = arrow::datatypes::Schema::empty();
    let chance = ScalarFunctionExpr::try_new(random(), vec![], &none, Arc::clone(options))?;
    let never: Expr = Arc::new(BinaryExpr::new(Arc::new(chance), Operator::Lt, lit(0.0)));
    let either = vec![(never, Arc::clone(&column))];
    Ok(Arc::new(CaseExpr::try_new(None, either, Some(column))?))
}
