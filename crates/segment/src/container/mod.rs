//! The `.seg` container: one file for one sealed segment.
//!
//! ```text
//! SEG     := HEADER BUFFER* FOOTER
//! HEADER  := magic "TanninSg" | version: u32 | crc: u32 | table: 16 bytes | partition: u32
//!          | sequence: u32 | footer_offset: u64 | footer_bytes: u64 | zero: u32
//!          | header_crc: u32                                                  (64 bytes)
//! BUFFER  := an array of little-endian numbers, or bytes, then zeros up to a multiple of 64
//! FOOTER  := JSON, see footer.rs: what the segment is, its columns, where each buffer lies, its
//!            length and its CRC-32C over array and zeros
//! ```
//!
//! `crc` is the CRC-32C of FOOTER and names the content of the segment: FOOTER holds the checksum
//! of every buffer and the identity of the segment, so two files with equal `crc` hold the same.
//! `header_crc` is that of the 60 bytes before it. Every byte of a file is under a checksum.
//!
//! Buffers lie one after the other between HEADER and FOOTER, with nothing between them. Opening
//! verifies HEADER, FOOTER and all lengths; a buffer is verified when it is first used.
//!
//! The frame serves other files as well, with another magic and footer: see [`Content`].

mod file;
mod footer;
mod writer;

pub(crate) use file::Container;
pub(crate) use footer::{
    BufferRef, ColumnFooter, DictionaryFooter, Encoding, EntryCounts, Footer, IndexFooter,
    ValueFrame,
};
pub use footer::{IndexKey, IndexKind};
pub(crate) use writer::{ContainerWriter, Written, bytes_of};

use schemas::{SegmentId, TableId};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const ALIGNMENT: u64 = 64;
/// 2 brought indexes that are named in one list, several values a row, sparse numbers, raw texts
/// and UUIDs; 3 doubles that are decimal fractions; 4 short lists in inverted indexes, no codes of
/// a sorted column, codes of three bytes, bits, steps, and narrow counts of rows and entries; 5
/// dictionaries of texts by shared prefixes.
pub(crate) const VERSION: u32 = 5;
const HEADER_BYTES: usize = 64;

/// What a footer tells of its file, and so what the file is.
pub(crate) trait Content: Serialize + DeserializeOwned {
    const MAGIC: [u8; 8];
    /// For messages.
    const NOUN: &'static str;

    fn id(&self) -> SegmentId;

    /// Of the whole file.
    fn buffers(&self) -> Vec<BufferRef>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    id: SegmentId,
    crc: u32,
    footer_offset: u64,
    footer_bytes: u64,
}

#[derive(Debug)]
enum HeaderFault {
    Magic,
    Version(u32),
    Checksum,
}

impl Header {
    fn to_bytes(self, magic: [u8; 8]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&magic);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id.table.to_bytes());
        bytes[32..36].copy_from_slice(&self.id.partition.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.id.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.footer_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES], magic: [u8; 8]) -> Result<Self, HeaderFault> {
        if bytes[..8] != magic {
            return Err(HeaderFault::Magic);
        }
        // A later version may lay out the rest in another way.
        let version = read_u32(bytes, 8);
        if crc32c::crc32c(&bytes[..60]) != read_u32(bytes, 60) {
            return match version {
                1..=VERSION => Err(HeaderFault::Checksum),
                other => Err(HeaderFault::Version(other)),
            };
        }
        if !(1..=VERSION).contains(&version) {
            return Err(HeaderFault::Version(version));
        }
        let table = TableId::from_bytes(&bytes[16..32]).expect("16 bytes are an id");
        Ok(Self {
            id: SegmentId {
                table,
                partition: read_u32(bytes, 32),
                sequence: read_u32(bytes, 36),
            },
            crc: read_u32(bytes, 12),
            footer_offset: read_u64(bytes, 40),
            footer_bytes: read_u64(bytes, 48),
        })
    }
}

fn read_u32(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read_u64(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
