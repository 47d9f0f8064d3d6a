//! `a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON a.k = b.k`: each row of `a` with the one row of
//! `b` of its keys whose time is the nearest that the condition allows. The condition may also
//! stand among those of ON.
//!
//! The rows of both sides are put into the order of time together, and each row of `a` takes the
//! last row of `b` before it: two sorts and windows over what came before, whatever the sizes. Of
//! rows of `b` with the same time any may be taken.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_window::nth_value::first_value_udwf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{BinaryExpr, Sort, WindowFunction};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF, cast, lit, when,
};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, JoinConstraint, Value};

/// Whose row it is.
const SIDE: &str = "__side";
const RIGHT: i8 = 0;
const LEFT: i8 = 1;
const TIME: &str = "__time";
/// From 1, in the order of time.
const PLACE: &str = "__place";
/// The place of the last row of the right side that counts.
const LAST: &str = "__last";
/// The same, of a row of the right side its own.
const FOUND: &str = "__found";

/// The value of each side.
struct Pair {
    left: Expr,
    right: Expr,
}

pub(super) fn as_of(
    left: LogicalPlan,
    right: LogicalPlan,
    (condition, constraint): (SqlExpr, JoinConstraint),
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let both = left.schema().join(right.schema())?;
    // LEFT is read back from how `dialect/words.rs` writes it.
    let (condition, keeps_all) = match condition {
        SqlExpr::IsTrue(condition) => (*condition, true),
        condition => (condition, false),
    };
    let sides = Sides {
        left: left.schema(),
        right: right.schema(),
    };
    let mut parts = parts_of(constraint, &both, context)?;
    let condition = match is_none(&condition) {
        true => sides.take_comparison(&mut parts)?,
        false => Some(context.sql_to_expr(condition, &both)?),
    };
    let found = condition.map(|condition| sides.comparison(&condition));
    let Some((times, operator)) = found.transpose()?.flatten() else {
        return plan_err!(
            "an ASOF JOIN compares one value of each table with >=, >, <= or <, in MATCH_CONDITION \
             or in ON"
        );
    };
    let keys = sides.keys(parts)?;
    let rows = LogicalPlanBuilder::from(rows_of(&left, (&times, &keys), Side::Left(&right))?)
        .union(rows_of(&right, (&times, &keys), Side::Right(&left))?)?;
    let by_key: Vec<Expr> = (0..keys.len()).map(|at| own(&key_name(at))).collect();
    let rows = with_found(rows, &by_key, operator)?;
    let found = found_values(&right, &by_key, (&times, &keys))?;
    let mut wanted = own(SIDE).eq(lit(LEFT));
    if !keeps_all {
        wanted = wanted.and(own(FOUND).is_not_null());
    }
    let of_left = left.schema().columns().into_iter().enumerate();
    let of_left = of_left.map(|(at, column)| {
        let place = place_among(&column, (&times, &keys), |pair| pair.left.clone());
        let value = own(&place.unwrap_or_else(|| left_name(at)));
        value.alias_qualified(column.relation, column.name)
    });
    let of_right = right.schema().columns().into_iter().enumerate();
    let of_right = of_right
        .map(|(at, column)| own(&found_name(at)).alias_qualified(column.relation, column.name));
    rows.window(found)?
        .filter(wanted)?
        .project(of_left.chain(of_right).collect::<Vec<_>>())?
        .build()
}

/// The columns of the right side in the row that was found.
fn found_values(
    right: &LogicalPlan,
    by_key: &[Expr],
    (times, keys): (&Pair, &[Pair]),
) -> Result<Vec<Expr>> {
    // With those that found it, the row of the right side comes first.
    let with_it: Vec<Expr> = by_key.iter().cloned().chain([own(FOUND)]).collect();
    let in_place = vec![own(PLACE).not_eq(own(FOUND)).sort(true, true)];
    let columns = right.schema().columns().into_iter().enumerate();
    let found = columns.map(|(at, column)| {
        let place = place_among(&column, (times, keys), |pair| pair.right.clone());
        let value = own(&place.unwrap_or_else(|| right_name(at)));
        // Rows that found nothing are by themselves.
        let value = when(own(FOUND).is_not_null(), value).end()?;
        let first = over(first_value_udwf(), vec![value], (&with_it, &in_place))?;
        Ok(first.alias(found_name(at)))
    });
    found.collect()
}

