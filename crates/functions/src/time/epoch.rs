//! Times as whole numbers of seconds, minutes, hours or days since the epoch, and back.

use arrow::datatypes::DataType;

use super::unit::DAY_MS;
use crate::docs::{Example, Section};
use crate::plain::{Plain, Takes};

const UNITS: [(&str, i64); 4] = [
    ("seconds", 1_000),
    ("minutes", 60_000),
    ("hours", 3_600_000),
    ("days", DAY_MS),
];

/// Of 2024-06-15 12:30:00: how many there are, the multiple of ten below, and how many tens.
const EXAMPLES: [[&str; 3]; 4] = [
    ["1718454600", "1718454600", "171845460"],
    ["28640910", "28640910", "2864091"],
    ["477348", "477340", "47734"],
    ["19889", "19880", "1988"],
];

pub(super) fn all() -> Vec<Plain> {
    let units = UNITS.into_iter().zip(EXAMPLES);
    let of_unit = |((unit, ms), examples)| {
        let [whole, _, bucket]: [&'static str; 3] = examples;
        to_unit(unit, ms, examples)
            .into_iter()
            .chain(from_unit(unit, ms, [whole, bucket]))
    };
    units.flat_map(of_unit).collect()
}

fn example(call: String, value: String) -> [Example; 1] {
    [(call.leak(), value.leak())]
}

/// Divisions are cut towards zero, as Pinot does it before 1970 too.
fn to_unit(unit: &str, ms: i64, [whole, rounded, bucket]: [&'static str; 3]) -> [Plain; 3] {
    use Takes::{Long, Time};
    let long = || DataType::Int64;
    let shown = unit.to_uppercase();
    let of = |name: &str| format!("TOEPOCH{shown}{name}(1718454600000");
    [
        Plain::new(format!("to_epoch_{unit}"), &[Time], long(), move |rows| {
            rows.map(|time: i64| Some(time / ms))
        })
        .of_entries()
        .says(
            Section::Time,
            &format!("TOEPOCH{shown}(time)"),
            &format!("Whole {unit} since the epoch."),
            &example(format!("{})", of("")), whole.to_owned()),
        ),
        Plain::new(
            format!("to_epoch_{unit}_rounded"),
            &[Time, Long],
            long(),
            move |rows| {
                rows.map2(|time: i64, size: i64| (time / ms).checked_div(size)?.checked_mul(size))
            },
        )
        .of_entries()
        .says(
            Section::Time,
            &format!("TOEPOCH{shown}ROUNDED(time, size)"),
            &format!("Whole {unit} since the epoch, down to a multiple of the size."),
            &example(format!("{}, 10)", of("ROUNDED")), rounded.to_owned()),
        ),
        Plain::new(
            format!("to_epoch_{unit}_bucket"),
            &[Time, Long],
            long(),
            move |rows| rows.map2(|time: i64, size: i64| (time / ms).checked_div(size)),
        )
        .of_entries()
        .says(
            Section::Time,
            &format!("TOEPOCH{shown}BUCKET(time, size)"),
            &format!("How many times so many {unit} have passed since the epoch."),
            &example(format!("{}, 10)", of("BUCKET")), bucket.to_owned()),
        ),
    ]
}

fn from_unit(unit: &str, ms: i64, [whole, bucket]: [&'static str; 2]) -> [Plain; 2] {
    use Takes::Long;
    let long = || DataType::Int64;
    let shown = unit.to_uppercase();
    let back = |number: &str, size: i64| {
        let number: i64 = number.parse().unwrap_or(0);
        (number * size * ms).to_string()
    };
    [
        Plain::new(format!("from_epoch_{unit}"), &[Long], long(), move |rows| {
            rows.map(|number: i64| number.checked_mul(ms))
        })
        .of_entries()
        .says(
            Section::Time,
            &format!("FROMEPOCH{shown}({unit})"),
            &format!("Epoch milliseconds of {unit} since the epoch."),
            &example(format!("FROMEPOCH{shown}({whole})"), back(whole, 1)),
        ),
        Plain::new(
            format!("from_epoch_{unit}_bucket"),
            &[Long, Long],
            long(),
            move |rows| {
                rows.map2(|number: i64, size: i64| number.checked_mul(size)?.checked_mul(ms))
            },
        )
        .of_entries()
        .says(
            Section::Time,
            &format!("FROMEPOCH{shown}BUCKET(bucket, size)"),
            &format!("Epoch milliseconds at which a bucket of so many {unit} begins."),
            &example(
                format!("FROMEPOCH{shown}BUCKET({bucket}, 10)"),
                back(bucket, 10),
            ),
        ),
    ]
}
