//! The form of a segment in the deep store: the whole container in one zstd frame.
//!
//! Both ways every checksum of the container is verified, so that damage neither gets into the
//! deep store nor out of it.

use std::path::Path;

use bytes::Bytes;
use runtime::files::Files;

use crate::SegmentError;
use crate::container::{Container, Footer};

const LEVEL: i32 = 1;

/// Compresses the file of a sealed segment with this checksum.
pub fn pack(path: &Path, expected_crc: u32) -> Result<Vec<u8>, SegmentError> {
    let (container, _) = Container::open::<Footer>(path, Some(expected_crc))?;
    container.verify_checksums()?;
    zstd::bulk::compress(container.bytes(), LEVEL).map_err(SegmentError::io("compress", path))
}

/// Writes what [`pack`] made to `path`, once it is known to be the content with this checksum.
/// The fail points are those of [`Files::write_new`] with the prefix `load`.
pub fn unpack(
    packed: &[u8],
    files: &dyn Files,
    path: &Path,
    expected_crc: u32,
) -> Result<(), SegmentError> {
    let damaged = |error: std::io::Error| {
        SegmentError::corrupt(path, format!("it cannot be decompressed: {error}"))
    };
    let bytes = zstd::stream::decode_all(packed).map_err(damaged)?;
    let (container, _) =
        Container::of_bytes::<Footer>(path, Bytes::from(bytes), Some(expected_crc))?;
    container.verify_checksums()?;
    files
        .write_new(path, "load", &mut |out| out.write_all(container.bytes()))
        .map_err(SegmentError::io("write", path))
}
