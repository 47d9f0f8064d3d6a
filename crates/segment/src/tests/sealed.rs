//! Sealed segments: round trips, encodings, indexes, sorting, records.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use runtime::files::OsFiles;
use schemas::segment::{Ledger, SegmentRecord};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec, Value};

use super::{
    Cell, Draw, Random, batch, blocks, every_column, expected, extra, read, segment_id, spec_of,
    stored_names,
};
use crate::column::{CodeRoom, Codes, Values};
use crate::raw::{RawValues, Zone};
use crate::{RejectedRow, SealExtra, SealedSegment, SegmentBuilder, SegmentView, pack, unpack};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;

pub(super) fn build(
    spec: &TableSpec,
    batches: &[RecordBatch],
    folder: &Path,
) -> (SegmentRecord, Arc<SealedSegment>) {
    let mut builder = SegmentBuilder::new(spec, segment_id(), "events__2__5__x".into()).unwrap();
    for batch in batches {
        builder.append(batch).unwrap();
    }
    let rows = builder.row_count();
    let sealed = builder.finish(&OsFiles, folder, extra(rows)).unwrap();
    let segment = SealedSegment::open(&sealed.path, spec, sealed.record.crc).unwrap();
    (sealed.record, segment)
}

pub(super) fn batches(
    spec: &TableSpec,
    sizes: &[usize],
    draw: Draw,
    seed: u64,
) -> Vec<RecordBatch> {
    let mut random = Random(seed);
    let mut first = 100;
    let one = |rows: &usize| {
        let made = batch(spec, first, *rows, draw, &mut random);
        first += *rows as i64;
        made
    };
    sizes.iter().map(one).collect()
}

fn draws() -> impl Strategy<Value = Draw> {
    let values = prop::sample::select(vec![1_u64, 2, 200, 300, 70_000, u64::from(u32::MAX)]);
    let null_in = prop::sample::select(vec![0_u64, 1, 3, 2000]);
    (values, null_in, any::<bool>()).prop_map(|(values, null_in, wide)| Draw {
        values,
        null_in,
        wide,
    })
}

/// Every column of the view against what was appended, and all that is derived from it.
fn check(spec: &TableSpec, batches: &[RecordBatch], view: &SegmentView) {
    for name in stored_names(spec) {
        let (cells, nulls) = expected(spec, batches, &name);
        let (found_cells, found_nulls) = read(view, &name);
        assert!(cells == found_cells, "values of {name} differ");
        assert!(nulls == found_nulls, "nulls of {name} differ");
        check_derived(view, &name, &cells);
    }
}

