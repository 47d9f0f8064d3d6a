//! Buckets → bytes. The grammar stands in `reader.rs`; bytes are produced here and nowhere else.

use super::writer::BucketWriter;
use crate::forward::{Width, pack, pack_codes};

pub fn serialize(writer: &BucketWriter) -> Vec<Vec<u8>> {
    let width = Width::of_codes(writer.starts.len() as u32);
    vec![
        pack(writer.starts.iter().map(|start| start.to_le_bytes())),
        pack_codes(&writer.codes, width),
        pack(writer.counts.iter().map(|count| count.to_le_bytes())),
    ]
}
