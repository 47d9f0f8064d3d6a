//! Conditions and nulls as functions; comparisons are planned as operators.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Operator, lit};

use crate::arguments::wrong;
use crate::docs::{Example, Section};
use crate::plain::{Plain, Takes};

type To = fn(&[Expr]) -> Expr;

fn operator(args: &[Expr], operator: Operator) -> Expr {
    let (a, b) = (args[0].clone().into(), args[1].clone().into());
    Expr::BinaryExpr(BinaryExpr::new(a, operator, b))
}

fn all_of(args: &[Expr], operator: Operator) -> Expr {
    let mut args = args.iter().cloned();
    let first = args.next().unwrap_or_else(|| lit(true));
    args.fold(first, |all, next| {
        Expr::BinaryExpr(BinaryExpr::new(all.into(), operator, next.into()))
    })
}

/// Arguments of one type, so that the operator can compare them.
fn planned(
    name: &str,
    takes: &[Takes],
    syntax: &str,
    about: &str,
    to: To,
    examples: &[Example],
) -> Plain {
    Plain::new(name, takes, DataType::Boolean, |rows| {
        Err(wrong(format!("{} is planned as an operator", rows.name())))
    })
    .simplifies(move |args, _| Ok(Some(to(args))))
    .of_one_type()
    .says(Section::Logic, syntax, about, examples)
}

fn of(name: &str, shown: &str, about: &str, to: To, value: &'static str) -> Plain {
    use Takes::Any;
    let example: &'static str = format!("{shown}(1, 2)").leak();
    planned(
        name,
        &[Any, Any],
        &format!("{shown}(a, b)"),
        about,
        to,
        &[(example, value)],
    )
}

fn equals() -> Plain {
    of(
        "equals",
        "EQUALS",
        "As `=`.",
        |a| operator(a, Operator::Eq),
        "false",
    )
}

fn not_equals() -> Plain {
    of(
        "not_equals",
        "NOTEQUALS",
        "As `<>`.",
        |a| operator(a, Operator::NotEq),
        "true",
    )
}

fn greater_than() -> Plain {
    of(
        "greater_than",
        "GREATERTHAN",
        "As `>`.",
        |a| operator(a, Operator::Gt),
        "false",
    )
}

fn greater_than_or_equal() -> Plain {
    of(
        "greater_than_or_equal",
        "GREATERTHANOREQUAL",
        "As `>=`.",
        |a| operator(a, Operator::GtEq),
        "false",
    )
}

fn less_than() -> Plain {
    of(
        "less_than",
        "LESSTHAN",
        "As `<`.",
        |a| operator(a, Operator::Lt),
        "true",
    )
}

fn less_than_or_equal() -> Plain {
    of(
        "less_than_or_equal",
        "LESSTHANOREQUAL",
        "As `<=`.",
        |a| operator(a, Operator::LtEq),
        "true",
    )
}

fn is_distinct_from() -> Plain {
    of(
        "is_distinct_from",
        "ISDISTINCTFROM",
        "Whether they differ; two nulls do not.",
        |a| operator(a, Operator::IsDistinctFrom),
        "true",
    )
}

fn is_not_distinct_from() -> Plain {
    of(
        "is_not_distinct_from",
        "ISNOTDISTINCTFROM",
        "Whether they are the same; two nulls are.",
        |a| operator(a, Operator::IsNotDistinctFrom),
        "false",
    )
}

fn between_function() -> Plain {
    use Takes::Any;
    planned(
        "between",
        &[Any, Any, Any],
        "BETWEEN(x, low, high)",
        "Whether x lies between the two, or is one of them.",
        |args| {
            let [x, low, high] = [0, 1, 2].map(|at: usize| args[at].clone());
            Expr::Between(Between::new(x.into(), false, low.into(), high.into()))
        },
        &[("\"between\"(2, 1, 3)", "true")],
    )
}

fn comparisons() -> Vec<Plain> {
    vec![
        equals(),
        not_equals(),
        greater_than(),
        greater_than_or_equal(),
        less_than(),
        less_than_or_equal(),
        is_distinct_from(),
        is_not_distinct_from(),
        between_function(),
    ]
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Any, Flag};
    let of_one = |name: &str, syntax: &str, about: &str, to: To, example: Example| {
        planned(name, &[Any], syntax, about, to, &[example])
    };
    let flags = |name: &str, shown: &str, about: &str, to: To, example: Example| {
        planned(
            name,
            &[Flag],
            &format!("{shown}(a, b, …)"),
            about,
            to,
            &[example],
        )
        .variadic()
    };
    let mut all = comparisons();
    all.extend([
        flags(
            "and",
            "AND",
            "Whether all are true.",
            |a| all_of(a, Operator::And),
            ("\"and\"(true, 1 < 2)", "true"),
        ),
        flags(
            "or",
            "OR",
            "Whether any is true.",
            |a| all_of(a, Operator::Or),
            ("\"or\"(false, 1 > 2)", "false"),
        ),
        planned(
            "not",
            &[Flag],
            "NOT(a)",
            "Whether it is false.",
            |a| Expr::Not(a[0].clone().into()),
            &[("NOT(1 > 2)", "true")],
        ),
        of_one(
            "is_null",
            "ISNULL(x)",
            "Whether it is null.",
            |a| a[0].clone().is_null(),
            ("\"isnull\"(NULL)", "true"),
        ),
        of_one(
            "is_not_null",
            "ISNOTNULL(x)",
            "Whether it is not null.",
            |a| a[0].clone().is_not_null(),
            ("\"isnotnull\"(1)", "true"),
        ),
        planned(
            "case_when",
            &[Any],
            "CASEWHEN(condition, value, condition, value, …, other)",
            "The value behind the first condition that is true, else the last.",
            case,
            &[("CASEWHEN(1 > 2, 'a', 2 > 1, 'b', 'c')", "b")],
        )
        .variadic()
        .gives(|types, _| Ok(types.get(1).cloned().unwrap_or(DataType::Null)))
        .coerces(case_types),
    ]);
    all
}

/// Conditions are flags, values are of one type.
fn case_types(types: &[DataType]) -> Result<Vec<DataType>> {
    let is_condition = |at: usize| at.is_multiple_of(2) && at + 1 < types.len();
    let values = types
        .iter()
        .enumerate()
        .filter(|(at, _)| !is_condition(*at));
    let values: Vec<DataType> = values.map(|(_, own)| own.clone()).collect();
    let one = crate::plain::one_type("CASEWHEN", &values)?;
    let of = |at: usize| match is_condition(at) {
        true => DataType::Boolean,
        false => one.clone(),
    };
    Ok((0..types.len()).map(of).collect())
}

fn case(args: &[Expr]) -> Expr {
    let mut pairs = Vec::new();
    let mut otherwise = None;
    for pair in args.chunks(2) {
        match pair {
            [condition, value] => pairs.push((condition.clone().into(), value.clone().into())),
            [last] => otherwise = Some(Box::new(last.clone())),
            _ => {}
        }
    }
    Expr::Case(Case::new(None, pairs, otherwise))
}
