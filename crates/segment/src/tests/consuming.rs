//! Consuming segments: what readers see while one thread appends, offsets, ledger, refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::TimestampMillisecondArray;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use runtime::files::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::segment::Ledger;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::{batches, build};
use super::{Cell, Draw, every_column, expected, extra, plain_cells, read, segment_id, spec_of};
use super::{blocks, stored_names};
use crate::column::{CodeRoom, Codes, Values};
use crate::{MutableSegment, RejectedRow, SealedSegment, SegmentError, SegmentView, seal};

fn consuming(spec: &TableSpec, start: i64) -> Arc<MutableSegment> {
    let spec = Arc::new(spec.clone());
    Arc::new(MutableSegment::new(spec, segment_id(), "events__2__5__x".into(), start).unwrap())
}

#[test]
fn views_are_prefixes_and_never_change() {
    let spec = every_column();
    let draw = Draw {
        values: 5000,
        null_in: 9,
        wide: true,
    };
    let batches = batches(&spec, &[4096, 4096, 1, 4000, 4096, 3000], draw, 4);
    let segment = consuming(&spec, 100);
    let mut views = vec![(segment.view(), 0)];
    for (at, batch) in batches.iter().enumerate() {
        segment.append(batch).unwrap();
        views.push((segment.view(), at + 1));
    }
    for (view, count) in views {
        for name in stored_names(&spec) {
            let whole = expected(&spec, &batches[..count], &name);
            assert!(read(&view, &name) == whole, "{name} after {count} batches");
        }
        assert_eq!(view.next_offset(), 100 + i64::from(view.row_count()));
    }
}

#[test]
fn sealing_a_consuming_segment_equals_building() {
    let spec = every_column();
    let draw = Draw {
        values: 700,
        null_in: 9,
        wide: false,
    };
    let batches = batches(&spec, &[4096, 2000], draw, 4);
    let segment = consuming(&spec, 100);
    for batch in &batches {
        segment.append(batch).unwrap();
    }
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sealed = seal(&segment, &OsFiles, one.path(), extra(segment.row_count())).unwrap();
    let (record, built) = build(&spec, &batches, other.path());
    assert_eq!(sealed.record, record);
    assert_eq!(
        std::fs::read(&sealed.path).unwrap(),
        std::fs::read(built.path()).unwrap()
    );
    let sealed = SealedSegment::open(&sealed.path, &spec, record.crc)
        .unwrap()
        .view();
    for name in stored_names(&spec) {
        assert!(
            read(&sealed, &name) == read(&segment.view(), &name),
            "{name}"
        );
    }
    assert_eq!(sealed.next_offset(), segment.view().next_offset());
    assert_eq!(sealed.newest_ingest_ms(), segment.view().newest_ingest_ms());
}

#[test]
fn offsets_pass_over_gaps_and_the_ledger_adds_up() {
    let spec = spec_of(vec![ColumnSpec::new("a", DataType::Int, FieldRole::Metric)]);
    let draw = Draw {
        values: 7,
        null_in: 0,
        wide: false,
    };
    let batches = batches(&spec, &[10, 5], draw, 4);
    let segment = consuming(&spec, 90);
    assert_eq!(segment.view().next_offset(), 90);
    assert_eq!(segment.view().newest_ingest_ms(), i64::MIN);
    segment.advance_to(97);
    let before = segment.view();
    assert_eq!(before.next_offset(), 97);
    segment.append(&batches[0]).unwrap();
    let first = segment.view();
    assert_eq!((before.next_offset(), first.next_offset()), (90, 110));
    segment.reject(RejectedRow {
        partition: 2,
        offset: 98,
        time_ms: 0,
        reason: "r".into(),
        payload: vec![],
    });
    segment.count_filtered(3);
    segment.append(&batches[1]).unwrap();
    segment.advance_to(120);
    segment.advance_to(50);
    assert_eq!(
        (first.next_offset(), segment.view().next_offset()),
        (110, 120)
    );
    let ledger = segment.ledger();
    let wanted = Ledger {
        rows: 15,
        rejected: 1,
        filtered: 3,
        absent: 11,
        ..Ledger::default()
    };
    assert_eq!(ledger, wanted);
    assert_eq!(
        ledger.total() as i64,
        segment.next_offset() - segment.start_offset()
    );
    assert_eq!(segment.rejected().len(), 1);
    assert!(segment.memory_bytes() > 15 * 20);
}

#[test]
fn batches_of_another_form_are_refused_whole() {
    let spec = every_column();
    let segment = consuming(&spec, 0);
    let other = spec_of(vec![ColumnSpec::new("a", DataType::Int, FieldRole::Metric)]);
    let draw = Draw {
        values: 7,
        null_in: 0,
        wide: false,
    };
    let error = segment
        .append(&batches(&other, &[3], draw, 1)[0])
        .unwrap_err();
    assert!(matches!(error, SegmentError::Batch { .. }));
    let mut changed = other.clone();
    changed.columns[0] = ColumnSpec::new("a", DataType::String, FieldRole::Metric);
    let segment = consuming(&changed, 0);
    let error = segment
        .append(&batches(&other, &[3], draw, 1)[0])
        .unwrap_err();
    let message = "the batch does not fit the table: `a` Utf8View wanted, `a` Int32 found";
    assert_eq!(error.to_string(), message);
    assert_eq!(segment.row_count(), 0);
}