fn check_derived(view: &SegmentView, name: &str, cells: &[Cell]) {
    let column = view.column(name).unwrap().unwrap();
    for (block, rows) in blocks(view.row_count()).enumerate() {
        let cells = &cells[rows.start as usize..rows.end as usize];
        match column.zone(block as u32) {
            Some(Zone::I64 { min, max }) => {
                let (least, greatest) = (cells.iter().min(), cells.iter().max());
                assert_eq!(
                    (least, greatest),
                    (Some(&Cell::Long(min)), Some(&Cell::Long(max)))
                );
            }
            Some(Zone::F64 { min, max }) => cells.iter().for_each(|cell| {
                let value = match (cell, column.data_type()) {
                    (Cell::Bits(bits), DataType::Float) => f64::from(f32::from_bits(*bits as u32)),
                    (Cell::Bits(bits), _) => f64::from_bits(*bits),
                    _ => unreachable!(),
                };
                assert!(min.total_cmp(&value).is_le() && value.total_cmp(&max).is_le());
            }),
            None => {}
        }
    }
    let (values, ordered, counts) = match column.values() {
        Values::Dictionary(codes) => (codes.array(), codes.is_ordered(), Some(codes.doc_counts())),
        Values::Multi(codes) => (codes.array(), codes.is_ordered(), codes.doc_counts()),
        Values::Raw(_) | Values::Bytes(_) => return,
    };
    let Some(counts) = counts.filter(|_| ordered) else {
        return;
    };
    let values = super::plain_cells(&values);
    if column.data_type() != DataType::Float && column.data_type() != DataType::Double {
        let is_ordered = values.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_ordered, "{name} is not ordered");
    }
    let inverted = column.inverted().unwrap();
    for (code, value) in values.iter().enumerate().take(50) {
        let holds = |cell: &Cell| match cell {
            Cell::List(cells) => cells.contains(value),
            cell => cell == value,
        };
        let held = (0..).zip(cells).filter(|(_, cell)| holds(cell));
        let docs: Vec<u32> = held.map(|(doc, _)| doc).collect();
        assert_eq!(counts.get(code as u32) as usize, docs.len());
        if let Some(inverted) = &inverted {
            let found = inverted.docs(code as u32).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), docs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_type_round_trips(draw in draws(), seed: u64,
                              sizes in prop::collection::vec(0_usize..3000, 0..5)) {
        let spec = every_column();
        let folder = tempfile::tempdir().unwrap();
        let batches = batches(&spec, &sizes, draw, seed);
        let (record, segment) = build(&spec, &batches, folder.path());
        segment.verify_all().unwrap();
        check(&spec, &batches, &segment.view());
        prop_assert_eq!(segment.row_count() as usize, sizes.iter().sum::<usize>());
        prop_assert_eq!(record.bytes, std::fs::metadata(segment.path()).unwrap().len());
        prop_assert_eq!(segment.crc(), record.crc);
    }

    #[test]
    fn sorting_keeps_rows_whole_and_stable(draw in draws(), seed: u64, rows in 0_usize..6000,
                                           column in 0_usize..33) {
        let mut spec = every_column();
        let folder = tempfile::tempdir().unwrap();
        let name = spec.columns[column].name.clone();
        let batches = batches(&spec, &[rows], draw, seed);
        let plain = build(&spec, &batches, folder.path()).1.view();
        spec.sorted_column = Some(name.clone());
        let sorted = build(&spec, &batches, folder.path()).1.view();

        let Values::Dictionary(dictionary) = sorted.column(&name).unwrap().unwrap().values() else {
            panic!("a sorted column has codes");
        };
        let codes = all_codes(&sorted, &name);
        prop_assert!(codes.is_sorted());
        for code in 0..dictionary.cardinality().min(100) {
            let range = sorted.column(&name).unwrap().unwrap().sorted_range(code).unwrap();
            let held = &codes[range.start as usize..range.end as usize];
            prop_assert!(held.iter().all(|held| *held == code));
            prop_assert_eq!(range.len() as u32, dictionary.doc_counts().get(code));
        }
        let offsets = read(&sorted, "$offset").0;
        for pair in codes.windows(2).zip(offsets.windows(2)) {
            prop_assert!(pair.0[0] < pair.0[1] || pair.1[0] < pair.1[1], "not stable");
        }
        for other in stored_names(&spec) {
            let by_offset = |view: &SegmentView| {
                let (cells, nulls) = read(view, &other);
                let offsets = read(view, "$offset").0;
                let mut rows: Vec<_> = offsets.into_iter().zip(cells).zip(nulls).collect();
                rows.sort();
                rows
            };
            prop_assert!(by_offset(&plain) == by_offset(&sorted), "column {} differs", other);
        }
    }
}

fn all_codes(view: &SegmentView, name: &str) -> Vec<u32> {
    let Values::Dictionary(dictionary) = view.column(name).unwrap().unwrap().values() else {
        panic!("{name} has no codes");
    };
    let blocks = blocks(view.row_count());
    let codes =
        blocks.flat_map(|rows| super::codes_of(dictionary.codes(rows, &mut CodeRoom::default())));
    codes.collect()
}

pub(super) fn form(view: &SegmentView, name: &str) -> &'static str {
    match view.column(name).unwrap().unwrap().values() {
        Values::Dictionary(dictionary) => match dictionary.codes(0..1, &mut CodeRoom::default()) {
            Codes::U8(_) => "codes u8",
            Codes::U16(_) => "codes u16",
            Codes::U32(_) => "codes u32",
        },
        Values::Multi(_) => "several",
        Values::Bytes(_) => "texts",
        Values::Raw(raw) if raw.sparse().is_some() => "sparse",
        Values::Raw(raw) => match raw.values(0..1) {
            RawValues::U8 { .. } => "u8",
            RawValues::U16 { .. } => "u16",
            RawValues::U32 { .. } => "u32",
            RawValues::Bits { .. } => "bits",
            RawValues::I32(_) => "i32",
            RawValues::I64(_) => "i64",
            RawValues::F64(_) => "f64",
            RawValues::Scaled { stored, .. } => match stored {
                Codes::U8(_) => "scaled u8",
                Codes::U16(_) => "scaled u16",
                Codes::U32(_) => "scaled u32",
            },
            RawValues::Sequence { .. } => "sequence",
            _ => "other",
        },
    }
}

