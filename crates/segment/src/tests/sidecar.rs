//! Indexes that come after the seal: the same as those of the seal, bound to their segment, and
//! never trusted.

use std::fs;
use std::sync::Arc;

use runtime::files::OsFiles;
use schemas::table::{StarTreeAggregate, StarTreeFunction, StarTreeSpec};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use super::sealed::{batches, build};
use super::{Draw, spec_of};
use crate::view::{IndexKey, IndexKind, StarTree};
use crate::{Extent, SealedSegment};

const DRAW: Draw = Draw {
    values: 12,
    null_in: 5,
    wide: false,
};

fn bare() -> TableSpec {
    let column = |name: &str, data_type| ColumnSpec::new(name, data_type, FieldRole::Dimension);
    spec_of(vec![
        column("a", DataType::String),
        column("b", DataType::String),
        column("n", DataType::Long),
    ])
}

/// With indexes that a sidecar can hold, and one that this table cannot have.
fn indexed() -> TableSpec {
    let mut spec = bare();
    spec.columns[0].inverted_index = true;
    spec.star_trees = ["b", "lost"]
        .map(|dimension| tree(&["a", dimension]))
        .into();
    spec
}

fn tree(dimensions: &[&str]) -> StarTreeSpec {
    StarTreeSpec {
        dimensions: dimensions.iter().map(ToString::to_string).collect(),
        by_cardinality: false,
        no_star: Vec::new(),
        aggregates: vec![StarTreeAggregate {
            function: StarTreeFunction::Sum,
            column: Some("n".to_owned()),
        }],
        leaf_rows_max: 10,
    }
}

fn names(segment: &SealedSegment) -> Vec<String> {
    let indexes = segment.indexes().iter();
    indexes.map(|index| index.key().to_string()).collect()
}

fn sums(segment: &Arc<SealedSegment>) -> Vec<(i64, String)> {
    let view = segment.view();
    let index = view
        .indexes()
        .iter()
        .find(|i| i.key().kind == IndexKind::StarTree)
        .unwrap();
    let tree = view.open_index::<StarTree>(index).unwrap();
    let records = 0..tree.tree.records();
    records
        .map(|r| {
            (
                tree.tree.rows(r),
                format!("{:?}", tree.tree.codes(1).get(r)),
            )
        })
        .collect()
}

#[test]
fn later_indexes_are_those_of_the_seal() {
    let (bare, indexed) = (bare(), indexed());
    let folder = tempfile::tempdir().unwrap();
    let rows = batches(&bare, &[9000, 500], DRAW, 3);
    let (record, plain) = build(&bare, &rows, folder.path());
    let (_, at_seal) = build(&indexed, &rows, &folder.path().join("."));
    assert!(plain.missing(&bare).is_empty() && !plain.is_sidecar_outdated(&bare, Extent::All));
    assert_eq!(plain.missing(&indexed).len(), 3);
    // What was declined at the seal is not missing.
    assert!(at_seal.missing(&indexed).is_empty());
    let path = folder.path().join("1.a.idx");
    assert!(
        plain
            .write_sidecar((&indexed, Extent::All), None, &OsFiles, &path)
            .unwrap()
    );
    let with = plain.with_sidecar(&path, &indexed).unwrap();
    assert_eq!(names(&with), ["inverted(a)", "star_tree(a,b)"]);
    assert_eq!(names(&with), names(&at_seal));
    assert!(with.missing(&indexed).is_empty() && !with.is_sidecar_outdated(&indexed, Extent::All));
    assert_eq!(sums(&with), sums(&at_seal));
    with.verify_sidecar().unwrap();
    with.verify_all().unwrap();
    let view = with.view();
    let (later, sealed) = (view.column("a").unwrap().unwrap(), at_seal.view());
    let sealed = sealed.column("a").unwrap().unwrap();
    let both = [later, sealed].map(|column| column.inverted().unwrap().unwrap());
    let [later, sealed] = both;
    assert!((0..later.cardinality()).all(|c| later.docs(c).unwrap() == sealed.docs(c).unwrap()));

    // Without them in the config they are not shown, and without the sidecar they are gone.
    let hidden = with.with_spec(&bare);
    assert!(names(&hidden).is_empty() && hidden.is_sidecar_outdated(&bare, Extent::Kept));
    assert_eq!(names(&hidden.with_spec(&indexed)).len(), 2);
    assert!(
        !hidden
            .write_sidecar((&bare, Extent::All), None, &OsFiles, &path)
            .unwrap()
    );
    assert!(names(&with.without_sidecar(&indexed)).is_empty());

    // A new sidecar takes over what is there and has what is new.
    let mut more = indexed.clone();
    more.columns[1].inverted_index = true;
    more.columns[0].inverted_index = false;
    assert_eq!(
        with.missing(&more),
        [IndexKey::of_column(IndexKind::Inverted, "b")]
    );
    let next = folder.path().join("1.b.idx");
    assert!(
        with.write_sidecar((&more, Extent::All), None, &OsFiles, &next)
            .unwrap()
    );
    let fresh = with.with_sidecar(&next, &more).unwrap();
    assert_eq!(names(&fresh), ["inverted(b)", "star_tree(a,b)"]);
    assert!(fresh.sidecar().unwrap().1 > with.sidecar().unwrap().1);
    assert_eq!(sums(&fresh), sums(&at_seal));
    assert_eq!(record.crc, fresh.crc());

    // Or only gives up what is not wanted.
    let kept = folder.path().join("1.c.idx");
    let extent = (&more, Extent::Kept);
    assert!(with.is_sidecar_outdated(&more, Extent::Kept));
    assert!(with.write_sidecar(extent, None, &OsFiles, &kept).unwrap());
    let fewer = with.with_sidecar(&kept, &more).unwrap();
    assert_eq!(names(&fewer), ["star_tree(a,b)"]);
    assert!(!fewer.is_sidecar_outdated(&more, Extent::Kept));
    assert_eq!(fewer.missing(&more), with.missing(&more));
}

#[test]
fn damaged_and_foreign_sidecars_are_refused() {
    let (bare, indexed) = (bare(), indexed());
    let folder = tempfile::tempdir().unwrap();
    let (_, segment) = build(&bare, &batches(&bare, &[3000], DRAW, 1), folder.path());
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (_, foreign) = build(&bare, &batches(&bare, &[3000], DRAW, 2), &other);
    let path = folder.path().join("1.a.idx");
    assert!(
        segment
            .write_sidecar((&indexed, Extent::All), None, &OsFiles, &path)
            .unwrap()
    );
    let error = foreign.with_sidecar(&path, &indexed).unwrap_err();
    assert!(
        error.is_corrupt() && error.to_string().contains("indexes of"),
        "{error}"
    );
    let good = fs::read(&path).unwrap();
    let damaged_at = folder.path().join("1.b.idx");
    let header = (0..64 * 8).map(|bit| (bit / 8, bit % 8));
    let rest = (64..good.len()).step_by(97).map(|at| (at, at % 8));
    for (at, bit) in header.chain(rest) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&damaged_at, &damaged).unwrap();
        let opened = segment.with_sidecar(&damaged_at, &indexed);
        let found = opened.and_then(|with| with.verify_sidecar());
        let error = found.expect_err("damage was not seen");
        assert!(error.is_corrupt(), "bit {bit} of byte {at}: {error}");
    }
    for length in (0..good.len()).step_by(1013) {
        fs::write(&damaged_at, &good[..length]).unwrap();
        assert!(
            segment.with_sidecar(&damaged_at, &indexed).is_err(),
            "{length}"
        );
    }
}
