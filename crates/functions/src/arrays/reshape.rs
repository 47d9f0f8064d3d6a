//! ARRAYSORT, ARRAYREVERSE, ARRAYDISTINCT, ARRAYSLICE, ARRAYREMOVE, ARRAYCONCAT, ARRAYUNION: arrays
//! of arrays. Each picks entries; the entries themselves are copied once.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat, sort_to_indices, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::typed;
use crate::docs::{Example, Section};
use crate::plain::{Plain, Takes};
use crate::rows::{Rows, TEXT};

/// Each list made of entries of its own or others: `pick` pushes where they stand in `values`.
fn picked(
    lists: &ListArray,
    values: &ArrayRef,
    mut pick: impl FnMut(usize, &mut Vec<u32>) -> Result<()>,
) -> Result<ListArray> {
    let mut places: Vec<u32> = Vec::with_capacity(values.len());
    let mut lengths = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let before = places.len();
        if lists.is_valid(row) {
            pick(row, &mut places)?;
        }
        lengths.push(places.len() - before);
    }
    let entries = take(values, &UInt32Array::from(places), None)?;
    let DataType::List(field) = lists.data_type() else {
        return datafusion::common::internal_err!("no list: {}", lists.data_type());
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = lists.nulls().cloned();
    Ok(ListArray::try_new(
        Arc::clone(field),
        offsets,
        entries,
        nulls,
    )?)
}

/// Where the entries of a row stand.
fn entries(lists: &ListArray, row: usize) -> std::ops::Range<u32> {
    let offsets = lists.value_offsets();
    offsets[row] as u32..offsets[row + 1] as u32
}

/// Entries as texts, to tell them apart.
fn as_texts(lists: &ListArray) -> Result<StringViewArray> {
    Ok(cast(lists.values(), &TEXT)?.as_string_view().clone())
}

/// The entries that `keep` wants, told as texts.
pub(super) fn filtered(lists: &ListArray, keep: impl Fn(usize, &str) -> bool) -> Result<ListArray> {
    let texts = as_texts(lists)?;
    picked(lists, lists.values(), |row, places| {
        let fits = |at: &u32| {
            let at = *at as usize;
            texts.is_valid(at) && keep(row, texts.value(at))
        };
        places.extend(entries(lists, row).filter(fits));
        Ok(())
    })
}

fn reverse(rows: &Rows) -> Result<ArrayRef> {
    let lists = rows.whole(0)?;
    let lists = lists.as_list::<i32>();
    let reversed = picked(lists, lists.values(), |row, places| {
        places.extend(entries(lists, row).rev());
        Ok(())
    });
    Ok(Arc::new(reversed?))
}

fn sort(rows: &Rows) -> Result<ArrayRef> {
    let lists = rows.whole(0)?;
    let lists = lists.as_list::<i32>();
    let sorted = picked(lists, lists.values(), |row, places| {
        let own = entries(lists, row);
        let order = sort_to_indices(&lists.value(row), None, None)?;
        places.extend(order.values().iter().map(|at| own.start + at));
        Ok(())
    });
    Ok(Arc::new(sorted?))
}

fn distinct(rows: &Rows) -> Result<ArrayRef> {
    let lists = rows.whole(0)?;
    let lists = lists.as_list::<i32>();
    let texts = as_texts(lists)?;
    let once = picked(lists, lists.values(), |row, places| {
        let mut seen = HashSet::new();
        places.extend(entries(lists, row).filter(|at| seen.insert(texts.value(*at as usize))));
        Ok(())
    });
    Ok(Arc::new(once?))
}

/// From one place up to another, both counting from 0.
fn slice(rows: &Rows) -> Result<ArrayRef> {
    use arrow::datatypes::Int64Type;
    let (lists, from, to) = (rows.whole(0)?, rows.whole(1)?, rows.whole(2)?);
    let lists = lists.as_list::<i32>();
    let (from, to) = (
        from.as_primitive::<Int64Type>(),
        to.as_primitive::<Int64Type>(),
    );
    let sliced = picked(lists, lists.values(), |row, places| {
        let own = entries(lists, row);
        let place = |at: i64| {
            let at = u32::try_from(at.max(0)).unwrap_or(u32::MAX);
            own.start.saturating_add(at).min(own.end)
        };
        places.extend(place(from.value(row))..place(to.value(row)));
        Ok(())
    });
    Ok(Arc::new(sliced?))
}

/// All but the first that is the value.
fn remove(rows: &Rows) -> Result<ArrayRef> {
    let (lists, values) = (rows.whole(0)?, rows.whole(1)?);
    let (lists, values) = (lists.as_list::<i32>(), values.as_string_view());
    let texts = as_texts(lists)?;
    let rest = picked(lists, lists.values(), |row, places| {
        let is_it =
            |at: &u32| values.is_valid(row) && texts.value(*at as usize) == values.value(row);
        let gone = entries(lists, row).find(is_it);
        places.extend(entries(lists, row).filter(|at| Some(*at) != gone));
        Ok(())
    });
    Ok(Arc::new(rest?))
}

