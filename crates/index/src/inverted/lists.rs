//! The form of the inverted index that is written: plain lists where they are the shorter ones.
//!
//! ```text
//! INVERTED := HEADER BEFORE SIZES PLACES LISTS BITMAPS
//! HEADER   := magic "INV2" | cardinality: u32 | docs: u32 | bitmaps: u32   (16 bytes)
//! BEFORE   := for each 64 codes and once more: u32, the documents in LISTS before them
//! SIZES    := cardinality × u8, the documents of a code; 255: it has a bitmap
//! PLACES   := bitmaps × (code: u32 | start in BITMAPS: u32), in the order of codes
//! LISTS    := the documents of each code that has no bitmap, ascending, in 1 to 4 bytes each: as
//!             many as the number of the last document needs
//! BITMAPS  := roaring bitmaps (portable encoding), in the order of codes
//! ```
//!
//! [`Lists::open`] checks the frame once: every code has its documents within `LISTS` or one place
//! within `BITMAPS`. Documents are checked when they are read.

use bytes::Bytes;
use roaring::{MultiOps, RoaringBitmap};

use super::reader::{HEADER_BYTES, Head, read_u32, wrong_length};
use crate::CorruptIndex;

pub(super) const MAGIC: [u8; 4] = *b"INV2";
/// Codes that share an entry of `BEFORE`.
pub(super) const GROUP: usize = 64;
/// A size that says: look for a bitmap.
pub(super) const BITMAP: u8 = u8::MAX;

#[derive(Clone, Debug)]
pub(super) struct Lists {
    before: Bytes,
    sizes: Bytes,
    places: Bytes,
    lists: Bytes,
    bitmaps: Bytes,
    doc_bytes: usize,
}

/// Bytes of one document in a list.
pub(super) fn doc_bytes(docs: u32) -> usize {
    let last = docs.saturating_sub(1);
    ((u32::BITS - last.leading_zeros()).div_ceil(8) as usize).max(1)
}

impl Lists {
    pub(super) fn open(data: &Bytes, head: Head) -> Result<Self, CorruptIndex> {
        let doc_bytes = doc_bytes(head.docs);
        let cardinality = head.cardinality as usize;
        let groups = cardinality.div_ceil(GROUP);
        let sizes_start = HEADER_BYTES + (groups + 1) * 4;
        let places_start = sizes_start + cardinality;
        let lists_start = places_start + read_u32(data, 12) as usize * 8;
        if data.len() < lists_start {
            return Err(wrong_length(lists_start, data.len()));
        }
        let before = data.slice(HEADER_BYTES..sizes_start);
        let bitmaps_start = lists_start + read_u32(&before, groups * 4) as usize * doc_bytes;
        if data.len() < bitmaps_start {
            return Err(wrong_length(bitmaps_start, data.len()));
        }
        let reader = Self {
            before,
            sizes: data.slice(sizes_start..places_start),
            places: data.slice(places_start..lists_start),
            lists: data.slice(lists_start..bitmaps_start),
            bitmaps: data.slice(bitmaps_start..),
            doc_bytes,
        };
        reader.check_sizes()?;
        reader.check_places()?;
        Ok(reader)
    }

    fn check_sizes(&self) -> Result<(), CorruptIndex> {
        let mut docs = 0;
        for (group, sizes) in self.sizes.chunks(GROUP).enumerate() {
            if u64::from(self.before(group)) != docs {
                let index = group as u32;
                return Err(CorruptIndex::OffsetsDecrease { index });
            }
            docs += u64::from(listed(sizes));
        }
        let groups = self.sizes.len().div_ceil(GROUP);
        match u64::from(self.before(groups)) == docs {
            true => Ok(()),
            false => Err(CorruptIndex::OffsetsDecrease {
                index: groups as u32,
            }),
        }
    }

