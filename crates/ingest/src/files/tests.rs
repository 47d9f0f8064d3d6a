//! Each format with its types, its faults, and the pipeline over it.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use schemas::{DataType, TableType};

use super::*;
use crate::NoExpressions;

fn spec(columns: Vec<ColumnSpec>) -> Arc<TableSpec> {
    Arc::new(TableSpec::new(
        "t".parse().unwrap(),
        TableType::Offline,
        columns,
    ))
}

fn import(name: &str, content: &[u8]) -> Result<Vec<RecordBatch>, FileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let file = FileRows::open(&path)?;
    rows_of(&file, &spec(file.columns.clone()))
}

fn rows_of(file: &FileRows, spec: &Arc<TableSpec>) -> Result<Vec<RecordBatch>, FileError> {
    let (mut batches, mut read) = (Vec::new(), 0);
    for part in file.parts(u64::MAX)? {
        let records = file.read(&part, (spec, &NoExpressions), 7, |batch| {
            batches.push(batch);
            Ok::<_, FileError>(())
        })?;
        read += records.read;
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(read, rows as u64);
    Ok(batches)
}

fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
    let mut content = Vec::new();
    let writer = parquet::arrow::ArrowWriter::try_new(&mut content, batch.schema(), None);
    let mut writer = writer.unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    content
}

#[test]
fn csv_types_are_inferred_and_empty_is_null() {
    let csv = b"id, name,zip,when,x\n1,\"a, \"\"b\"\"\",007,2013-01-01,1.5\n2,,010,,2\n";
    let batches = import("trips.CSV", csv).unwrap();
    let types: Vec<String> = batches[0].columns()[..5]
        .iter()
        .map(|column| column.data_type().to_string())
        .collect();
    assert_eq!(
        types,
        ["Int64", "Utf8View", "Utf8View", "Timestamp(ms)", "Float64"]
    );
    let [id, name, zip, when, x, offset, _] = batches[0].columns() else {
        panic!("seven columns")
    };
    assert_eq!(id.as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(name.as_string_view().value(0), "a, \"b\"");
    assert!(name.is_null(1) && when.is_null(1));
    assert_eq!(zip.as_string_view().value(0), "007");
    assert_eq!(x.as_primitive::<Float64Type>().values(), &[1.5, 2.0]);
    assert_eq!(offset.as_primitive::<Int64Type>().values(), &[0, 1]);
}

#[test]
fn json_lines_of_more_than_one_batch() {
    let lines: String = (0..5000).map(|n| format!("{{\"n\": {n}}}\n\n")).collect();
    let batches = import("x.jsonl", lines.as_bytes()).unwrap();
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [4096, 904]);
}

#[test]
fn parquet_keeps_its_types() {
    use arrow::array::{Date32Array, Int16Array, StringArray};
    let batch = RecordBatch::try_from_iter([
        (
            "small",
            Arc::new(Int16Array::from(vec![Some(1), None])) as ArrayRef,
        ),
        ("day", Arc::new(Date32Array::from(vec![1, 2])) as ArrayRef),
        ("s", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef),
    ])
    .unwrap();
    let content = parquet_of(&batch);
    let batches = import("x.parquet", &content).unwrap();
    assert!(batches[0].column(0).is_null(1));
    let days = batches[0]
        .column(1)
        .as_primitive::<arrow::datatypes::TimestampMillisecondType>();
    assert_eq!(days.values(), &[86_400_000, 172_800_000]);
    assert_eq!(batches[0].column(2).as_string_view().value(1), "y");
}

#[test]
fn lists_and_uuids() {
    use arrow::array::{ListArray, StringArray};
    use arrow::datatypes::Int16Type;
    let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
    let lists = ListArray::from_iter_primitive::<Int16Type, _, _>(lists);
    let id = "0189D5E4-7CDE-7A0B-B2DB-8F1E0F1E2D3C";
    let ids = StringArray::from(vec![Some(id), None, None]);
    let batch = RecordBatch::try_from_iter([
        ("l", Arc::new(lists) as ArrayRef),
        ("id", Arc::new(ids) as ArrayRef),
    ])
    .unwrap();
    let content = parquet_of(&batch);
    let file = FileRows::parquet("x", content.into()).unwrap();
    let mut columns = file.columns.clone();
    assert!(columns[0].multi_value && columns[0].data_type == DataType::Int);
    columns[1].data_type = DataType::Uuid;
    let batches = rows_of(&file, &spec(columns.clone())).unwrap();
    let shown = |batch: &RecordBatch, column: usize| {
        let array = batch.column(column);
        arrow::util::display::array_value_to_string(array, 0).unwrap()
    };
    assert_eq!(shown(&batches[0], 0), "[1]", "nulls in arrays are left out");
    assert_eq!(shown(&batches[0], 1), id.to_lowercase());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, format!("l,id\n1;2,{id}\n")).unwrap();
    let file = FileRows::open(&path).unwrap();
    let batches = rows_of(&file, &spec(columns)).unwrap();
    assert_eq!(shown(&batches[0], 0), "[1, 2]");
    assert_eq!(shown(&batches[0], 1), id.to_lowercase());
}

