//! What a server answered, and what it lacks.
//!
//! Invariant: an answer takes memory of its query while it is there; what it says of itself counts
//! once the answer is used, and then only once.

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use schemas::proto::{
    ConsumingFrom, Explain, MissingSegment, ScanStats, SegmentRef, TableProgress, TableScan,
};
use schemas::{Fault, InstanceId};

use crate::ask::FragmentPart;
use crate::context::QueryContext;
use crate::explain::Explained;

/// A server's complete answer.
#[derive(Debug)]
pub(crate) struct Answer<'m> {
    pub(crate) server: InstanceId,
    pub(crate) missing: Vec<MissingSegment>,
    batches: Vec<RecordBatch>,
    scans: Vec<ScanStats>,
    newest_ingest_ms: i64,
    memory: Taken<'m>,
}

#[derive(Debug)]
struct Taken<'m> {
    of: &'m MemoryReservation,
    bytes: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.shrink(self.bytes.min(self.of.size()));
    }
}

impl<'m> Answer<'m> {
    pub(crate) fn new(server: InstanceId, memory: &'m MemoryReservation) -> Self {
        Self {
            server,
            missing: Vec::new(),
            batches: Vec::new(),
            scans: Vec::new(),
            newest_ingest_ms: 0,
            memory: Taken {
                of: memory,
                bytes: 0,
            },
        }
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        let memory = &mut self.memory;
        let taken = memory.of.try_grow(bytes);
        taken.map_err(|error| crate::to_fault(&error, ""))?;
        memory.bytes += bytes;
        Ok(())
    }

    pub(crate) fn add(
        &mut self,
        batches: Vec<RecordBatch>,
        missing: Vec<MissingSegment>,
        scans: Option<ScanStats>,
        progress: &[TableProgress],
    ) {
        self.batches.extend(batches);
        self.missing.extend(missing);
        self.scans.extend(scans);
        let newest = progress.iter().map(|p| p.newest_event_ms).max();
        self.newest_ingest_ms = self.newest_ingest_ms.max(newest.unwrap_or(0));
    }

    /// Its rows, whose memory is the caller's from now on.
    pub(crate) fn used(mut self, context: &QueryContext, plan_hash: u64) -> Vec<RecordBatch> {
        self.memory.bytes = 0;
        let mut stats = context.stats.lock();
        stats.newest_ingest_ms = stats.newest_ingest_ms.max(self.newest_ingest_ms);
        self.scans.iter().for_each(|scan| stats.add(scan));
        if context.options.explain() != Explain::None {
            let scans = std::mem::take(&mut self.scans).into_iter();
            stats.explained.extend(scans.map(|scan| Explained {
                server: self.server.clone(),
                plan_hash,
                stats: scan,
            }));
        }
        stats.servers_responded.insert(self.server.clone());
        self.batches
    }
}

/// What an answer lacks.
pub(crate) enum Lack {
    Nothing,
    /// This share of the table that is spread over servers; the rest of the answer stands.
    Share(TableScan),
    /// So much that the answer cannot be used.
    All,
}

impl Lack {
    pub(crate) fn of(part: &FragmentPart, missing: &[MissingSegment]) -> Result<Self, Fault> {
        if missing.is_empty() {
            return Ok(Self::Nothing);
        }
        let is_whole =
            |m: &MissingSegment| part.whole.iter().any(|scan| scan.table_id == m.table_id);
        if missing.iter().any(is_whole) {
            return Ok(Self::All);
        }
        let server = &part.server.id;
        let unknown = || Fault::internal(format!("`{server}` misses what it was not asked for"));
        let share = part.shared_out.as_ref().ok_or_else(unknown)?;
        let mut lacking = TableScan {
            table_id: share.table_id.clone(),
            ..TableScan::default()
        };
        for missing in missing.iter().filter_map(|m| m.segment) {
            match asked_for(share, missing) {
                (Some(sealed), _) => lacking.sealed.push(sealed),
                (None, Some(run)) => lacking.consuming.push(run),
                (None, None) => return Err(unknown()),
            }
        }
        match lacking.sealed.is_empty() && lacking.consuming.is_empty() {
            true => Err(unknown()),
            false => Ok(Self::Share(lacking)),
        }
    }
}

fn asked_for(
    share: &TableScan,
    missing: SegmentRef,
) -> (Option<SegmentRef>, Option<ConsumingFrom>) {
    let sealed = share.sealed.iter().find(|sealed| **sealed == missing);
    let is_run = |run: &&ConsumingFrom| missing.crc == 0 && run.partition == missing.partition;
    (
        sealed.copied(),
        share.consuming.iter().find(is_run).copied(),
    )
}
