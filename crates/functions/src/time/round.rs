//! Pinot's ROUND: a time, or any whole number, down to a multiple.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::Rows;

/// More digits than a DOUBLE has are no digits but a multiple.
const DIGITS_MAX: i64 = 18;

/// Half away from zero.
pub(crate) fn to_digits(value: f64, digits: i64) -> f64 {
    let scale = 10f64.powi(digits.clamp(-400, 400) as i32);
    let scaled = value * scale;
    match scaled.is_finite() && scale > 0.0 {
        true => scaled.round() / scale,
        false => value,
    }
}

fn round(rows: &Rows) -> Result<ArrayRef> {
    let is_double = *rows.columns()[0].0.data_type() == DataType::Float64;
    match (is_double, rows.has(1)) {
        (true, false) => rows.map(|value: f64| Some(value.round())),
        (true, true) => rows.map2(|value: f64, to: i64| match to > DIGITS_MAX {
            true => Some((value as i64 / to * to) as f64),
            false => Some(to_digits(value, to)),
        }),
        (false, false) => rows.map(|value: i64| Some(value)),
        (false, true) => rows.map2(|value: i64, to: i64| value.checked_div(to)?.checked_mul(to)),
    }
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        Plain::new(
            "pinot_round",
            &[Takes::Number, Takes::Long],
            DataType::Int64,
            round,
        )
        .optional(1)
        .gives(|types, _| {
            Ok(match types[0] {
                DataType::Float64 => DataType::Float64,
                _ => DataType::Int64,
            })
        })
        .of_entries()
        .in_pinot(&["ROUND", "ROUND_MV"])
        .says(
            Section::Time,
            "ROUND(number [, multiple])",
            "A whole number or a time down to a multiple. Of a DOUBLE the second argument is \
                 how many digits stay behind the point.",
            &[
                ("ROUND(1718454645678, 300000)", "1718454600000"),
                ("ROUND(2.345, 2)", "2.35"),
            ],
        ),
    ]
}