fn keyed_batch(spec: &TableSpec, first: i64, rows: i64) -> RecordBatch {
    let keys = first..first + rows;
    let texts = keys.clone().map(|key| (key % 7 != 0).then(|| text_of(key)));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(texts.collect::<StringViewArray>()),
        Arc::new(Int64Array::from_iter_values(
            keys.clone().map(|key| key * 3),
        )),
        Arc::new(Int64Array::from_iter_values(keys.clone())),
        Arc::new(TimestampMillisecondArray::from_iter_values(keys)),
    ];
    RecordBatch::try_new(ingest_schema(spec), arrays).unwrap()
}

fn text_of(key: i64) -> String {
    format!("{}{}", "x".repeat((key % 40) as usize), key % 3001)
}

/// Rows `from ..` of the view agree with each other: text, number, offset and null bit.
fn check_rows(view: &SegmentView, from: u32) {
    let text = view.column("text").unwrap().unwrap();
    let Values::Dictionary(texts) = text.values() else {
        panic!("texts have codes");
    };
    let numbers = read(view, "number").0;
    let values = texts.array();
    assert_eq!(values.len() as u32, texts.cardinality());
    let values = values.as_string_view();
    let nulls = text.nulls();
    for rows in blocks(view.row_count()).filter(|rows| rows.end > from) {
        let mut room = CodeRoom::default();
        let Codes::U32(codes) = texts.codes(rows.clone(), &mut room) else {
            panic!("unexpected form");
        };
        for (row, code) in rows.zip(codes) {
            let key = i64::from(row);
            assert_eq!(numbers[row as usize], Cell::Long(key * 3));
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            assert_eq!(is_null, key % 7 == 0, "null bit of row {row}");
            let wanted = if is_null {
                "null".to_owned()
            } else {
                text_of(key)
            };
            assert_eq!(values.value(*code as usize), wanted);
        }
    }
}

#[test]
fn readers_see_whole_rows_while_one_thread_appends() {
    let spec = spec_of(vec![
        ColumnSpec::new("text", DataType::String, FieldRole::Dimension),
        ColumnSpec::new("number", DataType::Long, FieldRole::Metric),
    ]);
    for _ in 0..8 {
        let segment = consuming(&spec, 0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut checked = 0;
                    while !done.load(Ordering::Relaxed) || checked < segment.row_count() {
                        let view = segment.view();
                        check_rows(&view, checked);
                        assert!(view.next_offset() == i64::from(view.row_count()));
                        checked = view.row_count();
                    }
                });
            }
            let mut next = 0;
            while next < 40_000 {
                let rows = 1 + next % 777;
                segment.append(&keyed_batch(&spec, next, rows)).unwrap();
                next += rows;
            }
            done.store(true, Ordering::Relaxed);
        });
        check_rows(&segment.view(), 0);
    }
}

#[test]
fn dictionaries_of_consuming_columns_are_kept_until_they_grow() {
    let spec = spec_of(vec![ColumnSpec::new(
        "text",
        DataType::String,
        FieldRole::Dimension,
    )]);
    let draw = Draw {
        values: 40,
        null_in: 0,
        wide: false,
    };
    let batches = batches(&spec, &[3000, 3000], draw, 4);
    let segment = consuming(&spec, 0);
    let array = || {
        let view = segment.view();
        let Values::Dictionary(dictionary) = view.column("text").unwrap().unwrap().values() else {
            panic!("strings have codes");
        };
        dictionary.array()
    };
    assert_eq!(array().len(), 0);
    segment.append(&batches[0]).unwrap();
    let first = array();
    assert_eq!(first.len(), 40);
    segment.append(&batches[1]).unwrap();
    assert!(Arc::ptr_eq(&first, &array()));
    let values = plain_cells(&first);
    assert!(values.contains(&Cell::Bytes("é2".into())));
}

#[test]
fn long_strings_of_every_size_are_kept_whole() {
    let spec = spec_of(vec![ColumnSpec::new(
        "text",
        DataType::Json,
        FieldRole::Dimension,
    )]);
    let segment = consuming(&spec, 0);
    let sizes = [0, 12, 13, 8191, 8192, 8193, 20_000, 70_000, 5, 300_000];
    let texts: Vec<String> = (0..40)
        .map(|at| "é".repeat(sizes[at % sizes.len()] / 2) + &at.to_string())
        .collect();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(&texts)),
        Arc::new(Int64Array::from_iter_values(0..40)),
        Arc::new(TimestampMillisecondArray::from_iter_values(0..40)),
    ];
    let batch = RecordBatch::try_new(ingest_schema(&spec), arrays).unwrap();
    segment.append(&batch).unwrap();
    segment.append(&batch).unwrap();
    let (cells, _) = read(&segment.view(), "text");
    let wanted = texts
        .iter()
        .chain(&texts)
        .map(|text| Cell::Bytes(text.clone().into_bytes()));
    assert!(cells.into_iter().eq(wanted));
    let view = segment.view();
    let Values::Dictionary(dictionary) = view.column("text").unwrap().unwrap().values() else {
        panic!("strings have codes");
    };
    assert_eq!(dictionary.cardinality(), 40);
}
