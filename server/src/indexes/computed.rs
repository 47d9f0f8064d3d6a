//! Columns that a segment was written without, computed by their transforms.
//!
//! A segment that is loaded is not shown before it has them, and none is shown without them when
//! their file was damaged: answers would change. To those that are here they come by a reload.

use std::path::Path;
use std::sync::Arc;

use ingest::StoredTransforms;
use runtime::Files;
use schemas::{Fault, TableSpec};
use segment::view::blocks;
use segment::{ComputedColumns, Extent, SealedSegment};

use crate::consume::EngineExpressions;
use crate::store::segment_fault;

/// As [`SealedSegment::write_sidecar`], with what can be computed.
pub(crate) fn write_sidecar(
    segment: &Arc<SealedSegment>,
    (spec, extent): (&TableSpec, Extent),
    files: &dyn Files,
    path: &Path,
) -> Result<bool, Fault> {
    let missing = segment.to_compute(spec, extent);
    let computed = match missing.is_empty() {
        true => None,
        false => computed(segment, spec, &missing)?,
    };
    let written = segment.write_sidecar((spec, extent), computed.as_ref(), files, path);
    written.map_err(|error| segment_fault(&error))
}

/// `None`: nothing can be computed.
fn computed(
    segment: &Arc<SealedSegment>,
    spec: &TableSpec,
    missing: &[usize],
) -> Result<Option<ComputedColumns>, Fault> {
    let transforms = StoredTransforms::new(spec, missing, &EngineExpressions);
    let mut transforms = transforms.map_err(Fault::invalid)?;
    let columns = transforms.columns();
    if columns.is_empty() {
        return Ok(None);
    }
    let made = ComputedColumns::new(segment, spec, &columns);
    let made = made.map_err(|error| segment_fault(&error))?;
    let view = segment.view();
    let (mut rows, mut failed) = (Vec::new(), 0);
    for block in blocks(segment.row_count()) {
        rows.clear();
        rows.extend(block);
        let stored = scan::read_rows(&view, spec, transforms.reads(), &rows);
        let stored = stored.map_err(|error| Fault::internal(error.to_string()))?;
        let (values, wrong) = transforms.run(&stored, rows.len());
        failed += wrong;
        let appended = made.append(values);
        appended.map_err(|error| segment_fault(&error))?;
    }
    if failed > 0 {
        let columns: Vec<&str> = columns.iter().map(|at| &*spec.columns[*at].name).collect();
        tracing::warn!(segment = %segment.id(), rows = failed, columns = columns.join(", "),
            "not every row of an old segment has a value that can be computed, it is null there");
    }
    Ok(Some(made))
}
