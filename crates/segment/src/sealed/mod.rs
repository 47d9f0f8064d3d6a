//! The sealed segment: a mapped `.seg` file, and indexes that were built later in a sidecar.
//!
//! Both never change. A segment shows those of its indexes that the table wants: with another
//! config, or another sidecar, the same mapped file is another [`SealedSegment`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use schemas::segment::Ledger;
use schemas::{Offset, SegmentId, TableSpec};

pub(crate) mod buckets;
pub(crate) mod column;
mod computed;
pub(crate) mod forward;
pub(crate) mod hashes;
pub(crate) mod index;
mod numbers;
mod sidecar;
pub(crate) mod sparse;
pub(crate) mod star_tree;
mod steps;
pub(crate) mod texts;

use crate::container::{Container, Footer, IndexKind};
use crate::rejected::{self, RejectedRow};
use crate::view::{Segment, SegmentView, describe};
use crate::{EarlierFile, KeyRows, KeysAtEnd, SegmentError, earlier};
use column::Column;
use index::Index;
use sidecar::Sidecar;

pub use computed::ComputedColumns;
pub use sidecar::Extent;

/// `$docId` is an INT.
pub(crate) const ROWS_MAX: u32 = i32::MAX as u32;

#[derive(Debug)]
pub struct SealedSegment {
    base: Arc<Base>,
    sidecar: Option<Arc<Sidecar>>,
    /// Columns of the sidecar that the table wants.
    computed: Vec<Arc<Column>>,
    /// Those of both that the table wants.
    indexes: Vec<Arc<Index>>,
}

/// What the `.seg` file holds.
#[derive(Debug)]
struct Base {
    container: Arc<Container>,
    footer: Footer,
    columns: Vec<Column>,
    indexes: Vec<Arc<Index>>,
    /// Of the keys of all indexes and of those that cannot be had, and of the columns.
    hash: u64,
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
        let base = Base::checked(container, footer)?;
        check_types(&base.columns, spec)?;
        Ok(Self::with(Arc::new(base), None, spec))
    }

    /// Any segment, whatever table it is of, with all its indexes: to be looked at.
    pub fn open_any(path: &Path) -> Result<Arc<Self>, SegmentError> {
        let (container, footer) = Container::open::<Footer>(path, None)?;
        let base = Base::checked(container, footer)?;
        Ok(Arc::new(Self {
            indexes: base.indexes.clone(),
            sidecar: None,
            computed: Vec::new(),
            base: Arc::new(base),
        }))
    }

    fn with(base: Arc<Base>, sidecar: Option<Arc<Sidecar>>, spec: &TableSpec) -> Arc<Self> {
        let wanted = base.wanted(spec);
        let own = base.indexes.iter();
        let mut indexes: Vec<Arc<Index>> = own
            .filter(|index| wanted.contains(index.key()))
            .cloned()
            .collect();
        let mut computed = Vec::new();
        if let Some(sidecar) = &sidecar {
            indexes.extend(sidecar.indexes_of(&wanted));
            let shown = |column: &&Arc<Column>| {
                let name = column.name();
                let mut indexes = indexes.iter();
                indexes.any(|index| index.key().is_of(IndexKind::Computed, name))
            };
            computed.extend(sidecar.columns.iter().filter(shown).cloned());
        }
        Arc::new(Self {
            indexes,
            computed,
            sidecar,
            base,
        })
    }

    fn of(&self, sidecar: Option<Arc<Sidecar>>, spec: &TableSpec) -> Arc<Self> {
        Self::with(Arc::clone(&self.base), sidecar, spec)
    }

    /// The columns of a file that is being written, from which its indexes are built.
    pub(crate) fn unfinished(path: &Path, bytes: Bytes, footer: Footer) -> Arc<Self> {
        let base = Base::new(Container::unfinished(path, bytes, &footer), footer);
        Arc::new(Self {
            base: Arc::new(base),
            sidecar: None,
            computed: Vec::new(),
            indexes: Vec::new(),
        })
    }

    /// Columns are verified once. Whoever reads again asks here whether the file is still the one
    /// that was verified.
    pub fn check_unchanged(&self) -> Result<(), SegmentError> {
        self.base.container.check_unchanged()
    }

    /// As [`Self::check_unchanged`], unless somebody asked within the last `every_ms`.
    pub fn check_unchanged_lately(&self, now_ms: i64, every_ms: i64) -> Result<(), SegmentError> {
        match is_due(&self.base.looked_at_ms, now_ms, every_ms) {
            true => self.check_unchanged(),
            false => Ok(()),
        }
    }

    /// Reads and verifies every byte of the `.seg` file.
    pub fn verify_all(&self) -> Result<(), SegmentError> {
        self.base.container.verify_checksums()?;
        for column in &self.base.columns {
            column.load()?;
        }
        for column in &self.base.columns {
            column.verify_texts()?;
        }
        for index in &self.base.indexes {
            index.verify(self)?;
        }
        self.keys_at_end()?;
        self.earlier()?;
        self.rejected().map(drop)
    }

    pub fn view(self: &Arc<Self>) -> SegmentView {
        SegmentView {
            segment: Segment::Sealed(Arc::clone(self)),
            row_count: self.row_count(),
            valid: None,
            derived: Arc::default(),
        }
    }

    pub fn id(&self) -> SegmentId {
        self.base.footer.id
    }

    pub fn name(&self) -> &str {
        &self.base.footer.name
    }

    pub fn path(&self) -> &Path {
        self.base.container.path()
    }

    pub fn crc(&self) -> u32 {
        self.base.container.crc()
    }

    /// Of the file.
    pub fn bytes(&self) -> u64 {
        self.base.container.len()
    }

    pub fn row_count(&self) -> u32 {
        self.base.footer.rows
    }

    /// First offset of the segment.
    pub fn start(&self) -> Offset {
        self.base.footer.start
    }

    /// First offset after the segment.
    pub fn end(&self) -> Offset {
        self.base.footer.end
    }

    pub fn ledger(&self) -> Ledger {
        self.base.footer.ledger
    }

    /// `i64::MIN` when there is no row.
    pub fn newest_ingest_ms(&self) -> i64 {
        self.base.footer.newest_ingest_ms
    }

    pub fn rejected(&self) -> Result<Vec<RejectedRow>, SegmentError> {
        let Some(buffer) = &self.base.footer.rejected else {
            return Ok(Vec::new());
        };
        let bytes = self.base.container.buffer(buffer, "the rejected rows")?;
        rejected::from_bytes(&bytes).ok_or_else(|| {
            self.base
                .container
                .corrupt("its rejected rows cannot be read")
        })
    }

    /// What is known of the partition's keys at the end of the segment; `None`: it has no such
    /// rules, or its file was written before this was kept.
    pub fn keys_at_end(&self) -> Result<Option<KeysAtEnd>, SegmentError> {
        let Some(buffer) = &self.base.footer.keys else {
            return Ok(None);
        };
        let container = &self.base.container;
        let bytes = container.buffer(buffer, "what is known of keys")?;
        let keys = KeysAtEnd::from_bytes(&bytes)
            .filter(|keys| keys.own.live().row_count() == self.row_count());
        keys.map(Some)
            .ok_or_else(|| container.corrupt("what is known of keys cannot be read"))
    }

    /// Files whose place this one has taken, the last first.
    pub fn earlier(&self) -> Result<Vec<EarlierFile>, SegmentError> {
        let Some(buffer) = &self.base.footer.earlier else {
            return Ok(Vec::new());
        };
        let container = &self.base.container;
        let bytes = container.buffer(buffer, "the files before it")?;
        earlier::from_bytes(&bytes, self.row_count())
            .ok_or_else(|| container.corrupt("the files before it cannot be read"))
    }

    /// What `find` knows of the rows of this file, or of one whose place it has taken, by its
    /// checksum.
    pub fn known_rows(
        &self,
        mut find: impl FnMut(u32) -> Option<KeyRows>,
    ) -> Result<Option<KeyRows>, SegmentError> {
        let own = find(self.crc()).filter(|own| own.live().row_count() == self.row_count());
        if own.is_some() {
            return Ok(own);
        }
        let earlier = self.earlier()?;
        let mut known = earlier
            .iter()
            .filter_map(|file| file.known_here(&find(file.crc)?));
        Ok(known.next())
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.base.footer
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.base.columns
    }

    pub fn indexes(&self) -> &[Arc<Index>] {
        &self.indexes
    }

    /// The index of this kind over one column.
    pub(crate) fn find_index(&self, kind: IndexKind, column: &str) -> Option<&Index> {
        let mut indexes = self.indexes.iter();
        let found = indexes.find(|index| index.key().is_of(kind, column));
        found.map(Arc::as_ref)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Column> {
        let mut computed = self.computed.iter().map(Arc::as_ref);
        let own = self.base.find(name);
        own.or_else(|| computed.find(|column| column.name() == name))
    }
}

