//! No damage goes unseen: every flipped bit and every truncation is an error, never a wrong value.

use std::fs;
use std::path::Path;

use super::sealed::{batches, build};
use super::{Draw, every_column, stored_names};
use crate::container::VERSION;
use crate::{SealedSegment, SegmentError, pack};
use schemas::{TableId, TableSpec};

const DRAW: Draw = Draw {
    values: 300,
    null_in: 7,
    wide: false,
};

fn verify(path: &Path, spec: &TableSpec, crc: u32) -> Result<(), SegmentError> {
    SealedSegment::open(path, spec, crc)?.verify_all()
}

#[test]
fn flipped_bits_are_found() {
    let spec = every_column();
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[9000], DRAW, 1), folder.path());
    let good = fs::read(segment.path()).unwrap();
    let path = folder.path().join("damaged.seg");
    // Every bit of the header, and one bit in each 4 KiB, never at the same place of it.
    let header = (0..64 * 8).map(|bit| (bit / 8, bit % 8));
    let pages = (0..good.len().div_ceil(4096)).map(|page| {
        let at = (page * 4096 + (page * 37) % 4096).min(good.len() - 1);
        (at, page % 8)
    });
    let last = [(good.len() - 1, 0)];
    for (at, bit) in header.chain(pages).chain(last) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&path, &damaged).unwrap();
        let error = verify(&path, &spec, record.crc).expect_err("damage was not seen");
        assert!(error.is_corrupt(), "bit {bit} of byte {at}: {error}");
        assert!(pack(&path, record.crc).is_err());
    }
}

#[test]
fn a_query_of_damaged_columns_gets_an_error() {
    let spec = every_column();
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[9000], DRAW, 1), folder.path());
    let good = fs::read(segment.path()).unwrap();
    let path = folder.path().join("damaged.seg");
    let mut seen = 0;
    for at in (100..good.len()).step_by(30_011) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x80;
        fs::write(&path, &damaged).unwrap();
        let Ok(segment) = SealedSegment::open(&path, &spec, record.crc) else {
            continue;
        };
        let view = segment.view();
        let failed = stored_names(&spec)
            .iter()
            .any(|name| match view.column(name) {
                Ok(column) => column.unwrap().inverted().is_err(),
                Err(error) => error.is_corrupt(),
            });
        assert!(failed, "byte {at}");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn truncations_are_found() {
    let spec = every_column();
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[3000], DRAW, 1), folder.path());
    let good = fs::read(segment.path()).unwrap();
    let path = folder.path().join("short.seg");
    let lengths = (0..good.len())
        .step_by(4096)
        .chain([1, 63, 64, 65, good.len() - 1]);
    for length in lengths {
        fs::write(&path, &good[..length]).unwrap();
        let error = verify(&path, &spec, record.crc).unwrap_err();
        // An empty file cannot be mapped.
        assert!(error.is_corrupt() || length == 0, "{length}: {error}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    fs::write(&path, &longer).unwrap();
    assert!(verify(&path, &spec, record.crc).unwrap_err().is_corrupt());
}

#[test]
fn misplaced_files_and_other_versions_are_refused() {
    let mut spec = every_column();
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &batches(&spec, &[30], DRAW, 1), folder.path());
    let error = SealedSegment::open(segment.path(), &spec, record.crc ^ 1).unwrap_err();
    assert!(matches!(error, SegmentError::Misplaced { .. }), "{error}");
    spec.id = TableId::from_bytes(&[8; 16]).unwrap();
    let error = SealedSegment::open(segment.path(), &spec, record.crc).unwrap_err();
    assert!(matches!(error, SegmentError::Misplaced { .. }), "{error}");
    assert!(error.is_corrupt());

    let mut newer = fs::read(segment.path()).unwrap();
    newer[8] = VERSION as u8 + 1;
    let path = folder.path().join("newer.seg");
    fs::write(&path, &newer).unwrap();
    let error = SealedSegment::open(&path, &spec, record.crc).unwrap_err();
    assert!(
        matches!(error, SegmentError::UnknownVersion { found, .. } if found == VERSION + 1),
        "{error}"
    );
}