/// Entries of the one, then those of the other that `wanted` has.
fn joined(rows: &Rows, only_new: bool) -> Result<ArrayRef> {
    let (a, b) = (rows.whole(0)?, rows.whole(1)?);
    let b = cast(&b, a.data_type())?;
    let (a, b) = (a.as_list::<i32>(), b.as_list::<i32>());
    let values = concat(&[a.values(), b.values()])?;
    let texts = cast(&values, &TEXT)?;
    let texts = texts.as_string_view();
    let behind = a.values().len() as u32;
    let joined = picked(a, &values, |row, places| {
        let mut seen = HashSet::new();
        let others = match b.is_valid(row) {
            true => entries(b, row),
            false => 0..0,
        };
        let all = entries(a, row).chain(others.map(|at| at + behind));
        places.extend(all.filter(|at| !only_new || seen.insert(texts.value(*at as usize))));
        Ok(())
    });
    Ok(Arc::new(joined?))
}

/// The value before all entries, or behind.
fn pushed(rows: &Rows, in_front: bool) -> Result<ArrayRef> {
    let (lists, value) = (rows.whole(0)?, rows.whole(1)?);
    let lists = lists.as_list::<i32>();
    let value = cast(&value, lists.values().data_type())?;
    let values = concat(&[lists.values(), &value])?;
    let behind = lists.values().len() as u32;
    let pushed = picked(lists, &values, |row, places| {
        let own = behind + row as u32;
        match in_front {
            true => places.extend([own].into_iter().chain(entries(lists, row))),
            false => places.extend(entries(lists, row).chain([own])),
        }
        Ok(())
    });
    Ok(Arc::new(pushed?))
}

fn list(name: &'static str, takes: &[Takes], body: fn(&Rows) -> Result<ArrayRef>) -> Plain {
    let own = match name {
        // The standard dialect's of these names are others.
        "array_remove" | "array_concat" | "array_union" | "array_distinct" | "array_reverse"
        | "array_sort" | "array_slice" => format!("pinot_{name}"),
        _ => name.to_owned(),
    };
    let is_other = own != name;
    let function = Plain::new(own, takes, DataType::Null, body);
    let function = function.gives(|types, _| Ok(types[0].clone()));
    typed(
        if is_other {
            function.in_pinot(&[name])
        } else {
            function
        },
        name,
    )
}

fn says(function: Plain, syntax: &str, about: &str, example: Example) -> Plain {
    function.says(Section::Arrays, syntax, about, &[example])
}

fn array_reverse() -> Plain {
    use Takes::List;
    says(
        list("array_reverse", &[List], reverse),
        "ARRAYREVERSE(array)",
        "The entries in the opposite order.",
        ("ARRAYREVERSE(ARRAY[1, 2, 3])", "[3, 2, 1]"),
    )
}

fn array_sort() -> Plain {
    use Takes::List;
    says(
        list("array_sort", &[List], sort),
        "ARRAYSORT(array)",
        "The entries in ascending order.",
        ("ARRAYSORT(ARRAY['b', 'c', 'a'])", "[a, b, c]"),
    )
}

fn array_distinct() -> Plain {
    use Takes::List;
    says(
        list("array_distinct", &[List], distinct),
        "ARRAYDISTINCT(array)",
        "Each entry once.",
        ("ARRAYDISTINCT(ARRAY[1, 2, 1])", "[1, 2]"),
    )
}

fn array_slice() -> Plain {
    use Takes::{List, Long};
    says(
        list("array_slice", &[List, Long, Long], slice),
        "ARRAYSLICE(array, from, to)",
        "The entries from one place up to another, which count from 0.",
        ("ARRAYSLICE(ARRAY[5, 6, 7, 8], 1, 3)", "[6, 7]"),
    )
}

fn array_remove() -> Plain {
    use Takes::{List, Text};
    says(
        list("array_remove", &[List, Text], remove),
        "ARRAYREMOVE(array, value)",
        "All entries but the first that is the value.",
        ("ARRAYREMOVE(ARRAY[1, 2, 1], 1)", "[2, 1]"),
    )
}

fn array_concat() -> Plain {
    use Takes::List;
    says(
        list("array_concat", &[List, List], |rows| joined(rows, false)),
        "ARRAYCONCAT(array, array)",
        "The entries of the one, then those of the other.",
        ("ARRAYCONCAT(ARRAY[1, 2], ARRAY[2])", "[1, 2, 2]"),
    )
}

fn array_union() -> Plain {
    use Takes::List;
    says(
        list("array_union", &[List, List], |rows| joined(rows, true)),
        "ARRAYUNION(array, array)",
        "The entries of both, each once.",
        ("ARRAYUNION(ARRAY[1, 2], ARRAY[2, 3])", "[1, 2, 3]"),
    )
}

fn array_push_back() -> Plain {
    use Takes::{Any, List};
    says(
        list("array_push_back", &[List, Any], |rows| pushed(rows, false)),
        "ARRAYPUSHBACK(array, value)",
        "The entries, then the value.",
        ("ARRAYPUSHBACK(ARRAY[1, 2], 3)", "[1, 2, 3]"),
    )
}

fn array_push_front() -> Plain {
    use Takes::{Any, List};
    says(
        list("array_push_front", &[List, Any], |rows| pushed(rows, true)),
        "ARRAYPUSHFRONT(array, value)",
        "The value, then the entries.",
        ("ARRAYPUSHFRONT(ARRAY[1, 2], 3)", "[3, 1, 2]"),
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        array_reverse(),
        array_sort(),
        array_distinct(),
        array_slice(),
        array_remove(),
        array_concat(),
        array_union(),
        array_push_back(),
        array_push_front(),
    ]
}
