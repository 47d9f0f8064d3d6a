//! Layouts that the values of a column ask for: sparse numbers, raw texts, zones of codes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use schemas::arrow::ingest_schema;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::{build, form};
use super::{Random, codes_of, expected, read, spec_of};
use crate::column::{CodeRoom, Values};
use crate::inspect::inspect;
use crate::{Segment, SegmentView};

const ROWS: i64 = 10_000;

fn built(data_type: DataType, array: ArrayRef) -> (TableSpec, RecordBatch, SegmentView) {
    built_of(ColumnSpec::new("c", data_type, FieldRole::Metric), array)
}

fn built_of(column: ColumnSpec, array: ArrayRef) -> (TableSpec, RecordBatch, SegmentView) {
    let spec = spec_of(vec![column]);
    let offsets = Int64Array::from_iter_values(100..100 + ROWS);
    let times = TimestampMillisecondArray::from_iter_values(0..ROWS);
    let arrays = vec![array, Arc::new(offsets), Arc::new(times)];
    let batch = RecordBatch::try_new(ingest_schema(&spec), arrays).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch.clone()];
    let (_, segment) = build(&spec, &batches, folder.path());
    segment.verify_all().unwrap();
    (spec, batch, segment.view())
}

fn check(found: &(TableSpec, RecordBatch, SegmentView)) {
    let (spec, batch, view) = found;
    let wanted = expected(spec, std::slice::from_ref(batch), "c");
    assert!(read(view, "c") == wanted);
}

