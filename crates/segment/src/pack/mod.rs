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
//! Unpacking holds one frame in memory, packing what it makes.
//!
//! Both ways every checksum of the container is verified, so that damage neither gets into the
//! deep store nor out of it.

mod layout;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memmap2::Mmap;
use runtime::files::{Files, NewFile};
use zstd::bulk::Compressor;

use crate::SegmentError;
use crate::container::{Container, Footer, bytes_of};
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
    let failed = || SegmentError::io("compress", path);
    let mut compressor = Compressor::new(LEVEL).map_err(failed())?;
    for part in parts {
        let layout = Layout::of(part, &mut compressor).map_err(failed())?;
        let packed = compressor.compress(&layout.lay_out(part));
        let packed = packed.map_err(failed())?;
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

/// Writes the container at `from`, which somebody else has sent, to `path`, once it is known to be
/// the content with this checksum. Fail points as those of [`unpack`].
pub fn copy_file(
    from: &Path,
    files: &dyn Files,
    path: &Path,
    expected_crc: u32,
) -> Result<(), SegmentError> {
    let (container, _) = Container::open::<Footer>(from, Some(expected_crc))?;
    container.verify_checksums()?;
    files
        .write_new(path, "load", &mut |out| out.write_all(container.bytes()))
        .map_err(SegmentError::io("write", path))
}

/// As [`unpack`], of a file that nobody writes to any more.
pub fn unpack_file(
    packed: &Path,
    files: &dyn Files,
    path: &Path,
    expected_crc: u32,
) -> Result<(), SegmentError> {
    let file = File::open(packed).map_err(SegmentError::io("open", packed))?;
    let length = file
        .metadata()
        .map_err(SegmentError::io("look at", packed))?;
    if length.len() == 0 {
        return unpack(&[], files, path, expected_crc);
    }
    // SAFETY: an object of the deep store is written once, and what was downloaded by nobody else.
    let map = unsafe { Mmap::map(&file) }.map_err(SegmentError::io("map", packed))?;
    unpack(&map, files, path, expected_crc)
}

/// Writes what [`pack`] made to `path`, frame by frame; the file gets its name once it is known to
/// be the content with this checksum. The fail points are those of [`Files::begin`] with the prefix
/// `load`.
pub fn unpack(
    packed: &[u8],
    files: &dyn Files,
    path: &Path,
    expected_crc: u32,
) -> Result<(), SegmentError> {
    let failed = || SegmentError::io("write", path);
    let mut file = files.begin(path, "load").map_err(failed())?;
    let unpacked = match packed.starts_with(&MAGIC) {
        true => frames(packed, &mut *file),
        false => one_frame(packed, &mut *file),
    };
    unpacked.map_err(|fault| match fault {
        Unpacking::Damaged(what) => {
            SegmentError::corrupt(path, format!("it cannot be decompressed: {what}"))
        }
        Unpacking::Disk(error) => failed()(error),
    })?;
    let content = file.content().and_then(bytes_of).map_err(failed())?;
    let (container, _) = Container::of_bytes::<Footer>(path, content, Some(expected_crc))?;
    container.verify_checksums()?;
    file.finish(path).map_err(failed())
}

enum Unpacking {
    Damaged(String),
    Disk(io::Error),
}

impl From<&str> for Unpacking {
    fn from(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

/// The container.
fn frames(packed: &[u8], file: &mut dyn NewFile) -> Result<(), Unpacking> {
    let (head, rest) = packed
        .split_at_checked(HEAD_BYTES)
        .ok_or("it has no head")?;
    let count = u32::from_le_bytes(word(head, 8)) as usize;
    let (table, mut rest) = rest
        .split_at_checked(count * ENTRY_BYTES)
        .ok_or("its table is cut")?;
    if crc32c::crc32c(table) != u32::from_le_bytes(word(head, 12)) {
        return Err("the checksum of its table differs".into());
    }
    for entry in table.chunks_exact(ENTRY_BYTES) {
        let length = usize::try_from(u64::from_le_bytes(word(entry, 8)));
        let length = length.map_err(|_| "a frame is too long")?;
        let (frame, after) = rest.split_at_checked(length).ok_or("a frame is cut")?;
        rest = after;
        let layout = Layout::new(entry[16], entry[17] != 0).ok_or("a layout is not known")?;
        let laid_out = unframe(frame, u64::from_le_bytes(word(entry, 0)))?;
        let bytes = layout.put_back(&laid_out);
        file.append(&bytes).map_err(Unpacking::Disk)?;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err("there is more behind its frames".into()),
    }
}

/// As it was written before.
fn one_frame(packed: &[u8], file: &mut dyn NewFile) -> Result<(), Unpacking> {
    let damaged = |error: io::Error| Unpacking::Damaged(error.to_string());
    let mut decoder = zstd::stream::Decoder::new(packed).map_err(damaged)?;
    let mut piece = vec![0; 1 << 18];
    loop {
        match decoder.read(&mut piece).map_err(damaged)? {
            0 => return Ok(()),
            read => file.append(&piece[..read]).map_err(Unpacking::Disk)?,
        }
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
