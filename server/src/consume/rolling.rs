//! Roll-up over a whole consuming segment.
//!
//! Rows are put together batch by batch as they come in, and stay where they are: a segment that
//! queries read only grows. When it has twice the rows that it had after the last time, and before
//! it is sealed, its rows are put together in a new segment that takes its place in one step. So a
//! consuming segment has at most about twice the rows that it must have, and a sealed one has no
//! two rows that agree in everything but metrics.

use std::sync::Arc;

use ingest::RolledUp;
use schemas::Fault;
use schemas::arrow::{VIRTUAL_COLUMNS, ingest_schema};
use schemas::table::virtual_column;
use segment::MutableSegment;
use segment::view::blocks;

use super::{Flow, Runner, limits};
use crate::store::{job_fault, segment_fault};

/// Fewer rows are not put together before the segment ends.
const ROWS_LEAST: u32 = 8192;

impl Runner {
    /// Whether it is time to put the rows of the current segment together.
    pub(super) fn rolls_up(&self) -> bool {
        let spec = self.current.spec();
        if spec.pipeline.roll_up.is_empty() || spec.keyed.is_some() {
            return false;
        }
        let (rows, before) = (self.current.row_count(), self.rolled_up);
        let is_full = limits::is_full(&self.limits, &self.current) || self.memory_pressed;
        let has_doubled = rows >= ROWS_LEAST && rows / 2 >= before;
        // Near its limit there must be enough to gain.
        has_doubled || (is_full && rows > before.saturating_add(before / 4))
    }

    pub(super) async fn roll_up(&mut self) -> Result<Flow, Fault> {
        let old = Arc::clone(&self.current);
        let segment = Arc::clone(&old);
        let rolled = self.core.compute.run_soon(move || rolled_up(&segment));
        let rolled = rolled.await.map_err(job_fault)??;
        self.rolled_up = rolled.row_count();
        if rolled.row_count() == old.row_count() {
            return Ok(Flow::GoOn);
        }
        self.take_place(&old, rolled);
        self.is_full = false;
        if let Some(memory) = &mut self.memory {
            memory.shrink(memory.bytes().saturating_sub(self.current.memory_bytes()));
        }
        self.memory_pressed = !self.reserve();
        Ok(Flow::GoOn)
    }
}

/// The segment with its rows put together.
pub(super) fn rolled_up(segment: &Arc<MutableSegment>) -> Result<Arc<MutableSegment>, Fault> {
    let spec = segment.spec();
    let Some(mut rolling) = RolledUp::new(spec) else {
        return Ok(Arc::clone(segment));
    };
    let stored = [virtual_column::OFFSET, virtual_column::INGEST_TIME].map(|name| {
        let mut columns = VIRTUAL_COLUMNS.iter();
        let at = columns.position(|(own, _)| *own == name);
        spec.columns.len() + at.expect("they are virtual columns")
    });
    let columns: Vec<usize> = (0..spec.columns.len()).chain(stored).collect();
    let (view, schema) = (segment.view(), ingest_schema(spec));
    let mut rows = Vec::new();
    for block in blocks(view.row_count()) {
        rows.clear();
        rows.extend(block);
        let arrays = scan::read_rows(&view, spec, &columns, &rows);
        let batch = arrays.and_then(|arrays| {
            Ok(arrow::array::RecordBatch::try_new(
                Arc::clone(&schema),
                arrays,
            )?)
        });
        rolling.add(batch.map_err(|error| Fault::internal(error.to_string()))?);
    }
    let (batches, merged) = rolling.take();
    if merged == 0 {
        return Ok(Arc::clone(segment));
    }
    let (id, name) = (segment.id(), segment.name().to_owned());
    let rolled = MutableSegment::new(Arc::clone(spec), id, name, segment.start_offset());
    let rolled = rolled.map_err(|error| segment_fault(&error))?;
    for batch in &batches {
        let appended = rolled.append(batch);
        appended.map_err(|error| segment_fault(&error))?;
    }
    rolled.succeed(segment);
    Ok(Arc::new(rolled))
}
