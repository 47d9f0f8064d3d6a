//! The consuming segment: rows are appended while queries read.
//!
//! Invariants: one writer at a time; readers never wait for it, nor it for them. Rows become
//! visible together, by one store of the row count after all their columns are written. What a
//! view has seen never changes. Codes are published after their values and before the row count.
//! What readers make of the rows they keep for the next ones, under locks of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use schemas::segment::Ledger;
use schemas::{DataType, Offset, SegmentId, TableSpec};

mod column;
pub(crate) mod derived;
pub(crate) mod dictionary;
mod few;
mod lookup;
pub(crate) mod multi;
mod near;
pub(crate) mod nulls;
pub(crate) mod order;
mod same;
pub(crate) mod search;
pub(crate) mod seen;
pub(crate) mod text;
mod zones;

pub(crate) use column::{Column, Values};
pub(crate) use derived::Derived;

use crate::SegmentError;
use crate::defaults::DefaultValue;
use crate::rejected::{RejectedLog, RejectedRow};
use crate::sealed::ROWS_MAX;
use crate::view::{STORED_VIRTUAL, Segment, SegmentView};

#[derive(Debug)]
pub struct MutableSegment {
    spec: Arc<TableSpec>,
    id: SegmentId,
    name: String,
    start: Offset,
    columns: Vec<Column>,
    row_count: AtomicU32,
    next_offset: AtomicI64,
    filtered: AtomicU64,
    unnested: AtomicU64,
    merged: AtomicU64,
    rejected: Mutex<RejectedLog>,
    writer: Mutex<Vec<column::ColumnWriter>>,
}

impl MutableSegment {
    pub fn new(
        spec: Arc<TableSpec>,
        id: SegmentId,
        name: String,
        start: Offset,
    ) -> Result<Self, SegmentError> {
        let mut columns = Vec::with_capacity(spec.columns.len() + STORED_VIRTUAL.len());
        let mut writers = Vec::with_capacity(columns.capacity());
        for stored in &spec.columns {
            let default = DefaultValue::of(stored)?;
            let make = match stored.multi_value {
                true => column::multi_value,
                false => column::column,
            };
            let made = make(&stored.name, stored.data_type, default);
            let (writer, column) = column::with_few(made);
            writers.push(writer);
            columns.push(column.with_text(stored));
        }
        for (name, data_type) in STORED_VIRTUAL {
            let (writer, column) = column::column(name, data_type, DefaultValue::Long(0));
            writers.push(writer);
            columns.push(column);
        }
        Ok(Self {
            spec,
            id,
            name,
            start,
            columns,
            row_count: AtomicU32::new(0),
            next_offset: AtomicI64::new(start),
            filtered: AtomicU64::new(0),
            unnested: AtomicU64::new(0),
            merged: AtomicU64::new(0),
            rejected: Mutex::default(),
            writer: Mutex::new(writers),
        })
    }

    /// Without the indexes that only queries need.
    pub(crate) fn unasked(mut self) -> Self {
        self.columns.iter_mut().for_each(Column::unasked);
        let writers = self.writer.get_mut().iter_mut();
        writers.for_each(column::ColumnWriter::unasked);
        self
    }

    /// Adds all rows of a batch in the form of [`schemas::arrow::ingest_schema`], or none.
    pub fn append(&self, batch: &RecordBatch) -> Result<(), SegmentError> {
        self.append_with(batch, |publish| publish())
    }

