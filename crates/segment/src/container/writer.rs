//! Write half of the container: buffers are collected, then header, buffers and footer written.

use std::io::{self, Write};

use arrow::buffer::MutableBuffer;
use bytes::Bytes;

use super::{ALIGNMENT, BufferRef, Content, HEADER_BYTES, Header};

const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

#[derive(Debug)]
pub(crate) struct ContainerWriter {
    buffers: Vec<Vec<u8>>,
    next: u64,
}

impl ContainerWriter {
    pub(crate) fn new() -> Self {
        Self {
            buffers: Vec::new(),
            next: HEADER_BYTES as u64,
        }
    }

    pub(crate) fn add(&mut self, bytes: Vec<u8>) -> BufferRef {
        let crc = crc32c::crc32c(&bytes);
        let buffer = BufferRef {
            offset: self.next,
            bytes: bytes.len() as u64,
            crc: crc32c::crc32c_append(crc, padding(&bytes)),
        };
        self.next += buffer.padded();
        self.buffers.push(bytes);
        buffer
    }

    /// What a file with the buffers so far would hold, without header and footer.
    pub(crate) fn content(&self) -> Bytes {
        let mut content = MutableBuffer::with_capacity(self.next as usize);
        content.extend_from_slice(&[0_u8; HEADER_BYTES]);
        for buffer in &self.buffers {
            content.extend_from_slice(buffer);
            content.extend_from_slice(padding(buffer));
        }
        Bytes::from_owner(Aligned(content))
    }

    pub(crate) fn finish<C: Content>(self, footer: &C) -> Encoded {
        let footer_bytes = serde_json::to_vec(footer).expect("a footer has only string keys");
        let header = Header {
            id: footer.id(),
            crc: crc32c::crc32c(&footer_bytes),
            footer_offset: self.next,
            footer_bytes: footer_bytes.len() as u64,
        };
        Encoded {
            magic: C::MAGIC,
            header,
            buffers: self.buffers,
            footer: footer_bytes,
        }
    }
}

/// Bytes at an address that suits every array.
#[derive(Debug)]
struct Aligned(MutableBuffer);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A container that is ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    magic: [u8; 8],
    header: Header,
    buffers: Vec<Vec<u8>>,
    footer: Vec<u8>,
}

impl Encoded {
    pub(crate) fn crc(&self) -> u32 {
        self.header.crc
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.header.footer_offset + self.header.footer_bytes
    }

    pub(crate) fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.header.to_bytes(self.magic))?;
        for buffer in &self.buffers {
            out.write_all(buffer)?;
            out.write_all(padding(buffer))?;
        }
        out.write_all(&self.footer)
    }
}

fn padding(bytes: &[u8]) -> &'static [u8] {
    let padded = bytes.len().next_multiple_of(ZEROS.len());
    &ZEROS[..padded - bytes.len()]
}
