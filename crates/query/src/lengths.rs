//! Intervals are compared by how long they are: `INTERVAL '1 day' = INTERVAL '24 hours'`.
//!
//! The planner compares months, then days, then the rest, and makes what lies between two times
//! an interval without days: no difference of times would be longer than a day.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::ExprSchemable;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
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
        let is_interval = |of: &DataType| matches!(of, DataType::Interval(_));
        let types = match is_comparison {
            true => raw
                .left
                .get_type(schema)
                .ok()
                .zip(raw.right.get_type(schema).ok()),
            false => None,
        };
        let are_lengths = types.is_some_and(|(left, right)| {
            let is_length = |of: &DataType| is_interval(of) || matches!(of, DataType::Duration(_));
            is_length(&left) && is_length(&right) && (is_interval(&left) || is_interval(&right))
        });
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
