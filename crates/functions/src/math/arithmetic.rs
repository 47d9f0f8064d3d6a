//! Operators as functions, and what they do where a quotient or remainder has no value.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::Rows;

fn truncate(value: f64, digits: i64) -> f64 {
    let scale = 10f64.powi(digits.clamp(-400, 400) as i32);
    let scaled = value * scale;
    match scaled.is_finite() && scale > 0.0 {
        true => scaled.trunc() / scale,
        false => value,
    }
}

fn positive_modulo(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest < 0.0 { rest + b.abs() } else { rest }
}

/// A whole number of whole numbers, else a double.
fn either(
    rows: &Rows,
    whole: fn(i64, i64) -> Option<i64>,
    double: fn(f64, f64) -> f64,
) -> Result<ArrayRef> {
    let all_whole = rows
        .columns()
        .iter()
        .all(|(array, _)| *array.data_type() == DataType::Int64);
    if all_whole {
        return rows.map2(whole);
    }
    let columns = rows.columns().iter().map(|(array, is_literal)| {
        Ok((
            arrow::compute::cast(array, &DataType::Float64)?,
            *is_literal,
        ))
    });
    let rows = Rows::new(rows.name(), columns.collect::<Result<_>>()?, rows.count());
    rows.map2(|a: f64, b: f64| Some(double(a, b)))
}

fn type_of_either(types: &[DataType]) -> DataType {
    // Times are read as whole numbers.
    match types.contains(&DataType::Float64) {
        true => DataType::Float64,
        false => DataType::Int64,
    }
}

fn digits(rows: &Rows, of: fn(f64, i64) -> f64) -> Result<ArrayRef> {
    match rows.has(1) {
        true => rows.map2(|x: f64, digits: i64| Some(of(x, digits))),
        false => rows.map(|x: f64| Some(of(x, 0))),
    }
}

fn doubles(name: &str, of: fn(f64, f64) -> Option<f64>) -> Plain {
    use Takes::Double;
    Plain::new(name, &[Double, Double], DataType::Float64, move |rows| {
        rows.map2(of)
    })
    .of_entries()
}

fn flag(name: &str, of: fn(f64) -> bool) -> Plain {
    use Takes::Double;
    Plain::new(name, &[Double], DataType::Boolean, move |rows| {
        rows.map(|x: f64| Some(of(x)))
    })
    .of_entries()
}

fn numbers(name: &str, whole: fn(i64, i64) -> Option<i64>, double: fn(f64, f64) -> f64) -> Plain {
    use Takes::Number;
    Plain::new(name, &[Number, Number], DataType::Int64, move |rows| {
        either(rows, whole, double)
    })
    .gives(|types, _| Ok(type_of_either(types)))
    .of_entries()
}

fn add_function() -> Plain {
    doubles("add", |a, b| Some(a + b)).alias("plus").says(
        Section::Math,
        "ADD(a, b)",
        "The sum, a DOUBLE. Also called PLUS.",
        &[("ADD(1, 2)", "3.0")],
    )
}

fn sub_function() -> Plain {
    doubles("sub", |a, b| Some(a - b)).alias("minus").says(
        Section::Math,
        "SUB(a, b)",
        "The difference, a DOUBLE. Also called MINUS.",
        &[("SUB(1, 2)", "-1.0")],
    )
}

fn mult() -> Plain {
    doubles("mult", |a, b| Some(a * b)).alias("times").says(
        Section::Math,
        "MULT(a, b)",
        "The product, a DOUBLE. Also called TIMES.",
        &[("MULT(3, 2)", "6.0")],
    )
}

fn div_function() -> Plain {
    doubles("div", |a, b| Some(a / b)).alias("divide").says(
        Section::Math,
        "DIV(a, b)",
        "The quotient, a DOUBLE. Also called DIVIDE.",
        &[("DIV(7, 2)", "3.5")],
    )
}

fn mod_function() -> Plain {
    doubles("mod", |a, b| Some(a % b)).says(
        Section::Math,
        "MOD(a, b)",
        "The remainder, with the sign of the first.",
        &[("MOD(-7, 3)", "-1.0")],
    )
}

fn modulo_or_zero() -> Plain {
    doubles("modulo_or_zero", |a, b| {
        Some(if b == 0.0 { 0.0 } else { a % b })
    })
    .says(
        Section::Math,
        "MODULOORZERO(a, b)",
        "The remainder; 0 where it would be divided by 0.",
        &[("MODULOORZERO(7, 0)", "0.0")],
    )
}

fn positive_modulo_function() -> Plain {
    doubles("positive_modulo", |a, b| Some(positive_modulo(a, b))).says(
        Section::Math,
        "POSITIVEMODULO(a, b)",
        "The remainder, never below 0.",
        &[("POSITIVEMODULO(-7, 3)", "2.0")],
    )
}

