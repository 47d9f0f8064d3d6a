//! The log of one partition: files of record batches, what follows from them, and their start.
//!
//! Invariants:
//! - offsets are handed out without a gap in the order of appends; `start <= next`;
//! - a batch is visible to readers only after its write (and its sync, where acks mean that), and
//!   counted in nothing before: a failed append leaves no trace;
//! - readers of committed data see nothing at or after the first open transaction.
//!
//! Two locks: `writer` is held while a file is written, `state` only for a moment and while bytes
//! are copied to a reader. `writer` is taken first.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::Files;

use super::SyncPolicy;
use super::batch::{BatchHeader, crc_is_right, outcome, place};
use super::file::{Check, Durable, LogFile, Writer};
use super::history::{Aborted, Admission, History};
use super::kafka_error as code;
use super::state::{Room, State};

/// So much may wait for a sync.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Partition {
    folder: PathBuf,
    files: Arc<dyn Files>,
    limits: Limits,
    writer: Mutex<Writer>,
    state: Mutex<State>,
    /// The last access to the disk failed, which was told.
    fails: AtomicBool,
}

/// What all partitions of a log have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sync: SyncPolicy,
    pub(super) file_bytes: u64,
}

/// Answer to a fetch.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) error: i16,
    pub(super) high_watermark: i64,
    pub(super) last_stable: i64,
    pub(super) start: i64,
    pub(super) records: Bytes,
    pub(super) aborted: Vec<Aborted>,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    Everything,
    Committed,
}

