//! Places of rows (ROW_NUMBER, RANK, DENSE_RANK, NTILE) are LONG.
//!
//! The planner's own have no sign. Together with a LONG, in UNION or CASE, such a number would
//! become a decimal, which is a text in answers.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawWindowExpr};
use datafusion::logical_expr::{Expr, WindowFunctionDefinition, cast};

const PLACES: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

#[derive(Debug)]
pub(crate) struct WholeRanks;

impl ExprPlanner for WholeRanks {
    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let is_place = match &raw.func_def {
            WindowFunctionDefinition::WindowUDF(function) => PLACES.contains(&function.name()),
            WindowFunctionDefinition::AggregateUDF(_) => false,
        };
        if !is_place {
            return Ok(PlannerResult::Original(raw));
        }
        let RawWindowExpr {
            func_def,
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment,
            distinct,
        } = raw;
        let place = WindowFunction {
            fun: func_def,
            params: WindowFunctionParams {
                args,
                partition_by,
                order_by,
                window_frame,
                filter,
                null_treatment,
                distinct,
            },
        };
        let place = cast(Expr::from(place), DataType::Int64);
        Ok(PlannerResult::Planned(place))
    }
}
