//! Segments on their way between servers, and the orders that sent them.
//!
//! Invariant: a segment is moved only from where it was when the move was decided; who decided on
//! something older decides again.

use std::collections::BTreeMap;

use schemas::SegmentId;
use schemas::placement::{InstancePartitions, PlaceKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Assigned, Catalog, StoredSegment, encode, head_key, segment_key};
use crate::{MetaError, Txn, TxnOutcome};

/// Segments of one transaction.
const BATCH: usize = 256;
/// Older orders of a table are forgotten.
const JOBS_KEPT: usize = 10;

/// Of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moves {
    /// The servers of its replica groups.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<PlaceKind, InstancePartitions>,
    /// The newest, in the order in which they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<RebalanceJob>,
}

impl Moves {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn running(&self) -> Option<&RebalanceJob> {
        self.jobs.last().filter(|job| !job.status.is_over())
    }

    pub fn push(&mut self, job: RebalanceJob) {
        let over = (self.jobs.len() + 1).saturating_sub(JOBS_KEPT);
        self.jobs.drain(..over);
        self.jobs.push(job);
    }
}

/// "Spread the segments of this table evenly."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceJob {
    pub id: Uuid,
    pub submitted_ms: i64,
    pub finished_ms: Option<i64>,
    pub status: RebalanceStatus,
    pub options: RebalanceOptions,
    /// Its segments know where they go.
    pub planned: bool,
    /// What had to be moved: segments, and replicas of them that come to a server.
    pub segments: u64,
    pub replicas: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RebalanceStatus {
    InProgress,
    Done,
    Cancelled,
}

impl RebalanceStatus {
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Done => "DONE",
            Self::Cancelled => "CANCELLED",
        }
    }

    pub const fn is_over(self) -> bool {
        !matches!(self, Self::InProgress)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceOptions {
    /// Also what consumes.
    pub consuming: bool,
    /// As if nobody held anything yet.
    pub bootstrap: bool,
    /// All at once, also when nobody can be asked meanwhile.
    pub downtime: bool,
    /// Who goes goes first, where so many replicas remain; 0: who comes comes first.
    pub leave_first_keeping: u32,
    /// Segments that come to a server at the same time.
    pub batch: u32,
}

/// Where a segment is, and where it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub segment: SegmentId,
    /// `assigned` and `target`, as they were when this was decided.
    pub from: (Assigned, Assigned),
    pub to: (Assigned, Assigned),
}

impl Catalog {
    /// Some hundreds in one transaction. Those that changed meanwhile stay as they are. How many
    /// were moved.
    pub async fn move_segments(&self, moves: &[Move]) -> Result<usize, MetaError> {
        let mut moved = 0;
        for batch in moves.chunks(BATCH) {
            let (txn, count) = self.with_moves(Txn::default(), batch).await?;
            moved += self.moved(txn, count).await?;
        }
        Ok(moved)
    }

    /// All segments of a partition, or none of them when something about it changed meanwhile.
    pub async fn move_partition(&self, moves: &[Move]) -> Result<usize, MetaError> {
        let Some(SegmentId {
            table, partition, ..
        }) = moves.first().map(|one| one.segment)
        else {
            return Ok(0);
        };
        let Some(head) = self.head(table, partition).await? else {
            return Ok(0);
        };
        let sequence = head.value.sequence;
        let key = head_key(table, partition);
        let unmoved = Txn::default().if_revision(key, head.revision);
        let (txn, count) = self.with_moves(unmoved, moves).await?;
        let newest = moves.iter().map(|one| one.segment.sequence).max();
        match count == moves.len() && newest == Some(sequence) {
            true => self.moved(txn, count).await,
            false => Ok(0),
        }
    }

    async fn moved(&self, txn: Txn, count: usize) -> Result<usize, MetaError> {
        if count == 0 {
            return Ok(0);
        }
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(count),
            TxnOutcome::Conflict { .. } => Ok(0),
        }
    }

    async fn with_moves(&self, mut txn: Txn, moves: &[Move]) -> Result<(Txn, usize), MetaError> {
        let mut count = 0;
        for one in moves {
            let SegmentId {
                table,
                partition,
                sequence,
            } = one.segment;
            let key = segment_key(table, partition, sequence);
            let Some(found) = self.read::<StoredSegment>(&key).await? else {
                continue;
            };
            let stored = found.value;
            if (&stored.assigned, &stored.target) != (&one.from.0, &one.from.1) {
                continue;
            }
            let (assigned, target) = one.to.clone();
            let moved = StoredSegment {
                assigned,
                target,
                ..stored
            };
            txn = txn
                .if_revision(&key, found.revision)
                .put(&key, encode(&moved));
            count += 1;
        }
        Ok((txn, count))
    }
}
