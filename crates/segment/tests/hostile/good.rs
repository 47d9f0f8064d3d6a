//! A file of every layout and with every index, whole.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal256Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::i256;
use runtime::files::OsFiles;
use schemas::arrow::{arrow_type, entry_field, ingest_schema};
use schemas::table::{
    BloomFilterSpec, StarTreeAggregate, StarTreeFunction, StarTreeSpec, TimeGranularity,
};
use schemas::types::uuid_text;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};
use segment::{EarlierFile, KeyRows, KeysAtEnd, RejectedRow, SealExtra, SegmentBuilder};

const ROWS: usize = 5000;

pub(super) fn spec() -> TableSpec {
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
        column("words", DataType::String),
        column("document", DataType::Json),
    ];
    for name in ["text", "tags"] {
        find(&mut columns, name).shared_prefixes = true;
    }
    for name in ["text", "tags", "numbers", "flag"] {
        find(&mut columns, name).inverted_index = true;
    }
    for name in ["long", "double", "text", "sparse"] {
        let column = find(&mut columns, name);
        column.range_index = true;
        column.bloom_filter = Some(BloomFilterSpec::default());
    }
    find(&mut columns, "time").timestamp_index = vec![TimeGranularity::Hour];
    find(&mut columns, "words").text_index = Some(Default::default());
    find(&mut columns, "document").json_index = Some(Default::default());
    for name in ["raw", "raw_id"] {
        find(&mut columns, name).no_dictionary = true;
    }
    for name in ["tags", "numbers"] {
        find(&mut columns, name).multi_value = true;
    }
    TableSpec {
        id: TableId::from_bytes(&[7; 16]).unwrap(),
        sorted_column: Some("sorted".to_owned()),
        star_trees: vec![tree()],
        ..TableSpec::new("events".parse().unwrap(), TableType::Offline, columns)
    }
}

fn tree() -> StarTreeSpec {
    use StarTreeFunction::{Count, DistinctCountHll, Max, PercentileTDigest, Sum};
    let aggregate = |(function, column): (StarTreeFunction, Option<&str>)| StarTreeAggregate {
        function,
        column: column.map(str::to_owned),
    };
    let aggregates = [
        (Count, None),
        (Sum, Some("small")),
        (Max, Some("double")),
        (DistinctCountHll, Some("small")),
        (PercentileTDigest, Some("small")),
    ];
    StarTreeSpec {
        dimensions: vec!["flag".to_owned(), "small".to_owned()],
        by_cardinality: false,
        no_star: Vec::new(),
        aggregates: aggregates.map(aggregate).to_vec(),
        leaf_rows_max: 10,
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
        (_, DataType::Json) => strings(
            &|row| format!(r#"{{"a":{},"b":[{{"c":"x"}},{{"c":{row}}}]}}"#, row % 9),
            rows,
        ),
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
pub(super) fn good() -> &'static [u8] {
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
        let keys = KeysAtEnd {
            newest: 7,
            own: KeyRows::all(ROWS as u32, true),
            others: vec![((3, 9), KeyRows::all(70_000, false))],
        };
        let earlier = EarlierFile {
            crc: 9,
            row_count: 70_000,
            rows: (0..ROWS as u32).map(|row| row * 2).collect(),
        };
        let extra = SealExtra {
            rejected: vec![rejected],
            keys: Some(keys),
            earlier: vec![earlier],
            ..SealExtra::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let sealed = builder.finish(&OsFiles, folder.path(), extra).unwrap();
        std::fs::read(sealed.path).unwrap()
    })
}
