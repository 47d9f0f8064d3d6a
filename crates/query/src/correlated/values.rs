//! Subqueries in the form of aggregates: those that stand for a value and may have more than one
//! row, and those that all or any of whose values are compared.
//!
//! The first are values of their only row ([`functions::single_value`]), by which a second row is
//! an error. `x > ALL (…)` is decided by the greatest of the values, by how many there are and by
//! whether some are not known: no row around has to be compared with each of them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::functions_aggregate::count::{count, count_all};
use datafusion::functions_aggregate::min_max::{max, min};
use datafusion::logical_expr::expr::{SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, binary_expr, lit, when,
};

use super::push::is_single_row;

pub(super) fn as_aggregates(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_any(&plan)? {
        return Ok(plan);
    }
    let mut made = 0;
    let shaped = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let shaped = expr.transform_up(|expr| shaped(expr, &mut made))?;
            Ok(shaped.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(shaped.data)
}

fn has_any(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| {
                Ok(matches!(
                    expr,
                    Expr::ScalarSubquery(_) | Expr::SetComparison(_)
                ))
            })?;
            Ok(match found {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })
    })?;
    Ok(found)
}

fn shaped(expr: Expr, made: &mut usize) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarSubquery(subquery)
            if !subquery.outer_ref_columns.is_empty() && !is_single_row(&subquery.subquery) =>
        {
            only_value(&subquery, made).map(Transformed::yes)
        }
        Expr::SetComparison(compared) => match decided(&compared, made)? {
            Some(decided) => Ok(Transformed::yes(decided)),
            None => Ok(Transformed::no(Expr::SetComparison(compared))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// `None`: equal values decide, which joins find, or values of each row's own, of which there may
/// be as many as pairs of rows.
fn decided(compared: &SetComparison, made: &mut usize) -> Result<Option<Expr>> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if !compared.subquery.outer_ref_columns.is_empty() {
        return Ok(None);
    }
    let is_all = match compared.quantifier {
        SetQuantifier::All => true,
        SetQuantifier::Any => false,
    };
    let (by_greatest, by_least) = match (compared.op, is_all) {
        (Gt | GtEq, true) | (Lt | LtEq, false) => (true, false),
        (Lt | LtEq, true) | (Gt | GtEq, false) => (false, true),
        (Eq, true) | (NotEq, false) => (true, true),
        _ => return Ok(None),
    };
    let column = column_of(&compared.subquery);
    let mut values = vec![(ROWS, count_all()), (KNOWN, count(column.clone()))];
    let ends = [
        (by_greatest, GREATEST, max(column.clone())),
        (by_least, LEAST, min(column)),
    ];
    let wanted = ends.into_iter().filter(|(is_wanted, ..)| *is_wanted);
    values.extend(wanted.map(|(_, name, value)| (name, value)));
    let found = aggregated(&compared.subquery, values, made)?;
    let holds = |end: &str| {
        let x = compared.expr.as_ref().clone();
        binary_expr(x, compared.op, get_field(found.clone(), end))
    };
    let holds = match (by_greatest, by_least) {
        (true, false) => holds(GREATEST),
        (false, _) => holds(LEAST),
        (true, true) if is_all => holds(LEAST).and(holds(GREATEST)),
        (true, true) => holds(LEAST).or(holds(GREATEST)),
    };
    let (rows, known) = (get_field(found.clone(), ROWS), get_field(found, KNOWN));
    let null = lit(ScalarValue::Boolean(None));
    // One value that does not hold decides over ALL, one that holds over ANY.
    let by_one = match is_all {
        true => Expr::Not(Box::new(holds.clone())),
        false => holds.clone(),
    };
    let decided = when(rows.clone().eq(lit(0_i64)), lit(is_all))
        .when(by_one, lit(!is_all))
        .when(known.lt(rows), null)
        .otherwise(holds)?;
    Ok(Some(decided))
}

const ROWS: &str = "rows";
const KNOWN: &str = "known";
const GREATEST: &str = "greatest";
const LEAST: &str = "least";

fn column_of(subquery: &Subquery) -> Expr {
    let columns = subquery.subquery.schema().columns();
    columns.into_iter().next().map_or(lit(1), Expr::Column)
}

fn only_value(subquery: &Subquery, made: &mut usize) -> Result<Expr> {
    *made += 1;
    let value = functions::single_value(column_of(subquery)).alias(format!("{OWN}{made}"));
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), vec![value])?
        .build()?;
    Ok(in_place_of(subquery, plan))
}

/// Aggregates of the rows of a subquery, all in one value: it is computed once for them.
fn aggregated(subquery: &Subquery, values: Vec<(&str, Expr)>, made: &mut usize) -> Result<Expr> {
    let (mut aggregates, mut fields) = (Vec::new(), Vec::new());
    for (name, value) in values {
        *made += 1;
        let own = format!("{OWN}{made}");
        fields.extend([lit(name), Expr::Column(Column::from_name(&own))]);
        aggregates.push(value.alias(own));
    }
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), aggregates)?
        .project([named_struct(fields).alias(format!("{OWN}{made}_all"))])?
        .build()?;
    Ok(in_place_of(subquery, plan))
}

fn in_place_of(subquery: &Subquery, plan: LogicalPlan) -> Expr {
    Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        ..subquery.clone()
    })
}

/// What aggregates made here are called.
const OWN: &str = "__of_subquery_";

/// Whether it was made here: an only row must be one for each of the values that a subquery depends
/// on and for no others, and what is asked for several times is to be computed once.
pub(super) fn is_own(aggregate: &Aggregate) -> bool {
    let is_own = |expr: &Expr| matches!(expr, Expr::Alias(alias) if alias.name.starts_with(OWN));
    aggregate.aggr_expr.iter().any(is_own)
}
