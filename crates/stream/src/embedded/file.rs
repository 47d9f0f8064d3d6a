//! One file of a partition's log: whole record batches, one after the other, and a sparse index.
//!
//! Invariants:
//! - `len` bytes are whole batches whose offsets ascend without a gap from `base` on; a torn tail
//!   of the last file is cut when it is opened, damage anywhere else is an error;
//! - bytes from `tail_from` on may not be in the file yet (not synced); they are read from memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use runtime::{AppendFile, Files};

use super::batch::{BatchHeader, HEADER_BYTES, crc_is_right};

/// One index entry for so many bytes.
const INDEX_EVERY_BYTES: u64 = 8 << 10;

/// The half that readers use.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) base: i64,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) max_timestamp: i64,
    reader: File,
    index: Vec<Entry>,
    tail: Vec<u8>,
    tail_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    base: i64,
    position: u64,
    /// Newest timestamp of all batches before.
    newest_before: i64,
}

/// The half that appends.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) base: i64,
    file: Box<dyn AppendFile>,
    /// Bytes of whole, published batches.
    pub(super) len: u64,
    pub(super) synced: u64,
    /// A write or a sync failed and could not be taken back: what the file holds is not known.
    pub(super) broken: bool,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) header: BatchHeader,
    pub(super) position: u64,
}

/// What may be wrong with a file that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The last file: its end may be torn; every checksum is verified.
    Tail,
    /// It was synced before the next was begun.
    Whole,
}

