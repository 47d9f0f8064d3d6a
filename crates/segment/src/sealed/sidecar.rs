//! The `.idx` file beside a `.seg`: indexes that were built after the seal, and columns that the
//! segment was written without.
//!
//! ```text
//! IDX := as SEG, see container/mod.rs, with the magic "TanninIx" and a footer that names the
//!        checksum of the segment, the number of the file among those of the segment, columns and
//!        indexes
//! ```
//!
//! Invariant: a sidecar serves only the segment whose checksum it names. It never changes either: a
//! newer one takes its place, and what it holds can be built again at any time.

use std::hash::{BuildHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use runtime::files::Files;
use schemas::{SegmentId, TableSpec};
use serde::{Deserialize, Serialize};

use super::column::Column;
use super::computed::{ComputedColumns, computed_of, depends_on_computed};
use super::index::Index;
use super::{SealedSegment, check_types, is_due};
use crate::SegmentError;
use crate::container::{
    BufferRef, ColumnFooter, Container, ContainerWriter, Content, IndexFooter, IndexKey, IndexKind,
};
use crate::seal::indexes;
use crate::view::describe;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SidecarFooter {
    id: SegmentId,
    /// Of the segment.
    crc: u32,
    /// Grows from file to file.
    number: u32,
    /// Each has a key of its own among the indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnFooter>,
    indexes: Vec<IndexFooter>,
    /// Asked for, and not to be had in this segment.
    declined: Vec<IndexKey>,
}

impl Content for SidecarFooter {
    const MAGIC: [u8; 8] = *b"TanninIx";
    const NOUN: &'static str = "sidecar of a segment";

    fn id(&self) -> SegmentId {
        self.id
    }

    fn buffers(&self) -> Vec<BufferRef> {
        let columns = self.columns.iter().flat_map(ColumnFooter::buffers);
        let indexes = self.indexes.iter();
        let indexes = indexes.flat_map(|index| index.buffers.clone());
        columns.chain(indexes).collect()
    }
}

#[derive(Debug)]
pub(super) struct Sidecar {
    container: Arc<Container>,
    number: u32,
    pub(super) columns: Vec<Arc<Column>>,
    pub(super) indexes: Vec<Arc<Index>>,
    pub(super) declined: Vec<IndexKey>,
    /// Of the keys of both.
    hash: u64,
    looked_at_ms: AtomicI64,
}

/// Which of the indexes that a table wants a sidecar shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Those that it has: nothing new is built.
    Kept,
    /// And columns that can be computed: without them answers would be others.
    Computed,
    All,
}

impl Sidecar {
    /// Those of its indexes that are among `wanted`.
    pub(super) fn indexes_of(&self, wanted: &[IndexKey]) -> impl Iterator<Item = Arc<Index>> {
        let indexes = self.indexes.iter();
        let of = |index: &&Arc<Index>| wanted.contains(index.key());
        let shown = indexes
            .filter(of)
            .filter(|index| self.stands(index.key(), wanted));
        shown.cloned()
    }

    /// Whether it was built of columns that are computed as they would be now.
    fn stands(&self, key: &IndexKey, wanted: &[IndexKey]) -> bool {
        let own = self.indexes.iter().map(|index| index.key());
        let own: Vec<_> = computed_of(key, own.chain(&self.declined)).collect();
        let now: Vec<_> = computed_of(key, wanted.iter()).collect();
        own.len() == now.len() && own.iter().all(|one| now.contains(one))
    }

    fn has(&self, key: &IndexKey) -> bool {
        let mut indexes = self.indexes.iter();
        self.declined.contains(key) || indexes.any(|index| index.key() == key)
    }
}

impl SealedSegment {
    /// With the indexes of a sidecar, verified as segments are: header, footer and lengths.
    pub fn with_sidecar(&self, path: &Path, spec: &TableSpec) -> Result<Arc<Self>, SegmentError> {
        let (container, footer) = Container::open::<SidecarFooter>(path, None)?;
        if (footer.id, footer.crc) != (self.id(), self.crc()) {
            return Err(SegmentError::Misplaced {
                path: path.to_owned(),
                found: format!("indexes of {}", describe(footer.id, footer.crc)),
                expected: format!("those of {}", describe(self.id(), self.crc())),
            });
        }
        let container = Arc::new(container);
        let keys = footer.indexes.iter().map(|index| &index.key);
        let hash = hash_of(keys.chain(&footer.declined), std::iter::empty());
        let columns = footer.columns.iter();
        let columns = columns.map(|column| Column::new(&container, column, self.row_count()));
        let columns: Vec<Arc<Column>> = columns.map(Arc::new).collect();
        check_types(columns.iter().map(Arc::as_ref), spec)?;
        let indexes = footer.indexes.into_iter();
        let indexes = indexes.map(|index| Arc::new(Index::new(&container, index)));
        let sidecar = Sidecar {
            columns,
            indexes: indexes.collect(),
            declined: footer.declined,
            number: footer.number,
            hash,
            looked_at_ms: AtomicI64::new(i64::MIN),
            container,
        };
        Ok(self.of(Some(Arc::new(sidecar)), spec))
    }

