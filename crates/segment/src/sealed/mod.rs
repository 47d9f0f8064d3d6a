//! The sealed segment: a mapped `.seg` file. It never changes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use schemas::segment::Ledger;
use schemas::{Offset, SegmentId, TableSpec};

pub(crate) mod column;
pub(crate) mod forward;
pub(crate) mod index;
pub(crate) mod sparse;
pub(crate) mod texts;

use crate::SegmentError;
use crate::container::{Container, Footer, IndexKind};
use crate::rejected::{self, RejectedRow};
use crate::view::{Segment, SegmentView, describe};
use column::Column;
use index::Index;

/// `$docId` is an INT.
pub(crate) const ROWS_MAX: u32 = i32::MAX as u32;

#[derive(Debug)]
pub struct SealedSegment {
    container: Arc<Container>,
    footer: Footer,
    columns: Vec<Column>,
    indexes: Vec<Index>,
    /// When somebody last asked whether the file was changed; epoch milliseconds.
    looked_at_ms: AtomicI64,
}

impl SealedSegment {
    /// Maps the file and verifies its header, footer and lengths, and that it is the content
    /// with this checksum, of this table. Columns are verified when they are first used.
    pub fn open(
        path: &Path,
        spec: &TableSpec,
        expected_crc: u32,
    ) -> Result<Arc<Self>, SegmentError> {
        let (container, footer) = Container::open::<Footer>(path, Some(expected_crc))?;
        if footer.id.table != spec.id {
            return Err(SegmentError::Misplaced {
                path: path.to_owned(),
                found: describe(footer.id, expected_crc),
                expected: format!("a segment of table {}", spec.id),
            });
        }
        let segment = Self::checked(container, footer)?;
        segment.check_types(spec)?;
        Ok(segment)
    }

    /// Any segment, whatever table it is of: to be looked at.
    pub fn open_any(path: &Path) -> Result<Arc<Self>, SegmentError> {
        let (container, footer) = Container::open::<Footer>(path, None)?;
        Self::checked(container, footer)
    }

    fn checked(container: Container, footer: Footer) -> Result<Arc<Self>, SegmentError> {
        if footer.rows > ROWS_MAX {
            return Err(container.corrupt(format!("it claims {} rows", footer.rows)));
        }
        Ok(Self::new(container, footer))
    }

    fn check_types(&self, spec: &TableSpec) -> Result<(), SegmentError> {
        for stored in &self.columns {
            let Some(column) = spec.column(stored.name()) else {
                continue;
            };
            if column.data_type != stored.data_type() {
                return Err(SegmentError::ColumnType {
                    column: column.name.clone(),
                    expected: column.data_type,
                    found: stored.data_type(),
                });
            }
            if column.multi_value != stored.is_multi_value() {
                let [found, expected] = match column.multi_value {
                    true => ["one value a row", "several"],
                    false => ["several values a row", "one"],
                };
                return Err(SegmentError::ColumnShape {
                    column: column.name.clone(),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    fn new(container: Container, footer: Footer) -> Arc<Self> {
        let container = Arc::new(container);
        let columns = footer.columns.iter();
        let columns = columns.map(|column| Column::new(&container, column, footer.rows));
        let indexes = footer.all_indexes().into_iter();
        Arc::new(Self {
            columns: columns.collect(),
            indexes: indexes.map(|index| Index::new(&container, index)).collect(),
            footer,
            container: Arc::clone(&container),
            looked_at_ms: AtomicI64::new(i64::MIN),
        })
    }

    /// The columns of a file that is being written, from which its indexes are built.
    pub(crate) fn unfinished(path: &Path, bytes: Bytes, footer: Footer) -> Arc<Self> {
        Self::new(Container::unfinished(path, bytes, &footer), footer)
    }

    /// Columns are verified once. Whoever reads again asks here whether the file is still the one
    /// that was verified.
    pub fn check_unchanged(&self) -> Result<(), SegmentError> {
        self.container.check_unchanged()
    }

    /// As [`Self::check_unchanged`], unless somebody asked within the last `every_ms`.
    pub fn check_unchanged_lately(&self, now_ms: i64, every_ms: i64) -> Result<(), SegmentError> {
        let looked_at_ms = self.looked_at_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(looked_at_ms) < every_ms {
            return Ok(());
        }
        self.looked_at_ms.store(now_ms, Ordering::Relaxed);
        self.check_unchanged()
    }

    /// Reads and verifies every byte.
    pub fn verify_all(&self) -> Result<(), SegmentError> {
        self.container.verify_checksums()?;
        for column in &self.columns {
            column.load()?;
        }
        for column in &self.columns {
            column.verify_texts()?;
        }
        for index in &self.indexes {
            index.verify(self)?;
        }
        self.rejected().map(drop)
    }

    pub fn view(self: &Arc<Self>) -> SegmentView {
        SegmentView {
            segment: Segment::Sealed(Arc::clone(self)),
            row_count: self.row_count(),
            valid: None,
        }
    }

    pub fn id(&self) -> SegmentId {
        self.footer.id
    }

    pub fn name(&self) -> &str {
        &self.footer.name
    }

    pub fn path(&self) -> &Path {
        self.container.path()
    }

    pub fn crc(&self) -> u32 {
        self.container.crc()
    }

    /// Of the file.
    pub fn bytes(&self) -> u64 {
        self.container.len()
    }

    pub fn row_count(&self) -> u32 {
        self.footer.rows
    }

    /// First offset of the segment.
    pub fn start(&self) -> Offset {
        self.footer.start
    }

    /// First offset after the segment.
    pub fn end(&self) -> Offset {
        self.footer.end
    }

    pub fn ledger(&self) -> Ledger {
        self.footer.ledger
    }

    /// `i64::MIN` when there is no row.
    pub fn newest_ingest_ms(&self) -> i64 {
        self.footer.newest_ingest_ms
    }

    pub fn rejected(&self) -> Result<Vec<RejectedRow>, SegmentError> {
        let Some(buffer) = &self.footer.rejected else {
            return Ok(Vec::new());
        };
        let bytes = self.container.buffer(buffer, "the rejected rows")?;
        rejected::from_bytes(&bytes)
            .ok_or_else(|| self.container.corrupt("its rejected rows cannot be read"))
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// The index of this kind over one column.
    pub(crate) fn find_index(&self, kind: IndexKind, column: &str) -> Option<&Index> {
        let mut indexes = self.indexes.iter();
        indexes.find(|index| index.key().is_of(kind, column))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name() == name)
    }
}
