//! Prints how fast rows like those of `flights` are appended and sealed; run by hand with
//! `cargo test --release -p segment -- --ignored --nocapture flights_like`.

use std::time::Instant;

use runtime::files::OsFiles;
use schemas::{ColumnSpec, DataType, FieldRole};

use super::{Draw, Random, batch, extra, segment_id, spec_of};
use crate::SegmentBuilder;

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "prints what it measured")]
fn flights_like() {
    let text = |name: &str| ColumnSpec::new(name, DataType::String, FieldRole::Dimension);
    let number = |name: String| ColumnSpec::new(name, DataType::Int, FieldRole::Metric);
    let mut columns: Vec<ColumnSpec> = (0..14).map(|at| number(format!("n{at}"))).collect();
    columns.extend(["carrier", "tailnum", "origin", "dest"].map(text));
    columns.push(ColumnSpec::new(
        "when",
        DataType::Timestamp,
        FieldRole::DateTime,
    ));
    columns[14].inverted_index = true;
    let spec = spec_of(columns);
    let draw = Draw {
        values: 2000,
        null_in: 40,
        wide: false,
    };
    let mut random = Random(1);
    let batches: Vec<_> = (0..83)
        .map(|at| batch(&spec, at * 4096, 4096, draw, &mut random))
        .collect();
    let mut builder = SegmentBuilder::new(&spec, segment_id(), "n".into()).unwrap();
    let began = Instant::now();
    for batch in &batches {
        builder.append(batch).unwrap();
    }
    let (rows, appended) = (builder.row_count(), began.elapsed());
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let record = builder
        .finish(&OsFiles, folder.path(), extra(rows))
        .unwrap()
        .record;
    println!(
        "{rows} rows appended in {appended:?}, sealed in {:?} to {} bytes",
        began.elapsed(),
        record.bytes
    );
}
