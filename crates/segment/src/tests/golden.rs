//! Files that were written by version 1 of the format can be read for ever.

use std::path::Path;

use super::sealed::{batches, build};
use super::{Draw, every_column, expected, read, stored_names};
use crate::SealedSegment;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1.seg");
const CRC: u32 = 0xba41_fbe4;

/// When this fails, either the format has changed: raise `VERSION`, keep reading version 1 and
/// add a file for the new version; or only the choice of encodings has: then the first half of
/// the test must still hold, and the file is written anew from the one that the message names.
#[test]
fn version_1() {
    let mut spec = every_column();
    spec.sorted_column = Some("string_dimension".into());
    let draw = Draw {
        values: 60,
        null_in: 8,
        wide: false,
    };
    let batches = batches(&spec, &[300], draw, 1);
    let folder = tempfile::tempdir().unwrap().keep();
    let (record, built) = build(&spec, &batches, &folder);

    let path = Path::new(PATH);
    let golden = SealedSegment::open(path, &spec, CRC).unwrap_or_else(|error| {
        panic!(
            "{error}; today's is {} with {:#x}",
            built.path().display(),
            record.crc
        )
    });
    golden.verify_all().unwrap();
    for name in stored_names(&spec) {
        assert!(
            read(&golden.view(), &name) == read(&built.view(), &name),
            "{name}"
        );
        let (mut wanted, mut found) = (
            expected(&spec, &batches, &name).0,
            read(&golden.view(), &name).0,
        );
        wanted.sort();
        found.sort();
        assert!(wanted == found, "{name}");
    }
    let today = std::fs::read(built.path()).unwrap();
    let is_same = std::fs::read(path).unwrap() == today;
    assert!(
        is_same,
        "today's is {} with {:#x}",
        built.path().display(),
        record.crc
    );
    std::fs::remove_dir_all(folder).unwrap();
}
