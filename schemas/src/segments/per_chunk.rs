//! What is made of each chunk of a table's segments, and made anew only for chunks that change.

use std::sync::Arc;

use super::{Chunk, Segments};

#[derive(Clone, Debug)]
pub struct PerChunk<T>(Vec<(Arc<Chunk>, T)>);

impl<T> Default for PerChunk<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> PerChunk<T> {
    /// Of these segments, with what is known already of chunks that they share with those before.
    #[must_use]
    pub fn updated(&self, segments: &Segments, mut make: impl FnMut(&Chunk) -> T) -> Self {
        let mut known = self.0.iter().peekable();
        let of_chunk = segments.chunks().iter().map(|chunk| {
            let first = super::key(&chunk[0]);
            // Those of both are in the same order in both.
            while known
                .next_if(|(old, _)| super::key(&old[0]) < first)
                .is_some()
            {}
            let made = match known.next_if(|(old, _)| Arc::ptr_eq(old, chunk)) {
                Some((_, made)) => made.clone(),
                None => make(chunk),
            };
            (Arc::clone(chunk), made)
        });
        Self(of_chunk.collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Chunk, &T)> {
        self.0.iter().map(|(chunk, made)| (&**chunk, made))
    }
}
