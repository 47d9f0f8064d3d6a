//! The `.idx` file beside a `.seg`: indexes that were built after the seal.
//!
//! ```text
//! IDX := as SEG, see container/mod.rs, with the magic "TanninIx" and a footer that names the
//!        checksum of the segment, the number of the file among those of the segment, and indexes
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

use super::index::Index;
use super::{SealedSegment, is_due};
use crate::SegmentError;
use crate::container::{BufferRef, Container, ContainerWriter, Content, IndexFooter, IndexKey};
use crate::seal::indexes;
use crate::view::describe;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SidecarFooter {
    id: SegmentId,
    /// Of the segment.
    crc: u32,
    /// Grows from file to file.
    number: u32,
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
        let indexes = self.indexes.iter();
        indexes.flat_map(|index| index.buffers.clone()).collect()
    }
}

#[derive(Debug)]
pub(super) struct Sidecar {
    container: Arc<Container>,
    number: u32,
    pub(super) indexes: Vec<Arc<Index>>,
    pub(super) declined: Vec<IndexKey>,
    /// Of the keys of both.
    hash: u64,
    looked_at_ms: AtomicI64,
}

/// Which of the indexes that a table wants a sidecar shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Those that it has: nothing is built.
    Kept,
    All,
}

impl Sidecar {
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
        let hash = hash_of(keys.chain(&footer.declined));
        let indexes = footer.indexes.into_iter();
        let indexes = indexes.map(|index| Arc::new(Index::new(&container, index)));
        let sidecar = Sidecar {
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

    /// The same for segments with the same indexes, those not shown among them.
    pub fn indexes_hash(&self) -> u64 {
        let sidecar = self.sidecar.as_ref();
        self.base.hash ^ sidecar.map_or(0, |sidecar| sidecar.hash.rotate_left(1))
    }

    /// What the table wants and the segment does not have, though it might.
    pub fn missing(&self, spec: &TableSpec) -> Vec<IndexKey> {
        let mut wanted = indexes::wanted(spec);
        wanted.retain(|key| !self.base_has(key) && !self.sidecar_has(key));
        wanted
    }

    /// Whether another sidecar, or none, would be right.
    pub fn is_sidecar_outdated(&self, spec: &TableSpec, extent: Extent) -> bool {
        self.has_idle_indexes(spec) || (extent == Extent::All && !self.missing(spec).is_empty())
    }

    /// Whether the sidecar has indexes that the table does not want.
    fn has_idle_indexes(&self, spec: &TableSpec) -> bool {
        let wanted = indexes::wanted(spec);
        let is_idle = |key: &IndexKey| !wanted.contains(key) || self.base_has(key);
        self.sidecar.as_ref().is_some_and(|sidecar| {
            let indexes = sidecar.indexes.iter().map(|index| index.key());
            let mut keys = indexes.chain(&sidecar.declined);
            keys.any(is_idle)
        })
    }

    fn base_has(&self, key: &IndexKey) -> bool {
        let base = &self.base;
        let mut indexes = base.indexes.iter();
        base.footer.declined.contains(key) || indexes.any(|index| index.key() == key)
    }

    fn sidecar_has(&self, key: &IndexKey) -> bool {
        let sidecar = self.sidecar.as_ref();
        sidecar.is_some_and(|sidecar| sidecar.has(key))
    }

    /// Writes the sidecar that the table wants to `path`; `false`: it wants none. Indexes of the
    /// present sidecar are taken over. Takes as long as building does.
    pub fn write_sidecar(
        self: &Arc<Self>,
        (spec, extent): (&TableSpec, Extent),
        files: &dyn Files,
        path: &Path,
    ) -> Result<bool, SegmentError> {
        let mut keys = indexes::wanted(spec);
        let is_meant = |key: &IndexKey| extent == Extent::All || self.sidecar_has(key);
        keys.retain(|key| !self.base_has(key) && is_meant(key));
        if keys.is_empty() {
            return Ok(false);
        }
        let (mut built, mut declined) = (Vec::new(), Vec::new());
        let failed = || SegmentError::io("write", path);
        let file = files.begin(path, "sidecar").map_err(failed())?;
        let mut writer = ContainerWriter::new(file);
        for key in keys {
            let Some(buffers) = self.buffers_of(&key)? else {
                declined.push(key);
                continue;
            };
            let buffers = buffers.iter().map(|buffer| writer.add(buffer));
            built.push(IndexFooter {
                buffers: buffers.collect(),
                key,
            });
        }
        let footer = SidecarFooter {
            id: self.id(),
            crc: self.crc(),
            number: self.sidecar().map_or(0, |(_, number)| number + 1),
            indexes: built,
            declined,
        };
        let written = writer.finish(&footer, |_| path.to_owned());
        written.map_err(failed())?;
        Ok(true)
    }

    fn buffers_of(self: &Arc<Self>, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
        let kept = self.sidecar.as_ref().and_then(|sidecar| {
            let mut indexes = sidecar.indexes.iter();
            indexes.find(|index| index.key() == key)
        });
        match kept {
            Some(index) => {
                let buffers = index.buffers()?.into_iter();
                Ok(Some(buffers.map(|buffer| buffer.to_vec()).collect()))
            }
            None => indexes::build(&self.view(), key),
        }
    }

    /// Reads and verifies every byte of it.
    pub fn verify_sidecar(&self) -> Result<(), SegmentError> {
        let Some(sidecar) = &self.sidecar else {
            return Ok(());
        };
        sidecar.container.verify_checksums()?;
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

/// Tells lists of indexes apart.
pub(super) fn hash_of<'a>(keys: impl Iterator<Item = &'a IndexKey>) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    for key in keys {
        key.to_string().hash(&mut hasher);
        key.parameters.to_string().hash(&mut hasher);
    }
    hasher.finish()
}
