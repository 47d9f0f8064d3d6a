//! Blocks → bytes. The grammar stands in `reader.rs`; bytes are produced here and nowhere else.

use super::reader::{HEADER_BYTES, MAGIC};
use super::writer::BloomWriter;

pub fn serialize(writer: &BloomWriter) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&(writer.blocks.len() as u32).to_le_bytes());
    let words = writer.blocks.iter().flatten();
    words.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out
}