    pub fn without_sidecar(&self, spec: &TableSpec) -> Arc<Self> {
        self.of(None, spec)
    }

    /// With the indexes that the table wants, of those that are there.
    pub fn with_spec(&self, spec: &TableSpec) -> Arc<Self> {
        self.of(self.sidecar.clone(), spec)
    }

    /// Where the sidecar lies, and its number; `None`: there is none.
    pub fn sidecar(&self) -> Option<(&Path, u32)> {
        let sidecar = self.sidecar.as_ref()?;
        Some((sidecar.container.path(), sidecar.number))
    }

    pub fn sidecar_bytes(&self) -> u64 {
        let sidecar = self.sidecar.as_ref();
        sidecar.map_or(0, |sidecar| sidecar.container.len())
    }

    /// Whether both have the same files, whatever they show of them.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let same_sidecar = match (&self.sidecar, &other.sidecar) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        same_sidecar && Arc::ptr_eq(&self.base, &other.base)
    }

    /// The same for segments with the same columns and indexes, those not shown among them.
    pub fn indexes_hash(&self) -> u64 {
        let sidecar = self.sidecar.as_ref();
        self.base.hash ^ sidecar.map_or(0, |sidecar| sidecar.hash.rotate_left(1))
    }

    /// What the table wants and the segment does not have, though it might.
    pub fn missing(&self, spec: &TableSpec) -> Vec<IndexKey> {
        let wanted = self.base.wanted(spec);
        let is_here = |key: &IndexKey| self.has(key, &wanted);
        let missing = wanted.iter().filter(|key| !is_here(key));
        missing.cloned().collect()
    }

    /// Whether another sidecar, or none, would be right.
    pub fn is_sidecar_outdated(&self, spec: &TableSpec, extent: Extent) -> bool {
        self.has_idle_indexes(spec)
            || match extent {
                Extent::Kept => false,
                Extent::Computed => self.lacks_computed(spec),
                Extent::All => !self.missing(spec).is_empty(),
            }
    }

    /// Whether it shows columns of its sidecar.
    pub fn has_computed(&self) -> bool {
        !self.computed.is_empty()
    }

    /// Whether there are columns that it was written without and that were not computed.
    pub fn lacks_computed(&self, spec: &TableSpec) -> bool {
        let mut missing = self.missing(spec).into_iter();
        missing.any(|key| key.kind == IndexKind::Computed)
    }

    /// Whether the sidecar has indexes that the table does not want.
    fn has_idle_indexes(&self, spec: &TableSpec) -> bool {
        let wanted = self.base.wanted(spec);
        self.sidecar.as_ref().is_some_and(|sidecar| {
            let is_idle = |key: &IndexKey| {
                let is_wanted = wanted.contains(key) && sidecar.stands(key, &wanted);
                !is_wanted || self.base_has(key, &wanted)
            };
            let indexes = sidecar.indexes.iter().map(|index| index.key());
            let mut keys = indexes.chain(&sidecar.declined);
            keys.any(is_idle)
        })
    }

    fn has(&self, key: &IndexKey, wanted: &[IndexKey]) -> bool {
        self.base_has(key, wanted) || self.sidecar_has(key, wanted)
    }

    fn base_has(&self, key: &IndexKey, wanted: &[IndexKey]) -> bool {
        let base = &self.base;
        let mut indexes = base.indexes.iter();
        // Without the column it could not be had.
        let is_declined = base.footer.declined.contains(key) && !depends_on_computed(key, wanted);
        is_declined || indexes.any(|index| index.key() == key)
    }

    fn sidecar_has(&self, key: &IndexKey, wanted: &[IndexKey]) -> bool {
        let sidecar = self.sidecar.as_ref();
        sidecar.is_some_and(|sidecar| sidecar.has(key) && sidecar.stands(key, wanted))
    }

    /// What a sidecar of this extent has.
    pub(super) fn meant(&self, spec: &TableSpec, extent: Extent) -> Vec<IndexKey> {
        let wanted = self.base.wanted(spec);
        let is_meant = |key: &IndexKey| match extent {
            Extent::All => true,
            Extent::Computed if key.kind == IndexKind::Computed => true,
            Extent::Computed | Extent::Kept => self.sidecar_has(key, &wanted),
        };
        let meant = wanted.iter().filter(|key| is_meant(key));
        let meant = meant.filter(|key| !self.base_has(key, &wanted));
        meant.cloned().collect()
    }

    /// Writes the sidecar that the table wants to `path`; `false`: it wants none. `computed` are
    /// the columns that [`Self::to_compute`] names, as far as they can be computed. Indexes of the
    /// present sidecar are taken over. Takes as long as building does.
    pub fn write_sidecar(
        self: &Arc<Self>,
        (spec, extent): (&TableSpec, Extent),
        computed: Option<&ComputedColumns>,
        files: &dyn Files,
        path: &Path,
    ) -> Result<bool, SegmentError> {
        let keys = self.meant(spec, extent);
        if keys.is_empty() {
            return Ok(false);
        }
        let failed = || SegmentError::io("write", path);
        let file = files.begin(path, "sidecar").map_err(failed())?;
        let mut writer = ContainerWriter::new(file);
        let columns = computed.map(|computed| computed.encode(self, &mut writer));
        let mut footer = SidecarFooter {
            id: self.id(),
            crc: self.crc(),
            number: self.sidecar().map_or(0, |(_, number)| number + 1),
            columns: columns.transpose()?.unwrap_or_default(),
            indexes: Vec::new(),
            declined: Vec::new(),
        };
        let over = self.with_unfinished(&mut writer, (&footer.columns, &footer), path)?;
        let wanted = self.base.wanted(spec);
        for key in keys {
            let kept = match depends_on_computed(&key, &wanted) {
                true => None,
                false => self.kept(&key)?,
            };
            let buffers = match (key.kind, kept) {
                (_, Some(kept)) => Some(kept),
                // Its buffers are those of the column.
                (IndexKind::Computed, _) => over.find(&key.columns[0]).map(|_| Vec::new()),
                _ => indexes::build(&over.view(), &key)?,
            };
            let Some(buffers) = buffers else {
                footer.declined.push(key);
                continue;
            };
            let buffers = buffers.iter().map(|buffer| writer.add(buffer));
            footer.indexes.push(IndexFooter {
                buffers: buffers.collect(),
                key,
            });
        }
        let written = writer.finish(&footer, |_| path.to_owned());
        written.map_err(failed())?;
        Ok(true)
    }

    /// The index of the present sidecar.
    fn kept(&self, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
        let Some(sidecar) = &self.sidecar else {
            return Ok(None);
        };
        let mut indexes = sidecar.indexes.iter();
        let Some(index) = indexes.find(|index| index.key() == key) else {
            return Ok(None);
        };
        let buffers = index.buffers()?.into_iter();
        Ok(Some(buffers.map(|buffer| buffer.to_vec()).collect()))
    }

    /// Reads and verifies every byte of it.
    pub fn verify_sidecar(&self) -> Result<(), SegmentError> {
        let Some(sidecar) = &self.sidecar else {
            return Ok(());
        };
        sidecar.container.verify_checksums()?;
        for column in &sidecar.columns {
            column.load()?;
            column.verify_texts()?;
        }
        let mut indexes = sidecar.indexes.iter();
        indexes.try_for_each(|index| index.verify(self))
    }

    /// See [`Self::check_unchanged_lately`].
    pub fn check_sidecar_lately(&self, now_ms: i64, every_ms: i64) -> Result<(), SegmentError> {
        match &self.sidecar {
            Some(sidecar) if is_due(&sidecar.looked_at_ms, now_ms, every_ms) => {
                sidecar.container.check_unchanged()
            }
            _ => Ok(()),
        }
    }
}

/// Tells lists of indexes apart, and what they may be built of.
pub(super) fn hash_of<'a>(
    keys: impl Iterator<Item = &'a IndexKey>,
    columns: impl Iterator<Item = &'a str>,
) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    for key in keys {
        key.to_string().hash(&mut hasher);
        key.parameters.to_string().hash(&mut hasher);
    }
    columns.for_each(|column| column.hash(&mut hasher));
    hasher.finish()
}
