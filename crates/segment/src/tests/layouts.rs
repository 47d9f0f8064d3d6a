//! Layouts that the values of a column ask for: sparse numbers, raw texts, zones of codes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use schemas::arrow::ingest_schema;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::{build, form};
use super::{Random, expected, read, spec_of};
use crate::SegmentView;
use crate::column::Values;

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