fn int_div() -> Plain {
    use Takes::Double;
    Plain::new("int_div", &[Double, Double], DataType::Int64, |rows| {
        rows.map2(|a: f64, b: f64| (b != 0.0).then(|| (a / b).floor() as i64))
    })
    .says(
        Section::Math,
        "INTDIV(a, b)",
        "The quotient down to a whole number; null where it would be divided by 0.",
        &[("INTDIV(7, 2)", "3")],
    )
}

fn int_div_or_zero() -> Plain {
    use Takes::Double;
    Plain::new(
        "int_div_or_zero",
        &[Double, Double],
        DataType::Int64,
        |rows| rows.map2(|a: f64, b: f64| Some(if b == 0.0 { 0 } else { (a / b).floor() as i64 })),
    )
    .says(
        Section::Math,
        "INTDIVORZERO(a, b)",
        "The quotient down to a whole number; 0 where it would be divided by 0.",
        &[("INTDIVORZERO(7, 0)", "0")],
    )
}

fn gcd_of() -> Plain {
    numbers(
        "gcd_of",
        |a, b| i64::try_from(gcd(a, b)).ok(),
        |a, b| gcd(a as i64, b as i64) as f64,
    )
    .in_pinot(&["GCD"])
    .says(
        Section::Math,
        "GCD(a, b)",
        "The greatest whole number that divides both.",
        &[("GCD(12, 18)", "6")],
    )
}

fn lcm_of() -> Plain {
    numbers("lcm_of", lcm, |a, b| {
        lcm(a as i64, b as i64).map_or(f64::NAN, |lcm| lcm as f64)
    })
    .in_pinot(&["LCM"])
    .says(
        Section::Math,
        "LCM(a, b)",
        "The least whole number that both divide.",
        &[("LCM(4, 6)", "12")],
    )
}

fn negate() -> Plain {
    use Takes::Number;
    Plain::new("negate", &[Number], DataType::Int64, |rows| {
        match *rows.columns()[0].0.data_type() == DataType::Float64 {
            true => rows.map(|x: f64| Some(-x)),
            false => rows.map(i64::checked_neg),
        }
    })
    .gives(|types, _| Ok(type_of_either(types)))
    .of_entries()
    .says(
        Section::Math,
        "NEGATE(x)",
        "The number with the other sign.",
        &[("NEGATE(5)", "-5")],
    )
}

fn round_decimal() -> Plain {
    use Takes::{Double, Long};
    Plain::new(
        "round_decimal",
        &[Double, Long],
        DataType::Float64,
        |rows| digits(rows, crate::time::to_digits),
    )
    .optional(1)
    .of_entries()
    .says(
        Section::Math,
        "ROUNDDECIMAL(x [, digits])",
        "The nearest number with so many digits behind the point, half away from 0.",
        &[
            ("ROUNDDECIMAL(2.345, 2)", "2.35"),
            ("ROUNDDECIMAL(-2.5)", "-3.0"),
        ],
    )
}

fn truncate_function() -> Plain {
    use Takes::{Double, Long};
    Plain::new("truncate", &[Double, Long], DataType::Float64, |rows| {
        digits(rows, truncate)
    })
    .optional(1)
    .of_entries()
    .says(
        Section::Math,
        "TRUNCATE(x [, digits])",
        "The number without what stands behind so many digits.",
        &[("TRUNCATE(2.349, 2)", "2.34"), ("TRUNCATE(-2.9)", "-2.0")],
    )
}

fn is_finite() -> Plain {
    flag("is_finite", f64::is_finite).says(
        Section::Math,
        "ISFINITE(x)",
        "Whether the number is neither infinite nor NaN.",
        &[("ISFINITE(1.5)", "true")],
    )
}

fn is_infinite() -> Plain {
    flag("is_infinite", f64::is_infinite).says(
        Section::Math,
        "ISINFINITE(x)",
        "Whether the number is infinite.",
        &[("ISINFINITE(DIV(1, 0))", "true")],
    )
}

fn is_nan() -> Plain {
    flag("is_nan", f64::is_nan).says(
        Section::Math,
        "ISNAN(x)",
        "Whether the number is NaN.",
        &[("ISNAN(DIV(0, 0))", "true")],
    )
}

fn if_not_finite() -> Plain {
    doubles("if_not_finite", |x, other| {
        Some(if x.is_finite() { x } else { other })
    })
    .says(
        Section::Math,
        "IFNOTFINITE(x, other)",
        "The number, or another where it is infinite or NaN.",
        &[("IFNOTFINITE(DIV(1, 0), 7)", "7.0")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        add_function(),
        sub_function(),
        mult(),
        div_function(),
        mod_function(),
        modulo_or_zero(),
        positive_modulo_function(),
        int_div(),
        int_div_or_zero(),
        gcd_of(),
        lcm_of(),
        negate(),
        round_decimal(),
        truncate_function(),
        is_finite(),
        is_infinite(),
        is_nan(),
        if_not_finite(),
    ]
}

fn gcd(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn lcm(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    let lcm = (a.unsigned_abs() / gcd(a, b)).checked_mul(b.unsigned_abs())?;
    i64::try_from(lcm).ok()
}
