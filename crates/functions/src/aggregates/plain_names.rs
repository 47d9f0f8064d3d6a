//! Aggregates that SQL knows under other names or of fewer types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, Expr, cast, lit};
use datafusion::scalar::ScalarValue;

use super::ordered_text::string_agg;
use super::renamed::{Call, Renamed};
use crate::docs::Example;
use crate::plain::{Takes, list_of};
use crate::rows::TEXT;

fn of_type(
    name: &str,
    shown: &str,
    (takes, gives): (Takes, DataType),
    function: fn() -> Arc<AggregateUDF>,
    (about, example): (&str, Example),
) -> Renamed {
    let to = gives.clone();
    Renamed::new(name, &[takes], gives, move |args| {
        Ok(Call::new(
            function(),
            vec![cast(args[0].clone(), to.clone())],
        ))
    })
    .says(&format!("{shown}(x)"), about, &[example])
}

fn is_true(expr: Option<&Expr>) -> bool {
    let value = match expr {
        Some(Expr::Literal(value, _)) => value.cast_to(&DataType::Boolean).ok(),
        Some(Expr::Cast(cast)) => return is_true(Some(cast.expr.as_ref())),
        _ => None,
    };
    value == Some(ScalarValue::Boolean(Some(true)))
}

fn array_agg() -> Renamed {
    let takes = [Takes::Any, Takes::Text, Takes::Flag];
    Renamed::new(
        "pinot_array_agg",
        &takes,
        DataType::Null,
        |args| -> Result<Call> {
            let distinct = is_true(args.get(2));
            let call = Call::new(array_agg_udaf(), vec![args[0].clone()]);
            Ok(Call { distinct, ..call })
        },
    )
    .optional(2)
    .gives(|types| list_of(types[0].clone()))
    .in_pinot(&["ARRAY_AGG"])
    .says(
        "ARRAYAGG(x [, 'type' [, distinct]])",
        "All values as an array, or each once.",
        &[("ARRAYAGG(x, 'LONG') FROM numbers", "[1, 2, 2, 3, 10]")],
    )
}

fn list_agg() -> Renamed {
    let takes = [Takes::Text, Takes::Text, Takes::Flag];
    Renamed::new(
        "list_agg",
        &takes,
        DataType::LargeUtf8,
        |args| -> Result<Call> {
            let distinct = is_true(args.get(2));
            let separator = args.get(1).cloned().unwrap_or_else(|| lit(""));
            let call = Call::new(string_agg(), vec![args[0].clone(), separator]);
            Ok(Call { distinct, ..call })
        },
    )
    .optional(2)
    .says(
        "LISTAGG(text [, separator [, distinct]]) [WITHIN GROUP (ORDER BY …)]",
        "All texts as one, with the separator between.",
        &[("LISTAGG(s, '-') FROM numbers", "a-b-b-c-d")],
    )
}

fn sum_precision() -> Renamed {
    let decimal = schemas::arrow::arrow_type(schemas::DataType::BigDecimal);
    let to = decimal.clone();
    Renamed::new(
        "sum_precision",
        &[Takes::Any, Takes::Any, Takes::Any],
        decimal,
        move |args| {
            Ok(Call::new(
                sum_udaf(),
                vec![cast(args[0].clone(), to.clone())],
            ))
        },
    )
    .optional(2)
    .says(
        "SUMPRECISION(x [, precision [, scale]])",
        "The sum as a BIG_DECIMAL, exactly; precision and scale are not heeded.",
        &[("SUMPRECISION(x) FROM numbers", "18.000000000000000000")],
    )
}

pub(super) fn all() -> Vec<Renamed> {
    let long = || (Takes::Long, DataType::Int64);
    let text = || (Takes::Text, TEXT);
    let (sum, least, greatest) = (
        "The sum, a LONG.",
        "The least value.",
        "The greatest value.",
    );
    let sum_long = ("SUMLONG(x) FROM numbers", "18");
    vec![
        of_type("sum_long", "SUMLONG", long(), sum_udaf, (sum, sum_long)).alias("sum_int"),
        of_type(
            "min_long",
            "MINLONG",
            long(),
            min_udaf,
            (least, ("MINLONG(x) FROM numbers", "1")),
        ),
        of_type(
            "max_long",
            "MAXLONG",
            long(),
            max_udaf,
            (greatest, ("MAXLONG(x) FROM numbers", "10")),
        ),
        of_type(
            "min_string",
            "MINSTRING",
            text(),
            min_udaf,
            (least, ("MINSTRING(s) FROM numbers", "a")),
        ),
        of_type(
            "max_string",
            "MAXSTRING",
            text(),
            max_udaf,
            (greatest, ("MAXSTRING(s) FROM numbers", "d")),
        ),
        sum_precision(),
        array_agg(),
        list_agg(),
    ]
}
