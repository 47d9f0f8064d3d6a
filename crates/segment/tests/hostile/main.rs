//! Files that mean harm: damaged at random places, with every checksum made right again. Reading
//! one is an error or gives some values; it never panics, reads past an array or asks for memory
//! that has no relation to the file.
//!
//! Runs 256 cases; `PROPTEST_CASES` asks for more.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal256Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::i256;
use index::bloom::BloomReader;
use index::range::RangeReader;
use proptest::prelude::*;
use runtime::files::OsFiles;
use schemas::arrow::{arrow_type, entry_field, ingest_schema};
use schemas::table::BloomFilterSpec;
use schemas::types::uuid_text;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};
use segment::inspect::inspect;
use segment::view::{CodeRoom, Codes, RawValues, SegmentView, Values, blocks};
use segment::{RejectedRow, SealExtra, SealedSegment, SegmentBuilder, SegmentError};
use serde_json::Value;

/// Remembers the largest piece of memory that was asked for.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is given on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Texts of UUIDs, views and LZ4 blocks may take a multiple of what the file has of them.
const EXPANSION_MAX: usize = 64;

const ROWS: usize = 5000;

fn spec() -> TableSpec {
    let column =
        |name: &str, data_type: DataType| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    let mut columns = vec![
        column("small", DataType::Int),
        column("long", DataType::Long),
        column("time", DataType::Timestamp),
        column("flag", DataType::Boolean),
        column("bit", DataType::Boolean),
        column("same", DataType::Long),
        column("double", DataType::Double),
        column("sparse", DataType::Double),
        column("money", DataType::Double),
        column("decimal", DataType::BigDecimal),
        column("text", DataType::String),
        column("raw", DataType::String),
        column("id", DataType::Uuid),
        column("raw_id", DataType::Uuid),
        column("tags", DataType::String),
        column("numbers", DataType::Int),
        column("sorted", DataType::String),
    ];
    for name in ["text", "tags", "numbers", "flag"] {
        find(&mut columns, name).inverted_index = true;
    }
    for name in ["long", "double", "text", "sparse"] {
        let column = find(&mut columns, name);
        column.range_index = true;
        column.bloom_filter = Some(BloomFilterSpec::default());
    }
    for name in ["raw", "raw_id"] {
        find(&mut columns, name).no_dictionary = true;
    }
    for name in ["tags", "numbers"] {
        find(&mut columns, name).multi_value = true;
    }
    TableSpec {
        id: TableId::from_bytes(&[7; 16]).unwrap(),
        sorted_column: Some("sorted".to_owned()),
        ..TableSpec::new("events".parse().unwrap(), TableType::Offline, columns)
    }
}

fn find<'a>(columns: &'a mut [ColumnSpec], name: &str) -> &'a mut ColumnSpec {
    let mut columns = columns.iter_mut();
    columns.find(|column| column.name == name).unwrap()
}

