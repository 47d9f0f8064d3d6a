//! What follows from the batches of a partition: idempotent producers and transactions.
//!
//! Invariants:
//! - it is a function of the batches alone, so a restart finds it again;
//! - a producer's batches are appended once and in the order of their sequence numbers;
//! - an older epoch of a producer appends nothing after a newer one was seen.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::batch::BatchHeader;
use super::kafka_error as code;

/// Batches of a producer that are remembered to recognise a repetition (Kafka keeps five).
const REMEMBERED_BATCHES: usize = 5;
/// The one that has been silent the longest is forgotten.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct History {
    producers: HashMap<i64, Producer>,
    /// Producer → first offset of its open transaction.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Sent>,
    last_offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    base: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Aborted {
    pub(super) producer: i64,
    pub(super) first: i64,
    last: i64,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Commit,
    Abort,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Append,
    /// It was appended before, at this offset.
    Repeated(i64),
}

impl History {
    /// `outcome` is that of a control batch.
    pub(super) fn note(&mut self, header: &BatchHeader, outcome: Outcome) {
        if header.is_control() {
            if let Some(first) = self.open.remove(&header.producer)
                && outcome == Outcome::Abort
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
        if header.producer >= 0 {
            self.note_producer(header);
        }
    }

    fn note_producer(&mut self, header: &BatchHeader) {
        let producer = self.producers.entry(header.producer).or_default();
        if producer.epoch != header.epoch {
            producer.epoch = header.epoch;
            producer.recent.clear();
        }
        producer.last_offset = header.last();
        if header.is_idempotent() {
            producer.recent.push_back(Sent {
                first_sequence: header.sequence,
                last_sequence: header.last_sequence(),
                base: header.base,
            });
            if producer.recent.len() > REMEMBERED_BATCHES {
                producer.recent.pop_front();
            }
        }
        if self.producers.len() > PRODUCERS_MAX {
            self.forget_oldest_producer();
        }
    }

    fn forget_oldest_producer(&mut self) {
        let closed = self
            .producers
            .iter()
            .filter(|(id, _)| !self.open.contains_key(id));
        let oldest = closed.min_by_key(|(_, producer)| producer.last_offset);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.producers.remove(&id);
        }
    }

    /// What to do with a batch; an error code when it may not be appended.
    pub(super) fn admit(&self, header: &BatchHeader) -> Result<Admission, i16> {
        if header.producer < 0 || header.is_control() {
            return Ok(Admission::Append);
        }
        let Some(known) = self.producers.get(&header.producer) else {
            return Ok(Admission::Append);
        };
        if header.epoch < known.epoch {
            return Err(code::INVALID_PRODUCER_EPOCH);
        }
        if header.epoch > known.epoch || known.recent.is_empty() {
            // A new epoch begins at 0; Kafka, too, takes any beginning of a producer it forgot.
            let begins = header.epoch == known.epoch || header.sequence == 0;
            return begins
                .then_some(Admission::Append)
                .ok_or(code::OUT_OF_ORDER_SEQUENCE);
        }
        let mut recent = known.recent.iter();
        let same = recent.find(|sent| {
            sent.first_sequence == header.sequence && sent.last_sequence == header.last_sequence()
        });
        if let Some(same) = same {
            return Ok(Admission::Repeated(same.base));
        }
        match known.recent.back() {
            Some(last) if last.last_sequence.wrapping_add(1) & i32::MAX != header.sequence => {
                Err(code::OUT_OF_ORDER_SEQUENCE)
            }
            _ => Ok(Admission::Append),
        }
    }

    pub(super) fn has_open(&self, producer: i64) -> bool {
        self.open.contains_key(&producer)
    }

    /// Producers with an open transaction and their epochs.
    pub(super) fn open(&self) -> Vec<(i64, i16)> {
        let epoch = |id| self.producers.get(id).map_or(0, |producer| producer.epoch);
        self.open.keys().map(|id| (*id, epoch(id))).collect()
    }

    pub(super) fn greatest_producer(&self) -> i64 {
        self.producers.keys().max().copied().unwrap_or(-1)
    }

    pub(super) fn first_open_offset(&self) -> Option<i64> {
        self.open.values().min().copied()
    }

    /// Aborted transactions with a batch in `first..=last`.
    pub(super) fn aborted_within(&self, first: i64, last: i64) -> Vec<Aborted> {
        let seen = |aborted: &&Aborted| aborted.last >= first && aborted.first <= last;
        self.aborted.iter().filter(seen).copied().collect()
    }

    pub(super) fn forget_before(&mut self, start: i64) {
        self.aborted.retain(|aborted| aborted.last >= start);
    }
}
