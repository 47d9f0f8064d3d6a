//! Names and types of columns as Pinot's engines give them.
//!
//! | select item | single-stage | multi-stage |
//! |---|---|---|
//! | SUM, MIN, MAX, AVG | `sum(x)`, DOUBLE | `EXPR$0`, as computed |
//! | COUNT | `count(*)`, LONG | `EXPR$0`, LONG |
//! | COUNT(DISTINCT x), DISTINCTCOUNT(x) | `distinctcount(x)`, INT | `EXPR$0`, LONG |
//! | plain column | its name | its name |
//!
//! Without null handling an aggregate over no rows is SUM 0, MIN Infinity, MAX and AVG -Infinity
//! in the single-stage engine.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SelectItem, SetExpr,
    Value,
};

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
    let of_item = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => OutputColumn {
            name: Some(canonical(expr)),
            shape: shape(expr),
        },
        SelectItem::ExprWithAlias { expr, .. } => OutputColumn {
            name: None,
            shape: shape(expr),
        },
        _ => OutputColumn::default(),
    };
    items(query).iter().map(of_item).collect()
}

pub(super) fn multi_stage(query: &Query) -> Vec<OutputColumn> {
    let of_item = |(at, item): (usize, &SelectItem)| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
            OutputColumn::default()
        }
        SelectItem::UnnamedExpr(_) => OutputColumn {
            name: Some(format!("EXPR${at}")),
            shape: Shape::AsPlanned,
        },
        _ => OutputColumn::default(),
    };
    items(query).iter().enumerate().map(of_item).collect()
}

/// None where `*` decides how many columns there are.
fn items(query: &Query) -> &[SelectItem] {
    let SetExpr::Select(select) = query.body.as_ref() else {
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
        return Shape::AsPlanned;
    };
    if function.over.is_some() {
        return Shape::AsPlanned;
    }
    match function.name.to_string().to_lowercase().as_str() {
        "sum" => Shape::Double(Aggregate::Sum),
        "min" => Shape::Double(Aggregate::Min),
        "max" => Shape::Double(Aggregate::Max),
        "avg" => Shape::Double(Aggregate::Avg),
        "distinctcount" => Shape::Int,
        "count" if is_distinct(function) => Shape::Int,
        _ => Shape::AsPlanned,
    }
}

fn is_distinct(function: &Function) -> bool {
    use datafusion::sql::sqlparser::ast::DuplicateTreatment;
    matches!(&function.args, FunctionArguments::List(list)
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

/// Pinot's canonical text: `sum(delay)`, `count(*)`, `distinctcount(x)`.
fn canonical(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .map(|ident| ident.value.clone())
            .unwrap_or_default(),
        Expr::Nested(inner) => canonical(inner),
        Expr::Function(function) => canonical_call(function),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => format!("'{text}'"),
            other => format!("'{other}'"),
        },
        Expr::BinaryOp { left, op, right } => {
            let op = op.to_string();
            let name = match op.as_str() {
                "+" => "plus",
                "-" => "minus",
                "*" => "times",
                "/" => "divide",
                "%" => "mod",
                "=" => "equals",
                "<>" | "!=" => "not_equals",
                ">" => "greater_than",
                ">=" => "greater_than_or_equal",
                "<" => "less_than",
                "<=" => "less_than_or_equal",
                other => &other.to_lowercase(),
            };
            format!("{name}({},{})", canonical(left), canonical(right))
        }
        Expr::Cast {
            expr, data_type, ..
        } => {
            let data_type = data_type.to_string().to_uppercase();
            format!("cast({},'{data_type}')", canonical(expr))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn canonical_call(function: &Function) -> String {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return format!("{name}()");
    };
    if name == "count" {
        return match (is_distinct(function), list.args.first()) {
            (true, Some(argument)) => format!("distinctcount({})", canonical_argument(argument)),
            _ => "count(*)".to_owned(),
        };
    }
    let arguments: Vec<String> = list.args.iter().map(canonical_argument).collect();
    format!("{name}({})", arguments.join(","))
}

fn canonical_argument(argument: &FunctionArg) -> String {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => canonical(expr),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "*".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
