//! The growing dictionary of a consuming column: values in the order of their first row.
//!
//! Invariants: a value never moves and never changes its code; values are published before the
//! codes of the rows that hold them, so whoever sees a code sees its value. Values are kept as
//! Arrow views; those of more than 12 bytes point into an arena, one behind the other, and none
//! straddles two of its chunks.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal256Array, Float32Array, Float64Array,
    Int32Array, Int64Array, StringViewArray, TimestampMillisecondArray, make_view,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::i256;
use foldhash::fast::RandomState;
use schemas::DataType;
use schemas::arrow::arrow_type;
use std::hash::BuildHasher;

use super::lookup::{Lookup, LookupWriter, lookup};
use super::near::NearViews;
use super::same::SameViews;
use crate::prefix::{Place, Prefix, PrefixWriter, capacity_of, first_of, place, prefix};

/// Longest value that a view holds itself.
pub(super) const INLINE_MAX: usize = 12;
/// The arena takes no batch past this; then a batch of as much still fits below the 2 GiB that
/// views can address.
pub(crate) const ARENA_MAX: usize = 512 << 20;

/// Values that are looked for side by side: while one waits for memory, so do the others.
const TOGETHER: usize = 32;
/// So few values lie in a cache: nothing waits.
const NEAR_MAX: usize = 1024;
/// Of so many; more of them that are not near are looked for together.
const FAR_MAX: usize = 12;
const UNKNOWN: u32 = u32::MAX;

pub(crate) struct DictionaryReader {
    data_type: DataType,
    views: Prefix<u128>,
    arena: Prefix<u8>,
    lookup: Lookup,
    hasher: RandomState,
    cached: ArcSwapOption<ArrayRef>,
}

/// The chunks of an arena, as far as they are published.
pub(super) struct Arena<'a>(pub(super) Vec<&'a [u8]>);

impl Arena<'_> {
    #[inline(always)]
    pub(super) fn value<'v>(&'v self, view: &'v u128) -> &'v [u8] {
        bytes_of(view, |chunk, at, length| &self.0[chunk][at..at + length])
    }
}

impl DictionaryReader {
    pub(crate) fn cardinality(&self) -> u32 {
        self.views.len() as u32
    }

    pub(crate) fn value(&self, code: u32) -> &[u8] {
        let code = code as usize;
        bytes_of(&self.views.slice(code..code + 1)[0], |chunk, at, length| {
            let start = first_of(chunk) + at;
            self.arena.slice(start..start + length)
        })
    }

    /// Values are texts or bytes.
    pub(super) fn holds_bytes(&self) -> bool {
        use DataType::{Bytes, Json, String, Uuid};
        matches!(self.data_type, String | Json | Uuid | Bytes)
    }

    /// The code of a text or of bytes, below `cardinality`.
    pub(super) fn find(&self, value: &[u8], cardinality: u32) -> Option<u32> {
        let view = make_view(value, 0, 0);
        let known = |code: u32| code < cardinality;
        if value.len() <= INLINE_MAX {
            let is_it = |code| known(code) && self.views.get(code as usize) == view;
            return self.lookup.find(self.hasher.hash_one(view), is_it);
        }
        let is_it = |code| known(code) && self.value(code) == value;
        self.lookup.find(self.hasher.hash_one(value), is_it)
    }

