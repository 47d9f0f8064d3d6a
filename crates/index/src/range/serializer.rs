//! Buckets → bytes. The grammar stands in `reader.rs`; bytes are produced here and nowhere else.

use super::reader::{HEADER_BYTES, MAGIC};
use super::writer::RangeWriter;
use crate::{IndexTooLarge, inverted};

pub fn serialize(writer: &RangeWriter) -> Result<Vec<u8>, IndexTooLarge> {
    let inverted = inverted::serialize(&writer.postings)?;
    let buckets = writer.bounds.len();
    let mut out = vec![0; HEADER_BYTES];
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&(buckets as u32).to_le_bytes());
    for (bucket, (least, greatest)) in (0u32..).zip(&writer.bounds) {
        let docs = writer.postings.docs(bucket).len() as u64;
        out.extend_from_slice(&least.to_le_bytes());
        out.extend_from_slice(&greatest.to_le_bytes());
        out.extend_from_slice(&docs.to_le_bytes());
    }
    out.extend_from_slice(&inverted);
    Ok(out)
}
