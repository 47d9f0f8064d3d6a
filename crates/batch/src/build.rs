//! What is read in one go into segments, one after the other, at most one of them open: a part of
//! a large file, or many small files.
//!
//! Invariant: the last segment of a go is marked as such, and is handed on only when all of it was
//! read: whoever finds the mark knows that nothing is missing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Int64Array, RecordBatch};
use ingest::RolledUp;
use ingest::files::{FilePart, FileRows, Records};
use schemas::segment::{Ledger, SegmentRecord, display_name};
use schemas::{SegmentId, Sequence, TableSpec};
use segment::{SealExtra, SegmentBuilder, SegmentError, pack};
use tempfile::TempPath;
use uuid::Uuid;

use crate::finished::GoKey;
use crate::lanes::Lane;
use crate::{ImportError, Progress, Workshop};

/// A go with more rows becomes several segments.
pub(crate) const SEGMENT_ROWS_MAX: u32 = 2_500_000;
/// Also when the rows of an open one take so much memory.
pub(crate) const SEGMENT_MEMORY_MAX: u64 = 1 << 30;

/// What is read in one go, by one thread.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) key: GoKey,
    /// One after the other; those of a lane follow each other.
    pub(crate) pieces: Vec<Piece>,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) file: Arc<FileRows>,
    /// Of another host's file: it lies here as long as somebody reads it.
    pub(crate) _fetched: Option<Arc<TempPath>>,
    pub(crate) part: FilePart,
    /// Of the file's bytes.
    pub(crate) bytes: u64,
    pub(crate) lane: Lane,
}

/// A segment that is sealed and packed.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) record: SegmentRecord,
    pub(crate) packed: Vec<u8>,
}

/// Where numbers come from and segments go to.
pub(crate) trait Line {
    fn next_sequence(&mut self) -> Result<Sequence, ImportError>;
    fn hand_on(&mut self, built: Built) -> Result<(), ImportError>;
}

pub(crate) fn build(
    unit: &Unit,
    spec: &Arc<TableSpec>,
    reader: Uuid,
    (workshop, progress): (&Workshop, &Progress),
    line: &mut dyn Line,
) -> Result<(), ImportError> {
    let mut bench = Bench {
        unit,
        spec,
        reader,
        workshop,
        line,
        now_ms: workshop.clock.now_ms(),
        open: None,
        waiting: None,
        rolling: RolledUp::new(spec),
        merged: 0,
        pieces: 0,
    };
    let table = (spec, workshop.expressions.as_ref());
    let now_ms = bench.now_ms;
    let (mut records, mut lane) = (Records::default(), None);
    for piece in &unit.pieces {
        if lane
            .replace(&piece.lane)
            .is_some_and(|lane| *lane != piece.lane)
        {
            bench.cut()?;
        }
        let take = |batch: RecordBatch| {
            progress.add_rows(batch.num_rows() as u64);
            bench.take(batch)
        };
        let read = piece
            .file
            .read::<ImportError>(&piece.part, table, now_ms, take)?;
        records.add(read);
        progress
            .bytes_done
            .fetch_add(piece.bytes, Ordering::Relaxed);
    }
    bench.flush()?;
    bench.end(records)
}

/// Rows count up from `first` in their new segment.
pub(crate) fn numbered(batch: &RecordBatch, first: u32) -> RecordBatch {
    let offsets = i64::from(first)..i64::from(first) + batch.num_rows() as i64;
    let mut columns = batch.columns().to_vec();
    // `$ingestTime` is the last one.
    let at = columns.len() - 2;
    columns[at] = Arc::new(Int64Array::from_iter_values(offsets));
    RecordBatch::try_new(batch.schema(), columns).expect("offsets in the place of offsets")
}

