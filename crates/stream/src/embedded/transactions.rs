//! Producer ids and transactions of the built-in log.
//!
//! Invariants:
//! - a transactional id keeps its producer id; each `InitProducerId` raises the epoch, which fences
//!   the producer before;
//! - epochs, and how a transaction ends, are on the disk before anyone is told: after a kill a
//!   transaction that was being ended is ended the same way, and any other is aborted;
//! - no producer id is given twice, also after a restart.
//!
//! File: a line per transactional id, `producer epoch timeout-ms ending id-in-hex partitions…`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::Files;

use super::history::Outcome;
use super::kafka_error as code;

const FILE: &str = "~transactions";
const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub(super) struct Transactions {
    path: PathBuf,
    files: Arc<dyn Files>,
    last_producer: i64,
    by_id: BTreeMap<String, Transaction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Transaction {
    producer: i64,
    epoch: i16,
    timeout: Duration,
    partitions: Vec<(String, i32)>,
    /// Monotonic time of the first partition.
    begun: Option<Duration>,
    /// Decided, and on the disk; markers are being written.
    ending: Option<Outcome>,
    /// How the last one ended, to recognise a repeated request.
    ended: Option<Outcome>,
}

/// Who asks: an id with the producer and epoch it believes to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) id: &'a str,
    pub(super) producer: i64,
    pub(super) epoch: i16,
}

/// Partitions that need an end marker.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) outcome: Outcome,
    pub(super) partitions: &'a [(String, i32)],
}