    /// All values that are published hold bytes of it.
    pub(super) fn arena(&self) -> Arena<'_> {
        Arena(self.arena.pieces(self.arena.len()).collect())
    }

    /// Of the first `cardinality` values.
    pub(super) fn views(&self, cardinality: u32) -> impl Iterator<Item = &[u128]> {
        self.views.pieces(cardinality as usize)
    }

    /// A value of a STRING or JSON column.
    pub(crate) fn text(&self, code: u32) -> &str {
        std::str::from_utf8(self.value(code)).expect("values were taken from a UTF-8 array")
    }

    /// The first `cardinality` values.
    pub(crate) fn array(&self, cardinality: u32) -> ArrayRef {
        let wanted = cardinality as usize;
        if let Some(cached) = self.cached.load().as_deref()
            && cached.len() >= wanted
        {
            return match cached.len() == wanted {
                true => Arc::clone(cached),
                false => cached.slice(0, wanted),
            };
        }
        let array = self.build(wanted);
        self.cached.store(Some(Arc::new(Arc::clone(&array))));
        array
    }

    fn build(&self, cardinality: usize) -> ArrayRef {
        let long = || self.fixed(cardinality).map(i64::from_le_bytes);
        match self.data_type {
            DataType::String | DataType::Json | DataType::Uuid | DataType::Bytes => {
                self.build_views(cardinality)
            }
            DataType::Int => Arc::new(Int32Array::from_iter_values(long().map(|v| v as i32))),
            DataType::Long => Arc::new(Int64Array::from_iter_values(long())),
            DataType::Timestamp => Arc::new(TimestampMillisecondArray::from_iter_values(long())),
            DataType::Boolean => {
                let flags: Vec<bool> = long().map(|v| v != 0).collect();
                Arc::new(BooleanArray::from(flags))
            }
            DataType::Float => {
                let values = self.fixed(cardinality).map(f32::from_le_bytes);
                Arc::new(Float32Array::from_iter_values(values))
            }
            DataType::Double => {
                let values = self.fixed(cardinality).map(f64::from_le_bytes);
                Arc::new(Float64Array::from_iter_values(values))
            }
            DataType::BigDecimal => {
                let values = self.fixed(cardinality).map(i256::from_le_bytes);
                let array = Decimal256Array::from_iter_values(values);
                Arc::new(array.with_data_type(arrow_type(DataType::BigDecimal)))
            }
        }
    }

    /// Numbers, as [`super::multi`] keeps them.
    fn fixed<const N: usize>(&self, cardinality: usize) -> impl Iterator<Item = [u8; N]> {
        (0..cardinality as u32).map(|code| {
            let value = self.value(code).first_chunk::<N>();
            *value.expect("all numbers of a type have one width")
        })
    }

    fn build_views(&self, cardinality: usize) -> ArrayRef {
        let mut views = Vec::with_capacity(cardinality);
        for piece in self.views.pieces(cardinality) {
            views.extend_from_slice(piece);
        }
        let views = ScalarBuffer::from(views);
        // Loaded after the cardinality: it covers the bytes of all these values.
        let arena_len = self.arena.len();
        let buffers: Vec<Buffer> = (0..)
            .map(|chunk| (first_of(chunk), capacity_of(chunk)))
            .take_while(|(start, _)| *start < arena_len)
            .map(|(start, capacity)| self.arena_buffer(start, arena_len.min(start + capacity)))
            .collect();
        // SAFETY: the views were made by the writer below: each one is inline, or names a chunk
        // of the arena and bytes of it that were published before the view; values of STRING,
        // JSON and UUID columns were taken from a UTF-8 array.
        unsafe {
            match self.data_type {
                DataType::Bytes => Arc::new(BinaryViewArray::new_unchecked(views, buffers, None)),
                _ => Arc::new(StringViewArray::new_unchecked(views, buffers, None)),
            }
        }
    }

    fn arena_buffer(&self, start: usize, end: usize) -> Buffer {
        Buffer::from(bytes::Bytes::from_owner(ArenaSlice {
            arena: self.arena.clone(),
            range: start..end,
        }))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.views.len() * 2 * size_of::<u128>() + self.arena.len()
    }
}

impl std::fmt::Debug for DictionaryReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DictionaryReader")
            .field("cardinality", &self.cardinality())
            .finish_non_exhaustive()
    }
}

struct ArenaSlice {
    arena: Prefix<u8>,
    range: std::ops::Range<usize>,
}

impl AsRef<[u8]> for ArenaSlice {
    fn as_ref(&self) -> &[u8] {
        self.arena.slice(self.range.clone())
    }
}

pub(crate) struct DictionaryWriter {
    views: PrefixWriter<u128>,
    arena: PrefixWriter<u8>,
    lookup: LookupWriter,
    hasher: RandomState,
    /// For comparisons with values that are already there.
    known: Prefix<u128>,
    known_arena: Prefix<u8>,
    near: NearViews,
    same: SameViews,
}

pub(crate) fn dictionary(data_type: DataType) -> (DictionaryWriter, DictionaryReader) {
    let (view_writer, views) = prefix();
    let (arena_writer, arena) = prefix();
    let (lookup_writer, lookup) = lookup();
    let hasher = RandomState::default();
    let writer = DictionaryWriter {
        views: view_writer,
        arena: arena_writer,
        lookup: lookup_writer,
        hasher: hasher.clone(),
        known: views.clone(),
        known_arena: arena.clone(),
        near: NearViews::default(),
        same: SameViews::default(),
    };
    let reader = DictionaryReader {
        data_type,
        views,
        arena,
        lookup,
        hasher,
        cached: ArcSwapOption::empty(),
    };
    (writer, reader)
}

