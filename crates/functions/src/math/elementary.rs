//! Functions of one or two doubles, in Pinot's dialect under its names.

use arrow::datatypes::DataType;

use crate::docs::Section;
use crate::plain::{Plain, Takes};

type One = (
    &'static str,
    &'static [&'static str],
    fn(f64) -> f64,
    &'static str,
    [&'static str; 2],
);

const fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

const ONE: &[One] = &[
    (
        "pinot_ceil",
        &["CEIL", "CEILING"],
        f64::ceil,
        "The least whole number that is not less.",
        ["CEIL(1.2)", "2.0"],
    ),
    (
        "pinot_floor",
        &["FLOOR"],
        f64::floor,
        "The greatest whole number that is not more.",
        ["FLOOR(-1.2)", "-2.0"],
    ),
    (
        "pinot_exp",
        &["EXP"],
        f64::exp,
        "e to this power.",
        ["EXP(0)", "1.0"],
    ),
    (
        "exp2",
        &[],
        f64::exp2,
        "2 to this power.",
        ["EXP2(3)", "8.0"],
    ),
    (
        "exp10",
        &[],
        |x| 10f64.powf(x),
        "10 to this power.",
        ["EXP10(3)", "1000.0"],
    ),
    (
        "pinot_ln",
        &["LN", "LOG"],
        f64::ln,
        "The natural logarithm. Also called LOG.",
        ["LN(1)", "0.0"],
    ),
    (
        "pinot_log2",
        &["LOG2"],
        f64::log2,
        "The logarithm to base 2.",
        ["LOG2(8)", "3.0"],
    ),
    (
        "pinot_log10",
        &["LOG10"],
        f64::log10,
        "The logarithm to base 10.",
        ["LOG10(1000)", "3.0"],
    ),
    (
        "log1p",
        &[],
        f64::ln_1p,
        "The natural logarithm of 1 more.",
        ["LOG1P(0)", "0.0"],
    ),
    (
        "pinot_sqrt",
        &["SQRT"],
        f64::sqrt,
        "The square root.",
        ["SQRT(16)", "4.0"],
    ),
    (
        "pinot_cbrt",
        &["CBRT"],
        f64::cbrt,
        "The cube root.",
        ["CBRT(27)", "3.0"],
    ),
    (
        "sign",
        &[],
        sign,
        "1, 0 or -1 as the number is above, at or below 0.",
        ["SIGN(-7.5)", "-1.0"],
    ),
    (
        "sigmoid",
        &[],
        |x| 1.0 / (1.0 + (-x).exp()),
        "1 / (1 + e to the power of -x).",
        ["SIGMOID(0)", "0.5"],
    ),
    (
        "pinot_sin",
        &["SIN"],
        f64::sin,
        "The sine, of radians.",
        ["SIN(0)", "0.0"],
    ),
    (
        "pinot_cos",
        &["COS"],
        f64::cos,
        "The cosine, of radians.",
        ["COS(0)", "1.0"],
    ),
    (
        "pinot_tan",
        &["TAN"],
        f64::tan,
        "The tangent, of radians.",
        ["TAN(0)", "0.0"],
    ),
    (
        "pinot_cot",
        &["COT"],
        |x| 1.0 / x.tan(),
        "The cotangent, of radians.",
        ["ROUND(COT(0.7853981633974483), 6)", "1.0"],
    ),
    (
        "pinot_asin",
        &["ASIN"],
        f64::asin,
        "The angle of a sine.",
        ["ASIN(0)", "0.0"],
    ),
    (
        "pinot_acos",
        &["ACOS"],
        f64::acos,
        "The angle of a cosine.",
        ["ACOS(1)", "0.0"],
    ),
    (
        "pinot_atan",
        &["ATAN"],
        f64::atan,
        "The angle of a tangent.",
        ["ATAN(0)", "0.0"],
    ),
    (
        "pinot_sinh",
        &["SINH"],
        f64::sinh,
        "The hyperbolic sine.",
        ["SINH(0)", "0.0"],
    ),
    (
        "pinot_cosh",
        &["COSH"],
        f64::cosh,
        "The hyperbolic cosine.",
        ["COSH(0)", "1.0"],
    ),
    (
        "pinot_tanh",
        &["TANH"],
        f64::tanh,
        "The hyperbolic tangent.",
        ["TANH(0)", "0.0"],
    ),
    (
        "pinot_asinh",
        &["ASINH"],
        f64::asinh,
        "The inverse of the hyperbolic sine.",
        ["ASINH(0)", "0.0"],
    ),
    (
        "pinot_acosh",
        &["ACOSH"],
        f64::acosh,
        "The inverse of the hyperbolic cosine.",
        ["ACOSH(1)", "0.0"],
    ),
    (
        "pinot_atanh",
        &["ATANH"],
        f64::atanh,
        "The inverse of the hyperbolic tangent.",
        ["ATANH(0)", "0.0"],
    ),
    (
        "pinot_degrees",
        &["DEGREES"],
        f64::to_degrees,
        "Degrees of radians.",
        ["DEGREES(3.141592653589793)", "180.0"],
    ),
    (
        "pinot_radians",
        &["RADIANS"],
        f64::to_radians,
        "Radians of degrees.",
        ["RADIANS(180)", "3.141592653589793"],
    ),
];

