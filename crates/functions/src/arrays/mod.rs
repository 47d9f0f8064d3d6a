//! Arrays: columns of several values, and what is made of them. Positions count from 1 in
//! ARRAYELEMENTAT, as in SQL, and from 0 elsewhere, as in Pinot.
//!
//! Pinot has one function for each type (`arraySortInt`, `arraySortString`, …); here each is one
//! function that keeps the type of the array, under all of these names.

mod element;
mod generate;
mod make;
mod measure;
mod reshape;

use crate::plain::Plain;

/// Behind the names of Pinot's functions of arrays.
const TYPES: [&str; 5] = ["int", "long", "float", "double", "string"];

/// The function under the names with a type behind it as well.
fn typed(function: Plain, name: &str) -> Plain {
    let names = TYPES.iter().map(|of| format!("{name}_{of}"));
    names.fold(function, |function, name| function.alias(name))
}

pub(super) fn all() -> Vec<Plain> {
    [
        measure::all(),
        element::all(),
        reshape::all(),
        make::all(),
        generate::all(),
    ]
    .concat()
}
