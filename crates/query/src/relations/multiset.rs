//! INTERSECT ALL and EXCEPT ALL: rows that are alike are told apart by counting them, so that the
//! n-th of one side meets the n-th of the other.

use datafusion::common::{Column, JoinType, Result, plan_err};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Operator, WindowFunctionDefinition,
    binary_expr,
};

/// What is left of `left`: rows with a partner (`LeftSemi`), or without (`LeftAnti`).
pub(super) fn multiset(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
) -> Result<LogicalPlan> {
    let names = left
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone());
    let names: Vec<String> = names.collect();
    if names.len() != right.schema().fields().len() {
        return plan_err!(
            "both sides of INTERSECT and EXCEPT need as many columns: {} and {}",
            names.len(),
            right.schema().fields().len()
        );
    }
    let (left, of_left) = counted(left, "left")?;
    let (right, of_right) = counted(right, "right")?;
    let pairs = of_left.iter().cloned().zip(of_right);
    // Nulls are alike.
    let alike = pairs.map(|(one, other)| binary_expr(one, Operator::IsNotDistinctFrom, other));
    let columns = of_left.iter().cloned().zip(&names);
    let columns = columns.map(|(column, name)| column.alias(name));
    LogicalPlanBuilder::from(left)
        .join_on(right, join_type, alike.collect::<Vec<_>>())?
        .project(columns.collect::<Vec<_>>())?
        .build()
}

/// The columns under new names, and behind them the number of each row among those like it.
fn counted(plan: LogicalPlan, side: &str) -> Result<(LogicalPlan, Vec<Expr>)> {
    let own = |at: usize| format!("__{side}_{at}");
    let columns = plan.schema().columns().into_iter().enumerate();
    let columns: Vec<Expr> = columns
        .map(|(at, column)| Expr::Column(column).alias(own(at)))
        .collect();
    let count = columns.len();
    let mut named: Vec<Expr> = (0..=count)
        .map(|at| Expr::Column(Column::from_name(own(at))))
        .collect();
    let number = Expr::from(WindowFunction::new(
        WindowFunctionDefinition::WindowUDF(row_number_udwf()),
        vec![],
    ));
    let number = number.partition_by(named[..count].to_vec()).build()?;
    let plan = LogicalPlanBuilder::from(plan)
        .project(columns)?
        .window(vec![number.alias(own(count))])?
        .build()?;
    named.truncate(count + 1);
    Ok((plan, named))
}