#[test]
fn faults_name_the_place() {
    let bad_row = b"n\n1\n2,3\n";
    let text = |name: &str, content: &[u8]| import(name, content).unwrap_err().to_string();
    assert!(
        text("x.csv", bad_row).contains("row 2"),
        "{}",
        text("x.csv", bad_row)
    );
    assert!(text("x.parquet", b"PAR1").contains("no Parquet file"));
    assert!(text("x.xlsx", b"").contains("import takes .parquet"));
}

fn numbers(rows: std::ops::Range<i64>) -> RecordBatch {
    let texts = StringArray::from_iter_values(rows.clone().map(|n| format!("row {n}")));
    RecordBatch::try_from_iter([
        (
            "n",
            Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef,
        ),
        ("s", Arc::new(texts) as ArrayRef),
    ])
    .unwrap()
}

fn sum_of(batches: &[RecordBatch]) -> i64 {
    let sums = batches.iter().map(|batch| {
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        numbers.values().iter().sum::<i64>()
    });
    sums.sum()
}

#[test]
fn arrow_in_both_forms() {
    let batch = numbers(0..100);
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema());
    let writer = stream.as_mut().unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let stream = stream.unwrap().into_inner().unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    let file = file.into_inner().unwrap();
    for content in [stream, file] {
        let batches = import("x.arrow", &content).unwrap();
        assert_eq!(sum_of(&batches), 4950);
        assert_eq!(batches[0].column(1).as_string_view().value(7), "row 7");
    }
    import("x.arrow", b"ARROW1 and nothing more").unwrap_err();
}

#[test]
fn parquet_in_parts_of_row_groups() {
    let properties = parquet::file::properties::WriterProperties::builder();
    let properties = properties.set_max_row_group_row_count(Some(10)).build();
    let batch = numbers(0..95);
    let mut content = Vec::new();
    let schema = batch.schema();
    let writer = parquet::arrow::ArrowWriter::try_new(&mut content, schema, Some(properties));
    let mut writer = writer.unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    std::fs::write(&path, &content).unwrap();
    for file in [
        FileRows::open(&path).unwrap(),
        FileRows::parquet("x", content.into()).unwrap(),
    ] {
        let parts = file.parts(25).unwrap();
        assert_eq!(parts.len(), 5, "two row groups each");
        let spec = spec(file.columns.clone());
        let mut seen = Vec::new();
        for part in parts.iter().rev() {
            let read = file.read(part, (&spec, &NoExpressions), 0, |batch| {
                let number = |at| {
                    batch
                        .column(at)
                        .as_primitive::<Int64Type>()
                        .values()
                        .to_vec()
                };
                assert_eq!(number(0), number(2), "the offset is the number of the row");
                seen.extend(number(0));
                Ok::<_, FileError>(())
            });
            assert!(read.unwrap().read <= 20);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..95).collect::<Vec<i64>>());
    }
}

