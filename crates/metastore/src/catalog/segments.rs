//! Segments and partition heads: the transactions on which exactly-once rests.
//!
//! Invariants: for each partition of a REALTIME table the segments with sequence 0 .. head.sequence
//! are DONE, or were and have been removed, and meet without gap or overlap; the one at
//! head.sequence is IN_PROGRESS from head.start; there are no others. The head of an OFFLINE table
//! is the next free sequence: no sequence is ever used twice, and a file that takes the place of
//! another has another content, so that no object key is, and a task that removes an object never
//! meets a new one under its key.

use schemas::segment::{SegmentRecord, display_name};
use schemas::task::{Task, TaskKind};
use schemas::{InstanceId, Offset, Partition, SegmentId, Sequence, TableId, TableSpec};
use serde::{Deserialize, Serialize};

use super::tasks::task_key;
use super::{
    Assigned, Catalog, Head, Versioned, encode, head_key, segment_key, segments_prefix, table_key,
};
use crate::{MetaError, Txn, TxnOutcome};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredSegment {
    pub record: SegmentRecord,
    /// Who shall hold it now.
    pub assigned: Assigned,
    /// Who shall hold it in the end, while it moves: those of these that are not among `assigned`
    /// come first, then the others go. Empty: it stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Assigned,
}

impl StoredSegment {
    pub fn new(record: SegmentRecord, assigned: Assigned) -> Self {
        Self {
            record,
            assigned,
            target: Vec::new(),
        }
    }

    /// Where it shall be in the end.
    pub fn wanted(&self) -> &[InstanceId] {
        match self.target.is_empty() {
            true => &self.assigned,
            false => &self.target,
        }
    }
}

/// All segments of an OFFLINE table are in one partition.
pub(super) const OFFLINE_PARTITION: Partition = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    Committed,
    /// The same content was committed before; the answer was lost.
    AlreadyCommitted,
    /// Somebody else owns this commit now, for this reason.
    Fenced(String),
}

impl Catalog {
    pub async fn segments(&self, table: TableId) -> Result<Vec<StoredSegment>, MetaError> {
        self.read_all(&segments_prefix(table)).await
    }

    /// The sequence that the next segment of an OFFLINE table gets.
    pub async fn next_sequence(&self, table: TableId) -> Result<Sequence, MetaError> {
        let head = self.head(table, OFFLINE_PARTITION).await?;
        Ok(head.map_or(0, |head| head.value.sequence))
    }

    pub async fn segment(&self, id: SegmentId) -> Result<Option<StoredSegment>, MetaError> {
        let key = segment_key(id.table, id.partition, id.sequence);
        Ok(self.read(&key).await?.map(|found| found.value))
    }

    pub async fn head(
        &self,
        table: TableId,
        partition: Partition,
    ) -> Result<Option<Versioned<Head>>, MetaError> {
        self.read(&head_key(table, partition)).await
    }

    /// Opens a partition that nobody consumes yet. `false`: somebody else did, or there is no such
    /// table.
    pub async fn open_partition(
        &self,
        spec: &TableSpec,
        partition: Partition,
        start: Offset,
        assigned: Assigned,
        now_ms: i64,
    ) -> Result<bool, MetaError> {
        let id = SegmentId {
            table: spec.id,
            partition,
            sequence: 0,
        };
        let record = SegmentRecord::consuming(id, spec, start, now_ms);
        let (table, key) = (table_key(spec.id), head_key(spec.id, partition));
        let Some(stored) = self.store.get(&table).await? else {
            return Ok(false);
        };
        let txn = Txn::default()
            .if_revision(table, stored.revision)
            .if_absent(&key)
            .put(
                &key,
                encode(&Head {
                    sequence: 0,
                    start,
                    epoch: 0,
                }),
            )
            .put(
                segment_key(spec.id, partition, 0),
                encode(&StoredSegment::new(record, assigned)),
            );
        Ok(matches!(
            self.store.txn(txn).await?,
            TxnOutcome::Committed(_)
        ))
    }

