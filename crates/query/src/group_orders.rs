//! `FIRST_VALUE(x ORDER BY a, b)` of the groups of `a` goes by `b` alone: a key is the same in all
//! rows of its group. The states of DataFusion's aggregates do without it in one of two stages, and
//! what one writes the other misreads.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct GroupOrders;

impl OptimizerRule for GroupOrders {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let keys: Vec<&Expr> = aggregate.group_expr.iter().map(unaliased).collect();
        if keys.is_empty() || keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new_for_projection();
        let mut changed = false;
        let exprs = aggregate.aggr_expr.iter().map(|expr| {
            let name = names.save(expr);
            let without = expr
                .clone()
                .transform_up(|part| Ok(without_keys(part, &keys)))?;
            changed |= without.transformed;
            Ok(name.restore(without.data))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        if !changed {
            return Ok(Transformed::no(plan));
        }
        let (input, keys) = (Arc::clone(&aggregate.input), aggregate.group_expr.clone());
        let aggregate = Aggregate::try_new(input, keys, exprs)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "group_orders"
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn without_keys(part: Expr, keys: &[&Expr]) -> Transformed<Expr> {
    let Expr::AggregateFunction(mut function) = part else {
        return Transformed::no(part);
    };
    let order = &mut function.params.order_by;
    let before = order.len();
    order.retain(|by| !keys.contains(&unaliased(&by.expr)));
    let changed = order.len() < before;
    Transformed::new_transformed(Expr::AggregateFunction(function), changed)
}
