//! Files that were written by any version of the format can be read for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringViewArray};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::{batches, build};
use super::{Draw, every_column, expected, read, stored_names};
use crate::SealedSegment;
use crate::container::VERSION;
use crate::inspect::inspect;

/// Checksums of `testdata/v1.seg` and those after it.
const GOLDEN: [u32; VERSION as usize] = [
    0xba41_fbe4,
    0x07f0_181d,
    0x1bba_91e2,
    0x4417_9e54,
    0xc9ee_b2ae,
];

fn path_of(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/v{version}.seg"))
}

fn spec() -> TableSpec {
    let mut spec = every_column();
    spec.sorted_column = Some("string_dimension".into());
    let money = ColumnSpec::new("money", DataType::Double, FieldRole::Metric);
    let mut page = ColumnSpec::new("page", DataType::String, FieldRole::Dimension);
    page.shared_prefixes = true;
    spec.columns.extend([money, page]);
    spec
}

fn rows(spec: &TableSpec) -> Vec<RecordBatch> {
    let mut batches = batches(spec, &[300], DRAW, 1);
    let at = spec.columns.len() - 2;
    for batch in &mut batches {
        let mut columns = batch.columns().to_vec();
        let pages = (0..batch.num_rows()).map(|n| format!("https://example.com/page/{}", n % 90));
        columns[at + 1] = Arc::new(StringViewArray::from_iter_values(pages));
        let cents = 0..batch.num_rows() as i64;
        let money = cents.map(|cents| (cents * 37 - 4000) as f64 / 100.0);
        columns[at] = Arc::new(Float64Array::from_iter_values(money));
        *batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    }
    batches
}

const DRAW: Draw = Draw {
    values: 60,
    null_in: 8,
    wide: false,
};

#[test]
fn every_version_is_read() {
    let spec = spec();
    let batches = rows(&spec);
    for (version, crc) in (1..).zip(GOLDEN) {
        let golden = SealedSegment::open(&path_of(version), &spec, crc).unwrap();
        golden.verify_all().unwrap();
        for name in stored_names(&spec) {
            let view = golden.view();
            if view.column(&name).unwrap().is_none() {
                assert!(is_newer(version, &name), "version {version}: {name}");
                continue;
            }
            let (mut wanted, mut found) =
                (expected(&spec, &batches, &name).0, read(&view, &name).0);
            wanted.sort();
            found.sort();
            assert!(wanted == found, "version {version}: {name}");
            if name.ends_with("_inverted") {
                let inverted = view.column(&name).unwrap().unwrap().inverted().unwrap();
                assert!(inverted.is_some(), "version {version}: {name}");
            }
        }
    }
}

#[test]
fn every_version_can_be_looked_into() {
    for version in 1..=VERSION {
        let golden = SealedSegment::open_any(&path_of(version)).unwrap();
        let found = inspect(&golden).unwrap();
        let sorted = found.columns.iter().find(|column| column.is_sorted);
        let sorted = sorted.unwrap();
        assert_eq!(sorted.name, "string_dimension");
        let in_order = if version < 4 {
            "dictionary u8"
        } else {
            "dictionary in order"
        };
        assert_eq!(sorted.encoding, in_order);
        assert!(sorted.nulls > 0 && sorted.range.is_some());
        let columns: u64 = found.columns.iter().map(|column| column.bytes()).sum();
        let indexes: u64 = found.indexes.iter().map(|index| index.bytes).sum();
        assert!(indexes > 0 && columns + indexes < golden.bytes());
        let raw = found.columns.iter().filter(|c| c.encoding == "lz4 blocks");
        assert_eq!(raw.count(), if version < 2 { 0 } else { 3 });
    }
}

/// Columns of types that came after a version.
fn is_newer(version: u32, column: &str) -> bool {
    let newer = ["uuid_", "_multi", "_raw"];
    version < 2 && newer.iter().any(|part| column.contains(part))
        || version < 3 && column == "money"
        || version < 5 && column == "page"
}

/// When this fails, either the format has changed: raise `VERSION`, keep reading the versions
/// before and add a file for the new one; or only the choice of encodings has: then the file is
/// written anew from the one that the message names.
#[test]
fn this_version_is_written() {
    let spec = spec();
    let folder = tempfile::tempdir().unwrap().keep();
    let (record, built) = build(&spec, &rows(&spec), &folder);
    let today = std::fs::read(built.path()).unwrap();
    assert!(
        std::fs::read(path_of(VERSION)).is_ok_and(|golden| golden == today),
        "today's is {} with {:#x}",
        built.path().display(),
        record.crc
    );
    std::fs::remove_dir_all(folder).unwrap();
}
