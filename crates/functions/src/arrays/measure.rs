//! ARRAYLENGTH, ARRAYSUM, ARRAYMIN, ARRAYMAX, ARRAYAVERAGE, ARRAYTOSTRING and what compares
//! vectors.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;

use super::typed;
use crate::arguments::wrong;
use crate::docs::{Example, Section};
use crate::plain::{Plain, Takes};
use crate::rows::{Rows, TEXT, texts_of};

/// Entries that are not null.
fn doubles(list: &ArrayRef) -> impl Iterator<Item = f64> {
    list.as_primitive::<Float64Type>().iter().flatten()
}

fn joined(list: &ArrayRef, between: &str, for_null: Option<&str>) -> String {
    let texts = list
        .as_string_view()
        .iter()
        .filter_map(|text| text.or(for_null));
    texts.collect::<Vec<_>>().join(between)
}

/// Both vectors, which must be of one length.
fn pair<'a>(name: &str, a: &'a ArrayRef, b: &'a ArrayRef) -> Result<(&'a [f64], &'a [f64])> {
    if a.len() != b.len() {
        let (one, other) = (a.len(), b.len());
        return Err(wrong(format!(
            "{name}: one vector has {one} numbers, the other {other}"
        )));
    }
    let (a, b) = (
        a.as_primitive::<Float64Type>(),
        b.as_primitive::<Float64Type>(),
    );
    Ok((a.values(), b.values()))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    1.0 - dot(a, b) / (norm(a) * norm(b))
}

