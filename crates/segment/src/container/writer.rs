//! Write half of the container: buffers go to the file as they come, then footer and header.
//!
//! Invariant: nothing is kept but where the buffers lie. The first failure is kept, later calls do
//! nothing, and [`ContainerWriter::finish`] tells it.

use std::io;
use std::path::PathBuf;

use arrow::buffer::MutableBuffer;
use bytes::Bytes;
use memmap2::Mmap;
use runtime::files::{NewContent, NewFile};

use super::{ALIGNMENT, BufferRef, Content, HEADER_BYTES, Header};

const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

#[derive(Debug)]
pub(crate) struct ContainerWriter<'a> {
    file: Box<dyn NewFile + 'a>,
    next: u64,
    failed: Option<io::Error>,
}

impl<'a> ContainerWriter<'a> {
    pub(crate) fn new(file: Box<dyn NewFile + 'a>) -> Self {
        let mut writer = Self {
            file,
            next: 0,
            failed: None,
        };
        writer.append(&[0; HEADER_BYTES]);
        writer
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) -> BufferRef {
        let crc = crc32c::crc32c(bytes);
        let padding = padding(bytes);
        let buffer = BufferRef {
            offset: self.next,
            bytes: bytes.len() as u64,
            crc: crc32c::crc32c_append(crc, padding),
        };
        self.append(bytes);
        self.append(padding);
        buffer
    }

    fn append(&mut self, bytes: &[u8]) {
        self.next += bytes.len() as u64;
        if self.failed.is_none() {
            self.failed = self.file.append(bytes).err();
        }
    }

    /// What a file with the buffers so far holds, but for header and footer.
    pub(crate) fn content(&mut self) -> io::Result<Bytes> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        // But for the header, which nobody reads there, what was appended is not written again.
        bytes_of(self.file.content()?)
    }

    /// Names the file by what `path` makes of its checksum, which comes back with its length.
    pub(crate) fn finish<C: Content>(
        mut self,
        footer: &C,
        path: impl FnOnce(u32) -> PathBuf,
    ) -> io::Result<Written> {
        let footer_bytes = serde_json::to_vec(footer)?;
        let header = Header {
            id: footer.id(),
            crc: crc32c::crc32c(&footer_bytes),
            footer_offset: self.next,
            footer_bytes: footer_bytes.len() as u64,
        };
        self.append(&footer_bytes);
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.file.write_start(&header.to_bytes(C::MAGIC))?;
        let written = Written {
            path: path(header.crc),
            crc: header.crc,
            bytes: self.next,
        };
        self.file.finish(&written.path)?;
        Ok(written)
    }
}

/// What a file holds that has no name yet; those bytes are not to be written again.
pub(crate) fn bytes_of(content: NewContent) -> io::Result<Bytes> {
    match content {
        // Nothing cannot be mapped.
        NewContent::File(file) if file.metadata()?.len() == 0 => Ok(Bytes::new()),
        NewContent::File(file) => {
            // SAFETY: the file has no name yet, and who writes it only appends.
            let map = unsafe { Mmap::map(&file) }?;
            Ok(Bytes::from_owner(map))
        }
        NewContent::Memory(content) => {
            let mut aligned = MutableBuffer::with_capacity(content.len());
            aligned.extend_from_slice(&content);
            Ok(Bytes::from_owner(Aligned(aligned)))
        }
    }
}

#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) crc: u32,
    pub(crate) bytes: u64,
}

/// Bytes at an address that suits every array.
#[derive(Debug)]
struct Aligned(MutableBuffer);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn padding(bytes: &[u8]) -> &'static [u8] {
    let padded = bytes.len().next_multiple_of(ZEROS.len());
    &ZEROS[..padded - bytes.len()]
}
