//! The segments of a table as a value that is cheap to copy and to change, however many there are.
//!
//! Invariants: segments are in the order of their keys, each key once; no chunk is empty or longer
//! than [`CHUNK_MAX`]. A copy shares all chunks with what it was copied from, and goes on sharing
//! those that do not change: a change costs one chunk, and what two states have in common is found
//! without looking at a segment.

mod iterate;
mod per_chunk;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cluster::SegmentState;
use crate::ids::{Partition, SegmentId, Sequence};

pub use iterate::{Iter, IterMut};
pub use per_chunk::PerChunk;

/// Where a segment is within its table.
pub type SegmentKey = (Partition, Sequence);

/// Neighbours in the order of keys.
pub type Chunk = Vec<Arc<SegmentState>>;

const CHUNK_MAX: usize = 512;
/// What is loaded in order leaves room for what comes between.
const CHUNK_FILLED: usize = 256;

#[derive(Clone, Default)]
pub struct Segments {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

/// What must be done to one state so that it is another.
#[derive(Debug, Default)]
pub struct SegmentChanges<'a> {
    pub put: Vec<&'a Arc<SegmentState>>,
    pub removed: Vec<SegmentKey>,
}

impl SegmentChanges<'_> {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }
}

fn key(segment: &SegmentState) -> SegmentKey {
    segment.record.id.key()
}

impl Segments {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In their order; shared with other states as long as they do not change.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter::of(&self.chunks)
    }

    /// Changes nothing of their keys.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        IterMut::of(&mut self.chunks)
    }

    pub fn first(&self) -> Option<&SegmentState> {
        self.iter().next()
    }

    pub fn last(&self) -> Option<&SegmentState> {
        self.iter().next_back()
    }

    /// Of this table; ids of other tables are not told apart.
    pub fn find(&self, id: SegmentId) -> Option<&SegmentState> {
        self.get(id.key()).map(|found| &**found)
    }

    pub fn get(&self, key: SegmentKey) -> Option<&Arc<SegmentState>> {
        let (chunk, at) = self.place(key).ok()?;
        Some(&self.chunks[chunk][at])
    }

    /// Chunk and place in it: of the segment, or where it would have to come.
    fn place(&self, wanted: SegmentKey) -> Result<(usize, usize), (usize, usize)> {
        let behind = self
            .chunks
            .partition_point(|chunk| key(&chunk[0]) <= wanted);
        let at = behind.saturating_sub(1);
        match self.chunks.get(at) {
            None => Err((0, 0)),
            Some(chunk) => match chunk.binary_search_by_key(&wanted, |one| key(one)) {
                Ok(place) => Ok((at, place)),
                Err(place) => Err((at, place)),
            },
        }
    }

    /// Those from `first` on and before `end`, in their order.
    pub fn between(
        &self,
        first: SegmentKey,
        end: SegmentKey,
    ) -> impl DoubleEndedIterator<Item = &SegmentState> + Clone {
        let place = |key| self.place(key).unwrap_or_else(|place| place);
        let ((from, from_at), (to, to_at)) = (place(first), place(end));
        let is_empty = self.chunks.is_empty() || (from, from_at) >= (to, to_at);
        let chunks = match is_empty {
            true => &self.chunks[..0],
            false => &self.chunks[from..=to],
        };
        chunks.iter().enumerate().flat_map(move |(nth, chunk)| {
            let begin = if nth == 0 { from_at } else { 0 };
            let end = if from + nth == to { to_at } else { chunk.len() };
            chunk[begin..end].iter().map(|segment| &**segment)
        })
    }

    pub fn of_partition(
        &self,
        partition: Partition,
    ) -> impl DoubleEndedIterator<Item = &SegmentState> + Clone {
        // Sequences do not get that far.
        self.between((partition, 0), (partition, Sequence::MAX))
    }

    /// Each once, in their order. Costs the partitions, not the segments.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        let mut next = self.first().map(|first| first.record.id.partition);
        std::iter::from_fn(move || {
            let partition = next?;
            let after = partition.checked_add(1);
            let (chunk, at) = self.place((after?, 0)).unwrap_or_else(|place| place);
            let behind = self.chunks[chunk].get(at);
            let behind = behind.or_else(|| self.chunks.get(chunk + 1)?.first());
            next = behind.map(|segment| segment.record.id.partition);
            Some(partition)
        })
    }

    /// Takes the place of the one with its key.
    pub fn put(&mut self, segment: impl Into<Arc<SegmentState>>) {
        let segment = segment.into();
        match self.place(key(&segment)) {
            Ok((chunk, at)) => Arc::make_mut(&mut self.chunks[chunk])[at] = segment,
            Err(_) if self.chunks.is_empty() => {
                self.chunks.push(Arc::new(vec![segment]));
                self.len = 1;
            }
            Err((chunk, at)) => {
                let own = Arc::make_mut(&mut self.chunks[chunk]);
                own.insert(at, segment);
                if own.len() > CHUNK_MAX {
                    let behind = own.split_off(CHUNK_MAX / 2);
                    self.chunks.insert(chunk + 1, Arc::new(behind));
                }
                self.len += 1;
            }
        }
    }

    pub fn remove(&mut self, key: SegmentKey) -> Option<Arc<SegmentState>> {
        let (chunk, at) = self.place(key).ok()?;
        let own = Arc::make_mut(&mut self.chunks[chunk]);
        let removed = own.remove(at);
        if own.is_empty() {
            self.chunks.remove(chunk);
        } else {
            self.join(chunk);
        }
        self.len -= 1;
        Some(removed)
    }

    /// Puts a chunk and the next one together where both are small.
    fn join(&mut self, chunk: usize) {
        let next = self
            .chunks
            .get(chunk + 1)
            .map_or(CHUNK_MAX, |next| next.len());
        if self.chunks[chunk].len() + next <= CHUNK_FILLED {
            let next = self.chunks.remove(chunk + 1);
            Arc::make_mut(&mut self.chunks[chunk]).extend(next.iter().cloned());
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&SegmentState) -> bool) {
        let kept: Vec<Arc<SegmentState>> = self.shared().filter(|one| keep(one)).cloned().collect();
        if kept.len() != self.len {
            *self = kept.into_iter().collect();
        }
    }

    fn shared(&self) -> impl Iterator<Item = &Arc<SegmentState>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// What makes `newer` of this. Costs what differs, and a glance at each chunk.
    pub fn changes<'a>(&self, newer: &'a Self) -> SegmentChanges<'a> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (
            self.chunks.iter().peekable(),
            newer.chunks.iter().peekable(),
        );
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {
                    old.next();
                    new.next();
                }
                // A chunk of both comes at the same key in both: who is behind goes on.
                (Some(one), Some(other)) if key(&one[0]) <= key(&other[0]) => {
                    before.extend(old.next().into_iter().flat_map(|chunk| chunk.iter()));
                }
                (Some(_), None) => {
                    before.extend(old.next().into_iter().flat_map(|chunk| chunk.iter()));
                }
                (_, Some(_)) => {
                    after.extend(new.next().into_iter().flat_map(|chunk| chunk.iter()));
                }
            }
        }
        merged(&before, &after)
    }
}

