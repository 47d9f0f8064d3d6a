//! What queries make of the codes of consuming columns is that of the rows of their view, whatever
//! was made before for newer and for older ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use index::sketch::{Raise, hash_bytes};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::batches;
use super::{Cell, Draw, codes_of, plain_cells, read, segment_id, spec_of};
use crate::column::{CodeRoom, DictionaryColumn, Values};
use crate::raw::RawValues;
use crate::view::blocks;
use crate::{MutableSegment, SegmentView};

fn two_columns() -> TableSpec {
    spec_of(vec![
        ColumnSpec::new("text", DataType::String, FieldRole::Dimension),
        ColumnSpec::new("number", DataType::Int, FieldRole::Metric),
    ])
}

fn consuming(spec: &TableSpec) -> Arc<MutableSegment> {
    let spec = Arc::new(spec.clone());
    Arc::new(MutableSegment::new(spec, segment_id(), "s".to_owned(), 0).unwrap())
}

fn dictionary<'v>(view: &'v SegmentView, name: &str) -> Option<DictionaryColumn<'v>> {
    match view.column(name).unwrap().unwrap().values() {
        Values::Dictionary(dictionary) => Some(dictionary),
        _ => None,
    }
}

fn all_codes(view: &SegmentView, dictionary: &DictionaryColumn<'_>) -> Vec<u32> {
    let mut room = CodeRoom::default();
    let of = |rows| codes_of(dictionary.codes(rows, &mut room));
    blocks(view.row_count()).flat_map(of).collect()
}

/// Values and codes say what the rows say, and so does how many rows have each.
fn check(view: &SegmentView, name: &str, dictionary: &DictionaryColumn<'_>) {
    let cells = read(view, name).0;
    let values = plain_cells(&dictionary.array());
    let codes = all_codes(view, dictionary);
    let by_code = codes.iter().map(|code| &values[*code as usize]);
    assert!(by_code.eq(&cells), "{name}");
    let mut counts: BTreeMap<&Cell, u32> = BTreeMap::new();
    cells
        .iter()
        .for_each(|cell| *counts.entry(cell).or_default() += 1);
    let told = dictionary.doc_counts();
    assert_eq!(told.len() as u32, dictionary.cardinality());
    for (code, value) in (0..).zip(&values) {
        let expected = counts.get(value).copied().unwrap_or(0);
        assert_eq!(told.get(code), expected, "{name} {value:?}");
    }
}

fn check_view(view: &SegmentView) {
    for name in ["text", "number"] {
        let Some(seen) = dictionary(view, name) else {
            continue;
        };
        check(view, name, &seen);
        let ordered = seen.in_order();
        assert!(ordered.is_ordered() && !seen.is_ordered());
        check(view, name, &ordered);
        assert!(plain_cells(&ordered.array()).is_sorted(), "{name}");
    }
    let texts = dictionary(view, "text").unwrap();
    let values = texts.array();
    let raises = values.as_string_view().iter().flatten();
    let raises: Vec<Raise> = raises
        .map(|text| Raise::of(hash_bytes(text.as_bytes())))
        .collect();
    assert_eq!(texts.raises().unwrap(), raises);
    let seen = texts.texts().unwrap();
    for (code, text) in (0..).zip(values.as_string_view().iter().flatten()) {
        assert_eq!(seen.find(text.as_bytes()), Some(code));
    }
    assert_eq!(seen.find(b"no such value"), None);
}

fn views(segment: &Arc<MutableSegment>, batches: &[RecordBatch]) -> Vec<SegmentView> {
    let mut views = vec![segment.view()];
    // Their dictionaries are those of when they are asked first.
    dictionary(&views[0], "text").unwrap();
    for batch in batches {
        segment.append(batch).unwrap();
        let view = segment.view();
        dictionary(&view, "text").unwrap();
        views.push(view);
    }
    views
}

#[test]
fn views_old_and_new_have_their_own() {
    let spec = two_columns();
    for (values, seed) in [(3, 1), (200, 2), (5_000, 3)] {
        let draw = Draw {
            values,
            null_in: 9,
            wide: true,
        };
        let batches = batches(&spec, &[5, 4_000, 4_097, 1, 9_000, 300], draw, seed);
        for order in [
            [0, 1, 2, 3, 4, 5, 6],
            [6, 5, 4, 3, 2, 1, 0],
            [3, 1, 6, 2, 0, 5, 4],
        ] {
            let views = views(&consuming(&spec), &batches);
            for at in order {
                check_view(&views[at]);
            }
            views.iter().for_each(check_view);
        }
    }
}

#[test]
fn a_value_that_a_view_does_not_know_is_not_found_in_it() {
    let spec = two_columns();
    let draw = Draw {
        values: 100_000,
        null_in: 0,
        wide: false,
    };
    let segment = consuming(&spec);
    let views = views(&segment, &batches(&spec, &[50, 2_000], draw, 8));
    let last = dictionary(&views[2], "text").unwrap();
    let first = dictionary(&views[1], "text").unwrap();
    let (known, all) = (first.cardinality(), last.array());
    assert!(known < last.cardinality());
    for (code, text) in (0..).zip(all.as_string_view().iter().flatten()) {
        let found = first.texts().unwrap().find(text.as_bytes());
        assert_eq!(found, (code < known).then_some(code));
    }
}

#[test]
fn few_numbers_have_codes_until_they_are_many() {
    let spec = two_columns();
    let draw = |values| Draw {
        values,
        null_in: 5,
        wide: false,
    };
    let segment = consuming(&spec);
    segment
        .append(&batches(&spec, &[3_000], draw(40), 5)[0])
        .unwrap();
    let few = segment.view();
    segment
        .append(&batches(&spec, &[3_000], draw(9_000), 6)[0])
        .unwrap();
    let many = segment.view();
    assert!(dictionary(&few, "number").unwrap().cardinality() < 300);
    check_view(&few);
    assert!(dictionary(&many, "number").is_none());
    let Values::Raw(raw) = many.column("number").unwrap().unwrap().values() else {
        panic!("numbers without codes are plain");
    };
    assert!(matches!(raw.values(0..10), RawValues::I32(_)));
    let (of_few, of_many) = (read(&few, "number"), read(&many, "number"));
    assert_eq!(of_few.0, of_many.0[..3_000]);
    assert_eq!(of_few.1, of_many.1[..3_000]);
}

#[test]
fn views_that_are_asked_late_know_more_values_than_their_rows_have() {
    let spec = two_columns();
    for seed in 1..6 {
        let drawn = |values, rows, seed| {
            let draw = Draw {
                values,
                null_in: 9,
                wide: true,
            };
            batches(&spec, &[rows], draw, seed).remove(0)
        };
        let segment = consuming(&spec);
        segment.append(&drawn(230, 4_000, seed)).unwrap();
        let old = segment.view();
        segment.append(&drawn(230, 500, seed)).unwrap();
        let newer = segment.view();
        check_view(&newer);
        // More values of both columns than codes of a byte tell apart.
        segment.append(&drawn(5_000, 9_000, seed + 10)).unwrap();
        check_view(&old);
        check_view(&segment.view());
        check_view(&newer);
    }
}
