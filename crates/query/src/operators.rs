//! Operators of Pinot's dialect on types that SQL does not mix.
//!
//! - A TIMESTAMP compared with a number: the number is epoch milliseconds. Text is left to the
//!   planner, which casts it.
//! - A column of several values compared with one: any of them may match ([`AnyEntry`]).
//! - IS NULL of a column whose nulls are defaults: a column beside it tells ([`null_test`]).
//! - BYTES cast to STRING, and back: hexadecimal digits.
//! - A BOOLEAN compared with a number or text: they are cast to BOOLEAN.
//! - Single-stage engine only: `+ - * / %` of numbers are DOUBLE, except between two literals that
//!   are whole numbers (those divide to DOUBLE all the same). BIG_DECIMAL stays exact.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, not,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use schemas::arrow::{null_test, tested_by};

use crate::any_entry::AnyEntry;

const EPOCH_MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Whether arithmetic gives DOUBLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Double,
    OfSql,
}

#[derive(Debug)]
pub(crate) struct PinotOperators(pub(crate) Arithmetic);

impl ExprPlanner for PinotOperators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        if let Some(any) = any_entry(&raw, &left, &right) {
            return Ok(PlannerResult::Planned(any));
        }
        let RawBinaryExpr {
            op,
            left: a,
            right: b,
        } = raw;
        let (a, b) = match op {
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
                (comparable(a, &left, &right), comparable(b, &right, &left))
            }
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo
                if self.0 == Arithmetic::Double =>
            {
                let whole = is_whole_literal(&a) && is_whole_literal(&b) && op != Op::Divide;
                match (number(&left), number(&right)) {
                    (true, true) if !whole => (as_double(a, &left), as_double(b, &right)),
                    _ => (a, b),
                }
            }
            _ => (a, b),
        };
        let (left, right) = (a, b);
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// A column of several values compared with a single one: any of its entries may match, and none
/// may for `<>`.
fn any_entry(raw: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    use BinaryOperator as Op;
    let (list, value, is_swapped) = match (left, right) {
        (DataType::List(_), DataType::List(_)) => return None,
        (DataType::List(item), own) => (&raw.left, (&raw.right, item, own), false),
        (own, DataType::List(item)) => (&raw.right, (&raw.left, item, own), true),
        _ => return None,
    };
    let operator = match (&raw.op, is_swapped) {
        (Op::Eq | Op::NotEq, _) => "=",
        (Op::Lt, false) | (Op::Gt, true) => "<",
        (Op::LtEq, false) | (Op::GtEq, true) => "<=",
        (Op::Gt, false) | (Op::Lt, true) => ">",
        (Op::GtEq, false) | (Op::LtEq, true) => ">=",
        _ => return None,
    };
    let (value, item, own) = value;
    let value = comparable(value.clone(), own, item.data_type());
    let any = AnyEntry::call(list.clone(), operator, vec![value]);
    Some(match raw.op {
        Op::NotEq => not(any),
        _ => any,
    })
}

/// BETWEEN, IN and LIKE of a column of several values.
fn any_entry_of(expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let (list, operator, values, negated) = match expr {
        Expr::Between(between) => {
            let ends = vec![(*between.low).clone(), (*between.high).clone()];
            (&between.expr, "between", ends, between.negated)
        }
        Expr::InList(list) => (&list.expr, "in", list.list.clone(), list.negated),
        Expr::Like(like) if !like.case_insensitive && like.escape_char.is_none() => {
            let pattern = vec![(*like.pattern).clone()];
            (&like.expr, "like", pattern, like.negated)
        }
        _ => return Ok(None),
    };
    let Ok(DataType::List(item)) = list.get_type(schema) else {
        return Ok(None);
    };
    let values = values.into_iter().map(|value| {
        let own = value.get_type(schema)?;
        Ok(comparable(value, &own, item.data_type()))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let any = AnyEntry::call((**list).clone(), operator, values);
    Ok(Some(if negated { not(any) } else { any }))
}

/// Types of which arithmetic makes a DOUBLE.
fn number(data_type: &DataType) -> bool {
    let decimal = matches!(
        data_type,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _)
    );
    (data_type.is_numeric() && !decimal) || matches!(data_type, DataType::Timestamp(_, _))
}

fn is_whole_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type().is_integer())
}

fn as_double(expr: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Float64 => expr,
        DataType::Timestamp(_, _) => cast(
            cast(cast(expr, EPOCH_MS), DataType::Int64),
            DataType::Float64,
        ),
        _ => cast(expr, DataType::Float64),
    }
}

/// `expr` in a form that can be compared with something of type `with`.
fn comparable(expr: Expr, own: &DataType, with: &DataType) -> Expr {
    let text = is_text(own);
    match with {
        DataType::Timestamp(_, _) if own.is_numeric() => epoch_ms(expr, own),
        DataType::Boolean if own.is_numeric() || text => cast(expr, DataType::Boolean),
        _ => expr,
    }
}

fn epoch_ms(expr: Expr, own: &DataType) -> Expr {
    match own {
        DataType::Int64 => cast(expr, EPOCH_MS),
        _ => cast(cast(expr, DataType::Int64), EPOCH_MS),
    }
}

/// BETWEEN and IN, which are no binary operators, get the same treatment in the finished plan.
pub(crate) fn align_ranges(plan: LogicalPlan) -> Result<LogicalPlan> {
    let aligned = plan.transform_up_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            schema = DFSchema::clone(&scan.projected_schema);
        }
        // What stands above refers to an expression by the name that it had.
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let aligned = expr.transform_up(|expr| align_range(expr, &schema))?;
            Ok(aligned.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(aligned.data)
}

