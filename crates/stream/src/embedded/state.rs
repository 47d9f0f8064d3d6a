//! What readers of a partition see at one moment, and how they find it.
//!
//! Invariant: there is always a file; the last one is being written.

use std::collections::VecDeque;
use std::io;

use super::file::LogFile;
use super::history::History;
use super::records::first_record_at;

#[derive(Debug)]
pub(super) struct State {
    /// Never empty; the last one is being written.
    pub(super) logs: VecDeque<LogFile>,
    pub(super) start: i64,
    pub(super) next: i64,
    pub(super) history: History,
}

/// How much a fetch may bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) bytes_max: usize,
    /// The first batch comes whatever its size, or a reader would never get past it.
    pub(super) first: FirstBatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBatch {
    Always,
    IfItFits,
}

impl State {
    pub(super) fn last_log(&mut self) -> &mut LogFile {
        self.logs.back_mut().expect("a partition has a file")
    }

    pub(super) fn synced_to(&mut self, base: i64, len: u64) {
        if let Some(log) = self.logs.iter_mut().find(|log| log.base == base) {
            log.synced_to(len);
        }
    }

    pub(super) fn last_stable(&self) -> i64 {
        self.history.first_open_offset().unwrap_or(self.next)
    }

    /// Also the offset of the last record, -1 without any.
    pub(super) fn read(&self, offset: i64, limit: i64, room: Room) -> io::Result<(Vec<u8>, i64)> {
        let nothing = (Vec::new(), -1);
        if offset >= limit {
            return Ok(nothing);
        }
        let after = self.logs.partition_point(|log| log.base <= offset);
        for log in self.logs.iter().skip(after.saturating_sub(1)) {
            let Some(found) = log.find(offset)? else {
                continue;
            };
            let fits = found.header.bytes <= room.bytes_max;
            if found.header.base >= limit || (room.first == FirstBatch::IfItFits && !fits) {
                return Ok(nothing);
            }
            return log.read(&found, limit, room.bytes_max);
        }
        Ok(nothing)
    }

    pub(super) fn offset_for_time(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        for log in &self.logs {
            let mut position = 0;
            while let Some(found) = log.find_time(timestamp, position)? {
                position = found.position + found.header.bytes as u64;
                if found.header.last() < self.start {
                    continue;
                }
                let batch = log.read_batch(&found)?;
                let record = first_record_at(&found.header, &batch, timestamp, self.start);
                if record.is_some() {
                    return Ok(record);
                }
            }
        }
        Ok(None)
    }
}