    /// As [`Self::append`]; the rows become visible within `show`, by the call that it is given.
    /// It is not called when no row is added.
    pub fn append_with(
        &self,
        batch: &RecordBatch,
        show: impl FnOnce(&dyn Fn()),
    ) -> Result<(), SegmentError> {
        self.check(batch)?;
        let mut writers = self.writer.lock();
        let first = self.row_count();
        if first as usize + batch.num_rows() > ROWS_MAX as usize {
            let what = format!("it has {first} rows");
            return Err(SegmentError::Full { what });
        }
        for ((writer, column), array) in writers.iter().zip(&self.columns).zip(batch.columns()) {
            if !writer.has_room(array) {
                let what = format!("the strings of column `{}` exceed 512 MiB", column.name);
                return Err(SegmentError::Full { what });
            }
        }
        for ((writer, column), array) in writers.iter_mut().zip(&self.columns).zip(batch.columns())
        {
            writer.append(array, first, &column.nulls);
        }
        let row_count = first + batch.num_rows() as u32;
        show(&|| self.row_count.store(row_count, Ordering::Release));
        let offsets = batch
            .column(self.spec.columns.len())
            .as_primitive::<Int64Type>();
        if let Some(last) = offsets.values().last() {
            self.advance_to(*last + 1);
        }
        // The rows are there already; what is not indexed is judged value by value.
        self.columns.iter().try_for_each(Column::index_texts)
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), SegmentError> {
        let schema = batch.schema_ref();
        if schema.fields().len() != self.columns.len() {
            let (found, wanted) = (schema.fields().len(), self.columns.len());
            let what = format!("it has {found} columns, {wanted} are stored");
            return Err(SegmentError::Batch { what });
        }
        for (column, field) in self.columns.iter().zip(schema.fields()) {
            let wanted = column.arrow_type();
            if column.name != *field.name() || wanted != *field.data_type() {
                let (name, found) = (&column.name, field.data_type());
                let what = format!("`{name}` {wanted} wanted, `{}` {found} found", field.name());
                return Err(SegmentError::Batch { what });
            }
        }
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            if column.data_type == DataType::Uuid && !all_uuids(array) {
                let what = format!("`{}` holds a text that is no canonical UUID", column.name);
                return Err(SegmentError::Batch { what });
            }
        }
        for array in &batch.columns()[self.spec.columns.len()..] {
            if array.null_count() > 0 {
                let what = "an offset or ingestion time is null".to_owned();
                return Err(SegmentError::Batch { what });
            }
        }
        Ok(())
    }

    /// Raises the next offset over offsets that gave no row: rejected, filtered or absent.
    pub fn advance_to(&self, offset: Offset) {
        self.next_offset.fetch_max(offset, Ordering::Release);
    }

    /// Counts and keeps a row that could not be decoded. Its offset is passed by the rows around
    /// it or by [`Self::advance_to`].
    pub fn reject(&self, row: RejectedRow) {
        self.rejected.lock().add(row);
    }

    /// Counts rows that a filter of the table left out.
    pub fn count_filtered(&self, rows: u64) {
        self.filtered.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts what messages gave beyond one row each, and rows that went into others.
    pub fn count_reshaped(&self, unnested: u64, merged: u64) {
        self.unnested.fetch_add(unnested, Ordering::Relaxed);
        self.merged.fetch_add(merged, Ordering::Relaxed);
    }

    /// What another segment of the same offsets knows beside its rows, of which this one has some
    /// put together: it takes the other's place.
    pub fn succeed(&self, other: &Self) {
        *self.rejected.lock() = other.rejected.lock().clone();
        let ledger = other.ledger();
        let joined = ledger.rows.saturating_sub(u64::from(self.row_count()));
        self.count_filtered(ledger.filtered);
        self.count_reshaped(ledger.unnested, ledger.merged + joined);
        self.advance_to(other.next_offset());
    }

    /// Where the offsets [start, next) went. Whole between calls of the writer.
    pub fn ledger(&self) -> Ledger {
        let rows = u64::from(self.row_count());
        let rejected = self.rejected.lock().count();
        let filtered = self.filtered.load(Ordering::Relaxed);
        let unnested = self.unnested.load(Ordering::Relaxed);
        let merged = self.merged.load(Ordering::Relaxed);
        let passed = (self.next_offset() - self.start).max(0) as u64 + unnested;
        Ledger {
            rows,
            rejected,
            filtered,
            absent: passed.saturating_sub(rows + rejected + filtered + merged),
            unnested,
            merged,
        }
    }

    /// All rows that are published now.
    pub fn view(self: &Arc<Self>) -> SegmentView {
        SegmentView {
            segment: Segment::Consuming(Arc::clone(self)),
            row_count: self.row_count(),
            valid: None,
            derived: self.columns.iter().map(|_| Derived::default()).collect(),
        }
    }

    pub fn id(&self) -> SegmentId {
        self.id
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    pub fn start_offset(&self) -> Offset {
        self.start
    }

    pub fn row_count(&self) -> u32 {
        self.row_count.load(Ordering::Acquire)
    }

    /// First offset that was not consumed yet.
    pub fn next_offset(&self) -> Offset {
        self.next_offset.load(Ordering::Acquire)
    }

    pub fn rejected(&self) -> Vec<RejectedRow> {
        self.rejected.lock().rows().to_vec()
    }

    /// Bytes of the rows in memory, near enough for limits.
    pub fn memory_bytes(&self) -> u64 {
        let columns: usize = self.columns.iter().map(Column::bytes).sum();
        (columns + self.rejected.lock().bytes()) as u64
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where the column is among all.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Column> {
        self.position(name).map(|at| &self.columns[at])
    }

    /// Next offset as of a view of `row_count` rows. Offsets that gave no row count as passed
    /// only while no row was added since: the offset is loaded before the row count, and rows are
    /// published before the offset that passes them.
    pub(crate) fn next_offset_at(&self, row_count: u32) -> Offset {
        let next = self.next_offset();
        let least = match row_count.checked_sub(1) {
            Some(last) => self.long_at(virtual_offset(self), last) + 1,
            None => self.start,
        };
        if self.row_count() == row_count {
            next.max(least)
        } else {
            least
        }
    }

    pub(crate) fn newest_ingest_ms_at(&self, row_count: u32) -> i64 {
        match row_count.checked_sub(1) {
            Some(last) => self.long_at(virtual_offset(self) + 1, last),
            None => i64::MIN,
        }
    }

    fn long_at(&self, column: usize, row: u32) -> i64 {
        match &self.columns[column].values {
            Values::I64(values) => values.get(row as usize),
            _ => unreachable!("the stored virtual columns are {}", DataType::Long),
        }
    }
}

/// Canonical ones: the file keeps their bytes alone.
fn all_uuids(array: &ArrayRef) -> bool {
    let texts = match array.as_list_opt::<i32>() {
        Some(lists) => lists.values(),
        None => array,
    };
    let is_canonical = |text: &str| {
        let bytes = schemas::types::uuid_bytes(text);
        bytes.is_some_and(|bytes| schemas::types::uuid_text(bytes) == *text.as_bytes())
    };
    let mut texts = texts.as_string_view().iter().flatten();
    texts.all(is_canonical)
}

/// Index of `$offset` among the stored columns; `$ingestTime` follows.
fn virtual_offset(segment: &MutableSegment) -> usize {
    segment.spec.columns.len()
}
