//! Joins that the planner does not know, as plans of operators that there are: [`unnest`] of a list
//! in a row of the tables before, [`as_of`], and the [`multiset`] operations.
//!
//! They need no operators of their own, so what servers execute and how plans travel is the same
//! for them as for all others. Each stands alone in parentheses, see `dialect/standard.rs`.

mod as_of;
mod multiset;
mod repeated;
mod unnest;

use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    Join, JoinConstraint, JoinOperator, TableFactor, TableWithJoins,
};

use crate::dialect::is_own_join;

pub(crate) use repeated::Repeated;

#[derive(Debug)]
pub(crate) struct OwnJoins;

impl RelationPlanner for OwnJoins {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let planned = match relation {
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } if matches!(&table_with_joins.joins[..], [join] if is_own_join(join)) => {
                let TableWithJoins { relation, joins } = *table_with_joins;
                let left = context.plan(relation)?;
                let mut plan = left;
                for join in joins {
                    plan = planned(plan, join, context)?;
                }
                PlannedRelation::new(plan, alias)
            }
            TableFactor::UNNEST {
                with_ordinality: true,
                ..
            } => {
                let nothing = LogicalPlanBuilder::empty(true).build()?;
                let plan = unnest::unnest(nothing, relation, unnest::Rows::WithEntries, context)?;
                PlannedRelation::new(plan, None)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

fn planned(
    left: LogicalPlan,
    join: Join,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    match join.join_operator {
        JoinOperator::AsOf {
            match_condition,
            constraint,
        } => {
            let right = context.plan(join.relation)?;
            as_of::as_of(left, right, (match_condition, constraint), context)
        }
        JoinOperator::LeftSemi(JoinConstraint::None) => {
            let right = context.plan(join.relation)?;
            multiset::multiset(left, right, JoinType::LeftSemi)
        }
        JoinOperator::LeftAnti(JoinConstraint::None) => {
            let right = context.plan(join.relation)?;
            multiset::multiset(left, right, JoinType::LeftAnti)
        }
        operator => unnest::join(left, join.relation, operator, context),
    }
}