impl DictionaryWriter {
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.arena.len() <= ARENA_MAX && bytes <= ARENA_MAX
    }

    /// Views of another array follow, with other buffers.
    pub(crate) fn begin_array(&mut self) {
        self.same.begin();
    }

    /// Codes of the values that `views` stand for in `buffers`, new ones of those that are new.
    pub(crate) fn intern_views(
        &mut self,
        views: &[u128],
        buffers: &[Buffer],
        codes: &mut Vec<u32>,
    ) {
        // Short values are mostly near, until it turns out that they are not.
        let mut are_near = true;
        for views in views.chunks(TOGETHER) {
            if self.views.len() <= NEAR_MAX {
                codes.extend(views.iter().map(|view| self.intern_view(*view, buffers)));
                continue;
            }
            if are_near && !is_long(views[0]) {
                let mut far = 0;
                codes.extend(views.iter().map(|view| match self.near.find(*view) {
                    Some(code) => code,
                    None => {
                        far += 1;
                        self.intern_view(*view, buffers)
                    }
                }));
                are_near = far <= FAR_MAX;
                continue;
            }
            let hashes = self.hashes(views, buffers);
            let found = self.find_together(views, buffers, &hashes);
            let each = views.iter().zip(hashes).zip(found);
            codes.extend(each.map(|((view, hash), code)| match code {
                UNKNOWN if is_long(*view) => {
                    self.intern_long(*view as u64, given(view, buffers), hash)
                }
                UNKNOWN => self.intern_inline(*view, hash),
                code => code,
            }));
        }
    }

    /// Code of the value that `view` stands for in `buffers`, those of the array that was begun; a
    /// new one if it is new.
    pub(crate) fn intern_view(&mut self, view: u128, buffers: &[Buffer]) -> u32 {
        if is_long(view) {
            if let Some(code) = self.same.find(view) {
                return code;
            }
            let bytes = given(&view, buffers);
            let hash = self.hasher.hash_one(bytes);
            let code = self.intern_long(view as u64, bytes, hash);
            self.same.keep(view, code);
            return code;
        }
        match self.near.find(view) {
            Some(code) => code,
            None => {
                let code = self.intern_inline(view, self.hasher.hash_one(view));
                self.near.keep(view, code);
                code
            }
        }
    }

    pub(crate) fn intern(&mut self, bytes: &[u8]) -> u32 {
        let view = make_view(bytes, 0, 0);
        if is_long(view) {
            self.intern_long(view as u64, bytes, self.hasher.hash_one(bytes))
        } else {
            self.intern_inline(view, self.hasher.hash_one(view))
        }
    }

    fn hashes(&self, views: &[u128], buffers: &[Buffer]) -> [u64; TOGETHER] {
        let mut hashes = [0; TOGETHER];
        for (view, hash) in views.iter().zip(&mut hashes) {
            *hash = match is_long(*view) {
                true => self.hasher.hash_one(given(view, buffers)),
                false => self.hasher.hash_one(*view),
            };
            self.lookup.prefetch(*hash);
        }
        hashes
    }

    /// Codes of values that are there; a few may be missed. Each loop asks memory for what the
    /// next one reads, and none waits for the value before.
    fn find_together(
        &self,
        views: &[u128],
        buffers: &[Buffer],
        hashes: &[u64; TOGETHER],
    ) -> [u32; TOGETHER] {
        let mut codes = [UNKNOWN; TOGETHER];
        let mut known = [0; TOGETHER];
        for (code, hash) in codes[..views.len()].iter_mut().zip(hashes) {
            if let Some(likely) = self.lookup.likely(*hash) {
                *code = likely;
                self.known.prefetch(likely as usize);
            }
        }
        for (at, view) in views.iter().enumerate() {
            if codes[at] != UNKNOWN {
                known[at] = self.known.get(codes[at] as usize);
                let is_it = match is_long(*view) {
                    true => known[at] as u64 == *view as u64,
                    false => known[at] == *view,
                };
                codes[at] = if is_it { codes[at] } else { UNKNOWN };
                if is_it && is_long(*view) {
                    let (chunk, start) = ((known[at] >> 64) as u32, (known[at] >> 96) as u32);
                    let start = first_of(chunk as usize) + start as usize;
                    self.known_arena.prefetch(start);
                    self.known_arena.prefetch(start + *view as u32 as usize - 1);
                }
            }
        }
        let long = (views, buffers, &known);
        self.keep_alike(&mut codes, long, |held, wanted| {
            held.first_chunk::<8>() == wanted.first_chunk()
                && held.last_chunk::<8>() == wanted.last_chunk()
        });
        self.keep_alike(&mut codes, long, |held, wanted| held == wanted);
        codes
    }

    /// Of long values only those that are like what is known.
    #[inline(always)]
    fn keep_alike(
        &self,
        codes: &mut [u32; TOGETHER],
        (views, buffers, known): (&[u128], &[Buffer], &[u128; TOGETHER]),
        alike: impl Fn(&[u8], &[u8]) -> bool,
    ) {
        for ((code, known), view) in codes.iter_mut().zip(known).zip(views) {
            let is_sure = *code == UNKNOWN || !is_long(*view);
            if !is_sure && !alike(self.held(known), given(view, buffers)) {
                *code = UNKNOWN;
            }
        }
    }

    /// The bytes of a long value that is there.
    #[inline(always)]
    fn held<'a>(&'a self, view: &'a u128) -> &'a [u8] {
        bytes_of(view, |chunk, at, length| {
            let start = first_of(chunk) + at;
            self.known_arena.slice(start..start + length)
        })
    }

    fn intern_inline(&mut self, view: u128, hash: u64) -> u32 {
        let is_it = |code: u32| self.known.get(code as usize) == view;
        match self.lookup.find(hash, is_it) {
            Ok(code) => code,
            Err(at) => self.add(at, hash, view),
        }
    }

    /// `head` is the length and the first four bytes, as views begin with them.
    fn intern_long(&mut self, head: u64, bytes: &[u8], hash: u64) -> u32 {
        let is_it = |code: u32| {
            let view = self.known.get(code as usize);
            view as u64 == head && self.held(&view) == bytes
        };
        match self.lookup.find(hash, is_it) {
            Ok(code) => code,
            Err(at) => {
                let place = push_whole(&mut self.arena, bytes);
                let view = make_view(bytes, place.chunk as u32, place.at as u32);
                self.add(at, hash, view)
            }
        }
    }

    fn add(&mut self, at: usize, hash: u64, view: u128) -> u32 {
        let code = self.views.len() as u32;
        self.lookup.insert(at, hash, code);
        self.views.push(view);
        code
    }
}