#[test]
fn packed_texts_and_arrays_of_json() {
    use std::io::Write;
    let lines: String = (0..100).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut gzip = gzip;
    gzip.write_all(lines.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    let array = format!(" [{}]", lines.trim_end().replace('\n', ","));
    for (name, content) in [
        ("x.json.gz", gzip.as_slice()),
        ("x.json.zst", zstd.as_slice()),
        ("x.json", array.as_bytes()),
    ] {
        assert_eq!(sum_of(&import(name, content).unwrap()), 4950, "{name}");
    }
    import("x.json.gz", b"{\"n\": 1}").unwrap_err();
    import("x.json", b"[{\"n\": 1}, ").unwrap_err();
    import("x.parquet.gz", b"").unwrap_err();
}

#[test]
fn avro_containers_of_each_codec() {
    use apache_avro::types::Record;
    let schema = apache_avro::Schema::parse_str(
        r#"{"type":"record","name":"r","fields":[
            {"name":"n","type":"long"},{"name":"s","type":["null","string"]},
            {"name":"l","type":{"type":"array","items":"long"}}]}"#,
    )
    .unwrap();
    for codec in [apache_avro::Codec::Null, deflate()] {
        let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec);
        for n in 0..5000i64 {
            let mut record = Record::new(&schema).unwrap();
            record.put("n", n);
            record.put("s", (n % 2 == 0).then(|| format!("row {n}")));
            let list = [n, n + 1].map(apache_avro::types::Value::Long);
            record.put("l", apache_avro::types::Value::Array(list.to_vec()));
            writer.append(record).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let batches = import("x.avro", &content).unwrap();
        assert_eq!(sum_of(&batches), 4999 * 2500);
        assert_eq!(batches[0].column(1).as_string_view().value(8), "row 8");
        assert!(batches[0].column(1).is_null(9));
        // Cut or damaged anywhere it is told, and nothing panics.
        for at in (0..content.len()).step_by(content.len() / 97) {
            let _ = import("x.avro", &content[..at]);
            let mut damaged = content.clone();
            damaged[at] ^= 0x55;
            let _ = import("x.avro", &damaged);
        }
        import("x.avro", &content[..content.len() - 1]).unwrap_err();
    }
}

fn deflate() -> apache_avro::Codec {
    apache_avro::Codec::Deflate(apache_avro::DeflateSettings::default())
}

#[test]
fn a_value_that_does_not_fit_ends_the_read_with_its_row() {
    let content = parquet_of(&numbers(0..10));
    let file = FileRows::parquet("x.parquet", content.into()).unwrap();
    let mut columns = file.columns.clone();
    columns[1].data_type = DataType::Int;
    let error = rows_of(&file, &spec(columns)).unwrap_err();
    assert!(
        error.to_string().starts_with("`x.parquet` row 1: "),
        "{error}"
    );
}

/// Two orders: a struct, a list of structs, a map, and times and decimals inside them.
fn orders() -> RecordBatch {
    use arrow::array::{
        Decimal128Array, Int64Builder, ListArray, MapBuilder, StringBuilder, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    let field =
        |name: &str, data_type: &ArrowType| Arc::new(Field::new(name, data_type.clone(), true));
    let at = TimestampMicrosecondArray::from(vec![1_500_000_000_123_000, 7_000]);
    let price = Decimal128Array::from(vec![1234567890123456789, 5]);
    let price = price.with_precision_and_scale(20, 2).unwrap();
    let city = StringArray::from(vec![Some("Bern"), None]);
    let to = StructArray::from(vec![
        (field("city", &ArrowType::Utf8), Arc::new(city) as ArrayRef),
        (
            field("at", at.data_type()),
            Arc::new(at.clone()) as ArrayRef,
        ),
        (
            field("price", price.data_type()),
            Arc::new(price.clone()) as ArrayRef,
        ),
    ]);
    let skus = StringArray::from(vec!["a", "b", "c"]);
    let counts = Int64Array::from(vec![1, 2, 3]);
    let items = StructArray::from(vec![
        (field("sku", &ArrowType::Utf8), Arc::new(skus) as ArrayRef),
        (field("n", &ArrowType::Int64), Arc::new(counts) as ArrayRef),
    ]);
    let offsets = OffsetBuffer::from_lengths([2, 1]);
    let items = ListArray::new(
        field("item", items.data_type()),
        offsets,
        Arc::new(items),
        None,
    );
    let mut marks = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for (key, value) in [("x", 1), ("y", 2)] {
        marks.keys().append_value(key);
        marks.values().append_value(value);
        marks.append(true).unwrap();
    }
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("to", Arc::new(to) as ArrayRef),
        ("items", Arc::new(items) as ArrayRef),
        ("marks", Arc::new(marks.finish()) as ArrayRef),
    ])
    .unwrap()
}

fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    array.as_string_view().iter().collect()
}

