//! How fast rows like those of `flights` are appended and sealed, with three inverted columns, on
//! one core: `cargo bench -p segment`. It measures, it does not judge; no row may be lost.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use runtime::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableSpec, TableType};
use segment::{SealExtra, SegmentBuilder};

const BATCHES: i64 = 83;
const BATCH_ROWS: i64 = 4096;
const NUMBERS: i64 = 14;
/// Column and its distinct values.
const TEXTS: [(&str, i64); 4] = [
    ("carrier", 16),
    ("tailnum", 4000),
    ("origin", 3),
    ("dest", 105),
];
const INVERTED: [&str; 3] = ["carrier", "origin", "dest"];

fn main() -> Result<(), Box<dyn Error>> {
    let spec = spec()?;
    let batches: Result<Vec<_>, _> = (0..BATCHES).map(|at| batch(&spec, at)).collect();
    let batches = batches?;
    for _ in 0..5 {
        measure(&spec, &batches)?;
    }
    Ok(())
}

fn measure(spec: &TableSpec, batches: &[RecordBatch]) -> Result<(), Box<dyn Error>> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence: 0,
    };
    let mut builder = SegmentBuilder::new(spec, id, "bench".to_owned())?;
    let began = Instant::now();
    for batch in batches {
        builder.append(batch)?;
    }
    let appended = began.elapsed().as_secs_f64();
    let rows = builder.row_count();
    assert_eq!(i64::from(rows), BATCHES * BATCH_ROWS, "every row is there");
    let memory = builder.memory_bytes();
    let folder = tempfile::tempdir()?;
    let extra = SealExtra {
        end: i64::from(rows),
        ..SealExtra::default()
    };
    let began = Instant::now();
    let record = builder.finish(&OsFiles, folder.path(), extra)?.record;
    let sealed = began.elapsed().as_secs_f64();
    println!(
        "append: {:.0} rows/s, {memory} bytes in memory; seal: {:.0} rows/s, {} bytes",
        f64::from(rows) / appended,
        f64::from(rows) / sealed,
        record.bytes
    );
    Ok(())
}

fn spec() -> Result<TableSpec, Box<dyn Error>> {
    let number = |at| ColumnSpec::new(format!("n{at}"), DataType::Int, FieldRole::Dimension);
    let mut columns: Vec<ColumnSpec> = (0..NUMBERS).map(number).collect();
    columns.extend(TEXTS.map(|(name, _)| {
        let mut column = ColumnSpec::new(name, DataType::String, FieldRole::Dimension);
        column.inverted_index = INVERTED.contains(&name);
        column
    }));
    columns.push(ColumnSpec::new(
        "ts",
        DataType::Timestamp,
        FieldRole::DateTime,
    ));
    Ok(TableSpec {
        time_column: Some("ts".to_owned()),
        ..TableSpec::new("flights".parse()?, TableType::Realtime, columns)
    })
}

/// Every 40th number is null.
fn batch(spec: &TableSpec, at: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = || at * BATCH_ROWS..(at + 1) * BATCH_ROWS;
    let mut columns: Vec<ArrayRef> = Vec::new();
    for column in 0..NUMBERS {
        let values = rows().map(|row| {
            let value = (row * 31 + column * 7) % 2400;
            ((row + column) % 40 > 0).then_some(value as i32)
        });
        columns.push(Arc::new(values.collect::<Int32Array>()));
    }
    for (_, distinct) in TEXTS {
        let values = rows().map(|row| format!("N{}", row * 7919 % distinct));
        columns.push(Arc::new(StringViewArray::from_iter_values(values)));
    }
    columns.push(Arc::new(
        TimestampMillisecondArray::from_iter_values(rows()),
    ));
    columns.push(Arc::new(Int64Array::from_iter_values(rows())));
    columns.push(Arc::new(
        TimestampMillisecondArray::from_iter_values(rows()),
    ));
    Ok(RecordBatch::try_new(ingest_schema(spec), columns)?)
}