/// Of every form: one row in 50 differs from the rest.
#[test]
fn numbers_that_are_nearly_all_the_same_are_sparse() {
    let rare = |row: i64, value: i64| if row % 50 == 7 { value } else { 3 };
    let longs = |scale: i64| {
        let values = (0..ROWS).map(|row| rare(row, row * scale));
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let doubles = (0..ROWS).map(|row| rare(row, row) as f64 * 0.1);
    let floats = (0..ROWS).map(|row| rare(row, row) as f32 * -0.1);
    let cases: [(DataType, ArrayRef, &str); 6] = [
        (DataType::Long, longs(1), "u16"),
        (DataType::Long, longs(1000), "sparse"),
        (DataType::Long, longs(i64::MAX / ROWS), "sparse"),
        (
            DataType::Double,
            Arc::new(Float64Array::from_iter_values(doubles)),
            "sparse",
        ),
        (
            DataType::Float,
            Arc::new(Float32Array::from_iter_values(floats)),
            "sparse",
        ),
        (
            DataType::Double,
            Arc::new(Float64Array::from_value(f64::NAN, ROWS as usize)),
            "sparse",
        ),
    ];
    for (data_type, array, wanted) in cases {
        let found = built(data_type, array);
        assert_eq!(form(&found.2, "c"), wanted);
        check(&found);
        let column = found.2.column("c").unwrap().unwrap();
        if let Values::Raw(raw) = column.values()
            && let Some(sparse) = raw.sparse()
        {
            let others = sparse.positions.iter().filter(|row| **row % 50 != 7);
            assert_eq!(others.count(), 0);
        }
    }
}

#[test]
fn texts_that_share_prefixes_are_packed_where_it_is_asked_for() {
    let pages = |row: i64| format!("https://example.com/page/{:05}?from=search", row % 3_000);
    let unlike = |row: i64| {
        format!(
            "{:016x}",
            (row as u64 % 3_000).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    };
    let texts = |text: &dyn Fn(i64) -> String| {
        Arc::new(StringViewArray::from_iter_values((0..ROWS).map(text))) as ArrayRef
    };
    let built = |array: &ArrayRef, shared_prefixes| {
        let column = ColumnSpec {
            shared_prefixes,
            ..ColumnSpec::new("c", DataType::String, FieldRole::Dimension)
        };
        let found = built_of(column, Arc::clone(array));
        check(&found);
        found.2
    };
    let array = texts(&pages);
    let (flat, packed) = (built(&array, false), built(&array, true));
    let saved = bytes_of(&flat, "c") - bytes_of(&packed, "c");
    assert!(saved > 90_000, "{saved}");
    let bytes = |view: &SegmentView| {
        let Values::Dictionary(dictionary) = view.column("c").unwrap().unwrap().values() else {
            panic!("it has a dictionary")
        };
        let (offsets, bytes) = dictionary.bytes().unwrap().whole();
        (offsets.to_vec(), bytes.to_vec())
    };
    assert!(bytes(&flat) == bytes(&packed));
    let array = texts(&unlike);
    let (flat, packed) = (built(&array, false), built(&array, true));
    assert_eq!(bytes_of(&flat, "c"), bytes_of(&packed, "c"));
}

fn bytes_of(view: &SegmentView, name: &str) -> u64 {
    let Segment::Sealed(segment) = &view.segment else {
        panic!("it was sealed")
    };
    let found = inspect(segment).unwrap();
    let column = found.columns.iter().find(|column| column.name == name);
    column.unwrap().bytes()
}

#[test]
fn numbers_of_one_value_take_no_room() {
    let long = |value| Arc::new(Int64Array::from_value(value, ROWS as usize)) as ArrayRef;
    let flags = |value| Arc::new(BooleanArray::from(vec![value; ROWS as usize])) as ArrayRef;
    let cases = [
        (DataType::Long, long(7)),
        (DataType::Long, long(i64::MIN)),
        (DataType::Boolean, flags(true)),
        (DataType::Boolean, flags(false)),
    ];
    for (data_type, array) in cases {
        let found = built(data_type, array);
        check(&found);
        let zones = (ROWS as u64).div_ceil(4096) * 16;
        assert_eq!(bytes_of(&found.2, "c"), zones);
    }
}

#[test]
fn two_neighbours_take_a_bit() {
    let near = |base: i64| {
        let values = (0..ROWS).map(|row| base + i64::from(row * 7919 % 10 < 3));
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let flags = (0..ROWS).map(|row| Some(row * 7919 % 10 < 3));
    let cases = [
        (DataType::Long, near(0)),
        (DataType::Long, near(i64::MAX - 1)),
        (DataType::Boolean, Arc::new(flags.collect::<BooleanArray>())),
    ];
    for (data_type, array) in cases {
        let found = built(data_type, array);
        assert_eq!(form(&found.2, "c"), "bits");
        check(&found);
    }
}

/// Offsets of rows that were sorted by something else.
#[test]
fn offsets_out_of_order_are_steps() {
    let keys = Int64Array::from_iter_values((0..ROWS).map(|row| row * 7919 % 10));
    let mut spec = spec_of(vec![ColumnSpec::new(
        "c",
        DataType::Long,
        FieldRole::Dimension,
    )]);
    spec.sorted_column = Some("c".to_owned());
    let offsets = Int64Array::from_iter_values((0..ROWS).map(|row| 1_000_000 + row * 3));
    let times = TimestampMillisecondArray::from_iter_values(0..ROWS);
    let arrays: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(offsets), Arc::new(times)];
    let batch = RecordBatch::try_new(ingest_schema(&spec), arrays).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch];
    let (_, segment) = build(&spec, &batches, folder.path());
    segment.verify_all().unwrap();
    let view = segment.view();
    assert_eq!(form(&view, "$offset"), "i64");
    assert!(bytes_of(&view, "$offset") < ROWS as u64 * 11 / 10);
    for name in ["c", "$offset"] {
        let (mut found, mut wanted) = (read(&view, name).0, expected(&spec, &batches, name).0);
        found.sort();
        wanted.sort();
        assert!(found == wanted, "{name}");
    }
    assert!(view.column("c").unwrap().unwrap().is_sorted());
    assert!(bytes_of(&view, "c") < 200);
}

#[test]
fn codes_of_many_values_take_three_bytes() {
    const MANY: i64 = 280_000;
    let values = (0..MANY).map(|row| format!("{}", row * 7919 % 70_000));
    let spec = spec_of(vec![ColumnSpec::new(
        "c",
        DataType::String,
        FieldRole::Dimension,
    )]);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(values)),
        Arc::new(Int64Array::from_iter_values(0..MANY)),
        Arc::new(TimestampMillisecondArray::from_iter_values(0..MANY)),
    ];
    let batch = RecordBatch::try_new(ingest_schema(&spec), arrays).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch];
    let (_, segment) = build(&spec, &batches, folder.path());
    segment.verify_all().unwrap();
    let found = inspect(&segment).unwrap();
    assert_eq!(found.columns[0].encoding, "dictionary u24");
    let view = segment.view();
    assert!(read(&view, "c") == expected(&spec, &batches, "c"));
    let Values::Dictionary(dictionary) = view.column("c").unwrap().unwrap().values() else {
        panic!("it has a dictionary")
    };
    let mut room = CodeRoom::default();
    let block = dictionary.codes(4096..8192, &mut room);
    let wanted: Vec<u32> = (4097..5000).map(|row| block.get(row - 4096)).collect();
    let some: Vec<u32> = codes_of(dictionary.codes(4097..5000, &mut CodeRoom::default()));
    assert_eq!(some, wanted);
}