impl std::fmt::Debug for DictionaryWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DictionaryWriter")
            .field("cardinality", &self.views.len())
            .finish_non_exhaustive()
    }
}

/// Appends `bytes` to the first chunk that has room for all of them, zeros before them.
fn push_whole(arena: &mut PrefixWriter<u8>, bytes: &[u8]) -> Place {
    loop {
        let spot = place(arena.len());
        let room = capacity_of(spot.chunk) - spot.at;
        if room >= bytes.len() {
            arena.extend(bytes);
            return spot;
        }
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut left = room;
        while left > 0 {
            let count = left.min(ZEROS.len());
            arena.extend(&ZEROS[..count]);
            left -= count;
        }
    }
}

const fn is_long(view: u128) -> bool {
    view as u32 as usize > INLINE_MAX
}

/// The bytes that a view of a batch stands for.
#[inline(always)]
fn given<'a>(view: &'a u128, buffers: &'a [Buffer]) -> &'a [u8] {
    bytes_of(view, |buffer, at, length| {
        &buffers[buffer].as_slice()[at..at + length]
    })
}

/// The bytes that a view stands for; `buffer` finds (buffer, offset, length).
fn bytes_of<'a>(view: &'a u128, buffer: impl FnOnce(usize, usize, usize) -> &'a [u8]) -> &'a [u8] {
    let length = *view as u32 as usize;
    if length > INLINE_MAX {
        let index = (*view >> 64) as u32 as usize;
        let offset = (*view >> 96) as u32 as usize;
        return buffer(index, offset, length);
    }
    // SAFETY: a view is 16 bytes, of which 4 ..= 15 hold an inline value on a little-endian host;
    // `length` is at most 12.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(view).cast::<u8>().add(4), length) }
}
