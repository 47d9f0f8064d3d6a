//! `t CROSS JOIN UNNEST(t.list) WITH ORDINALITY AS u(entry, n)`: a row for each entry of the lists
//! of a row. Lists of one row stand side by side; the shorter ones are filled up with nulls.

use arrow::datatypes::DataType;
use datafusion::common::{
    Column, NullHandling, Result, TableReference, UnnestOptions, not_impl_err, plan_err,
};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, JoinConstraint, JoinOperator, TableAlias, TableFactor, Value,
};

use super::repeated::without_keys;

/// Which rows are left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Those whose lists have entries.
    WithEntries,
    All,
}

const ORDINALITY: &str = "ordinality";

pub(super) fn join(
    left: LogicalPlan,
    unnested: TableFactor,
    operator: JoinOperator,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    use JoinOperator as J;
    let (rows, constraint) = match operator {
        J::CrossJoin(constraint) | J::Join(constraint) | J::Inner(constraint) => {
            (Rows::WithEntries, constraint)
        }
        J::Left(constraint) | J::LeftOuter(constraint) => (Rows::All, constraint),
        _ => {
            return plan_err!(
                "UNNEST takes lists of the tables before it: write CROSS JOIN UNNEST(…), or LEFT \
                 JOIN UNNEST(…) ON TRUE"
            );
        }
    };
    let condition = match constraint {
        JoinConstraint::None => None,
        JoinConstraint::On(condition) if is_true(&condition) => None,
        JoinConstraint::On(condition) if rows == Rows::WithEntries => Some(condition),
        _ => return plan_err!("LEFT JOIN UNNEST(…) takes ON TRUE alone"),
    };
    let plan = unnest(left, unnested, rows, context)?;
    let Some(condition) = condition else {
        return Ok(plan);
    };
    let condition = context.sql_to_expr(condition, plan.schema())?;
    LogicalPlanBuilder::from(plan).filter(condition)?.build()
}

fn is_true(condition: &SqlExpr) -> bool {
    match condition {
        SqlExpr::Nested(inner) => is_true(inner),
        SqlExpr::Value(value) => value.value == Value::Boolean(true),
        _ => false,
    }
}

pub(super) fn unnest(
    left: LogicalPlan,
    unnested: TableFactor,
    rows: Rows,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset,
        with_ordinality,
        ..
    } = unnested
    else {
        return not_impl_err!("a join of {unnested}");
    };
    if with_offset {
        return plan_err!(
            "UNNEST … WITH OFFSET is not known; write WITH ORDINALITY, which counts from 1"
        );
    }
    let mut lists = Vec::with_capacity(array_exprs.len() + 1);
    for sql in array_exprs {
        let shown = sql.to_string();
        let list = context.sql_to_expr(sql, left.schema())?;
        let data_type = list.get_type(left.schema())?;
        if !matches!(
            data_type,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        ) {
            return plan_err!("UNNEST takes lists, and `{shown}` is {data_type}");
        }
        lists.push(list);
    }
    let names = Names::new(alias, lists.len(), with_ordinality)?;
    if with_ordinality {
        lists.push(ordinals(&lists, context)?);
    }
    let of_left = left.schema().columns();
    let own = |at: usize| format!("__unnested_{at}");
    let mut before = without_keys(&left);
    before.extend(
        lists
            .into_iter()
            .enumerate()
            .map(|(at, list)| list.alias(own(at))),
    );
    let columns = (0..names.columns.len()).map(|at| Column::from_name(own(at)));
    let options = UnnestOptions {
        null_handling: match rows {
            Rows::WithEntries => NullHandling::Drop,
            Rows::All => NullHandling::PreserveAndExpandEmpty,
        },
        recursions: Vec::new(),
    };
    let after = of_left.into_iter().map(Expr::Column);
    let entries = names.columns.iter().enumerate().map(|(at, name)| {
        let entry = Expr::Column(Column::from_name(own(at)));
        entry.alias_qualified(names.table.clone(), name)
    });
    LogicalPlanBuilder::from(left)
        .project(before)?
        .unnest_columns_with_options(columns.collect(), options)?
        .project(after.chain(entries).collect::<Vec<_>>())?
        .build()
}

/// What entries are called.
struct Names {
    table: Option<TableReference>,
    columns: Vec<String>,
}

impl Names {
    /// As PostgreSQL names them: a single column after its table.
    fn new(alias: Option<TableAlias>, lists: usize, with_ordinality: bool) -> Result<Self> {
        let table = alias.as_ref().map(|alias| alias.name.value.clone());
        let of_lists = table.clone().unwrap_or_else(|| "unnest".to_owned());
        let mut columns: Vec<String> = (0..lists)
            .map(|at| match lists {
                1 => of_lists.clone(),
                _ => format!("{of_lists}_{}", at + 1),
            })
            .collect();
        columns.extend(with_ordinality.then(|| ORDINALITY.to_owned()));
        let given = alias.map(|alias| alias.columns).unwrap_or_default();
        if given.len() > columns.len() {
            return plan_err!(
                "UNNEST gives {} columns, and {} are named",
                columns.len(),
                given.len()
            );
        }
        for (column, given) in columns.iter_mut().zip(given) {
            *column = given.name.value;
        }
        Ok(Self {
            table: table.map(TableReference::bare),
            columns,
        })
    }
}

/// From 1 to the length of the longest list.
fn ordinals(lists: &[Expr], context: &dyn RelationPlannerContext) -> Result<Expr> {
    let call =
        |name: &str, arguments: Vec<Expr>| match context.context_provider().get_function_meta(name)
        {
            Some(function) => Ok(function.call(arguments)),
            None => not_impl_err!("UNNEST … WITH ORDINALITY without the function `{name}`"),
        };
    let lengths = lists.iter().map(|list| {
        let length = call("array_length", vec![list.clone()])?;
        Ok(cast(length, DataType::Int64))
    });
    let lengths = lengths.collect::<Result<Vec<_>>>()?;
    let longest = match <[Expr; 1]>::try_from(lengths) {
        Ok([length]) => length,
        Err(lengths) => call("greatest", lengths)?,
    };
    call("generate_series", vec![lit(1_i64), longest])
}