struct Bench<'a> {
    unit: &'a Unit,
    spec: &'a Arc<TableSpec>,
    reader: Uuid,
    workshop: &'a Workshop,
    line: &'a mut dyn Line,
    now_ms: i64,
    open: Option<SegmentBuilder>,
    /// Full; whether it is the last is not known yet.
    waiting: Option<SegmentBuilder>,
    /// Rows of the next segment, where the table rolls up.
    rolling: Option<RolledUp>,
    merged: u64,
    pieces: u32,
}

impl Bench<'_> {
    fn take(&mut self, batch: RecordBatch) -> Result<(), ImportError> {
        let Some(rolling) = &mut self.rolling else {
            return self.add(&batch);
        };
        rolling.add(batch);
        let is_full = rolling.rows() >= SEGMENT_ROWS_MAX as usize
            || rolling.memory_bytes() as u64 >= SEGMENT_MEMORY_MAX;
        match is_full {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        let Some(rolling) = &mut self.rolling else {
            return Ok(());
        };
        let (batches, merged) = rolling.take();
        self.merged += merged;
        batches.iter().try_for_each(|batch| self.add(batch))
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), ImportError> {
        if let Some(full) = self.waiting.take() {
            self.seal(full, Ledger::default(), false)?;
        }
        let mut builder = match self.open.take() {
            Some(builder) => builder,
            None => self.begin()?,
        };
        match builder.append(&numbered(batch, builder.row_count())) {
            // A column takes no more; the batch was not taken at all.
            Err(SegmentError::Full { .. }) if builder.row_count() > 0 => {
                self.seal(builder, Ledger::default(), false)?;
                builder = self.begin()?;
                builder.append(&numbered(batch, 0))?;
            }
            appended => appended?,
        }
        let is_full =
            builder.row_count() >= SEGMENT_ROWS_MAX || builder.memory_bytes() >= SEGMENT_MEMORY_MAX;
        match is_full {
            true => self.waiting = Some(builder),
            false => self.open = Some(builder),
        }
        Ok(())
    }

    /// The rows that come go into another segment.
    fn cut(&mut self) -> Result<(), ImportError> {
        self.flush()?;
        if let Some(open) = self.open.take() {
            self.waiting = Some(open);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<SegmentBuilder, ImportError> {
        let id = SegmentId {
            table: self.spec.id,
            partition: 0,
            sequence: self.line.next_sequence()?,
        };
        let name = display_name(self.spec, id, self.now_ms);
        Ok(SegmentBuilder::new(self.spec, id, name)?)
    }

    /// What was left out is told with the last segment, also when that has no rows.
    fn end(mut self, records: Records) -> Result<(), ImportError> {
        let last = match self.waiting.take().or(self.open.take()) {
            Some(last) => last,
            None if records.read == 0 => return Ok(()),
            None => self.begin()?,
        };
        let ledger = Ledger {
            filtered: records.filtered,
            unnested: records.unnested,
            merged: records.merged + self.merged,
            ..Ledger::default()
        };
        self.seal(last, ledger, true)
    }

    fn seal(
        &mut self,
        builder: SegmentBuilder,
        ledger: Ledger,
        is_last: bool,
    ) -> Result<(), ImportError> {
        let ledger = Ledger {
            rows: u64::from(builder.row_count()),
            ..ledger
        };
        let extra = SealExtra {
            start: 0,
            end: ledger.total() as i64,
            ledger,
            created_ms: self.now_ms,
            sealed_ms: self.workshop.clock.now_ms(),
            ..SealExtra::default()
        };
        let files = self.workshop.files.as_ref();
        let sealed = builder.finish(files, &self.workshop.folder, extra)?;
        let packed = pack(&sealed.path, sealed.record.crc)?;
        let path = sealed.path;
        let removed = files.remove(&path);
        removed.map_err(|source| ImportError::Remove { path, source })?;
        let mut record = sealed.record;
        let mark = self.unit.key.mark(self.reader, self.pieces, is_last);
        record.source = Some(Box::new(mark));
        self.pieces += 1;
        self.line.hand_on(Built { record, packed })
    }
}