/// Of rows that come in the order of a column, be it sorted or not.
#[test]
fn codes_in_order_are_not_stored() {
    let values = (0..ROWS).map(|row| format!("value {:05}", row / 7));
    let mut column = ColumnSpec::new("c", DataType::String, FieldRole::Dimension);
    column.inverted_index = true;
    let found = built_of(column, Arc::new(StringViewArray::from_iter_values(values)));
    check(&found);
    let column = found.2.column("c").unwrap().unwrap();
    assert_eq!(column.sorted_range(2), Some(14..21));
    // A start, an offset, eleven letters and a count for each value.
    let values = ROWS as u64 / 7 + 2;
    assert!(bytes_of(&found.2, "c") < values * (4 + 4 + 11 + 1) + 100);
}

#[test]
fn doubles_of_few_decimals_are_whole_numbers() {
    let spread = |step: f64, by: f64| {
        let values = (0..ROWS).map(|row| ((row * 7919 % ROWS) as f64 * step - 300.0) / by);
        Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
    };
    let cases = [
        (spread(1.0, 1.0), "scaled u16"),
        (spread(1.0, 100.0), "scaled u16"),
        (spread(12_345.0, 1000.0), "scaled u32"),
        (spread(1.0, 3.0), "f64"),
        (spread(1_234_567.0, 100.0), "f64"),
    ];
    for (array, wanted) in cases {
        let found = built(DataType::Double, array);
        assert_eq!(form(&found.2, "c"), wanted);
        check(&found);
    }
}

#[test]
fn long_texts_that_hardly_repeat_are_raw_and_others_are_not() {
    let mut random = Random(1);
    let mut text = |distinct: u64, words: usize| -> ArrayRef {
        let word = |random: &mut Random| format!("word-{} ", random.below(50));
        let texts = (0..ROWS).map(|_| {
            let number = random.below(distinct);
            let mut words_of = Random(number);
            let words: String = (0..words).map(|_| word(&mut words_of)).collect();
            format!("{number} {words}")
        });
        Arc::new(StringViewArray::from_iter_values(texts))
    };
    let cases = [
        (text(1 << 40, 20), "texts"),
        (text(3000, 20), "codes u16"),
        (text(1 << 40, 2), "codes u16"),
    ];
    for (array, wanted) in cases {
        let found = built(DataType::String, array);
        assert_eq!(form(&found.2, "c"), wanted);
        check(&found);
    }
}

#[test]
fn codes_in_order_have_zones() {
    let values = || Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row / 100)));
    let mut column = ColumnSpec::new("c", DataType::Long, FieldRole::Dimension);
    column.inverted_index = true;
    let (_, _, view) = built_of(column.clone(), values());
    let zones: Vec<_> = (0..4)
        .map(|block| view.column("c").unwrap().unwrap().code_zone(block))
        .collect();
    assert_eq!(zones, [Some((0, 40)), Some((40, 81)), Some((81, 99)), None]);

    let mixed = (0..ROWS).map(|row| row * 7919 % 100);
    let (_, _, view) = built_of(column, Arc::new(Int64Array::from_iter_values(mixed)));
    assert_eq!(view.column("c").unwrap().unwrap().code_zone(0), None);
}
