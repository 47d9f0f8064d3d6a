//! Postings → bytes. The grammar stands in `lists.rs`; bytes are produced here and nowhere else.

use roaring::RoaringBitmap;

use super::lists::{BITMAP, GROUP, MAGIC, doc_bytes};
use super::writer::Postings;
use crate::IndexTooLarge;

/// No bitmap is smaller: a list of so many bytes needs not be compared with one.
const BITMAP_BYTES_MIN: usize = 15;

pub fn serialize(postings: &Postings) -> Result<Vec<u8>, IndexTooLarge> {
    let doc_bytes = doc_bytes(postings.doc_count());
    let cardinality = postings.cardinality();
    let (mut before, mut sizes) = (Vec::new(), Vec::with_capacity(cardinality as usize));
    let (mut places, mut lists, mut bitmaps) = (Vec::new(), Vec::new(), Vec::new());
    for code in 0..cardinality {
        if sizes.len().is_multiple_of(GROUP) {
            before.extend(((lists.len() / doc_bytes) as u32).to_le_bytes());
        }
        let docs = postings.docs(code);
        match bitmap_if_smaller(docs, docs.len() * doc_bytes) {
            None => {
                sizes.push(docs.len() as u8);
                docs.iter()
                    .for_each(|doc| lists.extend_from_slice(&doc.to_le_bytes()[..doc_bytes]));
            }
            Some(bitmap) => {
                sizes.push(BITMAP);
                places.extend(code.to_le_bytes());
                places.extend(place(bitmaps.len())?.to_le_bytes());
                bitmap
                    .serialize_into(&mut bitmaps)
                    .expect("writing to a vector cannot fail");
            }
        }
    }
    place(bitmaps.len())?;
    before.extend(((lists.len() / doc_bytes) as u32).to_le_bytes());
    let head = [
        u32::from_le_bytes(MAGIC),
        cardinality,
        postings.doc_count(),
        places.len() as u32 / 8,
    ];
    let head: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
    Ok([head, before, sizes, places, lists, bitmaps].concat())
}

/// `None`: a list can have so many documents, and takes no more bytes.
fn bitmap_if_smaller(docs: &[u32], list_bytes: usize) -> Option<RoaringBitmap> {
    if list_bytes <= BITMAP_BYTES_MIN {
        return None;
    }
    let docs_max = usize::from(BITMAP) - 1;
    if docs.len() <= docs_max && least_bytes(docs) >= list_bytes {
        return None;
    }
    let ascending = docs.iter().copied();
    let mut bitmap =
        RoaringBitmap::from_sorted_iter(ascending).expect("postings ascend by construction");
    bitmap.optimize();
    let is_smaller = docs.len() > docs_max || bitmap.serialized_size() < list_bytes;
    is_smaller.then_some(bitmap)
}

/// No bitmap of these documents is smaller, whatever its containers are: at least five bytes, and
/// for each container four and the least that its documents, or the runs of them, can take.
pub(super) fn least_bytes(docs: &[u32]) -> usize {
    const BITS_BYTES: usize = 8192;
    let of_container = |container: &[u32]| {
        let breaks = container.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
        let runs = 1 + breaks.count();
        4 + (container.len() * 2).min(BITS_BYTES).min(2 + runs * 4)
    };
    let containers = docs.chunk_by(|one, other| one >> 16 == other >> 16);
    5 + containers.map(of_container).sum::<usize>()
}

fn place(bytes: usize) -> Result<u32, IndexTooLarge> {
    u32::try_from(bytes).map_err(|_| IndexTooLarge {
        what: "an inverted index",
        limit: u64::from(u32::MAX),
    })
}