/// The rows of both sides with the place of each and that of the row which it found.
fn with_found(
    rows: LogicalPlanBuilder,
    by_key: &[Expr],
    operator: Operator,
) -> Result<LogicalPlanBuilder> {
    let before = matches!(operator, Operator::GtEq | Operator::Gt);
    let in_time = vec![own(TIME).sort(before, true)];
    let place = over(row_number_udwf(), vec![], (by_key, &in_time))?;
    let place_of_right = || when(own(SIDE).eq(lit(RIGHT)), own(PLACE));
    let last = Expr::from(WindowFunction::new(
        WindowFunctionDefinition::AggregateUDF(max_udaf()),
        vec![place_of_right().end()?],
    ));
    let last = last
        .partition_by(by_key.to_vec())
        .order_by(in_time)
        .window_frame(WindowFrame::new_bounds(
            WindowFrameUnits::Groups,
            WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            match operator {
                Operator::GtEq | Operator::LtEq => WindowFrameBound::CurrentRow,
                _ => WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))),
            },
        ))
        .build()?;
    let columns = rows.schema().columns().into_iter().map(Expr::Column);
    let mut columns: Vec<Expr> = columns.collect();
    let found = place_of_right().otherwise(own(LAST))?;
    columns.extend([own(PLACE), found.alias(FOUND)]);
    rows.window(vec![place.alias(PLACE)])?
        .window(vec![last.alias(LAST)])?
        .project(columns)
}

fn over(
    function: Arc<WindowUDF>,
    arguments: Vec<Expr>,
    (partition_by, order_by): (&[Expr], &[Sort]),
) -> Result<Expr> {
    let function = WindowFunctionDefinition::WindowUDF(function);
    Expr::from(WindowFunction::new(function, arguments))
        .partition_by(partition_by.to_vec())
        .order_by(order_by.to_vec())
        .window_frame(so_far())
        .build()
}

fn so_far() -> WindowFrame {
    WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::CurrentRow,
    )
}