fn array(column: &ColumnSpec) -> ArrayRef {
    let rows = 0..ROWS as i64;
    let text = |row: i64| format!("a text that no view holds {}", row % 300);
    let uuid = |row: i64| {
        let bytes = ((row % 400) as u128 * 0x1234_5678_9abc).to_be_bytes();
        String::from_utf8(uuid_text(bytes).to_vec()).unwrap()
    };
    let strings = |text: &dyn Fn(i64) -> String, rows: Range<i64>| -> ArrayRef {
        let values = rows.map(|row| (row % 11 != 3).then(|| text(row)));
        Arc::new(StringViewArray::from_iter(values))
    };
    let lengths: Vec<usize> = rows.clone().map(|row| (row % 4) as usize).collect();
    let entries = 0..lengths.iter().sum::<usize>() as i64;
    let one: ArrayRef = match (column.name.as_str(), column.data_type) {
        ("numbers", _) => Arc::new(Int32Array::from_iter_values(
            entries.map(|n| (n % 70) as i32),
        )),
        ("tags", _) => strings(&text, entries),
        ("sparse", _) => Arc::new(Float64Array::from_iter_values(
            rows.map(|row| if row % 40 == 0 { row as f64 } else { 0.0 }),
        )),
        ("same", _) => Arc::new(Int64Array::from_value(1 << 40, ROWS)),
        (_, DataType::Int) => Arc::new(Int32Array::from_iter_values(
            rows.map(|row| row as i32 % 90),
        )),
        (_, DataType::Long) => Arc::new(Int64Array::from_iter_values(rows.map(|row| row << 20))),
        (_, DataType::Timestamp) => Arc::new(TimestampMillisecondArray::from_iter_values(
            rows.map(|row| row * 1000),
        )),
        (_, DataType::Boolean) => {
            Arc::new(BooleanArray::from_iter(rows.map(|row| Some(row % 3 == 0))))
        }
        ("money", _) => Arc::new(Float64Array::from_iter_values(
            rows.map(|row| row as f64 / 100.0),
        )),
        (_, DataType::Double) => Arc::new(Float64Array::from_iter_values(
            rows.map(|row| row as f64 / 3.0),
        )),
        (_, DataType::BigDecimal) => Arc::new(
            Decimal256Array::from_iter_values(rows.map(i256::from))
                .with_data_type(arrow_type(DataType::BigDecimal)),
        ),
        (_, DataType::Uuid) => strings(&uuid, rows),
        _ => strings(&text, rows),
    };
    if !column.multi_value {
        return one;
    }
    let field = entry_field(one.data_type().clone());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field, offsets, one, None))
}

/// A file, whole and of every layout.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let spec = spec();
        let mut arrays: Vec<ArrayRef> = spec.columns.iter().map(array).collect();
        arrays.push(Arc::new(Int64Array::from_iter_values(0..ROWS as i64)));
        let times = (0..ROWS as i64).map(|row| row * 3);
        arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
        let batch = RecordBatch::try_new(ingest_schema(&spec), arrays).unwrap();
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence: 0,
        };
        let mut builder = SegmentBuilder::new(&spec, id, "hostile".into()).unwrap();
        builder.append(&batch).unwrap();
        let rejected = RejectedRow {
            partition: 0,
            offset: 7,
            time_ms: 0,
            reason: "no JSON".into(),
            payload: b"{".to_vec(),
        };
        let extra = SealExtra {
            rejected: vec![rejected],
            ..SealExtra::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let sealed = builder.finish(&OsFiles, folder.path(), extra).unwrap();
        std::fs::read(sealed.path).unwrap()
    })
}

/// One change.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// A byte of an array.
    Byte { at: u64, value: u8 },
    /// Four bytes of an array become a number that is often a limit.
    Word { at: u64, value: u32 },
    /// A number of the footer.
    Number { at: u64, value: u64 },
    /// Two buffers of the footer change places.
    Swap { one: u64, other: u64 },
}

fn harm() -> impl Strategy<Value = Harm> {
    let limit = prop::sample::select(vec![0, 1, 255, 4096, 5000, 5001, 1 << 31, u32::MAX]);
    let wide = prop_oneof![
        limit.clone().prop_map(u64::from),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        any::<u64>(),
    ];
    prop_oneof![
        (any::<u64>(), any::<u8>()).prop_map(|(at, value)| Harm::Byte { at, value }),
        (any::<u64>(), limit).prop_map(|(at, value)| Harm::Word { at, value }),
        (any::<u64>(), wide).prop_map(|(at, value)| Harm::Number { at, value }),
        (any::<u64>(), any::<u64>()).prop_map(|(one, other)| Harm::Swap { one, other }),
    ]
}