/// Writes the markers; an error code when one cannot be written.
pub(super) type Mark<'a> = &'a dyn Fn(&Ending<'_>) -> Result<(), i16>;

impl Transactions {
    /// Producer ids are given above `floor`.
    pub(super) fn open(folder: &Path, files: Arc<dyn Files>, floor: i64) -> io::Result<Self> {
        let path = folder.join(FILE);
        let by_id = read(&path)?;
        let known = by_id.values().map(|transaction| transaction.producer);
        let last_producer = known.max().unwrap_or(-1).max(floor);
        Ok(Self {
            path,
            files,
            last_producer,
            by_id,
        })
    }

    /// After a restart: ends what was being ended. The rest of `open` must be aborted by the
    /// caller; epochs of ids among them are raised, so that their producers notice.
    pub(super) fn recover(&mut self, open: &[(i64, i16)], mark: Mark<'_>) -> Result<(), i16> {
        self.finish_endings(mark)?;
        let mut raised = false;
        for known in self.by_id.values_mut() {
            if open.iter().any(|(producer, _)| *producer == known.producer) {
                known.raise_epoch(&mut self.last_producer);
                raised = true;
            }
        }
        if raised { self.persist() } else { Ok(()) }
    }

    /// A producer id and epoch. What the id has left open is aborted.
    pub(super) fn begin_producer(
        &mut self,
        id: Option<&str>,
        timeout: Duration,
        mark: Mark<'_>,
    ) -> Result<(i64, i16), i16> {
        let Some(id) = id else {
            self.last_producer += 1;
            return Ok((self.last_producer, 0));
        };
        self.finish(id, mark)?;
        match self.by_id.get_mut(id) {
            Some(known) => {
                known.timeout = timeout.min(TIMEOUT_MAX);
                if !known.partitions.is_empty() {
                    known.ending = Some(Outcome::Abort);
                    known.raise_epoch_of_same_producer();
                    self.persist()?;
                    self.finish(id, mark)?;
                    return self.current(id);
                }
                known.raise_epoch(&mut self.last_producer);
            }
            None => {
                self.last_producer += 1;
                let fresh = Transaction::new(self.last_producer, timeout.min(TIMEOUT_MAX));
                self.by_id.insert(id.to_owned(), fresh);
            }
        }
        self.persist()?;
        self.current(id)
    }

    fn current(&self, id: &str) -> Result<(i64, i16), i16> {
        let known = self
            .by_id
            .get(id)
            .ok_or(code::INVALID_PRODUCER_ID_MAPPING)?;
        Ok((known.producer, known.epoch))
    }

    fn claimed(&mut self, claim: Claim<'_>) -> Result<&mut Transaction, i16> {
        let known = self.by_id.get_mut(claim.id);
        let known = known.ok_or(code::INVALID_PRODUCER_ID_MAPPING)?;
        if known.producer != claim.producer {
            return Err(code::INVALID_PRODUCER_ID_MAPPING);
        }
        if known.epoch != claim.epoch {
            return Err(code::INVALID_PRODUCER_EPOCH);
        }
        Ok(known)
    }

    pub(super) fn add(
        &mut self,
        claim: Claim<'_>,
        partitions: Vec<(String, i32)>,
        now: Duration,
    ) -> Result<(), i16> {
        let known = self.claimed(claim)?;
        if known.ending.is_some() {
            return Err(code::CONCURRENT_TRANSACTIONS);
        }
        known.begun.get_or_insert(now);
        known.ended = None;
        for partition in partitions {
            if !known.partitions.contains(&partition) {
                known.partitions.push(partition);
            }
        }
        Ok(())
    }

    /// Whether the producer may append to this partition.
    pub(super) fn admit(&mut self, claim: Claim<'_>, partition: (&str, i32)) -> Result<(), i16> {
        let known = self.claimed(claim)?;
        let mut added = known.partitions.iter();
        let is_added = added.any(|(topic, number)| (topic.as_str(), *number) == partition);
        if is_added && known.ending.is_none() {
            Ok(())
        } else {
            Err(code::INVALID_TRANSACTION_STATE)
        }
    }

    pub(super) fn end(
        &mut self,
        claim: Claim<'_>,
        outcome: Outcome,
        mark: Mark<'_>,
    ) -> Result<(), i16> {
        let known = self.claimed(claim)?;
        match known.ending {
            Some(decided) if decided != outcome => return Err(code::INVALID_TRANSACTION_STATE),
            Some(_) => {}
            None if known.partitions.is_empty() => {
                let repeated = known.ended == Some(outcome);
                return repeated
                    .then_some(())
                    .ok_or(code::INVALID_TRANSACTION_STATE);
            }
            None => {
                known.ending = Some(outcome);
                self.persist()?;
            }
        }
        self.finish(claim.id, mark)
    }

    /// Aborts what has been open for too long, and fences its producer.
    pub(super) fn expire(&mut self, now: Duration, mark: Mark<'_>) -> Result<(), i16> {
        let mut expired = false;
        for (id, known) in &mut self.by_id {
            let late = |begun: Duration| now.saturating_sub(begun) > known.timeout;
            if known.ending.is_none() && known.begun.is_some_and(late) {
                tracing::warn!(id, "aborted a transaction that was open for too long");
                known.ending = Some(Outcome::Abort);
                known.raise_epoch_of_same_producer();
                expired = true;
            }
        }
        if expired {
            self.persist()?;
        }
        self.finish_endings(mark)
    }

    fn finish_endings(&mut self, mark: Mark<'_>) -> Result<(), i16> {
        let ending = self
            .by_id
            .iter()
            .filter(|(_, known)| known.ending.is_some());
        let ids: Vec<String> = ending.map(|(id, _)| id.clone()).collect();
        ids.iter().try_for_each(|id| self.finish(id, mark))
    }

    /// Writes the markers of a transaction whose end is decided.
    fn finish(&mut self, id: &str, mark: Mark<'_>) -> Result<(), i16> {
        let Some(known) = self.by_id.get_mut(id) else {
            return Ok(());
        };
        let Some(outcome) = known.ending else {
            return Ok(());
        };
        mark(&Ending {
            producer: known.producer,
            epoch: known.epoch,
            outcome,
            partitions: &known.partitions,
        })?;
        known.partitions.clear();
        (known.begun, known.ending, known.ended) = (None, None, Some(outcome));
        self.persist()
    }

    fn persist(&self) -> Result<(), i16> {
        let text: String = self
            .by_id
            .iter()
            .map(|(id, known)| line(id, known))
            .collect();
        let write = &mut |to: &mut dyn io::Write| to.write_all(text.as_bytes());
        let written = self.files.write_new(&self.path, "log_transactions", write);
        written.map_err(|error| {
            tracing::error!(%error, "the built-in log cannot record a transaction");
            code::STORAGE_ERROR
        })
    }
}

impl Transaction {
    fn new(producer: i64, timeout: Duration) -> Self {
        Self {
            producer,
            epoch: 0,
            timeout,
            partitions: Vec::new(),
            begun: None,
            ending: None,
            ended: None,
        }
    }

    /// Epochs are never used up by what the log itself aborts: see [`Self::raise_epoch`].
    fn raise_epoch_of_same_producer(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// A new producer when the epochs of this one run out, with room left for aborts.
    fn raise_epoch(&mut self, last_producer: &mut i64) {
        self.ended = None;
        if self.epoch < i16::MAX / 2 {
            self.epoch += 1;
        } else {
            *last_producer += 1;
            (self.producer, self.epoch) = (*last_producer, 0);
        }
    }
}

fn line(id: &str, known: &Transaction) -> String {
    let ending = match known.ending {
        None => "-",
        Some(Outcome::Commit) => "commit",
        Some(Outcome::Abort) => "abort",
    };
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    let (producer, epoch) = (known.producer, known.epoch);
    let timeout_ms = known.timeout.as_millis();
    let mut line = format!("{producer} {epoch} {timeout_ms} {ending} x{hex}");
    // Partitions of a transaction that is open, but not being ended, are found in the log.
    if known.ending.is_some() {
        for (topic, number) in &known.partitions {
            line.push_str(&format!(" {topic}:{number}"));
        }
    }
    line.push('\n');
    line
}

fn parse(line: &str) -> Option<(String, Transaction)> {
    let mut words = line.split(' ');
    let producer = words.next()?.parse().ok()?;
    let epoch = words.next()?.parse().ok()?;
    let timeout = Duration::from_millis(words.next()?.parse().ok()?);
    let ending = match words.next()? {
        "-" => None,
        "commit" => Some(Outcome::Commit),
        "abort" => Some(Outcome::Abort),
        _ => return None,
    };
    let hex = words.next()?.strip_prefix('x')?;
    let digits = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digits).collect();
    let id = String::from_utf8(bytes?).ok()?;
    let partitions = words.map(|word| {
        let (topic, number) = word.rsplit_once(':')?;
        Some((topic.to_owned(), number.parse().ok()?))
    });
    let mut known = Transaction::new(producer, timeout);
    (known.epoch, known.ending) = (epoch, ending);
    known.partitions = partitions.collect::<Option<_>>()?;
    Some((id, known))
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Transaction>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let lines = text.lines().map(|line| {
        parse(line).ok_or_else(|| {
            let why = format!(
                "`{}` is damaged at `{line}`: remove the line",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
