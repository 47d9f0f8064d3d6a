//! Lists that the planner would join wrongly.
//!
//! - IN with a list of more than literals: an OR of comparisons, which means the same. The planner
//!   joins what two lists say of one value by keeping the expressions that are in both, and takes
//!   expressions that differ for values that differ: of `a IN (b, 1) AND a IN (c, 2)` no row was
//!   left, also where b and c are equal.
//! - Two lists for one value that have nothing in common: `a NOT IN (1) OR a NOT IN (2)` was true,
//!   also where a is null. They are joined here, with null.

use std::collections::HashSet;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_binary;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, binary_expr, lit, not};
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};

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

/// Once types are coerced, and before the planner does it in its own way.
#[derive(Debug)]
pub(crate) struct ListsOfOneValue;

impl OptimizerRule for ListsOfOneValue {
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        // What stands above refers to it by the name that it had.
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let joined = expr.transform_up(|expr| Ok(joined(expr)))?;
            Ok(joined.update_data(|expr| name.restore(expr)))
        })
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn name(&self) -> &str {
        "lists_of_one_value"
    }
}

fn joined(expr: Expr) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = match expr {
        Expr::Not(inner) => {
            return match *inner {
                Expr::InList(list) => Transformed::yes(Expr::InList(InList {
                    negated: !list.negated,
                    ..list
                })),
                other => Transformed::no(not(other)),
            };
        }
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => binary,
        other => return Transformed::no(other),
    };
    let is_list = |side: &Expr| matches!(side, Expr::InList(_));
    if !is_list(&left) && !is_list(&right) {
        return Transformed::no(binary_expr(*left, op, *right));
    }
    let whole = binary_expr(*left, op, *right);
    let parts = split_binary(&whole, op);
    let mut lists: Vec<&InList> = Vec::new();
    let mut others: Vec<Expr> = Vec::new();
    for part in parts {
        match part {
            // One list or the other is one list, as the planner knows.
            Expr::InList(list) if op == Operator::And || list.negated => lists.push(list),
            other => others.push(other.clone()),
        }
    }
    let mut is_changed = false;
    while let Some(first) = lists.first().copied() {
        let is_same = |own: &&InList| own.expr == first.expr && !own.expr.is_volatile();
        let (same, rest): (Vec<&InList>, Vec<&InList>) = lists.into_iter().partition(is_same);
        match same.len() {
            2.. => {
                is_changed = true;
                others.extend(of_one_value(&first.expr, op, &same));
            }
            // A volatile value is not even the same as itself.
            0 => {
                others.extend(rest.iter().map(|own| Expr::InList((*own).clone())));
                break;
            }
            _ => others.push(Expr::InList(first.clone())),
        }
        lists = rest;
    }
    if !is_changed {
        return Transformed::no(whole);
    }
    let all = others.into_iter().reduce(|a, b| binary_expr(a, op, b));
    Transformed::yes(all.unwrap_or(whole))
}

fn is_null(item: &Expr) -> bool {
    match item {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// What lists that are joined by `op` say of `value`, in an expression that the planner leaves.
fn of_one_value(value: &Expr, op: Operator, lists: &[&InList]) -> Vec<Expr> {
    let unknown = || lit(ScalarValue::Boolean(None));
    let mut all = Vec::new();
    let (mut inside, mut outside): (Option<Vec<Expr>>, Vec<Expr>) = (None, Vec::new());
    for list in lists {
        let known = list.list.iter().filter(|item| !is_null(item));
        let known: Vec<Expr> = known.cloned().collect();
        if known.len() < list.list.len() {
            // With null in the list nothing is told of what is not in it.
            let alone = value.clone().in_list(known, list.negated);
            all.push(match list.negated {
                true => alone.and(unknown()),
                false => alone.or(unknown()),
            });
        } else if list.negated && op == Operator::And {
            outside.extend(known);
        } else {
            inside = Some(match inside {
                None => known,
                Some(before) => {
                    let known: HashSet<&Expr> = known.iter().collect();
                    let both = before.into_iter().filter(|item| known.contains(item));
                    both.collect()
                }
            });
        }
    }
    let without: HashSet<&Expr> = outside.iter().collect();
    let inside = inside.map(|mut items| {
        items.retain(|item| !without.contains(item));
        items
    });
    let value = || value.clone();
    match (op, inside) {
        (Operator::Or, Some(items)) if items.is_empty() => {
            all.push(value().is_not_null().or(unknown()));
        }
        (Operator::Or, Some(items)) => all.push(value().in_list(items, true)),
        (_, Some(items)) if items.is_empty() => all.push(value().is_null().and(unknown())),
        (_, Some(items)) => all.push(value().in_list(items, false)),
        (_, None) if !outside.is_empty() => all.push(value().in_list(outside, true)),
        (_, None) => {}
    }
    all
}