fn own(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn left_name(at: usize) -> String {
    format!("__left_{at}")
}

fn key_name(at: usize) -> String {
    format!("__key_{at}")
}

fn right_name(at: usize) -> String {
    format!("__right_{at}")
}

fn found_name(at: usize) -> String {
    format!("__found_{at}")
}

/// Whose rows they are, and the other side.
enum Side<'a> {
    Left(&'a LogicalPlan),
    Right(&'a LogicalPlan),
}

/// The rows of one side, with nulls in the columns of the other.
fn rows_of(
    plan: &LogicalPlan,
    (times, keys): (&Pair, &[Pair]),
    side: Side<'_>,
) -> Result<LogicalPlan> {
    let of_side = |pair: &Pair| match side {
        Side::Left(_) => pair.left.clone(),
        Side::Right(_) => pair.right.clone(),
    };
    let columns = |of: fn(usize) -> String| {
        let columns = plan.schema().iter().enumerate();
        let columns = columns.map(|(at, (table, field))| {
            let column = Column::from((table, field));
            // Twice the same column, and a sort through the union loses its way.
            let value = match place_among(&column, (times, keys), of_side) {
                Some(_) => lit(ScalarValue::try_from(field.data_type())?),
                None => Expr::Column(column),
            };
            Ok(value.alias(of(at)))
        });
        columns.collect::<Vec<_>>()
    };
    let nulls = |other: &LogicalPlan, of: fn(usize) -> String| {
        let fields = other.schema().fields().iter().enumerate();
        let nulls = fields.map(|(at, field)| {
            let nothing = ScalarValue::try_from(field.data_type())?;
            Ok(lit(nothing).alias(of(at)))
        });
        nulls.collect::<Vec<_>>()
    };
    // A union goes by the order of columns.
    let own = match side {
        Side::Left(right) => [columns(left_name), nulls(right, right_name)],
        Side::Right(left) => [nulls(left, left_name), columns(right_name)],
    };
    let mut all = own.into_iter().flatten().collect::<Result<Vec<Expr>>>()?;
    let keys_named = keys.iter().enumerate();
    all.extend(keys_named.map(|(at, key)| of_side(key).alias(key_name(at))));
    all.push(of_side(times).alias(TIME));
    let rows = LogicalPlanBuilder::from(plan.clone());
    let rows = match side {
        Side::Left(_) => {
            all.push(lit(LEFT).alias(SIDE));
            rows
        }
        Side::Right(_) => {
            all.push(lit(RIGHT).alias(SIDE));
            // What is null equals nothing and lies nowhere.
            let known = keys.iter().map(|key| key.right.clone().is_not_null());
            rows.filter(known.fold(times.right.clone().is_not_null(), Expr::and))?
        }
    };
    rows.project(all)?.build()
}

/// The key or time that the column is.
fn place_among(
    column: &Column,
    (times, keys): (&Pair, &[Pair]),
    of_side: impl Fn(&Pair) -> Expr,
) -> Option<String> {
    let column = Expr::Column(column.clone());
    let key = keys.iter().position(|key| of_side(key) == column);
    let is_time = || (of_side(times) == column).then(|| TIME.to_owned());
    key.map(key_name).or_else(is_time)
}

struct Sides<'a> {
    left: &'a DFSchema,
    right: &'a DFSchema,
}

impl Sides<'_> {
    /// With the left side's value on the left. `None`: it compares no values of both.
    fn comparison(&self, condition: &Expr) -> Result<Option<(Pair, Operator)>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return Ok(None);
        };
        let op = *op;
        if !matches!(
            op,
            Operator::GtEq | Operator::Gt | Operator::LtEq | Operator::Lt
        ) {
            return Ok(None);
        }
        if let Some(pair) = self.pair(left, right)? {
            return Ok(Some((pair, op)));
        }
        let swapped = op.swap().unwrap_or(op);
        Ok(self.pair(right, left)?.map(|pair| (pair, swapped)))
    }

    /// As values of one type. `None`: they are not of the left and of the right side.
    fn pair(&self, left: &Expr, right: &Expr) -> Result<Option<Pair>> {
        let is_of = |expr: &Expr, schema: &DFSchema| {
            let columns = expr.column_refs();
            !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
        };
        if !is_of(left, self.left) || !is_of(right, self.right) {
            return Ok(None);
        }
        let (of_left, of_right) = (left.get_type(self.left)?, right.get_type(self.right)?);
        let Some(common) = comparison_coercion(&of_left, &of_right) else {
            return plan_err!(
                "`{left}` is {of_left} and `{right}` is {of_right}: nothing tells which is greater"
            );
        };
        let as_common = |expr: &Expr, data_type: DataType| match data_type == common {
            true => expr.clone(),
            false => cast(expr.clone(), common.clone()),
        };
        Ok(Some(Pair {
            left: as_common(left, of_left),
            right: as_common(right, of_right),
        }))
    }

    /// The one among the conditions that tells what is near.
    fn take_comparison(&self, parts: &mut Vec<Expr>) -> Result<Option<Expr>> {
        for at in 0..parts.len() {
            if self.comparison(&parts[at])?.is_some() {
                return Ok(Some(parts.remove(at)));
            }
        }
        Ok(None)
    }

    fn keys(&self, parts: Vec<Expr>) -> Result<Vec<Pair>> {
        let mut keys = Vec::with_capacity(parts.len());
        for part in parts {
            let pair = match &part {
                Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::Eq,
                    right,
                }) => match self.pair(left, right)? {
                    None => self.pair(right, left)?,
                    pair => pair,
                },
                _ => None,
            };
            let Some(pair) = pair else {
                return plan_err!(
                    "ON of an ASOF JOIN says which values of both tables are equal; `{part}` does \
                     not, put it into WHERE"
                );
            };
            keys.push(pair);
        }
        Ok(keys)
    }
}

/// What `dialect/words.rs` writes where there is no MATCH_CONDITION.
fn is_none(condition: &SqlExpr) -> bool {
    match condition {
        SqlExpr::Nested(inner) => is_none(inner),
        SqlExpr::Value(value) => value.value == Value::Null,
        _ => false,
    }
}

/// Of ON, without those that always hold.
fn parts_of(
    constraint: JoinConstraint,
    both: &DFSchema,
    context: &mut dyn RelationPlannerContext,
) -> Result<Vec<Expr>> {
    let JoinConstraint::On(on) = constraint else {
        return plan_err!("an ASOF JOIN needs ON with the keys that are equal, or ON TRUE");
    };
    let parts = split_conjunction_owned(context.sql_to_expr(on, both)?).into_iter();
    let always = |part: &Expr| matches!(part, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    Ok(parts.filter(|part| !always(part)).collect())
}
