//! One file of a partition's log: whole record batches, one after the other, and a sparse index.
//!
//! Invariant: `len` bytes of the file are whole batches with ascending offsets from `base` on; a
//! torn tail is cut when the file is opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use runtime::{AppendFile, Files};

use super::batch::{BatchHeader, HEADER_BYTES, crc_is_right};

/// One index entry for so many bytes.
const INDEX_EVERY_BYTES: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) base: i64,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) max_timestamp: i64,
    reader: File,
    writer: Box<dyn AppendFile>,
    /// Offset and position of some batches, ascending.
    index: Vec<(i64, u64)>,
}

/// Where reading shall begin or has ended.
pub(super) struct Found {
    pub(super) header: BatchHeader,
    pub(super) position: u64,
}

impl LogFile {
    /// Opens or creates; `visit` sees every batch. `check` verifies checksums (the last file only).
    pub(super) fn open(
        folder: &Path,
        base: i64,
        files: &dyn Files,
        check: Check,
        visit: &mut dyn FnMut(&BatchHeader, &[u8]),
    ) -> io::Result<Self> {
        let path = folder.join(format!("{base:020}.log"));
        let mut writer = files.open_append(&path)?;
        let reader = File::open(&path)?;
        let mut opened = Self {
            base,
            path,
            len: 0,
            max_timestamp: -1,
            reader,
            writer: Box::new(Closed),
            index: Vec::new(),
        };
        if !writer.is_empty() {
            // SAFETY: the file only grows while this process holds the data dir's lock.
            let bytes = unsafe { memmap2::Mmap::map(&opened.reader)? };
            while let Some(header) = BatchHeader::read(&bytes[opened.len as usize..]) {
                let batch = &bytes[opened.len as usize..][..header.bytes];
                if check == Check::Crc && !crc_is_right(&header, batch) {
                    break;
                }
                visit(&header, batch);
                opened.note(&header);
            }
        }
        if opened.len < writer.len() {
            tracing::warn!(file = %opened.path.display(), kept = opened.len, "cut a torn tail");
            writer.truncate(opened.len)?;
        }
        opened.writer = writer;
        Ok(opened)
    }

    fn note(&mut self, header: &BatchHeader) {
        let indexed = self.index.last().map(|(_, position)| *position);
        if indexed.is_none_or(|position| self.len - position >= INDEX_EVERY_BYTES) {
            self.index.push((header.base, self.len));
        }
        self.len += header.bytes as u64;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Appends whole batches that are placed already.
    pub(super) fn append(&mut self, batches: &[u8], headers: &[BatchHeader]) -> io::Result<()> {
        if let Err(error) = self.writer.append(batches) {
            // A short write leaves a torn batch, which must not stay before the next one.
            self.writer.truncate(self.len)?;
            return Err(error);
        }
        for header in headers {
            self.note(header);
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.writer.sync()
    }

    /// The batch that holds `offset`, or the first after it.
    pub(super) fn find(&self, offset: i64) -> io::Result<Option<Found>> {
        let before = self.index.partition_point(|(base, _)| *base <= offset);
        let mut position = before.checked_sub(1).map_or(0, |entry| self.index[entry].1);
        while let Some(header) = self.header_at(position)? {
            if header.last() >= offset {
                return Ok(Some(Found { header, position }));
            }
            position += header.bytes as u64;
        }
        Ok(None)
    }

    /// The first batch with a record at or after `timestamp`.
    pub(super) fn find_time(&self, timestamp: i64) -> io::Result<Option<Found>> {
        if self.max_timestamp < timestamp {
            return Ok(None);
        }
        let mut position = 0;
        while let Some(header) = self.header_at(position)? {
            if header.max_timestamp >= timestamp {
                return Ok(Some(Found { header, position }));
            }
            position += header.bytes as u64;
        }
        Ok(None)
    }

    fn header_at(&self, position: u64) -> io::Result<Option<BatchHeader>> {
        if position + HEADER_BYTES as u64 > self.len {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.reader.read_exact_at(&mut bytes, position)?;
        Ok(BatchHeader::read_head(&bytes))
    }

    /// Whole batches from `position` on that begin below `limit`: at least one, then up to
    /// `bytes_max`. Also the offset of the last record.
    pub(super) fn read(
        &self,
        position: u64,
        limit: i64,
        bytes_max: usize,
    ) -> io::Result<(Vec<u8>, i64)> {
        let Some(first) = self.header_at(position)? else {
            return Ok((Vec::new(), -1));
        };
        let available = (self.len - position) as usize;
        let wanted = bytes_max.max(first.bytes).min(available);
        let mut bytes = vec![0; wanted];
        self.reader.read_exact_at(&mut bytes, position)?;
        let (mut end, mut last) = (0, -1);
        while let Some(header) = BatchHeader::read(&bytes[end..]) {
            if header.base >= limit {
                break;
            }
            end += header.bytes;
            last = header.last();
        }
        bytes.truncate(end);
        Ok((bytes, last))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Crc,
    Lengths,
}

/// Stands in while a file is being opened.
#[derive(Debug)]
struct Closed;

impl AppendFile for Closed {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> u64 {
        0
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }
}
