//! What reconcilers count in tables again and again. A chunk of segments is counted again only when
//! it has changed, so that a second in which little happens costs little, however large tables are.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::TableId;
use schemas::cluster::{SegmentState, TableState};
use schemas::segment::SegmentRecord;
use schemas::segments::PerChunk;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sealed: i64,
    /// Sealed ones that nobody holds, and those that fewer hold than the table wants.
    pub(crate) missing: i64,
    pub(crate) under_replicated: i64,
    pub(crate) unconsumed: i64,
    /// Of sealed segments that queries see: their rows, and the oldest of their newest times.
    pub(crate) rows: u64,
    pub(crate) oldest_ms: Option<i64>,
}

/// When all rows of a segment were there: by their times, else by when it was made.
pub(crate) fn newest_ms(record: &SegmentRecord) -> i64 {
    record.time_range.map_or(record.created_ms, |range| range.1)
}

impl Counts {
    fn add(&mut self, segment: &SegmentState, wanted: Wanted) {
        let (record, holders) = (&segment.record, segment.online.len());
        if !record.is_done() {
            self.unconsumed += i64::from(holders == 0);
            return;
        }
        self.sealed += 1;
        self.missing += i64::from(holders == 0);
        let wanted = match wanted {
            Wanted::Assigned => segment.assigned.len(),
            Wanted::Replicas(replicas) => replicas as usize,
        };
        self.under_replicated += i64::from(holders < wanted);
        if !segment.hidden {
            self.rows += record.ledger.rows;
            let newest = newest_ms(record);
            self.oldest_ms = Some(self.oldest_ms.map_or(newest, |oldest| oldest.min(newest)));
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let oldest = self.oldest_ms.into_iter().chain(other.oldest_ms);
        Self {
            sealed: self.sealed + other.sealed,
            missing: self.missing + other.missing,
            under_replicated: self.under_replicated + other.under_replicated,
            unconsumed: self.unconsumed + other.unconsumed,
            rows: self.rows + other.rows,
            oldest_ms: oldest.min(),
        }
    }
}

/// Replicas of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Replicas(u32),
    /// Of dimension tables every server has one.
    Assigned,
}

#[derive(Debug)]
struct Counted {
    wanted: Wanted,
    chunks: PerChunk<Counts>,
}

/// Of the tables that were counted last.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<HashMap<TableId, Counted>>);

impl Census {
    pub(crate) fn count(&self, table: &TableState) -> Counts {
        let spec = &table.spec;
        let wanted = match spec.is_dimension_table {
            true => Wanted::Assigned,
            false => Wanted::Replicas(spec.replication),
        };
        let mut known = self.0.lock();
        let before = known
            .remove(&spec.id)
            .filter(|before| before.wanted == wanted);
        let before = before.map(|before| before.chunks).unwrap_or_default();
        let chunks = before.updated(&table.segments, |chunk| {
            let mut counts = Counts::default();
            chunk.iter().for_each(|segment| counts.add(segment, wanted));
            counts
        });
        let all = chunks
            .iter()
            .fold(Counts::default(), |all, (_, one)| all.and(*one));
        known.insert(spec.id, Counted { wanted, chunks });
        all
    }

    /// Forgets all tables but these.
    pub(crate) fn keep(&self, tables: &[Arc<TableState>]) {
        let mut known = self.0.lock();
        known.retain(|id, _| tables.iter().any(|table| table.spec.id == *id));
    }
}