fn align_range(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let fits = |with: &Expr, bound: Expr| -> Result<Expr> {
        let own = bound.get_type(schema)?;
        Ok(comparable(bound, &own, &with.get_type(schema)?))
    };
    if let Some(any) = any_entry_of(&expr, schema)? {
        return Ok(Transformed::yes(any));
    }
    if let Some(missing) = is_missing(&expr, schema) {
        return Ok(Transformed::yes(missing));
    }
    match expr {
        Expr::Between(between) if between.expr.get_type(schema).is_ok() => {
            let low = fits(&between.expr, *between.low)?;
            let high = fits(&between.expr, *between.high)?;
            let between = Between::new(between.expr, between.negated, low.into(), high.into());
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::InList(list) if list.expr.get_type(schema).is_ok() => {
            let values = list.list.into_iter().map(|value| fits(&list.expr, value));
            let values = values.collect::<Result<Vec<_>>>()?;
            let list = InList::new(list.expr, values, list.negated);
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::Cast(cast) => {
            let own = cast.expr.get_type(schema);
            let function = match own.ok().zip(Some(cast.field.data_type())) {
                Some((own, to)) if is_text(&own) && is_bytes(to) => functions::bytes_of_hex(),
                Some((own, to)) if is_bytes(&own) && is_text(to) => functions::hex_of_bytes(),
                _ => return Ok(Transformed::no(Expr::Cast(cast))),
            };
            Ok(Transformed::yes(function.call(vec![*cast.expr])))
        }
        other => Ok(Transformed::no(other)),
    }
}

const fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
    )
}

const fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary
    )
}

/// IS NULL of a column of a table whose nulls are defaults: another column tells.
fn is_missing(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let (Expr::IsNull(tested) | Expr::IsNotNull(tested)) = expr else {
        return None;
    };
    let Expr::Column(column) = &**tested else {
        return None;
    };
    let telling = null_test(&column.name);
    let telling = Column::new(column.relation.clone(), telling.name());
    if !schema.has_column(&telling) {
        return None;
    }
    Some(match expr {
        Expr::IsNull(_) => Expr::Column(telling),
        _ => not(Expr::Column(telling)),
    })
}

/// `SELECT *` shows no column that only tells of nulls.
pub(crate) fn without_null_tests(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let is_test = |column: &&Column| tested_by(&column.name).is_some();
    if !columns.iter().any(|column| is_test(&column)) {
        return Ok(plan);
    }
    let shown = columns.iter().filter(|column| !is_test(column));
    let shown: Vec<Expr> = shown.cloned().map(Expr::Column).collect();
    LogicalPlanBuilder::new(plan).project(shown)?.build()
}

/// The operators of a session before its own.
pub(crate) fn before(
    arithmetic: Arithmetic,
    own: &[Arc<dyn ExprPlanner>],
) -> Vec<Arc<dyn ExprPlanner>> {
    let first: Arc<dyn ExprPlanner> = Arc::new(PinotOperators(arithmetic));
    std::iter::once(first).chain(own.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Builder, ListBuilder, RecordBatch, StringViewBuilder};
    use arrow::datatypes::Int64Type;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    const ROWS: [(&[&str], &[i32]); 4] = [
        (&["a", "b"], &[1, 5]),
        (&["c"], &[2]),
        (&["bb", "a"], &[3, 9]),
        (&["null"], &[0]),
    ];

    fn rows() -> RecordBatch {
        let mut tags = ListBuilder::new(StringViewBuilder::new());
        let mut scores = ListBuilder::new(Int32Builder::new());
        for (of_tags, of_scores) in ROWS {
            tags.append_value(of_tags.iter().map(Some));
            scores.append_value(of_scores.iter().copied().map(Some));
        }
        RecordBatch::try_from_iter([
            ("tags", Arc::new(tags.finish()) as _),
            ("scores", Arc::new(scores.finish()) as _),
        ])
        .unwrap()
    }

    #[tokio::test]
    async fn columns_of_several_values_match_by_any_of_them() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let planners = before(Arithmetic::Double, state.expr_planners());
        let state = SessionStateBuilder::new_from_existing(state)
            .with_expr_planners(planners)
            .with_scalar_functions(vec![AnyEntry::udf()])
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_batch("t", rows()).unwrap();
        for (condition, wanted) in [
            ("tags = 'a'", 2),
            ("'c' = tags", 1),
            ("tags <> 'a'", 2),
            ("tags IN ('b', 'c', 'x')", 2),
            ("tags NOT IN ('b', 'c')", 2),
            ("tags LIKE 'b%'", 2),
            ("tags NOT LIKE 'b%'", 2),
            ("scores > 2.5", 2),
            ("5 <= scores", 2),
            ("scores BETWEEN 2 AND 3", 2),
            ("scores NOT BETWEEN 2 AND 3", 2),
            ("scores > 4 AND scores < 2 OR tags = 'null'", 2),
            ("NOT (scores = 9)", 3),
        ] {
            let sql = format!("SELECT count(*) FROM t WHERE {condition}");
            let plan = context.state().create_logical_plan(&sql).await;
            let plan = align_ranges(plan.unwrap_or_else(|error| panic!("{sql}: {error}")));
            let frame = context.execute_logical_plan(plan.unwrap()).await.unwrap();
            let found = frame.collect().await.unwrap();
            let found = found[0].column(0).as_primitive::<Int64Type>().value(0);
            assert_eq!(found, wanted, "{condition}");
        }
    }
}
