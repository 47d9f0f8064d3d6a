//! A start: what is sealed of a partition is taken up by several threads.
//!
//! The newest segment tells which rows of it and of those before it were the newest of their keys
//! at its end. Only those are read, in any order. Segments that it does not tell of, which were
//! sealed by an older program, are read whole and judged: behind the others, and in the order of
//! the log where that matters.
//!
//! Invariant: a stage begins when all threads have ended the one before.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use schemas::{Offset, Sequence};
use segment::view::ValidRows;
use segment::{KeyRows, SealedSegment, SegmentError};

use crate::compared::NOTHING;
use crate::partition::{BLOCKS, PartitionKeys};
use crate::rules::Looked;
use crate::writer::Stored;

/// A segment that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    pub segment: Arc<SealedSegment>,
    pub error: SegmentError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Where rows lie.
    Place,
    /// The rows of which it is known that they are the newest of their keys.
    Adopt,
    /// All others.
    Judge,
}

impl Stage {
    pub const ALL: [Self; 3] = [Self::Place, Self::Adopt, Self::Judge];
}

/// What is to be taken up.
#[derive(Debug)]
pub struct Load {
    /// In the order of the log, with the rows by which keys are known.
    segments: Vec<(Arc<SealedSegment>, Option<KeyRows>)>,
    /// Of each stage the first that no thread has taken.
    next: [AtomicUsize; 3],
    newest: AtomicI64,
}

impl Load {
    /// How many segments tell nothing of their keys.
    pub fn judged(&self) -> usize {
        let judged = self.segments.iter().filter(|(_, rows)| rows.is_none());
        judged.count()
    }
}

impl PartitionKeys {
    /// `sealed` is all of the partition, in the order of the log. Nothing else is here yet.
    pub fn plan(&self, sealed: Vec<Arc<SealedSegment>>) -> Result<Load, Unreadable> {
        let at_end = match sealed.last() {
            None => None,
            Some(last) => last.keys_at_end().map_err(|error| Unreadable {
                segment: Arc::clone(last),
                error,
            })?,
        };
        let newest = at_end.as_ref().map_or(NOTHING, |known| known.newest);
        let mut known: HashMap<(Sequence, u32), KeyRows> = HashMap::new();
        if let (Some(at_end), Some(last)) = (at_end, sealed.last()) {
            known.extend(at_end.others);
            known.insert((last.id().sequence, last.crc()), at_end.own);
        }
        let mut segments = Vec::with_capacity(sealed.len());
        for segment in sealed {
            let rows = match self.rules.is_dedup {
                // All that was let in counts, and the last of a key is the one that is known.
                true => Some(KeyRows::all(segment.row_count(), false)),
                // It may have been told of the file before.
                false => {
                    let sequence = segment.id().sequence;
                    let found = segment.known_rows(|crc| known.remove(&(sequence, crc)));
                    found.map_err(|error| Unreadable {
                        segment: Arc::clone(&segment),
                        error,
                    })?
                }
            };
            segments.push((segment, rows));
        }
        let rows = segments.iter().filter_map(|(_, rows)| rows.as_ref());
        let keys: u64 = rows.map(|rows| u64::from(rows.newest().live())).sum();
        self.keys.read().reserve(keys as usize);
        Ok(Load {
            segments,
            next: Default::default(),
            newest: AtomicI64::new(newest),
        })
    }

    /// The share of one thread in a stage.
    pub fn work(
        &self,
        load: &Load,
        stage: Stage,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Unreadable> {
        let next = &load.next[stage as usize];
        // What is forgotten by its age depends on the order: one thread judges all.
        if stage == Stage::Judge && self.rules.forgets() && next.fetch_add(1, Ordering::Relaxed) > 0
        {
            return Ok(());
        }
        let in_order = stage == Stage::Judge && self.rules.forgets();
        let mut at = 0;
        while !is_stopped() {
            if !in_order {
                at = next.fetch_add(1, Ordering::Relaxed);
            }
            let Some((segment, rows)) = load.segments.get(at) else {
                break;
            };
            at += 1;
            let taken = match (stage, rows) {
                (Stage::Place, rows) => self.place(segment, rows.as_ref()),
                (Stage::Adopt, Some(rows)) => self.adopt(load, segment, rows.newest()),
                (Stage::Judge, None) => self.judge(load, segment),
                _ => Ok(()),
            };
            taken.map_err(|error| Unreadable {
                segment: Arc::clone(segment),
                error,
            })?;
        }
        Ok(())
    }

    /// All stages are done.
    pub fn loaded(&self, load: &Load) {
        let newest = load.newest.load(Ordering::Relaxed);
        self.keys.write().set_newest(newest);
    }

    fn adopt(
        &self,
        load: &Load,
        segment: &Arc<SealedSegment>,
        known: &ValidRows,
    ) -> Result<(), SegmentError> {
        let keys = self.keys.read();
        let has_some = |rows: &Range<u32>| {
            let words = known.block(rows.start);
            words.is_none_or(|words| words.iter().any(|word| *word != 0))
        };
        let mut looked = Vec::new();
        let take_up = |looked: &[Looked]| {
            let is_meant = |block: &Looked, row: usize| known.contains(block.first + row as u32);
            let is_meant = &is_meant;
            keys.adopt(&self.rules, Stored { looked, is_meant });
            // Of upserts the newest segment tells it, also of rows that are gone.
            let lines = looked.iter().filter_map(|block| block.compared.first());
            let newest = lines.flatten().max().filter(|_| self.rules.is_dedup);
            load.newest
                .fetch_max(newest.copied().unwrap_or(NOTHING), Ordering::Relaxed);
        };
        self.rules
            .look_at_segment(&segment.view(), has_some, |block| {
                looked.push(block);
                if looked.len() >= BLOCKS {
                    take_up(&looked);
                    looked.clear();
                }
            })?;
        take_up(&looked);
        Ok(())
    }

    fn judge(&self, load: &Load, segment: &Arc<SealedSegment>) -> Result<(), SegmentError> {
        let keys = self.keys.read();
        let every = Offset::MIN..Offset::MAX;
        let newest = load.newest.load(Ordering::Relaxed);
        let newest = self.admit(&**keys, segment, std::slice::from_ref(&every), newest)?;
        load.newest.fetch_max(newest, Ordering::Relaxed);
        Ok(())
    }
}