    /// Raises the epoch: commits with an older one are fenced from now on. `None`: the head moved.
    pub async fn elect(&self, id: SegmentId) -> Result<Option<u64>, MetaError> {
        let Some(Versioned {
            value: head,
            revision,
        }) = self.head(id.table, id.partition).await?
        else {
            return Ok(None);
        };
        if head.sequence != id.sequence {
            return Ok(None);
        }
        let head = Head {
            epoch: head.epoch + 1,
            ..head
        };
        let key = head_key(id.table, id.partition);
        let txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&head));
        let outcome = self.store.txn(txn).await?;
        Ok(matches!(outcome, TxnOutcome::Committed(_)).then_some(head.epoch))
    }

    /// Segment n is done with its offsets, n + 1 begins where it ended: one transaction.
    pub async fn commit_segment(
        &self,
        spec: &TableSpec,
        record: SegmentRecord,
        epoch: u64,
        now_ms: i64,
    ) -> Result<CommitOutcome, MetaError> {
        loop {
            let committing = self.try_commit_segment(spec, &record, epoch, now_ms);
            if let Some(outcome) = committing.await? {
                return Ok(outcome);
            }
        }
    }

    /// `None`: something else about the segment changed meanwhile.
    async fn try_commit_segment(
        &self,
        spec: &TableSpec,
        record: &SegmentRecord,
        epoch: u64,
        now_ms: i64,
    ) -> Result<Option<CommitOutcome>, MetaError> {
        let id = record.id;
        let key = segment_key(id.table, id.partition, id.sequence);
        let Some(current) = self.read::<StoredSegment>(&key).await? else {
            return Ok(Some(fenced("the segment does not exist any more")));
        };
        if current.value.record.is_done() {
            if !current.value.record.is_file(record.crc) {
                return Ok(Some(fenced("the segment was committed by another replica")));
            }
            self.note_stored(current, record).await?;
            return Ok(Some(CommitOutcome::AlreadyCommitted));
        }
        let (current, revision) = (current.value, current.revision);
        let Some(head) = self.head(id.table, id.partition).await? else {
            return Ok(Some(fenced("the partition does not exist any more")));
        };
        let end = match refusal(record, epoch, head.value) {
            Ok(end) => end,
            Err(reason) => return Ok(Some(fenced(reason))),
        };
        let next_id = SegmentId {
            sequence: id.sequence + 1,
            ..id
        };
        // Both go where the partition goes.
        let next = StoredSegment {
            record: SegmentRecord::consuming(next_id, spec, end, now_ms),
            ..current.clone()
        };
        let done = StoredSegment {
            record: record.clone(),
            ..current
        };
        let of_head = head_key(id.table, id.partition);
        let moved = Head {
            sequence: next_id.sequence,
            start: end,
            epoch,
        };
        let txn = Txn::default()
            .if_revision(&of_head, head.revision)
            .if_revision(&key, revision)
            .put(&of_head, encode(&moved))
            .put(&key, encode(&done))
            .put(
                segment_key(id.table, id.partition, next_id.sequence),
                encode(&next),
            );
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(Some(CommitOutcome::Committed)),
            TxnOutcome::Conflict { key } if key == of_head => {
                Ok(Some(fenced("the partition moved meanwhile")))
            }
            TxnOutcome::Conflict { .. } => Ok(None),
        }
    }

    /// A file takes the place of the one that it was made of, under the same name: whoever holds
    /// the one or the other answers alike. The object of before goes after `keeps_ms`. `false`:
    /// others have changed or removed the segment, and nothing happens.
    pub async fn take_place(
        &self,
        made: &SegmentRecord,
        (now_ms, keeps_ms): (i64, i64),
    ) -> Result<bool, MetaError> {
        let id = made.id;
        let key = segment_key(id.table, id.partition, id.sequence);
        loop {
            let Some(current) = self.read::<StoredSegment>(&key).await? else {
                return Ok(false);
            };
            let (mut stored, revision) = (current.value, current.revision);
            if stored.record.crc == made.crc {
                return Ok(true);
            }
            let Some(removed) = give_place(&mut stored.record, made) else {
                return Ok(false);
            };
            let removal = Task {
                submitted_ms: now_ms,
                leased_until_ms: now_ms + keeps_ms,
                ..removed
            };
            let txn = Txn::default()
                .if_revision(&key, revision)
                .put(&key, encode(&stored))
                .put(task_key(removal.id), encode(&removal));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(true);
            }
        }
    }

    /// The object of a segment that was committed without one is in the deep store now. A conflict
    /// means that others have changed the segment: who stored it tells it again.
    async fn note_stored(
        &self,
        current: Versioned<StoredSegment>,
        record: &SegmentRecord,
    ) -> Result<(), MetaError> {
        let Versioned {
            value: mut segment,
            revision,
        } = current;
        if !segment.record.unstored || record.unstored {
            return Ok(());
        }
        segment.record.unstored = false;
        segment.record.stored_bytes = record.stored_bytes;
        let id = record.id;
        let key = segment_key(id.table, id.partition, id.sequence);
        let txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&segment));
        self.commit(txn).await
    }

    /// Adds a sealed segment of an OFFLINE table, under the next sequence or a later one. Adding
    /// the same content again is fine.
    pub async fn add_segment(
        &self,
        spec: &TableSpec,
        mut record: SegmentRecord,
        assigned: Assigned,
    ) -> Result<SegmentRecord, MetaError> {
        let id = record.id;
        let key = segment_key(spec.id, id.partition, id.sequence);
        let conflict = || MetaError::Conflict { key: key.clone() };
        let table = table_key(spec.id);
        let stored = self.store.get(&table).await?.ok_or_else(conflict)?;
        if let Some(same) = self.segment(id).await? {
            let same = same.record;
            return (same.crc == record.crc)
                .then_some(same)
                .ok_or_else(conflict);
        }
        let head = self.head(spec.id, OFFLINE_PARTITION).await?;
        let (next, head_revision) = head.map_or((0, 0), |h| (h.value.sequence, h.revision));
        if id.sequence < next || id.partition != OFFLINE_PARTITION {
            return Err(conflict());
        }
        record.name = display_name(spec, id, record.created_ms);
        let moved = Head {
            sequence: id.sequence + 1,
            start: 0,
            epoch: 0,
        };
        let added = StoredSegment::new(record.clone(), assigned);
        let head = head_key(spec.id, OFFLINE_PARTITION);
        let txn = Txn::default()
            .if_revision(table, stored.revision)
            .if_revision(&head, head_revision)
            .if_absent(&key)
            .put(head, encode(&moved))
            .put(&key, encode(&added));
        self.commit(txn).await?;
        Ok(record)
    }

    /// Removes sealed segments of one table; the task that removes their objects comes in the same
    /// transaction. Those that consume stay.
    pub async fn remove_segments(&self, records: &[SegmentRecord]) -> Result<(), MetaError> {
        let done = || records.iter().filter(|record| record.is_done());
        let Some(first) = done().next() else {
            return Ok(());
        };
        let ids: Vec<SegmentId> = done().map(|record| record.id).collect();
        let txn = removal(Txn::default(), done());
        let txn = self.with_boundary_before(first.id.table, &ids, txn).await?;
        self.commit(txn).await
    }
}

