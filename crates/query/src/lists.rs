//! IN with a list of more than literals: an OR of comparisons, which means the same.
//!
//! The planner joins what two lists say of one value by keeping the expressions that are in both,
//! and takes expressions that differ for values that differ: of `a IN (b, 1) AND a IN (c, 2)` no
//! row was left, also where b and c are equal.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, not};
use datafusion::optimizer::AnalyzerRule;

/// Before types are coerced: each comparison has types of its own.
#[derive(Debug)]
pub(crate) struct ListsOfLiterals;

impl AnalyzerRule for ListsOfLiterals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let spelled = plan.transform_up_with_subqueries(|node| {
            // What stands above refers to it by the name that it had.
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let spelled = expr.transform_up(|expr| Ok(spelled_out(expr)))?;
                Ok(spelled.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(spelled.data)
    }

    fn name(&self) -> &str {
        "lists_of_literals"
    }
}

fn spelled_out(expr: Expr) -> Transformed<Expr> {
    let Expr::InList(InList {
        expr,
        list,
        negated,
    }) = expr
    else {
        return Transformed::no(expr);
    };
    // A call of random() would be another one in each comparison.
    if expr.is_volatile() || !list.iter().any(Expr::any_column_refs) {
        return Transformed::no(Expr::InList(InList {
            expr,
            list,
            negated,
        }));
    }
    let compared = list.into_iter().map(|value| (*expr).clone().eq(value));
    let any = compared.reduce(Expr::or);
    let any = any.map(|any| if negated { not(any) } else { any });
    Transformed::yes(any.unwrap_or(Expr::InList(InList {
        expr,
        list: Vec::new(),
        negated,
    })))
}
