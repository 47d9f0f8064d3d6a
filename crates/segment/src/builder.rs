//! Builds a sealed segment from batches: an import, a rewrite.
//!
//! It is a consuming segment that nobody queries: there is one way from rows to a file.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use runtime::files::Files;
use schemas::{SegmentId, TableSpec};

use crate::{MutableSegment, SealExtra, Sealed, SegmentError, seal};

#[derive(Debug)]
pub struct SegmentBuilder {
    rows: MutableSegment,
}

impl SegmentBuilder {
    pub fn new(spec: &TableSpec, id: SegmentId, name: String) -> Result<Self, SegmentError> {
        let rows = MutableSegment::new(Arc::new(spec.clone()), id, name, 0)?;
        Ok(Self {
            rows: rows.unasked(),
        })
    }

    /// Adds a batch in the form of [`schemas::arrow::ingest_schema`].
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), SegmentError> {
        self.rows.append(batch)
    }

    pub fn row_count(&self) -> u32 {
        self.rows.row_count()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.rows.memory_bytes()
    }

    /// See [`seal()`].
    pub fn finish(
        self,
        files: &dyn Files,
        folder: &Path,
        extra: SealExtra,
    ) -> Result<Sealed, SegmentError> {
        seal(&self.rows, files, folder, extra)
    }
}