fn harmed(harms: &[Harm]) -> (Vec<u8>, u32) {
    let good = good();
    let footer_at = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    let mut arrays = good[..footer_at].to_vec();
    let mut footer: Value = serde_json::from_slice(&good[footer_at..]).unwrap();
    for harm in harms {
        match *harm {
            Harm::Byte { at, value } => {
                let at = 64 + at as usize % (arrays.len() - 64);
                arrays[at] = value;
            }
            Harm::Word { at, value } => {
                let at = 64 + at as usize % (arrays.len() - 64) / 4 * 4;
                arrays[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            Harm::Number { at, value } => {
                let mut numbers = Vec::new();
                numbers_of(&mut footer, &mut numbers);
                let at = at as usize % numbers.len();
                *numbers[at] = value.into();
            }
            Harm::Swap { one, other } => {
                let mut buffers = Vec::new();
                buffers_of(&mut footer, &mut buffers);
                let (one, other) = (one as usize % buffers.len(), other as usize % buffers.len());
                let kept = buffers[one].clone();
                *buffers[one] = std::mem::replace(buffers[other], kept);
            }
        }
    }
    sealed_again(arrays, footer)
}

/// With checksums that are right.
fn sealed_again(mut arrays: Vec<u8>, mut footer: Value) -> (Vec<u8>, u32) {
    let mut buffers = Vec::new();
    buffers_of(&mut footer, &mut buffers);
    for buffer in buffers {
        let number = |key: &str| buffer[key].as_u64().unwrap_or(0) as usize;
        let start = number("offset");
        let end = start.saturating_add(number("bytes").saturating_add(63) / 64 * 64);
        if let Some(bytes) = arrays.get(start..end) {
            buffer["crc"] = crc32c::crc32c(bytes).into();
        }
    }
    let footer = serde_json::to_vec(&footer).unwrap();
    let crc = crc32c::crc32c(&footer);
    arrays[12..16].copy_from_slice(&crc.to_le_bytes());
    arrays[48..56].copy_from_slice(&(footer.len() as u64).to_le_bytes());
    let header_crc = crc32c::crc32c(&arrays[..60]);
    arrays[60..64].copy_from_slice(&header_crc.to_le_bytes());
    arrays.extend_from_slice(&footer);
    (arrays, crc)
}

fn numbers_of<'a>(value: &'a mut Value, numbers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => numbers.push(value),
        Value::Array(values) => values.iter_mut().for_each(|v| numbers_of(v, numbers)),
        Value::Object(fields) => fields.values_mut().for_each(|v| numbers_of(v, numbers)),
        _ => {}
    }
}

fn buffers_of<'a>(value: &'a mut Value, buffers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(fields) if fields.contains_key("crc") => buffers.push(value),
        Value::Object(fields) => fields.values_mut().for_each(|v| buffers_of(v, buffers)),
        Value::Array(values) => values.iter_mut().for_each(|v| buffers_of(v, buffers)),
        _ => {}
    }
}

/// Rows that are looked at, however many the file claims.
const ROWS_READ_MAX: u32 = 20_000;

/// Asks for everything that a query could.
fn read(path: &Path, crc: u32) -> Result<(), SegmentError> {
    let segment = SealedSegment::open(path, &spec(), crc)?;
    let view = segment.view();
    let mut failed = None;
    for column in &spec().columns {
        for name in [column.name.as_str(), "$offset", "$ingestTime"] {
            failed = read_column(&view, name).err().or(failed);
        }
    }
    failed = inspect(&segment).err().or(failed);
    failed = view.rejected().err().or(failed);
    failed = segment.verify_all().err().or(failed);
    failed.map_or(Ok(()), Err)
}