impl LogFile {
    /// Opens or creates; `visit` sees every batch.
    pub(super) fn open(
        folder: &Path,
        base: i64,
        files: &dyn Files,
        check: Check,
        visit: &mut dyn FnMut(&BatchHeader, &[u8]),
    ) -> io::Result<(Self, Writer)> {
        let path = folder.join(format!("{base:020}.log"));
        let mut file = files.open_append(&path)?;
        let mut log = Self {
            base,
            len: 0,
            max_timestamp: -1,
            reader: File::open(&path)?,
            path,
            index: Vec::new(),
            tail: Vec::new(),
            tail_from: 0,
        };
        if !file.is_empty() {
            // SAFETY: the file only grows while this process holds the data dir's lock.
            let bytes = unsafe { memmap2::Mmap::map(&log.reader)? };
            log.scan(&bytes, check, visit);
        }
        if log.len < file.len() {
            if check == Check::Whole {
                let why = format!(
                    "`{}` is damaged at byte {}: restore it, or remove the topic's folder and its \
                     line in `~topics` to start the topic over",
                    log.path.display(),
                    log.len
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let lost = file.len() - log.len;
            tracing::warn!(file = %log.path.display(), kept = log.len, lost, "cut a torn tail");
            file.truncate(log.len)?;
        }
        log.tail_from = log.len;
        let writer = Writer {
            base,
            file,
            len: log.len,
            synced: log.len,
            broken: false,
        };
        Ok((log, writer))
    }

    fn scan(&mut self, bytes: &[u8], check: Check, visit: &mut dyn FnMut(&BatchHeader, &[u8])) {
        let mut next = self.base;
        while let Some(header) = BatchHeader::read(&bytes[self.len as usize..]) {
            let batch = &bytes[self.len as usize..][..header.bytes];
            if header.base != next || (check == Check::Tail && !crc_is_right(&header, batch)) {
                return;
            }
            next = header.last() + 1;
            visit(&header, batch);
            self.note(&header);
        }
    }

    fn note(&mut self, header: &BatchHeader) {
        let indexed = self.index.last().map(|entry| entry.position);
        if indexed.is_none_or(|position| self.len - position >= INDEX_EVERY_BYTES) {
            self.index.push(Entry {
                base: header.base,
                position: self.len,
                newest_before: self.max_timestamp,
            });
        }
        self.len += header.bytes as u64;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Lets readers see what [`Writer::append`] has written.
    pub(super) fn publish(&mut self, batch: &[u8], header: &BatchHeader, writer: &Writer) {
        if writer.synced < writer.len {
            self.tail.extend_from_slice(batch);
        }
        self.note(header);
        self.synced_to(writer.synced);
    }

    /// The first `len` bytes are in the file.
    pub(super) fn synced_to(&mut self, len: u64) {
        let gone = len
            .saturating_sub(self.tail_from)
            .min(self.tail.len() as u64);
        self.tail.drain(..gone as usize);
        self.tail_from = self.tail_from.max(len);
    }

    pub(super) fn unsynced_bytes(&self) -> usize {
        self.tail.len()
    }

    /// The batch that holds `offset`, or the first after it.
    pub(super) fn find(&self, offset: i64) -> io::Result<Option<Found>> {
        let before = self.index.partition_point(|entry| entry.base <= offset);
        let position = before
            .checked_sub(1)
            .map_or(0, |entry| self.index[entry].position);
        self.find_from(position, |header| header.last() >= offset)
    }

    /// The first batch at or after `position` with a record at or after `timestamp`.
    pub(super) fn find_time(&self, timestamp: i64, position: u64) -> io::Result<Option<Found>> {
        if self.max_timestamp < timestamp {
            return Ok(None);
        }
        let older = self
            .index
            .partition_point(|entry| entry.newest_before < timestamp);
        let indexed = older
            .checked_sub(1)
            .map_or(0, |entry| self.index[entry].position);
        self.find_from(position.max(indexed), |header| {
            header.max_timestamp >= timestamp && !header.is_control()
        })
    }

    fn find_from(
        &self,
        mut position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> io::Result<Option<Found>> {
        while let Some(header) = self.header_at(position)? {
            if wanted(&header) {
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
        self.read_exact(&mut bytes, position)?;
        Ok(BatchHeader::read_head(&bytes))
    }

    fn read_exact(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let in_file = self.tail_from.saturating_sub(position);
        let in_file = bytes
            .len()
            .min(usize::try_from(in_file).unwrap_or(usize::MAX));
        let (file, memory) = bytes.split_at_mut(in_file);
        if !file.is_empty() {
            self.reader.read_exact_at(file, position)?;
        }
        if !memory.is_empty() {
            let from = position.saturating_sub(self.tail_from) as usize;
            let tail = self.tail.get(from..from + memory.len());
            memory.copy_from_slice(tail.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        Ok(())
    }

    pub(super) fn read_batch(&self, found: &Found) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; found.header.bytes];
        self.read_exact(&mut bytes, found.position)?;
        Ok(bytes)
    }

    /// Whole batches from `found` on that begin below `limit`: the first whatever its size, then up
    /// to `bytes_max`. Also the offset of the last record.
    pub(super) fn read(
        &self,
        found: &Found,
        limit: i64,
        bytes_max: usize,
    ) -> io::Result<(Vec<u8>, i64)> {
        let available = (self.len - found.position) as usize;
        let wanted = bytes_max.max(found.header.bytes).min(available);
        let mut bytes = vec![0; wanted];
        self.read_exact(&mut bytes, found.position)?;
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

/// Whether an append waits until it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Now,
    Later,
}

impl Writer {
    /// On an error the file is as before, or the writer is broken.
    pub(super) fn append(&mut self, batch: &[u8], durable: Durable) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed; restart the log"));
        }
        let written = self.file.append(batch).and_then(|()| match durable {
            Durable::Now => self.file.sync(),
            Durable::Later => Ok(()),
        });
        if let Err(error) = written {
            self.broken = self.file.truncate(self.len).is_err();
            return Err(error);
        }
        self.len += batch.len() as u64;
        if durable == Durable::Now {
            self.synced = self.len;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced == self.len {
            return Ok(());
        }
        let synced = self.file.sync();
        self.note_synced(self.len, synced)
    }

    pub(super) fn sync_handle(&self) -> io::Result<Option<File>> {
        self.file.sync_handle()
    }

    /// After a failed sync nobody knows what is on the disk.
    pub(super) fn note_synced(&mut self, len: u64, result: io::Result<()>) -> io::Result<()> {
        match &result {
            Ok(()) => self.synced = self.synced.max(len),
            Err(_) => self.broken = true,
        }
        result
    }
}