fn l1(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn of_doubles(
    name: &str,
    about: &str,
    of: fn(&ArrayRef) -> Option<f64>,
    example: Example,
) -> Plain {
    let function = Plain::new(name, &[Takes::Doubles], DataType::Float64, move |rows| {
        rows.map(|list: ArrayRef| of(&list))
    });
    let shown = name.to_uppercase().replace('_', "");
    typed(function, name).says(
        Section::Arrays,
        &format!("{shown}(array)"),
        about,
        &[example],
    )
}

fn of_vectors(name: &str, about: &str, of: fn(&[f64], &[f64]) -> f64, example: Example) -> Plain {
    let shown = name.to_uppercase().replace('_', "");
    let syntax = format!("{shown}(vector, vector)");
    Plain::new(
        name,
        &[Takes::Doubles; 2],
        DataType::Float64,
        move |rows: &Rows| {
            rows.try_map2(|a: ArrayRef, b: ArrayRef| {
                let (a, b) = pair(rows.name(), &a, &b)?;
                Ok(Some(of(a, b)))
            })
        },
    )
    .says(Section::Arrays, &syntax, about, &[example])
}

fn max(list: &ArrayRef) -> Option<f64> {
    doubles(list).reduce(f64::max)
}

fn min(list: &ArrayRef) -> Option<f64> {
    doubles(list).reduce(f64::min)
}

fn sum(list: &ArrayRef) -> Option<f64> {
    Some(doubles(list).sum())
}

fn mean(list: &ArrayRef) -> Option<f64> {
    let count = doubles(list).count();
    (count > 0).then(|| doubles(list).sum::<f64>() / count as f64)
}

fn array_length() -> Plain {
    use Takes::Any;
    Plain::new("pinot_array_length", &[Any], DataType::Int32, |rows| {
        let whole = rows.whole(0)?;
        match whole.data_type() {
            DataType::List(_) => rows.map(|list: ArrayRef| Some(list.len() as i32)),
            // A single value is one.
            _ => Ok(std::sync::Arc::new(arrow::array::Int32Array::from_value(
                1,
                rows.count(),
            ))),
        }
    })
    .in_pinot(&["ARRAY_LENGTH", "CARDINALITY"])
    .says(
        Section::Arrays,
        "ARRAYLENGTH(array)",
        "How many entries. Also called CARDINALITY.",
        &[("ARRAYLENGTH(ARRAY[5, 6, 7])", "3")],
    )
}

fn array_sum() -> Plain {
    of_doubles(
        "array_sum",
        "The sum of the entries.",
        sum,
        ("ARRAYSUM(ARRAY[1, 2])", "3.0"),
    )
}

fn array_max() -> Plain {
    of_doubles(
        "pinot_array_max",
        "The greatest entry.",
        max,
        ("ARRAYMAX(ARRAY[1, 2])", "2.0"),
    )
    .in_pinot(&["ARRAY_MAX"])
}

fn array_min() -> Plain {
    of_doubles(
        "pinot_array_min",
        "The least entry.",
        min,
        ("ARRAYMIN(ARRAY[1, 2])", "1.0"),
    )
    .in_pinot(&["ARRAY_MIN"])
}

fn array_average() -> Plain {
    of_doubles(
        "array_average",
        "The mean of the entries.",
        mean,
        ("ARRAYAVERAGE(ARRAY[1, 2])", "1.5"),
    )
}

fn array_to_string() -> Plain {
    use Takes::{Text, Texts};
    Plain::new(
        "pinot_array_to_string",
        &[Texts, Text, Text],
        TEXT,
        |rows| match rows.has(2) {
            true => rows.map3(|list: ArrayRef, between: &str, null: &str| {
                Some(joined(&list, between, Some(null)))
            }),
            false => rows.map2(|list: ArrayRef, between: &str| Some(joined(&list, between, None))),
        },
    )
    .optional(1)
    .in_pinot(&["ARRAY_TO_STRING"])
    .says(
        Section::Arrays,
        "ARRAYTOSTRING(array, between [, null])",
        "The entries as one text.",
        &[("ARRAYTOSTRING(ARRAY['a', 'b'], '-')", "a-b")],
    )
}

fn cosine_distance() -> Plain {
    of_vectors(
        "pinot_cosine_distance",
        "1 less the cosine of the angle between two vectors.",
        cosine,
        ("COSINEDISTANCE(ARRAY[1, 0], ARRAY[0, 1])", "1.0"),
    )
    .in_pinot(&["COSINE_DISTANCE"])
}

fn inner_product() -> Plain {
    of_vectors(
        "inner_product",
        "The sum of the products. Also called DOTPRODUCT.",
        dot,
        ("INNERPRODUCT(ARRAY[1, 2], ARRAY[3, 4])", "11.0"),
    )
    .alias("dot_product")
}

fn l1_distance() -> Plain {
    of_vectors(
        "l1_distance",
        "The sum of the differences.",
        l1,
        ("L1DISTANCE(ARRAY[1, 2], ARRAY[4, 6])", "7.0"),
    )
}

fn l2_distance() -> Plain {
    of_vectors(
        "l2_distance",
        "The way between two points.",
        |a, b| squared(a, b).sqrt(),
        ("L2DISTANCE(ARRAY[1, 2], ARRAY[4, 6])", "5.0"),
    )
}

fn euclidean_distance() -> Plain {
    of_vectors(
        "euclidean_distance",
        "The square of the way between two points, as Pinot has it.",
        squared,
        ("EUCLIDEANDISTANCE(ARRAY[1, 2], ARRAY[4, 6])", "25.0"),
    )
}

fn vector_dims() -> Plain {
    use Takes::Doubles;
    Plain::new("vector_dims", &[Doubles], DataType::Int32, |rows| {
        rows.map(|list: ArrayRef| Some(list.len() as i32))
    })
    .says(
        Section::Arrays,
        "VECTORDIMS(vector)",
        "How many numbers.",
        &[("VECTORDIMS(ARRAY[1, 2])", "2")],
    )
}

fn vector_norm() -> Plain {
    use Takes::Doubles;
    Plain::new("vector_norm", &[Doubles], DataType::Float64, |rows| {
        rows.map(|list: ArrayRef| Some(norm(list.as_primitive::<Float64Type>().values())))
    })
    .says(
        Section::Arrays,
        "VECTORNORM(vector)",
        "The length of a vector.",
        &[("VECTORNORM(ARRAY[3, 4])", "5.0")],
    )
}

fn arrays_overlap() -> Plain {
    use Takes::Texts;
    Plain::new(
        "pinot_arrays_overlap",
        &[Texts, Texts],
        DataType::Boolean,
        |rows| {
            rows.map2(|a: ArrayRef, b: ArrayRef| {
                let known: std::collections::HashSet<&str> = texts_of(&a).collect();
                Some(texts_of(&b).any(|text| known.contains(text)))
            })
        },
    )
    .in_pinot(&["ARRAYS_OVERLAP"])
    .says(
        Section::Arrays,
        "ARRAYSOVERLAP(array, array)",
        "Whether both have an entry in common.",
        &[("ARRAYSOVERLAP(ARRAY[1, 2], ARRAY[2, 3])", "true")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        array_length(),
        array_sum(),
        array_max(),
        array_min(),
        array_average(),
        array_to_string(),
        cosine_distance(),
        inner_product(),
        l1_distance(),
        l2_distance(),
        euclidean_distance(),
        vector_dims(),
        vector_norm(),
        arrays_overlap(),
    ]
}