/// Both in the order of keys.
fn merged<'a>(
    before: &[&Arc<SegmentState>],
    after: &[&'a Arc<SegmentState>],
) -> SegmentChanges<'a> {
    let mut changes = SegmentChanges::default();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let (one, other) = (
            old.peek().map(|one| key(one)),
            new.peek().map(|one| key(one)),
        );
        match (one, other) {
            (None, None) => return changes,
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                changes.removed.push(one);
                old.next();
            }
            (one, _) => {
                let Some(fresh) = new.next() else {
                    return changes;
                };
                let same = one == other
                    && old
                        .next()
                        .is_some_and(|old| Arc::ptr_eq(old, fresh) || old == fresh);
                if !same {
                    changes.put.push(*fresh);
                }
            }
        }
    }
}

impl FromIterator<Arc<SegmentState>> for Segments {
    fn from_iter<I: IntoIterator<Item = Arc<SegmentState>>>(segments: I) -> Self {
        let mut all: Vec<Arc<SegmentState>> = segments.into_iter().collect();
        if !all.is_sorted_by(|a, b| key(a) < key(b)) {
            // The last one of a key counts, as if each was put.
            all.reverse();
            all.sort_by_key(|one| key(one));
            all.dedup_by_key(|one| key(one));
        }
        let chunks = all
            .chunks(CHUNK_FILLED)
            .map(|chunk| Arc::new(chunk.to_vec()));
        Self {
            chunks: chunks.collect(),
            len: all.len(),
        }
    }
}

impl FromIterator<SegmentState> for Segments {
    fn from_iter<I: IntoIterator<Item = SegmentState>>(segments: I) -> Self {
        segments.into_iter().map(Arc::new).collect()
    }
}

impl From<Vec<SegmentState>> for Segments {
    fn from(segments: Vec<SegmentState>) -> Self {
        segments.into_iter().collect()
    }
}

impl Extend<SegmentState> for Segments {
    fn extend<I: IntoIterator<Item = SegmentState>>(&mut self, segments: I) {
        segments.into_iter().for_each(|segment| self.put(segment));
    }
}

impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changes(other).is_empty()
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Segments {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Segments {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::<SegmentState>::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests;