/// Also removes these sealed segments, and asks for the removal of their objects.
pub(super) fn removal<'a>(
    txn: Txn,
    records: impl Iterator<Item = &'a SegmentRecord> + Clone,
) -> Txn {
    let segments: Vec<SegmentId> = records.clone().map(|record| record.id).collect();
    if segments.is_empty() {
        return txn;
    }
    let deleted =
        |txn: Txn, id: &SegmentId| txn.delete(segment_key(id.table, id.partition, id.sequence));
    let txn = segments.iter().fold(txn, deleted);
    let task = Task::new(TaskKind::RemoveObjects {
        keys: records.filter_map(|record| record.uri.clone()).collect(),
        segments,
    });
    txn.put(task_key(task.id), encode(&task))
}

/// What is left of the record are its name, its offsets and its times; the task removes the object
/// that it had. `None`: it is not the one that the other was made of.
fn give_place(record: &mut SegmentRecord, made: &SegmentRecord) -> Option<Task> {
    let is_it = record.is_done()
        && !record.unstored
        && made.earlier.first() == Some(&record.crc)
        && !record.is_file(made.crc)
        && (made.start, made.end) == (record.start, record.end)
        && made.ledger.total() == record.ledger.total();
    let uri = made.uri.as_ref().filter(|_| is_it)?;
    let gone = record.uri.replace(uri.clone());
    record.crc = made.crc;
    record.bytes = made.bytes;
    record.stored_bytes = made.stored_bytes;
    record.ledger = made.ledger;
    // Without a row nothing is known of them.
    record.time_range = made.time_range.or(record.time_range);
    record.column_ranges = made.column_ranges.clone();
    record.partitions = made.partitions.clone();
    record.earlier = made.earlier.clone();
    Some(Task::new(TaskKind::RemoveObjects {
        keys: gone.into_iter().collect(),
        segments: Vec::new(),
    }))
}

fn fenced(reason: impl Into<String>) -> CommitOutcome {
    CommitOutcome::Fenced(reason.into())
}

/// The end offset of a commit that fits the head; otherwise why it does not.
fn refusal(record: &SegmentRecord, epoch: u64, head: Head) -> Result<Offset, String> {
    let Some(end) = record.end.filter(|end| *end >= record.start) else {
        return Err("the record has no end offset".to_owned());
    };
    let Head {
        sequence, start, ..
    } = head;
    if (sequence, start, head.epoch) != (record.id.sequence, record.start, epoch) {
        return Err(format!(
            "the partition is at segment {sequence} from offset {start}, epoch {}",
            head.epoch
        ));
    }
    let (told, wanted) = (record.ledger.total(), (end - record.start) as u64);
    if told != wanted {
        return Err(format!(
            "the ledger tells of {told} offsets, the segment has {wanted}"
        ));
    }
    if !record.is_done() || record.uri.is_none() {
        return Err("the record is not one of a sealed segment in the deep store".to_owned());
    }
    Ok(end)
}
