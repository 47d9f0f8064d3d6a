//! Operators of Pinot's dialect on types that SQL does not mix.
//!
//! - A TIMESTAMP compared with a number: the number is epoch milliseconds. Text is left to the
//!   planner, which casts it.
//! - A BOOLEAN compared with a number or text: they are cast to BOOLEAN.
//! - Single-stage engine only: `+ - * / %` of numbers are DOUBLE, except between two literals that
//!   are whole numbers (those divide to DOUBLE all the same). BIG_DECIMAL stays exact.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

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
    let text = matches!(
        own,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
    );
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
        node.map_expressions(|expr| expr.transform_up(|expr| align_range(expr, &schema)))
    })?;
    Ok(aligned.data)
}

fn align_range(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let fits = |with: &Expr, bound: Expr| -> Result<Expr> {
        let own = bound.get_type(schema)?;
        Ok(comparable(bound, &own, &with.get_type(schema)?))
    };
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
        other => Ok(Transformed::no(other)),
    }
}

/// The operators of a session before its own.
pub(crate) fn before(
    arithmetic: Arithmetic,
    own: &[Arc<dyn ExprPlanner>],
) -> Vec<Arc<dyn ExprPlanner>> {
    let first: Arc<dyn ExprPlanner> = Arc::new(PinotOperators(arithmetic));
    std::iter::once(first).chain(own.iter().cloned()).collect()
}
