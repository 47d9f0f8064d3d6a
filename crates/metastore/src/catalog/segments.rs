//! Segments and partition heads: the transactions on which exactly-once rests.
//!
//! Invariant: for each partition of a REALTIME table the segments with sequence 0 .. head.sequence
//! are DONE and meet without gap or overlap; the one at head.sequence is IN_PROGRESS from
//! head.start; there are no others.

use schemas::segment::{SegmentRecord, display_name};
use schemas::task::{Task, TaskKind};
use schemas::{Offset, Partition, SegmentId, TableId, TableSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tasks::task_key;
use super::{
    Assigned, Catalog, Head, Versioned, encode, head_key, segment_key, segments_prefix, table_key,
};
use crate::{MetaError, Txn, TxnOutcome};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredSegment {
    pub record: SegmentRecord,
    pub assigned: Assigned,
}

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

    /// Opens a partition that nobody consumes yet. `false`: somebody else did.
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
        let key = head_key(spec.id, partition);
        let txn = Txn::default()
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
                encode(&StoredSegment { record, assigned }),
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
        let id = record.id;
        let Some(current) = self.segment(id).await? else {
            return Ok(CommitOutcome::Fenced(
                "the segment does not exist any more".to_owned(),
            ));
        };
        if current.record.is_done() {
            return Ok(if current.record.crc == record.crc {
                CommitOutcome::AlreadyCommitted
            } else {
                CommitOutcome::Fenced("the segment was committed by another replica".to_owned())
            });
        }
        let Some(end) = record.end.filter(|end| *end >= record.start) else {
            return Ok(CommitOutcome::Fenced(
                "the record has no end offset".to_owned(),
            ));
        };
        let Some(Versioned {
            value: head,
            revision,
        }) = self.head(id.table, id.partition).await?
        else {
            return Ok(CommitOutcome::Fenced(
                "the partition does not exist any more".to_owned(),
            ));
        };
        let expected = (head.sequence, head.start, head.epoch);
        if expected != (id.sequence, record.start, epoch) {
            let (sequence, start, epoch) = expected;
            return Ok(CommitOutcome::Fenced(format!(
                "the partition is at segment {sequence} from offset {start}, epoch {epoch}"
            )));
        }
        let next_id = SegmentId {
            sequence: id.sequence + 1,
            ..id
        };
        let next = StoredSegment {
            record: SegmentRecord::consuming(next_id, spec, end, now_ms),
            assigned: current.assigned.clone(),
        };
        let done = StoredSegment {
            record,
            assigned: current.assigned,
        };
        let key = head_key(id.table, id.partition);
        let head = Head {
            sequence: next_id.sequence,
            start: end,
            epoch,
        };
        let txn = Txn::default()
            .if_revision(&key, revision)
            .put(&key, encode(&head))
            .put(
                segment_key(id.table, id.partition, id.sequence),
                encode(&done),
            )
            .put(
                segment_key(id.table, id.partition, next_id.sequence),
                encode(&next),
            );
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(CommitOutcome::Committed),
            TxnOutcome::Conflict { .. } => Ok(CommitOutcome::Fenced(
                "the partition moved meanwhile".to_owned(),
            )),
        }
    }

    /// Adds a sealed segment of an OFFLINE table under the next sequence.
    pub async fn add_segment(
        &self,
        spec: &TableSpec,
        mut record: SegmentRecord,
        assigned: Assigned,
    ) -> Result<SegmentRecord, MetaError> {
        let existing = self.segments(spec.id).await?;
        record.name = display_name(spec, record.id, record.created_ms);
        if let Some(same) = existing.iter().find(|s| s.record.id == record.id) {
            let key = segment_key(spec.id, record.id.partition, record.id.sequence);
            if same.record.crc == record.crc {
                return Ok(same.record.clone());
            }
            return Err(MetaError::Conflict { key });
        }
        let key = segment_key(spec.id, record.id.partition, record.id.sequence);
        let stored = StoredSegment {
            record: record.clone(),
            assigned,
        };
        let table = table_key(spec.id);
        let revision = self
            .store
            .get(&table)
            .await?
            .map_or(0, |entry| entry.revision);
        let txn = Txn::default()
            .if_revision(table, revision)
            .if_absent(&key)
            .put(&key, encode(&stored));
        self.commit(txn).await?;
        Ok(record)
    }

    pub async fn assign(&self, id: SegmentId, assigned: Assigned) -> Result<(), MetaError> {
        let key = segment_key(id.table, id.partition, id.sequence);
        let Some(found) = self.read::<StoredSegment>(&key).await? else {
            return Ok(());
        };
        let stored = StoredSegment {
            assigned,
            ..found.value
        };
        let txn = Txn::default()
            .if_revision(&key, found.revision)
            .put(&key, encode(&stored));
        self.commit(txn).await
    }

    /// Removes sealed segments; the task that removes their objects comes in the same transaction.
    pub async fn remove_segments(&self, records: &[SegmentRecord]) -> Result<(), MetaError> {
        let task = Task {
            id: Uuid::new_v4(),
            kind: TaskKind::RemoveObjects {
                keys: records
                    .iter()
                    .filter_map(|record| record.uri.clone())
                    .collect(),
                segments: records.iter().map(|record| record.id).collect(),
            },
            leased_until_ms: 0,
        };
        let mut txn = Txn::default().put(task_key(task.id), encode(&task));
        for record in records.iter().filter(|record| record.is_done()) {
            let SegmentId {
                table,
                partition,
                sequence,
            } = record.id;
            txn = txn.delete(segment_key(table, partition, sequence));
        }
        self.commit(txn).await
    }
}
