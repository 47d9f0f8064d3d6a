//! Names and types of columns as Pinot's engines give them.
//!
//! | select item | single-stage | multi-stage |
//! |---|---|---|
//! | SUM, MIN, MAX, AVG | `sum(x)`, DOUBLE | `EXPR$0`, as computed |
//! | COUNT | `count(*)`, LONG | `EXPR$0`, LONG |
//! | COUNT(DISTINCT x), DISTINCTCOUNT(x) | `distinctcount(x)`, INT | `EXPR$0`, LONG |
//! | plain column | its name | its name |
//! | whole number | `'1'`, INT | `EXPR$0`, INT |
//!
//! Without null handling an aggregate over no rows is SUM 0, MIN Infinity, MAX and AVG -Infinity
//! in the single-stage engine; in the multi-stage one MIN is the greatest value of its type and MAX
//! the least, and SUM and AVG are null.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArguments, GroupByExpr, Query,
    SelectItem, SetExpr, UnaryOperator, Value,
};

use super::names::{canonical, name_of_literal};

/// How a column of the answer is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputColumn {
    /// Pinot's name of a column without an alias.
    pub name: Option<String>,
    pub shape: Shape,
}

/// What a column must become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    AsPlanned,
    /// DOUBLE of an aggregate.
    Double(Aggregate),
    Int,
    /// As planned, but of no rows the greatest or least value of its type.
    End(End),
}

/// An aggregate of the multi-stage engine that is no null over no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Min,
    Max,
    Avg,
}

impl Aggregate {
    /// Over no rows, without null handling.
    pub const fn of_nothing(self) -> f64 {
        match self {
            Self::Sum => 0.0,
            Self::Min => f64::INFINITY,
            Self::Max | Self::Avg => f64::NEG_INFINITY,
        }
    }
}

/// For each item of the outermost SELECT list; empty when the planner's names are right.
pub(super) fn single_stage(query: &Query) -> Vec<OutputColumn> {
    let items = items(query);
    let literals_only = items.iter().all(|item| literal(item).is_some());
    let of_item = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => OutputColumn {
            name: Some(match literal(item) {
                Some(value) if literals_only => name_of_literal(value),
                _ => canonical(expr),
            }),
            shape: shape(expr),
        },
        SelectItem::ExprWithAlias { expr, .. } => OutputColumn {
            name: None,
            shape: shape(expr),
        },
        _ => OutputColumn::default(),
    };
    items.iter().map(of_item).collect()
}

pub(super) fn multi_stage(query: &Query) -> Vec<OutputColumn> {
    let of_item = |(at, item): (usize, &SelectItem)| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
            OutputColumn::default()
        }
        SelectItem::UnnamedExpr(expr) => OutputColumn {
            name: Some(format!("EXPR${at}")),
            shape: multi_stage_shape(expr),
        },
        SelectItem::ExprWithAlias { expr, .. } => OutputColumn {
            name: None,
            shape: multi_stage_shape(expr),
        },
        _ => OutputColumn::default(),
    };
    let items = items(query);
    if !items.is_empty() {
        return items.iter().enumerate().map(of_item).collect();
    }
    // The first part names the columns; what type they have, all parts decide.
    let names = items_of(first_part(&query.body)).iter().enumerate();
    let names = names.map(|(at, item)| OutputColumn {
        shape: Shape::AsPlanned,
        ..of_item((at, item))
    });
    names.collect()
}

/// Of a set operation.
fn first_part(body: &SetExpr) -> &SetExpr {
    match body {
        SetExpr::SetOperation { left, .. } => first_part(left),
        SetExpr::Query(query) => first_part(&query.body),
        other => other,
    }
}

/// Keys of GROUPING SETS, ROLLUP and CUBE are null in the rows that sum up others.
pub(super) fn has_grouping_sets(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    match &select.group_by {
        GroupByExpr::Expressions(keys, modifiers) => {
            let is_set =
                |key: &Expr| matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
            !modifiers.is_empty() || keys.iter().any(is_set)
        }
        GroupByExpr::All(_) => false,
    }
}

/// A SELECT of nothing but literals has one row in the single-stage engine, whatever is in the
/// table.
pub(super) fn is_of_literals(query: &Query) -> bool {
    let items = items(query);
    !items.is_empty() && items.iter().all(|item| literal(item).is_some())
}

fn literal(item: &SelectItem) -> Option<&Value> {
    match item {
        SelectItem::UnnamedExpr(Expr::Value(value)) => Some(&value.value),
        SelectItem::ExprWithAlias {
            expr: Expr::Value(value),
            ..
        } => Some(&value.value),
        _ => None,
    }
    .filter(|value| !matches!(value, Value::Placeholder(_)))
}

pub(super) fn is_int(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<i32>().is_ok(),
            _ => false,
        },
        Expr::Nested(inner) => is_int(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_int(expr),
        _ => false,
    }
}

fn multi_stage_shape(expr: &Expr) -> Shape {
    match shape(expr) {
        Shape::Double(Aggregate::Min) => Shape::End(End::Min),
        Shape::Double(Aggregate::Max) => Shape::End(End::Max),
        _ if is_int_arithmetic(expr) => Shape::Int,
        _ => Shape::AsPlanned,
    }
}

/// Whole numbers together are INT in the multi-stage engine.
fn is_int_arithmetic(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_int_arithmetic(inner),
        Expr::BinaryOp {
            left,
            op:
                BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo,
            right,
        } => is_int_arithmetic(left) && is_int_arithmetic(right),
        other => is_int(other),
    }
}

/// None where `*` decides how many columns there are.
fn items(query: &Query) -> &[SelectItem] {
    items_of(&query.body)
}

fn items_of(body: &SetExpr) -> &[SelectItem] {
    let SetExpr::Select(select) = body else {
        return &[];
    };
    let is_wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _)
        )
    };
    if select.projection.iter().any(is_wildcard) {
        return &[];
    }
    &select.projection
}

fn shape(expr: &Expr) -> Shape {
    let Expr::Function(function) = expr else {
        return match is_int(expr) {
            true => Shape::Int,
            false => Shape::AsPlanned,
        };
    };
    if function.over.is_some() {
        return Shape::AsPlanned;
    }
    let name = functions::canonical(&function.name.to_string());
    match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "sum" => Shape::Double(Aggregate::Sum),
        "min" => Shape::Double(Aggregate::Min),
        "max" => Shape::Double(Aggregate::Max),
        "avg" => Shape::Double(Aggregate::Avg),
        "percentile" | "percentiletdigest" | "percentilekll" | "distinctavg" | "distinctavgmv"
        | "avgmv" | "mode" | "minmaxrange" | "minmaxrangemv" => Shape::Double(Aggregate::Avg),
        "distinctsum" | "distinctsummv" | "summv" => Shape::Double(Aggregate::Sum),
        "minmv" => Shape::Double(Aggregate::Min),
        "maxmv" => Shape::Double(Aggregate::Max),
        "distinctcount"
        | "distinctcountbitmap"
        | "distinctcountmv"
        | "distinctcountbitmapmv"
        | "segmentpartitioneddistinctcount" => Shape::Int,
        "count" if is_distinct(function) => Shape::Int,
        _ => Shape::AsPlanned,
    }
}

pub(super) fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list)
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}
