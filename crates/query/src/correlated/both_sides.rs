//! Outer joins whose condition has a subquery that depends on rows of both sides.
//!
//! Above the join the condition would come too late: rows without a partner would be lost. So it is
//! asked of the distinct values of each side that it looks at, and the rows of both sides are
//! joined by the pairs of values for which it holds.

use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::same;

/// That there is a pair.
const PAIR: &str = "__pair";

/// One side, and its columns that the condition looks at.
struct Side<'a> {
    plan: &'a LogicalPlan,
    columns: Vec<Column>,
    /// What they are called in a pair.
    keys: Vec<String>,
}

impl<'a> Side<'a> {
    fn new(plan: &'a LogicalPlan, needed: &[Column], name: &str) -> Self {
        let known = |column: &&Column| plan.schema().has_column(column);
        let columns: Vec<Column> = needed.iter().filter(known).cloned().collect();
        let keys = (0..columns.len()).map(|at| format!("__{name}_{at}"));
        Self {
            keys: keys.collect(),
            columns,
            plan,
        }
    }

    fn distinct(&self) -> Result<LogicalPlanBuilder> {
        let columns = self.columns.iter().cloned().map(Expr::Column);
        LogicalPlanBuilder::from(self.plan.clone())
            .project(columns)?
            .distinct()
    }

    fn named(&self) -> impl Iterator<Item = Expr> + '_ {
        let named = self.columns.iter().cloned().zip(&self.keys);
        named.map(|(column, key)| Expr::Column(column).alias(key))
    }

    fn is_of(&self, schema: &DFSchema) -> Result<Vec<Expr>> {
        same(
            &self.columns,
            schema,
            self.keys.iter().map(Column::from_name),
        )
    }
}

/// `left` joined with `right` where all `plain` and all `dependent` conditions hold; `needed`: the
/// columns that they look at. `None`: they look at one side alone, or no rows are kept.
pub(super) fn joined(
    (left, right): (&LogicalPlan, &LogicalPlan),
    join_type: JoinType,
    (plain, dependent): (Vec<Expr>, Vec<Expr>),
    needed: &[Column],
) -> Result<Option<LogicalPlan>> {
    let of_left = match join_type {
        JoinType::Left | JoinType::Full => JoinType::Left,
        JoinType::Right => JoinType::Inner,
        _ => return Ok(None),
    };
    let (of_both, holds) = match conjunction(dependent) {
        Some(holds) => (plain, holds),
        None => return Ok(None),
    };
    let (left, right) = (
        Side::new(left, needed, "left"),
        Side::new(right, needed, "right"),
    );
    if left.columns.is_empty() || right.columns.is_empty() {
        return Ok(None);
    }
    let pairs = left
        .distinct()?
        .join_on(right.distinct()?.build()?, JoinType::Inner, of_both)?
        .filter(holds)?;
    let named = left.named().chain(right.named());
    let pairs = pairs.project(named.chain([lit(true).alias(PAIR)]))?;
    let with_pairs = LogicalPlanBuilder::from(left.plan.clone()).join_on(
        pairs.build()?,
        of_left,
        left.is_of(left.plan.schema())?,
    )?;
    let mut is_of = right.is_of(right.plan.schema())?;
    is_of.push(Expr::Column(Column::from_name(PAIR)));
    with_pairs
        .join_on(right.plan.clone(), join_type, is_of)?
        .build()
        .map(Some)
}
