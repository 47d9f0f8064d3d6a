//! Columns that a segment was written without, with values computed from those that it has.
//!
//! Who computes them is outside: they come in the order of the segment's rows, and are encoded into
//! its sidecar as the seal encodes columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use schemas::TableSpec;
use schemas::arrow::ingest_schema;
use schemas::table::star_tree;

use super::column::Column;
use super::{Base, SealedSegment};
use crate::container::{ColumnFooter, Container, ContainerWriter, Content, IndexKey, IndexKind};
use crate::seal::{encode_columns, indexes};
use crate::view::describe;
use crate::{MutableSegment, SegmentError};

/// Values of columns of one segment, for its sidecar.
#[derive(Debug)]
pub struct ComputedColumns {
    rows: MutableSegment,
}

impl ComputedColumns {
    /// `columns`: their positions in the spec.
    pub fn new(
        segment: &SealedSegment,
        spec: &TableSpec,
        columns: &[usize],
    ) -> Result<Self, SegmentError> {
        let columns = columns.iter().map(|at| spec.columns[*at].clone());
        let spec = TableSpec {
            columns: columns.collect(),
            sorted_column: None,
            ..spec.clone()
        };
        let name = segment.name().to_owned();
        let rows = MutableSegment::new(Arc::new(spec), segment.id(), name, segment.start())?;
        Ok(Self {
            rows: rows.unasked(),
        })
    }

    /// Those of the next rows.
    pub fn append(&self, mut values: Vec<ArrayRef>) -> Result<(), SegmentError> {
        let rows = values.first().map_or(0, |first| first.len());
        // Every row has these, and nobody reads them here.
        values.push(Arc::new(Int64Array::from(vec![0; rows])));
        values.push(Arc::new(TimestampMillisecondArray::from(vec![0; rows])));
        let batch = RecordBatch::try_new(ingest_schema(self.rows.spec()), values);
        let batch = batch.map_err(|error| SegmentError::Batch {
            what: error.to_string(),
        })?;
        self.rows.append(&batch)
    }

    pub(super) fn encode(
        &self,
        segment: &SealedSegment,
        writer: &mut ContainerWriter<'_>,
    ) -> Result<Vec<ColumnFooter>, SegmentError> {
        let (found, wanted) = (self.rows.row_count(), segment.row_count());
        if found != wanted {
            let of = describe(segment.id(), segment.crc());
            let what = format!("{found} rows were computed for {of}, which has {wanted}");
            return Err(SegmentError::Batch { what });
        }
        encode_columns(&self.rows, writer)
    }
}

impl Base {
    /// What the table wants of this segment: columns that it has need not be computed.
    pub(super) fn wanted(&self, spec: &TableSpec) -> Vec<IndexKey> {
        let mut wanted = indexes::wanted(spec);
        let is_stored = |key: &IndexKey| self.find(&key.columns[0]).is_some();
        wanted.retain(|key| key.kind != IndexKind::Computed || !is_stored(key));
        wanted
    }

    pub(super) fn find(&self, name: &str) -> Option<&Column> {
        let mut columns = self.columns.iter();
        columns.find(|column| column.name() == name)
    }
}

impl SealedSegment {
    /// Positions in the spec of the columns that are to be computed for a sidecar of this extent.
    pub fn to_compute(&self, spec: &TableSpec, extent: super::Extent) -> Vec<usize> {
        let meant = self.meant(spec, extent).into_iter();
        let meant = meant.filter(|key| key.kind == IndexKind::Computed);
        let position = |name: &str| spec.columns.iter().position(|column| column.name == name);
        meant.filter_map(|key| position(&key.columns[0])).collect()
    }

    /// The segment with the columns of a sidecar that is being written, and without indexes.
    pub(super) fn with_unfinished(
        &self,
        writer: &mut ContainerWriter<'_>,
        (columns, footer): (&[ColumnFooter], &impl Content),
        path: &std::path::Path,
    ) -> Result<Arc<Self>, SegmentError> {
        let mut computed = Vec::new();
        if !columns.is_empty() {
            let content = writer.content();
            let content = content.map_err(SegmentError::io("read back", path))?;
            let container = Arc::new(Container::unfinished(path, content, footer));
            computed.extend(columns.iter().map(|column| {
                let column = Column::new(&container, column, self.row_count());
                Arc::new(column)
            }));
        }
        Ok(Arc::new(Self {
            base: Arc::clone(&self.base),
            sidecar: None,
            computed,
            indexes: Vec::new(),
        }))
    }
}

/// Whether what is built of this key depends on values that are computed: these are computed anew
/// with each sidecar, and what is built of them is, too.
pub(super) fn depends_on_computed(key: &IndexKey, wanted: &[IndexKey]) -> bool {
    computed_of(key, wanted.iter()).next().is_some()
}

/// Those of the keys that are computed columns of what is built of `key`.
pub(super) fn computed_of<'a>(
    key: &IndexKey,
    keys: impl Iterator<Item = &'a IndexKey>,
) -> impl Iterator<Item = &'a IndexKey> {
    let computed = keys.filter(|one| one.kind == IndexKind::Computed);
    computed.filter(|one| is_over(key, &one.columns[0]))
}

fn is_over(key: &IndexKey, column: &str) -> bool {
    let is_dimension = |name: &String| {
        let bucket = || star_tree::time_bucket(name).is_some_and(|(time, _)| time == column);
        name == column || bucket()
    };
    // What a tree sums up is among its parameters.
    let mut aggregates = key.parameters["aggregates"]
        .as_array()
        .into_iter()
        .flatten();
    key.columns.iter().any(is_dimension) || aggregates.any(|one| one["column"] == column)
}
