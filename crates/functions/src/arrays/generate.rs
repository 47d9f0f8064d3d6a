//! GENERATEINTARRAY, GENERATELONGARRAY, …: numbers from one to another.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};

/// An array has no more entries than this.
const ENTRIES_MAX: f64 = 1_000_000.0;

/// Both ends included. `step` may be negative.
fn numbers(name: &str, from: f64, to: f64, step: f64) -> Result<Option<Vec<f64>>> {
    let count = ((to - from) / step).floor() + 1.0;
    if step == 0.0 || !count.is_finite() {
        return Err(wrong(format!("{name}: the step is a number other than 0")));
    }
    if count > ENTRIES_MAX {
        return Err(wrong(format!(
            "{name}: {count} entries; {ENTRIES_MAX} are the most"
        )));
    }
    let count = count.max(0.0) as u32;
    Ok(Some(
        (0..count).map(|n| from + step * f64::from(n)).collect(),
    ))
}

pub(super) fn all() -> Vec<Plain> {
    let of = |name: &str, shown: &str, entry: DataType, value: &'static str| {
        let list = list_of(entry.clone());
        let to = list.clone();
        let example: &'static str = format!("{shown}(1, 7, 3)").leak();
        Plain::new(name, &[Takes::Double; 3], list, move |rows| {
            let step = |step: f64| numbers(rows.name(), 0.0, 0.0, step).map(|_| step);
            let made: ArrayRef = match rows.has(2) {
                true => rows.try_map3(|from: f64, end: f64, by: f64| {
                    numbers(rows.name(), from, end, step(by)?)
                })?,
                false => rows.try_map2(|from: f64, end: f64| {
                    numbers(rows.name(), from, end, if end < from { -1.0 } else { 1.0 })
                })?,
            };
            Ok(arrow::compute::cast(&made, &to)?)
        })
        .optional(1)
        .says(
            Section::Arrays,
            &format!("{shown}(from, to [, step])"),
            "Numbers from one to another, both included.",
            &[(example, value)],
        )
    };
    vec![
        of(
            "generate_int_array",
            "GENERATEINTARRAY",
            DataType::Int32,
            "[1, 4, 7]",
        ),
        of(
            "generate_long_array",
            "GENERATELONGARRAY",
            DataType::Int64,
            "[1, 4, 7]",
        ),
        of(
            "generate_float_array",
            "GENERATEFLOATARRAY",
            DataType::Float32,
            "[1.0, 4.0, 7.0]",
        ),
        of(
            "generate_double_array",
            "GENERATEDOUBLEARRAY",
            DataType::Float64,
            "[1.0, 4.0, 7.0]",
        ),
    ]
}
