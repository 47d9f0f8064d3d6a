//! Read half of the container: a mapped file whose header, footer and lengths are verified.
//!
//! A file never changes after it was renamed to its place, so its bytes may be borrowed as long
//! as the map lives; removing the name does not touch them.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use bytes::Bytes;
use memmap2::Mmap;

use super::{ALIGNMENT, BufferRef, Content, HEADER_BYTES, Header, HeaderFault, VERSION};
use crate::SegmentError;
use crate::view::describe;

#[derive(Debug)]
pub(crate) struct Container {
    path: PathBuf,
    /// Of the file that is mapped.
    stamp: Option<Stamp>,
    bytes: Bytes,
    crc: u32,
    buffers: Vec<BufferRef>,
}

/// What changes when somebody writes to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl Container {
    /// Without an expected checksum, any file of its kind will do.
    pub(crate) fn open<C: Content>(
        path: &Path,
        expected_crc: Option<u32>,
    ) -> Result<(Self, C), SegmentError> {
        let file = File::open(path).map_err(SegmentError::io("open", path))?;
        // SAFETY: segment files are written once and then only removed, see the head of this
        // file; nobody else writes to the data folder, which is locked by this process.
        let map = unsafe { Mmap::map(&file) }.map_err(SegmentError::io("map", path))?;
        let metadata = file.metadata().map_err(SegmentError::io("look at", path))?;
        let (mut container, footer) = Self::of_bytes(path, Bytes::from_owner(map), expected_crc)?;
        container.stamp = Some(Stamp::of(&metadata));
        Ok((container, footer))
    }

    /// Over the buffers of a file that is being written, see `ContainerWriter::content`.
    pub(crate) fn unfinished<C: Content>(path: &Path, bytes: Bytes, footer: &C) -> Self {
        Self {
            path: path.to_owned(),
            stamp: None,
            bytes,
            crc: 0,
            buffers: footer.buffers(),
        }
    }

    /// An error when somebody wrote to the file after it was opened, which nobody may: what was
    /// verified may not be so any more. A file that is gone is whole as long as it is mapped.
    pub(crate) fn check_unchanged(&self) -> Result<(), SegmentError> {
        let Some(stamp) = self.stamp else {
            return Ok(());
        };
        match std::fs::metadata(&self.path) {
            Ok(metadata) if Stamp::of(&metadata) != stamp => {
                Err(self.corrupt("it was changed after it was opened"))
            }
            _ => Ok(()),
        }
    }

    /// `path` is for messages.
    pub(crate) fn of_bytes<C: Content>(
        path: &Path,
        bytes: Bytes,
        expected_crc: Option<u32>,
    ) -> Result<(Self, C), SegmentError> {
        let corrupt = |what: &str| SegmentError::corrupt(path, what);
        let head = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| corrupt("it is shorter than its header"))?;
        let header = Header::from_bytes(head, C::MAGIC).map_err(|fault| match fault {
            HeaderFault::Magic => corrupt(&format!("it does not begin as a {}", C::NOUN)),
            HeaderFault::Checksum => corrupt("the checksum of its header differs"),
            HeaderFault::Version(found) => SegmentError::UnknownVersion {
                path: path.to_owned(),
                found,
                known: VERSION,
            },
        })?;
        if let Some(expected_crc) = expected_crc
            && header.crc != expected_crc
        {
            return Err(SegmentError::Misplaced {
                path: path.to_owned(),
                found: describe(header.id, header.crc),
                expected: format!("the content with checksum {expected_crc:08x}"),
            });
        }
        let end = header.footer_offset.checked_add(header.footer_bytes);
        if end != Some(bytes.len() as u64) {
            let what = format!("it has {} bytes, {end:?} were written", bytes.len());
            return Err(corrupt(&what));
        }
        let footer_bytes = &bytes[header.footer_offset as usize..];
        if crc32c::crc32c(footer_bytes) != header.crc {
            return Err(corrupt("the checksum of its footer differs"));
        }
        let footer: C = serde_json::from_slice(footer_bytes)
            .map_err(|error| corrupt(&format!("its footer cannot be read: {error}")))?;
        let mut container = Self::unfinished(path, bytes, &footer);
        container.crc = header.crc;
        if footer.id() != header.id {
            return Err(container.corrupt("header and footer name different segments"));
        }
        container.check_frame(header.footer_offset)?;
        Ok((container, footer))
    }

    /// Buffers fill the room between header and footer exactly.
    fn check_frame(&mut self, footer_offset: u64) -> Result<(), SegmentError> {
        self.buffers
            .sort_unstable_by_key(|buffer| (buffer.offset, buffer.bytes));
        let mut next = HEADER_BYTES as u64;
        for buffer in &self.buffers {
            // Nothing of the file's length overflows below.
            let is_within = buffer.bytes <= self.bytes.len() as u64;
            if buffer.offset != next || !is_within || !next.is_multiple_of(ALIGNMENT) {
                return Err(self.corrupt(format!("a buffer begins at {}", buffer.offset)));
            }
            next = next.saturating_add(buffer.padded());
        }
        if next != footer_offset {
            return Err(self.corrupt(format!("its buffers end at {next}")));
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes: the header, each buffer with the zeros after it, the footer.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        let mut starts = vec![0, HEADER_BYTES];
        let ends = self.buffers.iter();
        starts.extend(ends.map(|buffer| (buffer.offset + buffer.padded()) as usize));
        starts.push(self.bytes.len());
        let parts = starts.windows(2).map(|ends| &self.bytes[ends[0]..ends[1]]);
        parts.collect()
    }

    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Verified bytes. `what` names them in messages.
    pub(crate) fn buffer(&self, buffer: &BufferRef, what: &str) -> Result<Bytes, SegmentError> {
        let start = buffer.offset as usize;
        let padded = &self.bytes[start..start + buffer.padded() as usize];
        if crc32c::crc32c(padded) != buffer.crc {
            return Err(self.corrupt(format!("the checksum of {what} differs")));
        }
        Ok(self.bytes.slice(start..start + buffer.bytes as usize))
    }

    /// Verified numbers, exactly `count` of them.
    pub(crate) fn numbers<T: ArrowNativeType>(
        &self,
        buffer: &BufferRef,
        count: usize,
        what: &str,
    ) -> Result<ScalarBuffer<T>, SegmentError> {
        let wanted = count.checked_mul(size_of::<T>());
        if wanted.map(|bytes| bytes as u64) != Some(buffer.bytes) {
            let found = buffer.bytes;
            return Err(self.corrupt(format!("{what} has {found} bytes for {count} values")));
        }
        let bytes = self.buffer(buffer, what)?;
        // An empty slice has no alignment.
        if count == 0 {
            return Ok(ScalarBuffer::from(Vec::new()));
        }
        Ok(ScalarBuffer::new(Buffer::from(bytes), 0, count))
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> SegmentError {
        SegmentError::corrupt(&self.path, what)
    }

    /// Reads every byte.
    pub(crate) fn verify_checksums(&self) -> Result<(), SegmentError> {
        self.check_unchanged()?;
        for buffer in &self.buffers {
            self.buffer(buffer, &format!("the buffer at {}", buffer.offset))?;
        }
        Ok(())
    }
}
