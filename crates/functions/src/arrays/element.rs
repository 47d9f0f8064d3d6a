//! ARRAYELEMENTAT, ARRAYINDEXOF, ARRAYCONTAINS, ARRAYINDEXESOF: single entries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;

use super::typed;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Rows, texts_of};

/// The entries at places that count from 1; where there is none, nothing.
fn element(rows: &Rows) -> Result<ArrayRef> {
    let lists = rows.whole(0)?;
    let places = rows.whole(1)?;
    let (lists, places) = (lists.as_list::<i32>(), places.as_primitive::<Int64Type>());
    let offsets = lists.value_offsets();
    let at = |row: usize| {
        if lists.is_null(row) || places.is_null(row) {
            return None;
        }
        let place = usize::try_from(places.value(row)).ok()?.checked_sub(1)?;
        let at = (offsets[row] as usize).checked_add(place)?;
        (at < offsets[row + 1] as usize).then_some(at as u32)
    };
    let places: UInt32Array = (0..lists.len()).map(at).collect();
    Ok(take(lists.values(), &places, None)?)
}

fn places_of(list: &ArrayRef, value: &str) -> Vec<i32> {
    let texts = list.as_string_view();
    let places = (0i32..).zip(texts.iter());
    places
        .filter(|(_, text)| *text == Some(value))
        .map(|(at, _)| at)
        .collect()
}

fn entry_of(types: &[DataType]) -> Result<DataType> {
    Ok(match &types[0] {
        DataType::List(entry) => entry.data_type().clone(),
        other => other.clone(),
    })
}

fn array_element_at() -> Plain {
    use Takes::{List, Long};
    typed(
        Plain::new(
            "pinot_array_element_at",
            &[List, Long],
            DataType::Null,
            element,
        )
        .gives(|types, _| entry_of(types))
        .in_pinot(&["ARRAY_ELEMENT_AT", "ITEM"]),
        "array_element_at",
    )
    .says(
        Section::Arrays,
        "ARRAYELEMENTAT(array, place)",
        "The entry at a place, which counts from 1; null if there is none.",
        &[("ARRAYELEMENTAT(ARRAY[5, 6, 7], 2)", "6")],
    )
}

fn array_index_of() -> Plain {
    use Takes::{Text, Texts};
    typed(
        Plain::new("array_index_of", &[Texts, Text], DataType::Int32, |rows| {
            rows.map2(|list: ArrayRef, value: &str| {
                Some(places_of(&list, value).first().copied().unwrap_or(-1))
            })
        }),
        "array_index_of",
    )
    .says(
        Section::Arrays,
        "ARRAYINDEXOF(array, value)",
        "Where the value first stands, from 0 on; -1 if nowhere.",
        &[("ARRAYINDEXOF(ARRAY['a', 'b'], 'b')", "1")],
    )
}

fn array_indexes_of() -> Plain {
    use Takes::{Text, Texts};
    typed(
        Plain::new(
            "array_indexes_of",
            &[Texts, Text],
            list_of(DataType::Int32),
            |rows| rows.map2(|list: ArrayRef, value: &str| Some(places_of(&list, value))),
        ),
        "array_indexes_of",
    )
    .says(
        Section::Arrays,
        "ARRAYINDEXESOF(array, value)",
        "Everywhere that the value stands, from 0 on.",
        &[("ARRAYINDEXESOF(ARRAY[7, 8, 7], 7)", "[0, 2]")],
    )
}

fn array_contains() -> Plain {
    use Takes::{Text, Texts};
    typed(
        Plain::new(
            "pinot_array_contains",
            &[Texts, Text],
            DataType::Boolean,
            |rows| {
                rows.map2(|list: ArrayRef, value: &str| {
                    let mut texts = texts_of(&list);
                    Some(texts.any(|text| text == value))
                })
            },
        )
        .in_pinot(&["ARRAY_CONTAINS"]),
        "array_contains",
    )
    .says(
        Section::Arrays,
        "ARRAYCONTAINS(array, value)",
        "Whether the value is an entry.",
        &[("ARRAYCONTAINS(ARRAY[1, 2], 2)", "true")],
    )
}

fn intersect_indices() -> Plain {
    Plain::new(
        "intersect_indices",
        &[Takes::Longs, Takes::Longs],
        list_of(DataType::Int32),
        |rows| {
            rows.map2(|a: ArrayRef, b: ArrayRef| {
                let (a, b) = (a.as_primitive::<Int64Type>(), b.as_primitive::<Int64Type>());
                let known: std::collections::HashSet<i64> = b.iter().flatten().collect();
                let both = a.iter().flatten().filter(|at| known.contains(at));
                Some(both.map(|at| at as i32).collect::<Vec<i32>>())
            })
        },
    )
    .says(
        Section::Arrays,
        "INTERSECTINDICES(array, array)",
        "The numbers that both have.",
        &[("INTERSECTINDICES(ARRAY[1, 2, 3], ARRAY[3, 1])", "[1, 3]")],
    )
}

fn value_in_function() -> Plain {
    use Takes::{List, Text};
    Plain::new("value_in", &[List, Text], DataType::Null, value_in)
        .variadic()
        .gives(|types, _| Ok(types[0].clone()))
        .says(
            Section::Arrays,
            "VALUEIN(array, value, …)",
            "The entries that are among the values.",
            &[("VALUEIN(ARRAY[1, 2, 3, 2], 2, 3)", "[2, 3, 2]")],
        )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        array_element_at(),
        array_index_of(),
        array_indexes_of(),
        array_contains(),
        intersect_indices(),
        value_in_function(),
    ]
}

/// Keeps the entries that are among the values of their row.
fn value_in(rows: &Rows) -> Result<ArrayRef> {
    let lists = rows.whole(0)?;
    let values = (1..rows.columns().len()).map(|at| rows.whole(at));
    let values = values.collect::<Result<Vec<_>>>()?;
    super::reshape::filtered(lists.as_list::<i32>(), |row, text| {
        let mut values = values.iter().map(|array| array.as_string_view());
        values.any(|array| array.is_valid(row) && array.value(row) == text)
    })
    .map(|lists| Arc::new(lists) as ArrayRef)
}