#[test]
fn numbers_take_the_least_room() {
    let spec = every_column();
    let forms = |values: u64, wide: bool| {
        let draw = Draw {
            values,
            null_in: 0,
            wide,
        };
        let folder = tempfile::tempdir().unwrap();
        let view = build(&spec, &batches(&spec, &[9000], draw, 1), folder.path())
            .1
            .view();
        [
            "int_metric",
            "long_metric",
            "long_dimension",
            "string_metric",
            "$offset",
            "$ingestTime",
        ]
        .map(|name| form(&view, name))
    };
    assert_eq!(
        forms(200, false),
        ["u8", "u8", "u8", "codes u8", "sequence", "u16"]
    );
    assert_eq!(
        forms(200, true),
        ["i32", "i64", "codes u8", "codes u8", "sequence", "u16"]
    );
    assert_eq!(
        forms(60_000, false),
        ["u16", "u16", "u16", "codes u16", "sequence", "u16"]
    );
    assert_eq!(
        forms(600_000, false),
        ["i32", "u32", "u32", "codes u16", "sequence", "u16"]
    );
}

fn no_json(offset: i64) -> RejectedRow {
    RejectedRow {
        partition: 2,
        offset,
        time_ms: 5,
        reason: "no JSON".into(),
        payload: b"{".to_vec(),
    }
}

#[test]
fn records_tell_ranges_ledger_and_offsets() {
    let mut when = ColumnSpec::new("when", DataType::Long, FieldRole::DateTime);
    when.time_format = Some("1:SECONDS:EPOCH".into());
    let mut spec = spec_of(vec![
        when,
        ColumnSpec::new("who", DataType::String, FieldRole::Dimension),
    ]);
    spec.time_column = Some("when".into());
    let draw = Draw {
        values: 9,
        null_in: 0,
        wide: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut builder = SegmentBuilder::new(&spec, segment_id(), "n".into()).unwrap();
    builder
        .append(&batches(&spec, &[5000], draw, 3)[0])
        .unwrap();
    let reject = no_json(5100);
    let ledger = Ledger {
        rows: 5000,
        rejected: 1,
        filtered: 0,
        absent: 9,
        ..Ledger::default()
    };
    let extra = SealExtra {
        start: 100,
        end: 5110,
        ledger,
        created_ms: 11,
        sealed_ms: 12,
        rejected: vec![reject.clone()],
        ..SealExtra::default()
    };
    let sealed = builder.finish(&OsFiles, folder.path(), extra).unwrap();
    let record = sealed.record;
    let file_name = sealed
        .path
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(file_name, format!("5-{:08x}.seg", record.crc));
    assert_eq!(
        (record.start, record.end, record.ledger),
        (100, Some(5110), ledger)
    );
    assert_eq!((record.created_ms, record.sealed_ms), (11, Some(12)));
    assert_eq!(record.time_range, Some((-4000, 4000)));
    let (column, least, greatest) = record.column_ranges[1].clone();
    assert_eq!(column, "who");
    assert_eq!(
        least,
        Value::String("a longer value than a view holds: 1".into())
    );
    assert_eq!(greatest, Value::String("é8".into()));
    let segment = SealedSegment::open(&sealed.path, &spec, record.crc).unwrap();
    assert_eq!(segment.rejected().unwrap(), vec![reject]);
    assert_eq!(
        (segment.start(), segment.end(), segment.ledger()),
        (100, 5110, ledger)
    );
    assert_eq!(
        segment.view().newest_ingest_ms(),
        1_700_000_000_000 + 5099 / 3
    );
}

#[test]
fn columns_that_came_later_are_absent_and_changed_types_refused() {
    let spec = spec_of(vec![ColumnSpec::new("a", DataType::Int, FieldRole::Metric)]);
    let draw = Draw {
        values: 9,
        null_in: 0,
        wide: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[10], draw, 3), folder.path());
    let mut later = spec.clone();
    later
        .columns
        .push(ColumnSpec::new("b", DataType::Int, FieldRole::Metric));
    let again = SealedSegment::open(segment.path(), &later, record.crc).unwrap();
    assert!(again.view().column("b").unwrap().is_none());
    later.columns[0].data_type = DataType::Long;
    let error = SealedSegment::open(segment.path(), &later, record.crc).unwrap_err();
    let message = "column `a` is INT in the segment and LONG in the schema";
    assert_eq!(error.to_string(), message);
}