type Two = (
    &'static str,
    &'static [&'static str],
    fn(f64, f64) -> f64,
    [&'static str; 2],
    [&'static str; 2],
);

const TWO: &[Two] = &[
    (
        "pinot_power",
        &["POWER", "POW"],
        f64::powf,
        ["POWER(x, y)", "The one to the power of the other."],
        ["POWER(2, 10)", "1024.0"],
    ),
    (
        "pinot_atan2",
        &["ATAN2"],
        f64::atan2,
        ["ATAN2(y, x)", "The angle to a point."],
        ["ATAN2(0, 1)", "0.0"],
    ),
    (
        "hypot",
        &[],
        f64::hypot,
        ["HYPOT(x, y)", "The square root of the sum of the squares."],
        ["HYPOT(3, 4)", "5.0"],
    ),
];

pub(super) fn all() -> Vec<Plain> {
    use Takes::Double;
    let double = || DataType::Float64;
    let one = ONE
        .iter()
        .map(|(name, in_pinot, of, about, [call, value])| {
            let shown = in_pinot
                .first()
                .map_or_else(|| name.to_uppercase(), |n| (*n).to_owned());
            Plain::new(*name, &[Double], double(), |rows| {
                rows.map(|x: f64| Some(of(x)))
            })
            .of_entries()
            .in_pinot(in_pinot)
            .says(
                Section::Math,
                &format!("{shown}(x)"),
                about,
                &[(call, value)],
            )
        });
    let two = TWO
        .iter()
        .map(|(name, in_pinot, of, [syntax, about], [call, value])| {
            Plain::new(*name, &[Double; 2], double(), |rows| {
                rows.map2(|x: f64, y: f64| Some(of(x, y)))
            })
            .of_entries()
            .in_pinot(in_pinot)
            .says(Section::Math, syntax, about, &[(call, value)])
        });
    let constants = [
        Plain::new("pinot_pi", &[], double(), |rows| {
            rows.map0(|| std::f64::consts::PI)
        })
        .in_pinot(&["PI"])
        .says(
            Section::Math,
            "PI()",
            "The number pi.",
            &[("PI()", "3.141592653589793")],
        ),
        Plain::new("e", &[], double(), |rows| rows.map0(|| std::f64::consts::E))
            .alias("euler")
            .says(
                Section::Math,
                "E()",
                "Euler's number. Also called EULER.",
                &[("E()", "2.718281828459045")],
            ),
    ];
    one.chain(two).chain(constants).collect()
}
