//! The log of one partition: files of record batches, idempotent producers, transactions.
//!
//! Invariants:
//! - offsets are handed out without a gap in the order of appends; `start <= next`;
//! - a batch is visible to readers only after its write (and its sync, where acks mean that);
//! - readers of committed data see nothing at or after the first open transaction.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::Files;

use super::SyncPolicy;
use super::batch::{BatchHeader, crc_is_right, is_commit, place};
use super::file::{Check, LogFile};
use super::kafka_error as code;

const FILE_BYTES_MAX: u64 = 64 << 20;
/// Batches of a producer that are remembered to recognise a repetition (Kafka keeps five).
const REMEMBERED_BATCHES: usize = 5;

#[derive(Debug)]
pub(super) struct Partition {
    folder: PathBuf,
    files: Arc<dyn Files>,
    sync: SyncPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    logs: VecDeque<LogFile>,
    start: i64,
    next: i64,
    history: History,
}

/// What is derived from the batches.
#[derive(Debug, Default)]
struct History {
    producers: HashMap<i64, Producer>,
    /// Producer → first offset of its open transaction.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// First and last sequence, base offset.
    recent: VecDeque<(i32, i32, i64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Aborted {
    pub(super) producer: i64,
    pub(super) first: i64,
    last: i64,
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

impl History {
    fn note(&mut self, header: &BatchHeader, batch: &[u8]) {
        if header.is_control() {
            if let Some(first) = self.open.remove(&header.producer)
                && !is_commit(batch)
            {
                let (producer, last) = (header.producer, header.last());
                self.aborted.push(Aborted {
                    producer,
                    first,
                    last,
                });
            }
        } else if header.is_transactional() {
            self.open.entry(header.producer).or_insert(header.base);
        }
        if header.is_idempotent() {
            let producer = self.producers.entry(header.producer).or_default();
            if producer.epoch != header.epoch {
                *producer = Producer {
                    epoch: header.epoch,
                    recent: VecDeque::new(),
                };
            }
            producer
                .recent
                .push_back((header.sequence, header.last_sequence(), header.base));
            if producer.recent.len() > REMEMBERED_BATCHES {
                producer.recent.pop_front();
            }
        }
    }

    /// The base offset when `header` was appended before; an error code when it may not be.
    fn admit(&self, header: &BatchHeader) -> Result<Option<i64>, i16> {
        if !header.is_idempotent() {
            return Ok(None);
        }
        let Some(known) = self.producers.get(&header.producer) else {
            return Ok(None);
        };
        if header.epoch < known.epoch {
            return Err(code::INVALID_PRODUCER_EPOCH);
        }
        if header.epoch > known.epoch {
            return Ok(None);
        }
        if let Some(same) = known.recent.iter().find(|batch| batch.0 == header.sequence) {
            return Ok(Some(same.2));
        }
        match known.recent.back() {
            Some(last) if last.1.wrapping_add(1) & i32::MAX != header.sequence => {
                Err(code::OUT_OF_ORDER_SEQUENCE)
            }
            _ => Ok(None),
        }
    }
}

impl Partition {
    pub(super) fn open(
        folder: PathBuf,
        files: Arc<dyn Files>,
        sync: SyncPolicy,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let start = read_start(&folder)?;
        let mut bases = bases_in(&folder)?;
        if bases.is_empty() {
            bases.push(start);
        }
        let mut history = History::default();
        let mut next = start;
        let mut logs = VecDeque::new();
        for (index, base) in bases.iter().enumerate() {
            let check = if index + 1 == bases.len() {
                Check::Crc
            } else {
                Check::Lengths
            };
            let mut visit = |header: &BatchHeader, batch: &[u8]| {
                history.note(header, batch);
                next = header.last() + 1;
            };
            logs.push_back(LogFile::open(&folder, *base, &*files, check, &mut visit)?);
            next = next.max(*base);
        }
        let start = start.max(bases[0]);
        let state = Mutex::new(State {
            logs,
            start,
            next,
            history,
        });
        Ok(Self {
            folder,
            files,
            sync,
            state,
        })
    }

    /// Appends what a producer sent; gives the base offset and the log's start.
    pub(super) fn append(&self, records: &[u8]) -> Result<(i64, i64), i16> {
        let mut state = self.state.lock();
        let mut bytes = records.to_vec();
        let mut headers = Vec::new();
        let (mut at, first) = (0, state.next);
        let mut next = first;
        while at < bytes.len() {
            let header = BatchHeader::read(&bytes[at..]).ok_or(code::CORRUPT_MESSAGE)?;
            if !crc_is_right(&header, &bytes[at..]) {
                return Err(code::CORRUPT_MESSAGE);
            }
            if let Some(base) = state.history.admit(&header)? {
                return Ok((base, state.start));
            }
            place(&mut bytes[at..], next);
            headers.push(BatchHeader {
                base: next,
                ..header
            });
            next += i64::from(header.last_delta) + 1;
            at += header.bytes;
        }
        self.write(&mut state, &bytes, &headers).map_err(|error| {
            tracing::error!(folder = %self.folder.display(), %error, "append failed");
            code::STORAGE_ERROR
        })?;
        let mut at = 0;
        for header in &headers {
            state.history.note(header, &bytes[at..at + header.bytes]);
            at += header.bytes;
        }
        state.next = next;
        Ok((first, state.start))
    }

    fn write(&self, state: &mut State, bytes: &[u8], headers: &[BatchHeader]) -> io::Result<()> {
        let full = state
            .logs
            .back()
            .is_none_or(|log| log.len >= FILE_BYTES_MAX);
        if full {
            if let Some(log) = state.logs.back_mut() {
                log.sync()?;
            }
            let (base, none) = (state.next, &mut |_: &BatchHeader, _: &[u8]| {});
            let log = LogFile::open(&self.folder, base, &*self.files, Check::Crc, none)?;
            state.logs.push_back(log);
        }
        let Some(log) = state.logs.back_mut() else {
            return Ok(());
        };
        log.append(bytes, headers)?;
        if self.sync == SyncPolicy::OnAck {
            log.sync()
        } else {
            Ok(())
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.state
            .lock()
            .logs
            .back_mut()
            .map_or(Ok(()), LogFile::sync)
    }

    pub(super) fn has_open_transaction(&self, producer: i64) -> bool {
        self.state.lock().history.open.contains_key(&producer)
    }

    pub(super) fn fetch(&self, offset: i64, bytes_max: usize, committed: bool) -> Fetched {
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
        let limit = if committed {
            answer.last_stable
        } else {
            state.next
        };
        match state.read(offset, limit, bytes_max) {
            Ok((records, last)) => {
                if committed {
                    let seen = |a: &&Aborted| a.last >= offset && a.first <= last;
                    answer.aborted = state.history.aborted.iter().filter(seen).copied().collect();
                }
                answer.records = records.into();
            }
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, "read failed");
                answer.error = code::STORAGE_ERROR;
            }
        }
        answer
    }

    /// Start, last stable offset, end.
    pub(super) fn offsets(&self) -> (i64, i64, i64) {
        let state = self.state.lock();
        (state.start, state.last_stable(), state.next)
    }

    /// Offset and timestamp of the first batch with a record at or after `timestamp`.
    pub(super) fn offset_for_time(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let state = self.state.lock();
        for log in &state.logs {
            if let Some(found) = log.find_time(timestamp)? {
                let offset = found.header.base.max(state.start);
                return Ok(Some((offset, found.header.max_timestamp)));
            }
        }
        Ok(None)
    }

    /// Forgets what lies before `offset`; -1 = everything. Gives the new start.
    pub(super) fn delete_before(&self, offset: i64) -> Result<i64, i16> {
        let mut state = self.state.lock();
        let offset = if offset == -1 { state.next } else { offset };
        if offset > state.next {
            return Err(code::OFFSET_OUT_OF_RANGE);
        }
        state.start = state.start.max(offset);
        let text = state.start.to_string();
        self.files
            .write_new(&self.folder.join(START), "log", &mut |to| {
                to.write_all(text.as_bytes())
            })
            .map_err(|_| code::STORAGE_ERROR)?;
        while state.logs.len() > 1 && state.logs[1].base <= state.start {
            if let Some(log) = state.logs.pop_front() {
                let _ = self.files.remove(&log.path);
            }
        }
        let start = state.start;
        state
            .history
            .aborted
            .retain(|aborted| aborted.last >= start);
        Ok(start)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().logs.iter().map(|log| log.len).sum()
    }

    /// Newest timestamp and end offset of the oldest file, when a newer one follows it.
    pub(super) fn oldest_file(&self) -> Option<(i64, i64)> {
        let state = self.state.lock();
        (state.logs.len() > 1).then(|| (state.logs[0].max_timestamp, state.logs[1].base))
    }
}

impl State {
    fn last_stable(&self) -> i64 {
        self.history
            .open
            .values()
            .min()
            .copied()
            .unwrap_or(self.next)
    }

    fn read(&self, offset: i64, limit: i64, bytes_max: usize) -> io::Result<(Vec<u8>, i64)> {
        let after = self.logs.partition_point(|log| log.base <= offset);
        for log in self.logs.iter().skip(after.saturating_sub(1)) {
            if let Some(found) = log.find(offset)? {
                return log.read(found.position, limit, bytes_max);
            }
        }
        Ok((Vec::new(), -1))
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