#[test]
fn nested_values_are_json_where_nothing_is_said_of_them() {
    let file = FileRows::parquet("x", parquet_of(&orders()).into()).unwrap();
    let types: Vec<DataType> = file.columns.iter().map(|column| column.data_type).collect();
    assert_eq!(
        types,
        [
            DataType::Long,
            DataType::Json,
            DataType::Json,
            DataType::Json
        ]
    );
    let batches = rows_of(&file, &spec(file.columns.clone())).unwrap();
    let [id, to, items, marks, ..] = batches[0].columns() else {
        panic!("six columns")
    };
    assert_eq!(id.as_primitive::<Int64Type>().values(), &[1, 2]);
    let price = r#"{"city":"Bern","at":1500000000123,"price":"12345678901234567.89"}"#;
    assert_eq!(texts(to), [Some(price), Some(r#"{"at":7,"price":"0.05"}"#)]);
    let both = r#"[{"sku":"a","n":1},{"sku":"b","n":2}]"#;
    assert_eq!(texts(items), [Some(both), Some(r#"[{"sku":"c","n":3}]"#)]);
    assert_eq!(texts(marks), [Some(r#"{"x":1}"#), Some(r#"{"y":2}"#)]);
}

#[test]
fn nested_values_are_flattened_and_unnested_as_those_of_json() {
    use schemas::decoding::{Collections, NestedSpec};
    let column =
        |name: &str, data_type| ColumnSpec::new(name, data_type, schemas::FieldRole::Dimension);
    let mut spec = TableSpec::clone(&spec(vec![
        column("id", DataType::Long),
        column("to.city", DataType::String),
        column("to.at", DataType::Timestamp),
        column("to.price", DataType::BigDecimal),
        column("items.sku", DataType::String),
        column("items.n", DataType::Long),
        column("marks.x", DataType::Long),
    ]));
    spec.pipeline.nested = Some(NestedSpec {
        delimiter: ".".to_owned(),
        unnest: vec!["items".to_owned()],
        collections: Collections::NonPrimitive,
        rename: Vec::new(),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    let mut writer = arrow::ipc::writer::FileWriter::try_new(
        File::create(&path).unwrap(),
        orders().schema_ref(),
    )
    .unwrap();
    writer.write(&orders()).unwrap();
    writer.finish().unwrap();
    let from_parquet = FileRows::parquet("x", parquet_of(&orders()).into()).unwrap();
    for file in [FileRows::open(&path).unwrap(), from_parquet] {
        let mut batches = Vec::new();
        let part = &file.parts(u64::MAX).unwrap()[0];
        let read = file.read(
            part,
            (&Arc::new(spec.clone()), &NoExpressions),
            7,
            |batch| {
                batches.push(batch);
                Ok::<_, FileError>(())
            },
        );
        assert_eq!((read.unwrap().read, batches.len()), (2, 1));
        let [id, city, at, price, sku, n, x, ..] = batches[0].columns() else {
            panic!("nine columns")
        };
        assert_eq!(id.as_primitive::<Int64Type>().values(), &[1, 1, 2]);
        assert_eq!(texts(city), [Some("Bern"), Some("Bern"), None]);
        let times = at.as_primitive::<arrow::datatypes::TimestampMillisecondType>();
        assert_eq!(times.value(0), 1_500_000_000_123);
        let shown = arrow::util::display::array_value_to_string(price, 0).unwrap();
        assert!(shown.starts_with("12345678901234567.89"), "{shown}");
        assert_eq!(texts(sku), [Some("a"), Some("b"), Some("c")]);
        assert_eq!(n.as_primitive::<Int64Type>().values(), &[1, 2, 3]);
        assert!(x.is_valid(0) && x.is_null(2));
    }
}

#[test]
fn csv_is_read_as_its_options_say() {
    let read = |content: &str, options: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, content).unwrap();
        let csv = schemas::pinot::csv_reader(options.iter().copied()).unwrap();
        let file = FileRows::open_with(&path, None, csv.as_ref())?;
        rows_of(&file, &spec(file.columns.clone()))
    };
    let options = [
        ("delimiter", "|"),
        ("header", "id|name"),
        ("quoteCharacter", "'"),
        ("commentMarker", "#"),
        ("nullStringValue", "NULL"),
        ("ignoreSurroundingSpaces", "true"),
    ];
    let batches = read("1|'a|b'\n# no\n\n2| NULL \n", &options).unwrap();
    assert_eq!(
        batches[0].column(0).as_primitive::<Int64Type>().values(),
        &[1, 2]
    );
    assert_eq!(texts(batches[0].column(1)), [Some("a|b"), None]);
    let skips = [("header", "a,b"), ("skipHeader", "true")];
    let batches = read("x,y\n1,2\n", &skips).unwrap();
    assert_eq!(batches[0].num_rows(), 1);
    assert_eq!(batches[0].schema_ref().field(0).name(), "a");
    let told = read("1,2,3\n", &[("header", "a,b")])
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("row 1") && told.contains("3 fields"),
        "{told}"
    );
    let escaped = [("escapeCharacter", "\\")];
    let batches = read("s\n\"a\\\"b\"\n", &escaped).unwrap();
    assert_eq!(texts(batches[0].column(0)), [Some("a\"b")]);
}