    fn check_places(&self) -> Result<(), CorruptIndex> {
        let wanted = self.sizes.iter().filter(|size| **size == BITMAP).count();
        if wanted != self.place_count() {
            return Err(wrong_length(wanted * 8, self.places.len()));
        }
        let mut previous = None;
        for at in 0..wanted {
            let (code, start) = self.place(at);
            let follows = previous.is_none_or(|(before, end)| before < code && end <= start);
            let is_first_or_follows = if at == 0 { start == 0 } else { follows };
            let has_bitmap = self.sizes.get(code as usize) == Some(&BITMAP);
            if !is_first_or_follows || !has_bitmap || start as usize > self.bitmaps.len() {
                return Err(CorruptIndex::OffsetsDecrease { index: at as u32 });
            }
            previous = Some((code, start));
        }
        match wanted {
            0 if !self.bitmaps.is_empty() => Err(wrong_length(0, self.bitmaps.len())),
            _ => Ok(()),
        }
    }

    pub(super) fn docs(&self, head: Head, code: u32) -> Result<RoaringBitmap, CorruptIndex> {
        if self.sizes[code as usize] == BITMAP {
            return self.bitmap(head, code);
        }
        let mut docs = Vec::new();
        self.list_into(head, code, &mut docs)?;
        Ok(of_ascending(docs))
    }

    pub(super) fn docs_of_any(
        &self,
        head: Head,
        codes: impl IntoIterator<Item = u32>,
    ) -> Result<RoaringBitmap, CorruptIndex> {
        let (mut listed, mut bitmaps) = (Vec::new(), Vec::new());
        for code in codes {
            match self.sizes[head.checked(code) as usize] {
                BITMAP => bitmaps.push(self.bitmap(head, code)?),
                _ => self.list_into(head, code, &mut listed)?,
            }
        }
        listed.sort_unstable();
        listed.dedup();
        bitmaps.push(of_ascending(listed));
        Ok(bitmaps.union())
    }

    fn bitmap(&self, head: Head, code: u32) -> Result<RoaringBitmap, CorruptIndex> {
        let (mut low, mut high) = (0, self.place_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.place(middle).0 < code {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let end = match low + 1 < self.place_count() {
            true => self.place(low + 1).1 as usize,
            false => self.bitmaps.len(),
        };
        head.bitmap(code, &self.bitmaps[self.place(low).1 as usize..end])
    }

    /// Appends the documents of a code that has no bitmap.
    fn list_into(&self, head: Head, code: u32, into: &mut Vec<u32>) -> Result<(), CorruptIndex> {
        let code = code as usize;
        let group = code / GROUP;
        let skipped = listed(&self.sizes[group * GROUP..code]);
        let start = (self.before(group) + skipped) as usize * self.doc_bytes;
        let bytes = &self.lists[start..start + usize::from(self.sizes[code]) * self.doc_bytes];
        let first = into.len();
        match self.doc_bytes {
            1 => into.extend(bytes.iter().map(|doc| u32::from(*doc))),
            2 => into.extend(wide::<2>(bytes)),
            3 => into.extend(wide::<3>(bytes)),
            _ => into.extend(wide::<4>(bytes)),
        }
        let docs = &into[first..];
        let code = code as u32;
        if docs.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(CorruptIndex::DocsDescend { code });
        }
        match docs.last() {
            Some(doc) if *doc >= head.docs => Err(head.out_of_range(code, *doc)),
            _ => Ok(()),
        }
    }

    fn before(&self, group: usize) -> u32 {
        read_u32(&self.before, group * 4)
    }

    fn place_count(&self) -> usize {
        self.places.len() / 8
    }

    fn place(&self, at: usize) -> (u32, u32) {
        (
            read_u32(&self.places, at * 8),
            read_u32(&self.places, at * 8 + 4),
        )
    }
}

/// Documents in the lists of codes with these sizes.
fn listed(sizes: &[u8]) -> u32 {
    let sizes = sizes.iter().map(|size| match *size {
        BITMAP => 0,
        size => u32::from(size),
    });
    sizes.sum()
}

fn wide<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<N>().0.iter().map(|doc| {
        let mut word = [0; 4];
        word[..N].copy_from_slice(doc);
        u32::from_le_bytes(word)
    })
}

fn of_ascending(docs: Vec<u32>) -> RoaringBitmap {
    RoaringBitmap::from_sorted_iter(docs).expect("they were checked or sorted")
}
