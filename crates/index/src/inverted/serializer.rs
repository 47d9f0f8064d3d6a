//! Postings → bytes. The grammar stands in `reader.rs`; bytes are produced here and nowhere else.

use roaring::RoaringBitmap;

use super::reader::{HEADER_BYTES, MAGIC};
use super::writer::Postings;
use crate::IndexTooLarge;

pub fn serialize(postings: &Postings) -> Result<Vec<u8>, IndexTooLarge> {
    let cardinality = postings.cardinality();
    let bitmaps_start = HEADER_BYTES + (cardinality as usize + 1) * 4;
    let mut out = vec![0; bitmaps_start];
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&cardinality.to_le_bytes());
    out[8..12].copy_from_slice(&postings.doc_count().to_le_bytes());
    for code in 0..cardinality {
        let docs = postings.docs(code).iter().copied();
        let mut bitmap =
            RoaringBitmap::from_sorted_iter(docs).expect("postings ascend by construction");
        bitmap.optimize();
        bitmap
            .serialize_into(&mut out)
            .expect("writing to a vector cannot fail");
        let end = u32::try_from(out.len() - bitmaps_start).map_err(|_| IndexTooLarge {
            what: "an inverted index",
            limit: u64::from(u32::MAX),
        })?;
        let at = HEADER_BYTES + (code as usize + 1) * 4;
        out[at..at + 4].copy_from_slice(&end.to_le_bytes());
    }
    Ok(out)
}