#[test]
fn packed_and_unpacked_it_is_the_same_file() {
    let spec = every_column();
    let draw = Draw {
        values: 300,
        null_in: 5,
        wide: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[4000], draw, 9), folder.path());
    let packed = pack(segment.path(), record.crc).unwrap();
    assert!(packed.len() as u64 * 2 < record.bytes);
    let copy = folder.path().join("copy.seg");
    unpack(&packed, &OsFiles, &copy, record.crc).unwrap();
    assert_eq!(
        std::fs::read(&copy).unwrap(),
        std::fs::read(segment.path()).unwrap()
    );

    // As it was written before.
    let one_frame = zstd::bulk::compress(&std::fs::read(&copy).unwrap(), 1).unwrap();
    let old = folder.path().join("old.seg");
    unpack(&one_frame, &OsFiles, &old, record.crc).unwrap();
    assert!(packed.len() < one_frame.len());

    let other = folder.path().join("other.seg");
    let error = unpack(&packed, &OsFiles, &other, record.crc ^ 1).unwrap_err();
    assert!(error.is_corrupt() && !other.exists());
    for at in (0..packed.len()).step_by(997) {
        let mut damaged = packed.clone();
        damaged[at] ^= 4;
        let result = unpack(&damaged, &OsFiles, &other, record.crc);
        assert!(result.is_err() || std::fs::read(&other).unwrap() == std::fs::read(&copy).unwrap());
    }
    assert!(unpack(&packed[..packed.len() / 2], &OsFiles, &other, record.crc).is_err());
}

#[test]
fn a_record_tells_the_partitions_of_all_stored_values() {
    use schemas::partition::{PartitionFunction, Partitioning};
    let mut spec = every_column();
    let by = |function| {
        Some(Partitioning {
            function,
            partitions: 8,
        })
    };
    for column in &mut spec.columns {
        column.partitioning = match column.data_type {
            _ if column.multi_value => None,
            DataType::String => by(PartitionFunction::Murmur),
            DataType::Int | DataType::Long | DataType::Timestamp => by(PartitionFunction::Modulo),
            _ => None,
        };
    }
    let draw = Draw {
        values: 3,
        null_in: 5,
        wide: false,
    };
    let batches = batches(&spec, &[300], draw, 11);
    let folder = tempfile::tempdir().unwrap();
    let (record, _) = build(&spec, &batches, folder.path());
    assert!(record.partitions.len() >= 4, "{:?}", record.partitions);
    for found in &record.partitions {
        let (cells, _) = expected(&spec, &batches, &found.column);
        let partitions = cells.iter().map(|cell| match cell {
            Cell::Long(number) => found.by.of_number(*number).unwrap(),
            Cell::Bytes(text) => {
                let text = std::str::from_utf8(text).unwrap();
                found.by.of_text(text).unwrap()
            }
            other => panic!("{other:?}"),
        });
        let wanted: std::collections::BTreeSet<u32> = partitions.collect();
        assert_eq!(
            found.held,
            wanted.into_iter().collect::<Vec<_>>(),
            "{}",
            found.column
        );
    }
}

