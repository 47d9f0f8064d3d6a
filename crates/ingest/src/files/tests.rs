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