impl Base {
    fn checked(container: Container, footer: Footer) -> Result<Self, SegmentError> {
        if footer.rows > ROWS_MAX {
            return Err(container.corrupt(format!("it claims {} rows", footer.rows)));
        }
        Ok(Self::new(container, footer))
    }

    fn new(container: Container, footer: Footer) -> Self {
        let container = Arc::new(container);
        let columns = footer.columns.iter();
        let columns = columns.map(|column| Column::new(&container, column, footer.rows));
        let indexes = footer.all_indexes();
        let keys = indexes.iter().map(|index| &index.key);
        let names = footer.columns.iter().map(|column| column.name.as_str());
        let hash = sidecar::hash_of(keys.chain(&footer.declined), names);
        let indexes = indexes.into_iter();
        let indexes = indexes.map(|index| Arc::new(Index::new(&container, index)));
        Self {
            columns: columns.collect(),
            indexes: indexes.collect(),
            hash,
            footer,
            container: Arc::clone(&container),
            looked_at_ms: AtomicI64::new(i64::MIN),
        }
    }
}

fn check_types<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
    spec: &TableSpec,
) -> Result<(), SegmentError> {
    for stored in columns {
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

/// Whether `every_ms` have gone since the last time; if so, it is now.
fn is_due(looked_at_ms: &AtomicI64, now_ms: i64, every_ms: i64) -> bool {
    let since_ms = now_ms.saturating_sub(looked_at_ms.load(Ordering::Relaxed));
    let is_due = since_ms >= every_ms;
    if is_due {
        looked_at_ms.store(now_ms, Ordering::Relaxed);
    }
    is_due
}
