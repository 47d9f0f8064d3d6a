//! The form of a segment in the deep store: each buffer in a zstd frame of its own.
//!
//! ```text
//! PACKED := HEAD TABLE FRAME*
//! HEAD   := magic "TanninPk" | frames: u32 | table_crc: u32                      (16 bytes)
//! TABLE  := frames × (bytes: u64 | packed: u64 | width: u8 | steps: u8 | zero: 6 bytes)
//! FRAME  := zstd, of `packed` bytes; `bytes` of the container, laid out as `layout.rs` tells
//! ```
//!
//! The frames make up the container in its order: header, one buffer after the other, footer. What
//! begins otherwise is a container in one frame, as it was written before.
//!
//! Both ways every checksum of the container is verified, so that damage neither gets into the
//! deep store nor out of it.

mod layout;

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use runtime::files::Files;

use crate::SegmentError;
use crate::container::{Container, Footer};
use layout::Layout;

const MAGIC: [u8; 8] = *b"TanninPk";
const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
/// Greater ones take several times as long and gain a hundredth.
const LEVEL: i32 = 1;

/// Compresses the file of a sealed segment with this checksum.
pub fn pack(path: &Path, expected_crc: u32) -> Result<Vec<u8>, SegmentError> {
    let (container, _) = Container::open::<Footer>(path, Some(expected_crc))?;
    container.verify_checksums()?;
    let parts = container.parts();
    let head = HEAD_BYTES + parts.len() * ENTRY_BYTES;
    let (mut table, mut frames) = (Vec::with_capacity(head), vec![0; head]);
    for part in parts {
        let layout = Layout::of(part).map_err(SegmentError::io("compress", path))?;
        let packed = zstd::bulk::compress(&layout.lay_out(part), LEVEL);
        let packed = packed.map_err(SegmentError::io("compress", path))?;
        table.extend((part.len() as u64).to_le_bytes());
        table.extend((packed.len() as u64).to_le_bytes());
        table.extend([
            layout.width(),
            u8::from(layout.has_steps()),
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        frames.extend(packed);
    }
    let count = (table.len() / ENTRY_BYTES) as u32;
    frames[..8].copy_from_slice(&MAGIC);
    frames[8..12].copy_from_slice(&count.to_le_bytes());
    frames[12..16].copy_from_slice(&crc32c::crc32c(&table).to_le_bytes());
    frames[HEAD_BYTES..head].copy_from_slice(&table);
    Ok(frames)
}

/// Writes what [`pack`] made to `path`, once it is known to be the content with this checksum.
/// The fail points are those of [`Files::write_new`] with the prefix `load`.
pub fn unpack(
    packed: &[u8],
    files: &dyn Files,
    path: &Path,
    expected_crc: u32,
) -> Result<(), SegmentError> {
    let damaged =
        |what: &str| SegmentError::corrupt(path, format!("it cannot be decompressed: {what}"));
    let bytes = match packed.starts_with(&MAGIC) {
        true => whole(packed).map_err(damaged)?,
        false => zstd::stream::decode_all(packed).map_err(|error| damaged(&error.to_string()))?,
    };
    let (container, _) =
        Container::of_bytes::<Footer>(path, Bytes::from(bytes), Some(expected_crc))?;
    container.verify_checksums()?;
    files
        .write_new(path, "load", &mut |out| out.write_all(container.bytes()))
        .map_err(SegmentError::io("write", path))
}

/// The container.
fn whole(packed: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (head, rest) = packed
        .split_at_checked(HEAD_BYTES)
        .ok_or("it has no head")?;
    let count = u32::from_le_bytes(word(head, 8)) as usize;
    let (table, mut rest) = rest
        .split_at_checked(count * ENTRY_BYTES)
        .ok_or("its table is cut")?;
    if crc32c::crc32c(table) != u32::from_le_bytes(word(head, 12)) {
        return Err("the checksum of its table differs");
    }
    let mut bytes = Vec::new();
    for entry in table.chunks_exact(ENTRY_BYTES) {
        let length = usize::try_from(u64::from_le_bytes(word(entry, 8)));
        let length = length.map_err(|_| "a frame is too long")?;
        let (frame, after) = rest.split_at_checked(length).ok_or("a frame is cut")?;
        rest = after;
        let layout = Layout::new(entry[16], entry[17] != 0).ok_or("a layout is not known")?;
        let laid_out = unframe(frame, u64::from_le_bytes(word(entry, 0)))?;
        bytes.extend(layout.put_back(&laid_out).iter());
    }
    match rest.is_empty() {
        true => Ok(bytes),
        false => Err("there is more behind its frames"),
    }
}

/// Memory grows with what there is, whatever the table claims.
fn unframe(frame: &[u8], bytes: u64) -> Result<Vec<u8>, &'static str> {
    let decoder = zstd::stream::Decoder::new(frame).map_err(|_| "a frame has no head")?;
    let mut laid_out = Vec::new();
    let read = decoder
        .take(bytes.saturating_add(1))
        .read_to_end(&mut laid_out);
    read.map_err(|_| "a frame is damaged")?;
    match laid_out.len() as u64 == bytes {
        true => Ok(laid_out),
        false => Err("a frame is not as long as its table says"),
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("it lies within its head or entry")
}
