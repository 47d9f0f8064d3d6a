//! Long chains of arithmetic say in between of which type they are.
//!
//! The planner finds the type of an operator through all that is below it, and asks for it at each
//! operator, in each of its rules: time that grows with the square of their number. It does not
//! look below a cast. One to the type that there is changes no value, and no operator comes of it.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};

/// So many operators are looked through.
const OPERATORS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct TypedChains;

impl ExprPlanner for TypedChains {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        Ok(PlannerResult::Original(RawBinaryExpr {
            op,
            left: typed(left, schema),
            right: typed(right, schema),
        }))
    }
}

fn typed(expr: Expr, schema: &DFSchema) -> Expr {
    if !is_deep(&expr, OPERATORS_MAX) {
        return expr;
    }
    match expr.get_type(schema) {
        // Those whose type is not changed by any rule.
        Ok(own @ (DataType::Int32 | DataType::Int64 | DataType::Float64)) => cast(expr, own),
        _ => expr,
    }
}

fn is_deep(expr: &Expr, operators: usize) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return false;
    };
    let is_arithmetic = matches!(op, Plus | Minus | Multiply | Divide | Modulo);
    let below = operators - 1;
    is_arithmetic && (below == 0 || is_deep(left, below) || is_deep(right, below))
}
