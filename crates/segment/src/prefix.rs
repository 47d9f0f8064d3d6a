//! A vector that one thread extends while others read the prefix that is published.
//!
//! Invariants, on which the unsafe code of this file, and no other, rests:
//! - elements never move: chunk `k` holds `FIRST << k` of them and is allocated once;
//! - elements below the published length are initialised and never written again;
//! - only the one [`PrefixWriter`] writes, to elements at or past the published length, and then
//!   publishes them with Release; readers load the length with Acquire before they look.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Elements of the first chunk; a multiple of the rows of a block, so that no block straddles.
pub(crate) const FIRST: usize = 8192;
const CHUNKS: usize = 20;

struct Chunk<T>(Box<[UnsafeCell<MaybeUninit<T>>]>);

// SAFETY: see the invariants above: no element is written while it may be read, and the length
// that publishes it orders the write before every read.
unsafe impl<T: Send + Sync> Sync for Chunk<T> {}

struct Shared<T> {
    chunks: [OnceLock<Chunk<T>>; CHUNKS],
    len: AtomicUsize,
}

/// Read half.
pub(crate) struct Prefix<T>(Arc<Shared<T>>);

/// Write half; there is one for each vector.
pub(crate) struct PrefixWriter<T>(Arc<Shared<T>>);

pub(crate) fn prefix<T: Copy>() -> (PrefixWriter<T>, Prefix<T>) {
    let shared = Arc::new(Shared {
        chunks: [const { OnceLock::new() }; CHUNKS],
        len: AtomicUsize::new(0),
    });
    (PrefixWriter(Arc::clone(&shared)), Prefix(shared))
}

/// Where an element lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chunk: usize,
    pub(crate) at: usize,
}

pub(crate) fn place(index: usize) -> Place {
    let chunk = (index / FIRST + 1).ilog2() as usize;
    Place {
        chunk,
        at: index - first_of(chunk),
    }
}

/// Index of the first element of a chunk.
pub(crate) fn first_of(chunk: usize) -> usize {
    FIRST * ((1 << chunk) - 1)
}

pub(crate) fn capacity_of(chunk: usize) -> usize {
    FIRST << chunk
}

impl<T: Copy> PrefixWriter<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&mut self, value: T) {
        self.extend(&[value]);
    }

    /// Publishes all of `values` or, seen from a reader, their prefixes chunk by chunk.
    pub(crate) fn extend(&mut self, mut values: &[T]) {
        while !values.is_empty() {
            let len = self.len();
            let Place { chunk, at } = place(len);
            assert!(chunk < CHUNKS, "a segment ends long before {len} elements");
            let cells = &self.0.chunks[chunk]
                .get_or_init(|| allocate(capacity_of(chunk)))
                .0;
            let count = values.len().min(cells.len() - at);
            let target = &cells[at..at + count];
            // SAFETY: `target` has `count` cells at or past the published length, which no reader
            // looks at and no other writer has; a cell has the layout of its element; `values`
            // cannot overlap them, because readers are given published elements only.
            unsafe {
                let to = UnsafeCell::raw_get(target.as_ptr()).cast::<T>();
                std::ptr::copy_nonoverlapping(values.as_ptr(), to, count);
            }
            self.0.len.store(len + count, Ordering::Release);
            values = &values[count..];
        }
    }
}

/// Asks memory for what is read soon. Without an instruction for it, it is read when it is.
#[inline(always)]
pub(crate) fn prefetch<T>(soon: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(soon).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = soon;
}

fn allocate<T>(capacity: usize) -> Chunk<T> {
    let cells = Box::<[UnsafeCell<MaybeUninit<T>>]>::new_uninit_slice(capacity);
    // SAFETY: a cell of `MaybeUninit` needs no initialisation.
    Chunk(unsafe { cells.assume_init() })
}

impl<T: Copy> Prefix<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }

    /// Published elements of one chunk.
    pub(crate) fn slice(&self, range: Range<usize>) -> &[T] {
        let Range { start, end } = range;
        assert!(
            start <= end && end <= self.len(),
            "{end} is past the published elements"
        );
        if start == end {
            return &[];
        }
        let Place { chunk, at } = place(start);
        let cells = &self.0.chunks[chunk]
            .get()
            .expect("published elements are allocated")
            .0;
        let cells = &cells[at..at + (end - start)];
        // SAFETY: the elements are below the published length, so they are initialised and not
        // written again as long as `self` keeps them; a cell has the layout of its element.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<T>(), cells.len()) }
    }

    /// Asks memory for an element that is read soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        let Place { chunk, at } = place(index);
        let cells = self.0.chunks.get(chunk).and_then(OnceLock::get);
        if let Some(cell) = cells.and_then(|cells| cells.0.get(at)) {
            prefetch(cell);
        }
    }

    pub(crate) fn get(&self, index: usize) -> T {
        self.slice(index..index + 1)[0]
    }

    /// The first `len` elements, chunk by chunk.
    pub(crate) fn pieces(&self, len: usize) -> impl Iterator<Item = &[T]> {
        self.pieces_of(0..len)
    }

    /// Elements that may lie in several chunks.
    pub(crate) fn pieces_of(&self, range: Range<usize>) -> impl Iterator<Item = &[T]> {
        let Range { start, end } = range;
        (place(start).chunk..CHUNKS)
            .map_while(move |chunk| {
                let first = first_of(chunk);
                let start = first.max(start);
                (start < end).then(|| start..end.min(first + capacity_of(chunk)))
            })
            .map(|range| self.slice(range))
    }
}

impl<T> Clone for Prefix<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Prefix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.len.load(Ordering::Acquire);
        f.debug_struct("Prefix")
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for PrefixWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.len.load(Ordering::Relaxed);
        f.debug_struct("PrefixWriter")
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{FIRST, Place, place, prefix};

    #[test]
    fn places() {
        assert_eq!(place(0), Place { chunk: 0, at: 0 });
        assert_eq!(
            place(FIRST - 1),
            Place {
                chunk: 0,
                at: FIRST - 1
            }
        );
        assert_eq!(place(FIRST), Place { chunk: 1, at: 0 });
        assert_eq!(place(3 * FIRST), Place { chunk: 2, at: 0 });
        assert_eq!(place(7 * FIRST + 5), Place { chunk: 3, at: 5 });
    }

    #[test]
    #[should_panic(expected = "past the published elements")]
    fn what_is_not_published_is_not_read() {
        let (mut writer, reader) = prefix();
        writer.push(1_u8);
        reader.slice(0..2);
    }

    /// One writer, readers that check every published element, over many fresh vectors.
    #[test]
    fn readers_see_whole_prefixes() {
        for round in 0..40_u64 {
            let (mut writer, reader) = prefix::<u64>();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut checked = 0;
                        while !done.load(Ordering::Relaxed) || checked < reader.len() {
                            let len = reader.len();
                            let sum = reader
                                .pieces(len)
                                .flatten()
                                .fold(0_u64, |sum, value| sum.wrapping_add(*value));
                            let count = len as u64;
                            let ascending = count * count.saturating_sub(1) / 2;
                            assert_eq!(sum, ascending + count * round);
                            checked = len;
                        }
                    });
                }
                let mut next = 0_u64;
                while next < 60_000 {
                    let size = 1 + next % 97;
                    let values: Vec<u64> = (next..next + size).map(|value| value + round).collect();
                    writer.extend(&values);
                    next += size;
                }
                done.store(true, Ordering::Relaxed);
            });
        }
    }
}
