//! Columns that a sidecar brings: as those of the seal, for queries and for what is built of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use runtime::files::OsFiles;
use schemas::TableSpec;
use schemas::table::{StarTreeAggregate, StarTreeFunction, StarTreeSpec};

use super::sealed::{batches, build};
use super::{Draw, every_column, expected, read};
use crate::view::{IndexKey, IndexKind};
use crate::{ComputedColumns, Extent, SealedSegment};

const DRAW: Draw = Draw {
    values: 40,
    null_in: 5,
    wide: false,
};

/// A table, and a segment of it that was written without every second column.
struct World {
    full: TableSpec,
    old: TableSpec,
    rows: Vec<RecordBatch>,
    segment: Arc<SealedSegment>,
    folder: tempfile::TempDir,
}

fn is_late(at: usize) -> bool {
    at % 2 == 1
}

impl World {
    fn new() -> Self {
        let mut full = every_column();
        for (at, column) in full.columns.iter_mut().enumerate() {
            column.transform = is_late(at).then(|| format!("made({at})"));
        }
        let old = full.columns.iter().enumerate();
        let old = old.filter(|(at, _)| !is_late(*at));
        let old = TableSpec {
            columns: old.map(|(_, column)| column.clone()).collect(),
            ..full.clone()
        };
        let rows = batches(&full, &[5000, 200], DRAW, 11);
        let stored = rows.iter().map(|batch| {
            let kept: Vec<usize> = (0..batch.num_columns())
                .filter(|at| *at >= full.columns.len() || !is_late(*at))
                .collect();
            batch.project(&kept).unwrap()
        });
        let folder = tempfile::tempdir().unwrap();
        let (_, segment) = build(&old, &stored.collect::<Vec<_>>(), folder.path());
        Self {
            full,
            old,
            rows,
            segment,
            folder,
        }
    }

    /// The values of these columns.
    fn computed(&self, spec: &TableSpec, columns: &[usize]) -> ComputedColumns {
        let computed = ComputedColumns::new(&self.segment, spec, columns).unwrap();
        for batch in &self.rows {
            let values = columns.iter().map(|at| Arc::clone(batch.column(*at)));
            computed.append(values.collect()).unwrap();
        }
        computed
    }

    fn sidecar(
        &self,
        segment: &Arc<SealedSegment>,
        wanted: (&TableSpec, Extent),
        name: &str,
    ) -> Arc<SealedSegment> {
        let (spec, extent) = wanted;
        let columns = segment.to_compute(spec, extent);
        let computed = (!columns.is_empty()).then(|| self.computed(spec, &columns));
        let path = self.folder.path().join(name);
        let written = segment.write_sidecar(wanted, computed.as_ref(), &OsFiles, &path);
        assert!(written.unwrap());
        segment.with_sidecar(&path, spec).unwrap()
    }
}

fn kinds(keys: &[IndexKey], kind: IndexKind) -> usize {
    keys.iter().filter(|key| key.kind == kind).count()
}

#[test]
fn computed_columns_are_as_if_they_had_been_there() {
    let world = World::new();
    let (full, segment) = (&world.full, &world.segment);
    let late = (0..full.columns.len()).filter(|at| is_late(*at));
    assert_eq!(
        segment.to_compute(full, Extent::Computed),
        late.collect::<Vec<_>>()
    );
    assert!(segment.lacks_computed(full) && !segment.has_computed());
    assert!(segment.missing(&world.old).is_empty());

    let only = world.sidecar(segment, (full, Extent::Computed), "1.a.idx");
    assert!(only.has_computed() && !only.lacks_computed(full));
    only.verify_sidecar().unwrap();
    let view = only.view();
    for column in &full.columns {
        let found = read(&view, &column.name);
        assert!(
            found == expected(full, &world.rows, &column.name),
            "{}",
            column.name
        );
    }

    // What is built of them is that of a segment that has them from the beginning.
    let (_, whole) = build(full, &world.rows, &world.folder.path().join("."));
    let all = world.sidecar(&only, (full, Extent::All), "1.b.idx");
    all.verify_sidecar().unwrap();
    assert!(all.missing(full).is_empty() && !all.is_sidecar_outdated(full, Extent::All));
    let (all, whole) = (all.view(), whole.view());
    for column in full.columns.iter().filter(|column| column.inverted_index) {
        let of = |view: &crate::SegmentView| {
            let column = view.column(&column.name).unwrap().unwrap();
            let inverted = column.inverted().unwrap()?;
            let docs = (0..inverted.cardinality()).map(|code| inverted.docs(code).unwrap());
            Some(docs.collect::<Vec<_>>())
        };
        assert!(of(&all) == of(&whole), "{}", column.name);
    }
}

