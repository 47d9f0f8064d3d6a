//! Intervals are compared by how long they are: `INTERVAL '1 day' = INTERVAL '24 hours'`.
//!
//! The planner compares months, then days, then the rest, and makes what lies between two times
//! an interval without days: no difference of times would be longer than a day. It does not know
//! what an interval times a number is either.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

#[derive(Debug)]
pub(crate) struct Lengths;

impl ExprPlanner for Lengths {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let is_comparison = matches!(
            raw.op,
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
        );
        if !is_comparison && !matches!(raw.op, Op::Multiply | Op::Divide) {
            return Ok(PlannerResult::Original(raw));
        }
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        if !is_comparison {
            return Ok(match scaled(&raw, (&left, &right)) {
                Some(scaled) => PlannerResult::Planned(scaled),
                None => PlannerResult::Original(raw),
            });
        }
        let are_lengths =
            is_length(&left) && is_length(&right) && (is_interval(&left) || is_interval(&right));
        if !are_lengths {
            return Ok(PlannerResult::Original(raw));
        }
        let length = functions::interval_microseconds();
        Ok(PlannerResult::Original(RawBinaryExpr {
            op: raw.op,
            left: length.call(vec![raw.left]),
            right: length.call(vec![raw.right]),
        }))
    }
}

const fn is_interval(of: &DataType) -> bool {
    matches!(of, DataType::Interval(_))
}

const fn is_length(of: &DataType) -> bool {
    is_interval(of) || matches!(of, DataType::Duration(_))
}

/// An interval times a number, or by one. `None`: it is something else.
fn scaled(raw: &RawBinaryExpr, types: (&DataType, &DataType)) -> Option<Expr> {
    let (length, factor) = match (types, &raw.op) {
        ((left, right), _) if is_length(left) && right.is_numeric() => (&raw.left, &raw.right),
        ((left, right), BinaryOperator::Multiply) if left.is_numeric() && is_length(right) => {
            (&raw.right, &raw.left)
        }
        _ => return None,
    };
    let factor = cast(factor.clone(), DataType::Float64);
    let factor = match raw.op {
        BinaryOperator::Divide => lit(1.0) / factor,
        _ => factor,
    };
    Some(functions::interval_times().call(vec![length.clone(), factor]))
}
