//! `SUM(CASE WHEN p THEN x ELSE 0 END)` is the sum of `x` over the rows where `p` holds, which an
//! index may find.
//!
//! Where no row holds it, the sum is 0; it is null where there are no rows at all, or where each
//! one holds it and has no `x`. Only what cannot fail is taken out of its CASE: an argument is read
//! for rows that its filter leaves out, too.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::COUNT_STAR_EXPANSION;
use datafusion::logical_expr::{
    Aggregate, Case, Cast, Expr, ExprSchemable, LogicalPlan, Projection, lit, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct ConditionalSums;

impl OptimizerRule for ConditionalSums {
    fn name(&self) -> &str {
        "conditional_sums"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let is_grouping = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if aggregate.group_expr.iter().any(is_grouping) {
            return Ok(Transformed::no(plan));
        }
        match apart(aggregate)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// A sum of this kind.
struct Conditional {
    function: AggregateFunction,
    condition: Expr,
    value: Expr,
    /// `FILTER` of the sum.
    filter: Option<Expr>,
}

/// Where the aggregates are that an expression is made of.
struct Made {
    value: usize,
    /// For a conditional sum.
    rows: Option<Rows>,
}

struct Rows {
    all: usize,
    /// Those that hold the condition and have no value, where there may be some.
    none: Option<usize>,
}

fn apart(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let found: Vec<_> = aggregate.aggr_expr.iter().map(conditional).collect();
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let keys = aggregate.group_expr.len();
    let mut asked = Vec::new();
    let mut place = |expr: Expr| {
        let known = asked.iter().position(|own| *own == expr);
        known.unwrap_or_else(|| {
            asked.push(expr);
            asked.len() - 1
        })
    };
    let mut made = Vec::with_capacity(found.len());
    for (expr, found) in aggregate.aggr_expr.iter().zip(found) {
        let Some(found) = found else {
            made.push(Made {
                value: place(expr.clone()),
                rows: None,
            });
            continue;
        };
        let value = place(found.sum());
        let all = place(counted(found.filter.clone()));
        let is_nullable = found.value.nullable(aggregate.input.schema())?;
        let none = is_nullable.then(|| place(counted(found.without_value())));
        made.push(Made {
            value,
            rows: Some(Rows { all, none }),
        });
    }
    let input = Arc::clone(&aggregate.input);
    let below = Aggregate::try_new(input, aggregate.group_expr.clone(), asked)?;
    let below = Arc::new(LogicalPlan::Aggregate(below));
    let column = |at: usize| Expr::Column(Column::from(below.schema().qualified_field(at)));
    let mut exprs: Vec<Expr> = (0..keys).map(column).collect();
    for (at, made) in made.into_iter().enumerate() {
        let sum = column(keys + made.value);
        let value = match made.rows {
            None => sum,
            Some(Rows { all, none }) => {
                let zero = ScalarValue::new_zero(&sum.get_type(below.schema())?)?;
                let none = none.map_or_else(|| lit(0i64), |none| column(keys + none));
                let has_values = column(keys + all).not_eq(none);
                let sum = coalesce(vec![sum, Expr::Literal(zero, None)]);
                when(has_values, sum).end()?
            }
        };
        let (table, field) = aggregate.schema.qualified_field(keys + at);
        exprs.push(value.alias_qualified(table.cloned(), field.name()));
    }
    Ok(Some(LogicalPlan::Projection(Projection::try_new(
        exprs, below,
    )?)))
}

fn conditional(expr: &Expr) -> Option<Conditional> {
    let Expr::AggregateFunction(function) = expr else {
        return None;
    };
    let params = &function.params;
    let [argument] = &params.args[..] else {
        return None;
    };
    if function.func.name() != "sum" || params.distinct || !params.order_by.is_empty() {
        return None;
    }
    let (case, cast) = match argument {
        Expr::Case(case) => (case, None),
        Expr::Cast(Cast { expr, field }) => match &**expr {
            Expr::Case(case) => (case, Some(field)),
            _ => return None,
        },
        _ => return None,
    };
    let Case {
        expr: None,
        when_then_expr,
        else_expr: Some(other),
    } = case
    else {
        return None;
    };
    let [(condition, value)] = &when_then_expr[..] else {
        return None;
    };
    if !is_zero(other) || !cannot_fail(value) {
        return None;
    }
    let value = value.as_ref().clone();
    Some(Conditional {
        function: function.clone(),
        condition: condition.as_ref().clone(),
        value: match cast {
            Some(field) => Expr::Cast(Cast::new_from_field(Box::new(value), Arc::clone(field))),
            None => value,
        },
        filter: params.filter.as_deref().cloned(),
    })
}

fn is_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_zero(&cast.expr),
        Expr::Literal(value, _) => {
            ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
        }
        _ => false,
    }
}

/// Columns, constants, and what widens them.
fn cannot_fail(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::Literal(_, _) => true,
        Expr::Cast(cast) => cast.field.data_type().is_numeric() && cannot_fail(&cast.expr),
        _ => false,
    }
}

impl Conditional {
    /// The rows that hold the condition.
    fn holding(&self) -> Expr {
        match &self.filter {
            Some(filter) => filter.clone().and(self.condition.clone()),
            None => self.condition.clone(),
        }
    }

    fn without_value(&self) -> Option<Expr> {
        Some(self.holding().and(self.value.clone().is_null()))
    }

    fn sum(&self) -> Expr {
        if self.value == lit(1i64) {
            return counted(Some(self.holding()));
        }
        let mut function = self.function.clone();
        function.params.args = vec![self.value.clone()];
        function.params.filter = Some(Box::new(self.holding()));
        Expr::AggregateFunction(function)
    }
}

/// How many rows the filter leaves.
fn counted(filter: Option<Expr>) -> Expr {
    let every = vec![Expr::Literal(COUNT_STAR_EXPANSION, None)];
    let filter = filter.map(Box::new);
    let count = AggregateFunction::new_udf(count_udaf(), every, false, filter, vec![], None);
    Expr::AggregateFunction(count)
}