impl Partition {
    pub(super) fn open(folder: PathBuf, files: Arc<dyn Files>, limits: Limits) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let start = read_start(&folder)?;
        let mut bases = bases_in(&folder)?;
        if bases.is_empty() {
            bases.push(start);
        }
        let mut history = History::default();
        let (mut logs, mut writer, mut next) = (VecDeque::new(), None, bases[0]);
        for (index, base) in bases.iter().enumerate() {
            if *base != next {
                let why = format!(
                    "`{}` lacks the file of offset {next}: restore it, or remove the topic's \
                     folder and its line in `~topics` to start the topic over",
                    folder.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let check = if index + 1 == bases.len() {
                Check::Tail
            } else {
                Check::Whole
            };
            let mut visit = |header: &BatchHeader, batch: &[u8]| {
                history.note(header, outcome(batch));
                next = header.last() + 1;
            };
            let (log, last) = LogFile::open(&folder, *base, &*files, check, &mut visit)?;
            logs.push_back(log);
            writer = Some(last);
        }
        let writer = writer.ok_or_else(|| io::Error::other("a partition without a file"))?;
        let state = State {
            start: start.clamp(bases[0], next),
            logs,
            next,
            history,
        };
        Ok(Self {
            folder,
            files,
            limits,
            writer: Mutex::new(writer),
            state: Mutex::new(state),
            fails: AtomicBool::new(false),
        })
    }

    /// Appends the one batch of a client; gives its base offset and the log's start.
    pub(super) fn append(&self, records: &[u8]) -> Result<(i64, i64), i16> {
        let header = BatchHeader::read(records).ok_or(code::CORRUPT_MESSAGE)?;
        if !crc_is_right(&header, records) {
            return Err(code::CORRUPT_MESSAGE);
        }
        let regular = header.count == header.last_delta.saturating_add(1);
        let numbered = header.producer < 0 || header.sequence >= 0;
        if header.bytes != records.len() || header.is_control() || !regular || !numbered {
            return Err(code::INVALID_RECORD);
        }
        self.write(&header, records)
    }

    /// Ends the open transaction of a producer, if it has one here.
    pub(super) fn append_marker(&self, producer: i64, marker: &[u8]) -> Result<(), i16> {
        if !self.state.lock().history.has_open(producer) {
            return Ok(());
        }
        let header = BatchHeader::read(marker).ok_or(code::CORRUPT_MESSAGE)?;
        self.write(&header, marker).map(|_| ())
    }

    fn write(&self, header: &BatchHeader, batch: &[u8]) -> Result<(i64, i64), i16> {
        let mut writer = self.writer.lock();
        let base = {
            let state = self.state.lock();
            match state.history.admit(header)? {
                Admission::Repeated(base) => return Ok((base, state.start)),
                Admission::Append => state.next,
            }
        };
        let mut batch = batch.to_vec();
        place(&mut batch, base);
        let header = header.at(base);
        let durable = match self.limits.sync {
            SyncPolicy::OnAck => Durable::Now,
            SyncPolicy::Every(_) => Durable::Later,
        };
        let full = writer.len >= self.limits.file_bytes;
        let written = if full {
            self.begin_file(&mut writer)
        } else {
            Ok(())
        };
        let written = written.and_then(|()| writer.append(&batch, durable));
        written.map_err(|error| self.storage_error("append", &error))?;
        self.works();

        let mut state = self.state.lock();
        state.history.note(&header, outcome(&batch));
        state.next = header.last() + 1;
        let start = state.start;
        let log = state.last_log();
        log.publish(&batch, &header, &writer);
        let must_sync = log.unsynced_bytes() > UNSYNCED_BYTES_MAX;
        drop(state);
        if must_sync && let Err(error) = self.sync_within(&mut writer) {
            // The batch is written, as its acknowledgement says; the next append will be refused.
            self.storage_error("sync", &error);
        }
        Ok((base, start))
    }

    fn begin_file(&self, writer: &mut Writer) -> io::Result<()> {
        self.sync_within(writer)?;
        let base = self.state.lock().next;
        let none = &mut |_: &BatchHeader, _: &[u8]| {};
        let (log, fresh) = LogFile::open(&self.folder, base, &*self.files, Check::Tail, none)?;
        self.state.lock().logs.push_back(log);
        *writer = fresh;
        Ok(())
    }

    fn sync_within(&self, writer: &mut Writer) -> io::Result<()> {
        writer.sync()?;
        self.state.lock().synced_to(writer.base, writer.synced);
        Ok(())
    }

    /// Makes durable what was appended so far. Appends go on meanwhile where the files allow it.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.broken || writer.synced == writer.len {
            return Ok(());
        }
        let Some(handle) = writer.sync_handle()? else {
            return self.sync_within(&mut writer);
        };
        let (base, len) = (writer.base, writer.len);
        drop(writer);
        let synced = handle.sync_data();
        let mut writer = self.writer.lock();
        if writer.base == base {
            writer.note_synced(len, synced)?;
        } else {
            // The next file was begun, which has synced this one.
            synced?;
        }
        self.state.lock().synced_to(base, len);
        Ok(())
    }

    pub(super) fn fetch(&self, offset: i64, room: Room, isolation: Isolation) -> Fetched {
        let state = self.state.lock();
        let mut answer = Fetched {
            high_watermark: state.next,
            last_stable: state.last_stable(),
            start: state.start,
            ..Fetched::default()
        };
        if offset < state.start || offset > state.next {
            answer.error = code::OFFSET_OUT_OF_RANGE;
            return answer;
        }
        let limit = match isolation {
            Isolation::Committed => answer.last_stable,
            Isolation::Everything => state.next,
        };
        match state.read(offset, limit, room) {
            Ok((records, last)) => {
                if isolation == Isolation::Committed {
                    answer.aborted = state.history.aborted_within(offset, last);
                }
                answer.records = records.into();
            }
            Err(error) => answer.error = self.storage_error("read", &error),
        }
        answer
    }

    /// Start, last stable offset, end.
    pub(super) fn offsets(&self) -> (i64, i64, i64) {
        let state = self.state.lock();
        (state.start, state.last_stable(), state.next)
    }

    /// Offset and timestamp of the first record at or after `timestamp`.
    pub(super) fn offset_for_time(&self, timestamp: i64) -> Result<Option<(i64, i64)>, i16> {
        let state = self.state.lock();
        state
            .offset_for_time(timestamp)
            .map_err(|error| self.storage_error("read", &error))
    }

    /// Forgets what lies before `offset`; -1 = everything. Gives the new start.
    pub(super) fn delete_before(&self, offset: i64) -> Result<i64, i16> {
        // Holds back appends and other deletions.
        let mut writer = self.writer.lock();
        let (start, next) = {
            let state = self.state.lock();
            (state.start, state.next)
        };
        let offset = if offset == -1 { next } else { offset };
        if offset < 0 || offset > next {
            return Err(code::OFFSET_OUT_OF_RANGE);
        }
        if offset <= start {
            return Ok(start);
        }
        let text = offset.to_string();
        let path = self.folder.join(START);
        // The start never lies past what a power cut would leave.
        let written = self.sync_within(&mut writer).and_then(|()| {
            let write = &mut |to: &mut dyn io::Write| to.write_all(text.as_bytes());
            self.files.write_new(&path, "log_start", write)
        });
        written.map_err(|error| self.storage_error("delete records", &error))?;
        let mut state = self.state.lock();
        state.start = offset;
        state.history.forget_before(offset);
        while state.logs.len() > 1 && state.logs[1].base <= offset {
            if let Some(log) = state.logs.pop_front()
                && let Err(error) = self.files.remove(&log.path)
            {
                tracing::warn!(file = %log.path.display(), %error, "cannot remove an old log file");
            }
        }
        Ok(offset)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().logs.iter().map(|log| log.len).sum()
    }

    /// Newest timestamp and end offset of the oldest file, when a newer one follows it.
    pub(super) fn oldest_file(&self) -> Option<(i64, i64)> {
        let state = self.state.lock();
        (state.logs.len() > 1).then(|| (state.logs[0].max_timestamp, state.logs[1].base))
    }

    /// Newest timestamp of the file that grows; `None`: it is empty.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        let state = self.state.lock();
        let last = state.logs.back().filter(|log| log.len > 0)?;
        Some(last.max_timestamp)
    }

    /// Begins a new file, so that the one before can be dropped.
    pub(super) fn roll(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.len == 0 {
            return Ok(());
        }
        self.begin_file(&mut writer)
    }

    /// Producers with an open transaction and their epochs.
    pub(super) fn open_transactions(&self) -> Vec<(i64, i16)> {
        self.state.lock().history.open()
    }

    pub(super) fn greatest_producer(&self) -> i64 {
        self.state.lock().history.greatest_producer()
    }

    /// Clients try again and again: the first failure is told, and when it works again.
    fn storage_error(&self, what: &str, error: &io::Error) -> i16 {
        if !self.fails.swap(true, Ordering::Relaxed) {
            tracing::error!(folder = %self.folder.display(), %error,
                "the built-in log cannot {what}; free space or mend the disk, producers try again");
        }
        code::STORAGE_ERROR
    }

    fn works(&self) {
        if self.fails.swap(false, Ordering::Relaxed) {
            tracing::warn!(folder = %self.folder.display(), "the built-in log works again");
        }
    }
}

const START: &str = "start";

fn read_start(folder: &Path) -> io::Result<i64> {
    match fs::read_to_string(folder.join(START)) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn bases_in(folder: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
        bases.extend(stem.and_then(|stem| stem.parse::<i64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

#[cfg(test)]
mod tests;