#[test]
fn ranges_hold_every_float_and_decimal() {
    let spec = every_column();
    let draw = Draw {
        values: 70_000,
        null_in: 5,
        wide: true,
    };
    let batches = batches(&spec, &[200], draw, 12);
    let folder = tempfile::tempdir().unwrap();
    let (record, _) = build(&spec, &batches, folder.path());
    let mut seen = 0;
    for column in spec.columns.iter().filter(|column| !column.multi_value) {
        let (cells, _) = expected(&spec, &batches, &column.name);
        let mut ranges = record.column_ranges.iter();
        let range = ranges.find(|(name, ..)| *name == column.name);
        let doubles = cells.iter().map(|cell| match (cell, column.data_type) {
            (Cell::Bits(bits), DataType::Float) => f64::from(f32::from_bits(*bits as u32)),
            (Cell::Bits(bits), _) => f64::from_bits(*bits),
            _ => f64::NAN,
        });
        match (range, column.data_type) {
            (Some((_, Value::Double(least), Value::Double(greatest))), _) => {
                seen += 1;
                assert!(doubles.clone().all(|one| *least <= one && one <= *greatest));
            }
            (None, DataType::Float | DataType::Double) => {
                assert!(doubles.clone().any(f64::is_nan), "{}", column.name);
            }
            (Some((_, Value::String(least), Value::String(greatest))), DataType::BigDecimal) => {
                seen += 1;
                let unscaled = |text: &str| {
                    arrow::compute::kernels::cast_utils::parse_decimal::<
                        arrow::datatypes::Decimal256Type,
                    >(text, 76, 18)
                    .unwrap()
                };
                let wide = cells.iter().map(|cell| match cell {
                    Cell::Wide(wide) => *wide,
                    other => panic!("{other:?}"),
                });
                let bounds = (wide.clone().min().unwrap(), wide.max().unwrap());
                assert_eq!((unscaled(least), unscaled(greatest)), bounds);
            }
            _ => {}
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn times_are_cut_to_the_buckets_that_the_table_asks_for() {
    use schemas::table::TimeGranularity::{Day, Hour, Millisecond, Month};
    let mut spec = every_column();
    let times: Vec<usize> = (0..spec.columns.len())
        .filter(|at| spec.columns[*at].data_type == DataType::Timestamp)
        .filter(|at| !spec.columns[*at].multi_value)
        .collect();
    assert!(times.len() > 2);
    for at in &times {
        spec.columns[*at].timestamp_index = vec![Hour, Month, Day];
    }
    let draw = Draw {
        values: 400,
        null_in: 9,
        wide: true,
    };
    let batches = batches(&spec, &[4_000, 1_000], draw, 14);
    let folder = tempfile::tempdir().unwrap();
    let (_, segment) = build(&spec, &batches, folder.path());
    segment.verify_all().unwrap();
    let view = segment.view();
    for at in times {
        let name = &spec.columns[at].name;
        let (cells, _) = expected(&spec, &batches, name);
        let column = view.column(name).unwrap().unwrap();
        assert_eq!(column.granularities(), [Month, Day, Hour], "{name}");
        assert!(column.buckets(Millisecond).unwrap().is_none());
        for granularity in [Month, Day, Hour] {
            let unit = crate::calendar::Unit::from(granularity);
            let buckets = column.buckets(granularity).unwrap().unwrap();
            let starts = buckets.array();
            let starts = starts.as_primitive::<TimestampMillisecondType>();
            let mut found = Vec::new();
            for rows in blocks(view.row_count()) {
                match buckets.codes(rows, &mut CodeRoom::default()) {
                    Codes::U8(codes) => found.extend(codes.iter().map(|code| u32::from(*code))),
                    Codes::U16(codes) => found.extend(codes.iter().map(|code| u32::from(*code))),
                    Codes::U32(codes) => found.extend_from_slice(codes),
                }
            }
            let found = found.iter().map(|code| starts.value(*code as usize));
            let wanted = cells.iter().map(|cell| match cell {
                Cell::Long(time) => unit.start(*time).unwrap(),
                other => panic!("{other:?}"),
            });
            assert!(found.eq(wanted), "{name} by {granularity:?}");
        }
    }
    let inspected = crate::inspect::inspect(&segment).unwrap();
    let names = inspected
        .indexes
        .iter()
        .filter(|index| index.kind == "timestamp");
    let names: Vec<&str> = names.map(|index| index.columns[0].as_str()).collect();
    assert!(names.contains(&"$timestamp_dimension$MONTH"), "{names:?}");
}
