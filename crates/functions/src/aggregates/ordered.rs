//! FIRSTWITHTIME, LASTWITHTIME, ARG_MIN, EXPR_MIN and their kin: the value of the row that is first
//! in an order.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Sort;

use super::renamed::{Call, Renamed};
use crate::docs::Example;
use crate::plain::Takes;

/// The value of the row before all others.
fn first(value: &Expr, by: &[Expr], ascending: bool) -> Result<Call> {
    // Rows without a time or measure come last.
    let order = by.iter().map(|by| Sort::new(by.clone(), ascending, false));
    let call = Call::new(first_value_udaf(), vec![value.clone()]);
    Ok(Call {
        order_by: order.collect(),
        ..call
    })
}

fn with_time(name: &str, shown: &str, ascending: bool, about: &str, example: Example) -> Renamed {
    let takes = [Takes::Any, Takes::Any, Takes::Text];
    Renamed::new(name, &takes, DataType::Null, move |args| {
        first(&args[0], &args[1..2], ascending)
    })
    .optional(1)
    .gives(|types| types[0].clone())
    .says(&format!("{shown}(x, time [, 'type'])"), about, &[example])
}

fn by_measure(
    (name, other): (&str, &str),
    shown: &str,
    ascending: bool,
    example: Example,
) -> Renamed {
    let which = if ascending { "least" } else { "greatest" };
    Renamed::new(
        name,
        &[Takes::Any, Takes::Any],
        DataType::Null,
        move |args| first(&args[0], &args[1..], ascending),
    )
    .alias(other)
    .variadic()
    .gives(|types| types[0].clone())
    .says(
        &format!("{shown}(x, measure [, measure …])"),
        &format!(
            "x of a row with the {which} measure; of several the next one decides. Also called {}.",
            other.to_uppercase()
        ),
        &[example],
    )
}

fn arg(name: &str, shown: &str, ascending: bool, example: Example) -> Renamed {
    let which = if ascending { "least" } else { "greatest" };
    Renamed::new(
        name,
        &[Takes::Any, Takes::Any],
        DataType::Null,
        move |args| match args.split_last() {
            Some((value, by)) => first(value, by, ascending),
            None => first(&args[0], &[], ascending),
        },
    )
    .variadic()
    .gives(|types| types.last().cloned().unwrap_or(DataType::Null))
    .says(
        &format!("{shown}(measure [, measure …], x)"),
        &format!("x of a row with the {which} measure; of several the next one decides."),
        &[example],
    )
}

pub(super) fn all() -> Vec<Renamed> {
    vec![
        with_time(
            "first_with_time",
            "FIRSTWITHTIME",
            true,
            "The value of the row with the least time.",
            ("FIRSTWITHTIME(s, y, 'STRING') FROM numbers", "a"),
        ),
        with_time(
            "last_with_time",
            "LASTWITHTIME",
            false,
            "The value of the row with the greatest time.",
            ("LASTWITHTIME(s, y, 'STRING') FROM numbers", "d"),
        ),
        by_measure(
            ("expr_min", "min_by"),
            "EXPR_MIN",
            true,
            ("EXPR_MIN(s, x) FROM numbers", "a"),
        ),
        by_measure(
            ("expr_max", "max_by"),
            "EXPR_MAX",
            false,
            ("EXPR_MAX(s, x) FROM numbers", "d"),
        ),
        arg(
            "arg_min",
            "ARG_MIN",
            true,
            ("ARG_MIN(x, s) FROM numbers", "a"),
        ),
        arg(
            "arg_max",
            "ARG_MAX",
            false,
            ("ARG_MAX(x, s) FROM numbers", "d"),
        ),
    ]
}
