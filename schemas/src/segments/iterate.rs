//! Going through the segments of a table.

use std::iter::{FlatMap, Map};
use std::ops::{Index, IndexMut};
use std::slice;
use std::sync::Arc;

use super::{Chunk, Segments};
use crate::cluster::SegmentState;

type Shared<'a> = FlatMap<
    slice::Iter<'a, Arc<Chunk>>,
    slice::Iter<'a, Arc<SegmentState>>,
    fn(&'a Arc<Chunk>) -> slice::Iter<'a, Arc<SegmentState>>,
>;

#[derive(Clone, Debug)]
pub struct Iter<'a>(Map<Shared<'a>, fn(&'a Arc<SegmentState>) -> &'a SegmentState>);

impl<'a> Iter<'a> {
    pub(super) fn of(chunks: &'a [Arc<Chunk>]) -> Self {
        let of_chunk: fn(&'a Arc<Chunk>) -> slice::Iter<'a, Arc<SegmentState>> =
            |chunk| chunk.iter();
        let segment: fn(&'a Arc<SegmentState>) -> &'a SegmentState = |segment| segment;
        Self(chunks.iter().flat_map(of_chunk).map(segment))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a SegmentState;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

type SharedMut<'a> = FlatMap<
    slice::IterMut<'a, Arc<Chunk>>,
    slice::IterMut<'a, Arc<SegmentState>>,
    fn(&'a mut Arc<Chunk>) -> slice::IterMut<'a, Arc<SegmentState>>,
>;

/// Copies what is shared with other states.
#[derive(Debug)]
pub struct IterMut<'a>(Map<SharedMut<'a>, fn(&'a mut Arc<SegmentState>) -> &'a mut SegmentState>);

impl<'a> IterMut<'a> {
    pub(super) fn of(chunks: &'a mut [Arc<Chunk>]) -> Self {
        let of_chunk: fn(&'a mut Arc<Chunk>) -> slice::IterMut<'a, Arc<SegmentState>> =
            |chunk| Arc::make_mut(chunk).iter_mut();
        let segment: fn(&'a mut Arc<SegmentState>) -> &'a mut SegmentState = Arc::make_mut;
        Self(chunks.iter_mut().flat_map(of_chunk).map(segment))
    }
}

impl<'a> Iterator for IterMut<'a> {
    type Item = &'a mut SegmentState;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl DoubleEndedIterator for IterMut<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

/// Copies them: others may share them.
impl IntoIterator for Segments {
    type Item = SegmentState;
    type IntoIter = std::vec::IntoIter<SegmentState>;

    fn into_iter(self) -> Self::IntoIter {
        let all: Vec<SegmentState> = self.iter().cloned().collect();
        all.into_iter()
    }
}

impl<'a> IntoIterator for &'a Segments {
    type Item = &'a SegmentState;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Segments {
    type Item = &'a mut SegmentState;
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}

/// By position in the order of keys: looks at the chunks before it.
impl Index<usize> for Segments {
    type Output = SegmentState;

    fn index(&self, mut at: usize) -> &SegmentState {
        for chunk in &self.chunks {
            match chunk.get(at) {
                Some(segment) => return segment,
                None => at -= chunk.len(),
            }
        }
        panic!("there is no segment at this position: {at} more than there are")
    }
}

impl IndexMut<usize> for Segments {
    fn index_mut(&mut self, at: usize) -> &mut SegmentState {
        let len = self.len;
        match self.iter_mut().nth(at) {
            Some(segment) => segment,
            None => panic!("there is no segment {at} among {len}"),
        }
    }
}