fn tree(dimension: &str, metric: &str) -> StarTreeSpec {
    StarTreeSpec {
        dimensions: vec![dimension.to_owned()],
        by_cardinality: false,
        no_star: Vec::new(),
        aggregates: vec![StarTreeAggregate {
            function: StarTreeFunction::Sum,
            column: Some(metric.to_owned()),
        }],
        leaf_rows_max: 10,
    }
}

/// A changed transform hides the values and all that was built of them, and nothing else.
#[test]
fn other_transforms_hide_what_was_computed() {
    let world = World::new();
    let mut full = world.full.clone();
    let (early, late) = ("int_inverted", "long_inverted");
    full.star_trees = ["long_metric", late]
        .map(|metric| tree(early, metric))
        .into();
    let first = world.sidecar(&world.segment, (&full, Extent::All), "1.a.idx");
    let has = |segment: &SealedSegment, kind: IndexKind, name: &str| {
        let mut indexes = segment.indexes().iter();
        indexes.any(|index| index.key().is_of(kind, name))
    };
    let trees = |segment: &SealedSegment| {
        let indexes = segment.indexes().iter();
        indexes
            .filter(|index| index.key().kind == IndexKind::StarTree)
            .count()
    };
    assert!(has(&first, IndexKind::Inverted, late) && has(&first, IndexKind::Inverted, early));
    assert!(first.view().column(late).unwrap().is_some());
    assert_eq!(trees(&first), 2);

    let mut changed = full.clone();
    let at = changed
        .columns
        .iter()
        .position(|column| column.name == late);
    changed.columns[at.unwrap()].transform = Some("made otherwise".to_owned());
    let hidden = first.with_spec(&changed);
    assert!(hidden.view().column(late).unwrap().is_none());
    assert!(!has(&hidden, IndexKind::Inverted, late));
    assert!(has(&hidden, IndexKind::Inverted, early));
    assert_eq!(trees(&hidden), 1);
    assert!(hidden.is_sidecar_outdated(&changed, Extent::Kept));
    let missing = hidden.missing(&changed);
    assert_eq!(kinds(&missing, IndexKind::Computed), 1);
    assert_eq!(kinds(&missing, IndexKind::Inverted), 1);

    // What the transform had made does not come back, what others had made stays.
    let kept = world.sidecar(&hidden, (&changed, Extent::Kept), "1.b.idx");
    assert!(kept.view().column(late).unwrap().is_none());
    assert_eq!(kept.missing(&changed), missing);
    assert_eq!(
        kept.to_compute(&changed, Extent::Kept).len() + 1,
        first.to_compute(&full, Extent::Kept).len()
    );
    let again = world.sidecar(&kept, (&changed, Extent::All), "1.c.idx");
    assert!(again.missing(&changed).is_empty());
    assert!(has(&again, IndexKind::Inverted, late));
    assert_eq!(trees(&again), 2);
    // Without any transform the columns have their defaults, as before.
    let mut bare = full.clone();
    bare.columns
        .iter_mut()
        .for_each(|column| column.transform = None);
    assert!(!again.with_spec(&bare).has_computed());
}

#[test]
fn computed_values_must_be_of_all_rows() {
    let world = World::new();
    let columns = world.segment.to_compute(&world.full, Extent::Computed);
    let computed = ComputedColumns::new(&world.segment, &world.full, &columns).unwrap();
    let batch = &world.rows[0];
    let values = columns.iter().map(|at| Arc::clone(batch.column(*at)));
    computed.append(values.collect()).unwrap();
    let path = world.folder.path().join("1.a.idx");
    let wanted = (&world.full, Extent::Computed);
    let written = world
        .segment
        .write_sidecar(wanted, Some(&computed), &OsFiles, &path);
    let told = written.unwrap_err().to_string();
    assert!(told.contains("5000 rows were computed"), "{told}");
    assert!(!path.exists());
}