fn read_column(view: &SegmentView, name: &str) -> Result<(), SegmentError> {
    let Some(column) = view.column(name)? else {
        return Ok(());
    };
    let read = view.row_count().min(ROWS_READ_MAX);
    for rows in blocks(read) {
        column.zone(rows.start / 4096);
        column.code_zone(rows.start / 4096);
        match column.values() {
            Values::Dictionary(dictionary) => {
                let values = dictionary.array();
                let mut room = CodeRoom::default();
                let codes = dictionary.codes(rows, &mut room);
                each_code(codes, |code| assert!(code < values.len()));
            }
            Values::Multi(multi) => {
                let values = multi.array();
                let entries = multi.entries(rows);
                for own in entries.rows() {
                    let codes = entries.codes().slice(own);
                    each_code(codes, |code| assert!(code < values.len()));
                }
            }
            Values::Bytes(texts) => assert_eq!(texts.array(rows.clone())?.len(), rows.len()),
            Values::Raw(raw) => look(raw.values(rows)),
        }
    }
    if let Some(nulls) = column.nulls() {
        let found = (0..read).filter(|row| nulls.is_null(*row)).count();
        assert!(found <= nulls.count() as usize);
    }
    let cardinality = match column.values() {
        Values::Dictionary(dictionary) => dictionary.cardinality(),
        Values::Multi(multi) => multi.cardinality(),
        Values::Raw(_) | Values::Bytes(_) => 0,
    };
    if let Some(inverted) = column.inverted()? {
        for code in 0..cardinality {
            if let Ok(docs) = inverted.docs(code) {
                assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
            }
        }
    }
    if let Some(ranges) = column.index::<RangeReader>()? {
        for low in [i64::MIN, -1, 0, 100, i64::MAX] {
            let found = ranges.find(&[(low, low.saturating_add(1 << 30))]);
            for buckets in [found.whole, found.touched] {
                if let Ok(docs) = ranges.docs_of(&buckets) {
                    assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
                }
            }
        }
    }
    if let Some(bloom) = column.index::<BloomReader>()? {
        let found = (0..128_u64).filter(|hash| bloom.may_have(hash << 57));
        assert!(found.count() <= 128);
    }
    for code in 0..cardinality {
        let range = column.sorted_range(code);
        assert!(range.is_none_or(|range| range.end <= view.row_count()));
    }
    Ok(())
}

fn each_code(codes: Codes<'_>, mut each: impl FnMut(usize)) {
    match codes {
        Codes::U8(codes) => codes.iter().for_each(|code| each(*code as usize)),
        Codes::U16(codes) => codes.iter().for_each(|code| each(*code as usize)),
        Codes::U32(codes) => codes.iter().for_each(|code| each(*code as usize)),
    }
}

/// As a scan does, where an overflow would panic.
fn look(values: RawValues<'_>) {
    let sum: i64 = match values {
        RawValues::U8 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::U16 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::U32 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::Bits { base, bits } => {
            let bytes = bits.bytes().into_iter();
            bytes.map(|v| (base + i64::from(v)) & 1).sum()
        }
        RawValues::I32(values) => values.len() as i64,
        RawValues::I64(values) => values.len() as i64,
        RawValues::F32(values) => values.len() as i64,
        RawValues::F64(values) => values.len() as i64,
        RawValues::Scaled { stored, .. } => stored.len() as i64,
        RawValues::I256(values) => values.len() as i64,
        RawValues::Sequence { count, .. } => count as i64,
    };
    assert!(sum >= 0);
}

proptest! {
    #[test]
    fn harm_is_an_error_or_another_value(harms in prop::collection::vec(harm(), 1..4)) {
        let (bytes, crc) = harmed(&harms);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harmed.seg");
        std::fs::write(&path, &bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        if let Err(error) = read(&path, crc) {
            prop_assert!(!error.to_string().is_empty());
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        prop_assert!(largest <= bytes.len() * EXPANSION_MAX, "{largest} bytes at once");
    }

    #[test]
    fn any_bytes_after_a_header_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        fixed: bool,
    ) {
        let mut file = good()[..64].to_vec();
        file[40..48].copy_from_slice(&64_u64.to_le_bytes());
        file[48..56].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        if fixed {
            file[12..16].copy_from_slice(&crc.to_le_bytes());
            let header_crc = crc32c::crc32c(&file[..60]);
            file[60..64].copy_from_slice(&header_crc.to_le_bytes());
        }
        file.extend_from_slice(&bytes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes.seg");
        std::fs::write(&path, &file).unwrap();
        prop_assert!(read(&path, crc).is_err());
    }
}

#[test]
fn without_harm_it_is_whole() {
    let (bytes, crc) = harmed(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.seg");
    std::fs::write(&path, &bytes).unwrap();
    read(&path, crc).unwrap();
}
