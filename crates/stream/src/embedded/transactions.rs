//! Producer ids and transactions of the built-in log.
//!
//! A transactional id keeps its producer id; each `InitProducerId` raises the epoch, which fences
//! the producer before. Ids start at the wall clock so that they are never reused after a restart.

use std::collections::HashMap;

use super::kafka_error as code;

#[derive(Debug)]
pub(super) struct Transactions {
    last_producer: i64,
    by_id: HashMap<String, Transaction>,
}

#[derive(Debug)]
struct Transaction {
    producer: i64,
    epoch: i16,
    partitions: Vec<(String, i32)>,
}

/// Partitions that need an end marker.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) partitions: Vec<(String, i32)>,
}

impl Transactions {
    pub(super) fn starting_at(now_ms: i64) -> Self {
        Self {
            last_producer: now_ms,
            by_id: HashMap::new(),
        }
    }

    fn fresh_producer(&mut self) -> i64 {
        self.last_producer += 1;
        self.last_producer
    }

    /// The producer with its new epoch, and its unfinished transaction, which must be aborted.
    pub(super) fn begin_producer(&mut self, id: Option<&str>) -> Ended {
        let Some(id) = id else {
            return Ended {
                producer: self.fresh_producer(),
                ..Ended::default()
            };
        };
        if let Some(known) = self.by_id.get_mut(id) {
            known.epoch += 1;
            let partitions = std::mem::take(&mut known.partitions);
            return Ended {
                producer: known.producer,
                epoch: known.epoch,
                partitions,
            };
        }
        let producer = self.fresh_producer();
        let fresh = Transaction {
            producer,
            epoch: 0,
            partitions: Vec::new(),
        };
        self.by_id.insert(id.to_owned(), fresh);
        Ended {
            producer,
            ..Ended::default()
        }
    }

    fn current(&mut self, id: &str, epoch: i16) -> Result<&mut Transaction, i16> {
        let known = self
            .by_id
            .get_mut(id)
            .ok_or(code::INVALID_PRODUCER_ID_MAPPING)?;
        if known.epoch == epoch {
            Ok(known)
        } else {
            Err(code::PRODUCER_FENCED)
        }
    }

    pub(super) fn add(&mut self, id: &str, epoch: i16, partitions: Vec<(String, i32)>) -> i16 {
        match self.current(id, epoch) {
            Ok(transaction) => {
                for partition in partitions {
                    if !transaction.partitions.contains(&partition) {
                        transaction.partitions.push(partition);
                    }
                }
                code::NONE
            }
            Err(error) => error,
        }
    }

    pub(super) fn end(&mut self, id: &str, epoch: i16) -> Result<Ended, i16> {
        let transaction = self.current(id, epoch)?;
        let partitions = std::mem::take(&mut transaction.partitions);
        Ok(Ended {
            producer: transaction.producer,
            epoch,
            partitions,
        })
    }
}
