//! The keys of a partition, read from what is sealed before anything is consumed.
//!
//! Invariants: rows are taken only beside the keys of all sealed segments before them; queries see
//! the partition only when its keys are read.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use runtime::CancellationToken;
use schemas::segment::SegmentRecord;
use schemas::{Fault, Sequence, TableSpec};
use segment::{SealedSegment, SegmentError, SegmentView};
use upsert::{PartitionKeys, StoredRows};

use super::{Flow, Runner};
use crate::store::{job_fault, segment_fault};

/// How long to wait for segments that are being loaded before it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Stored rows, as scans read them.
#[derive(Debug)]
struct ScanRows;

impl StoredRows for ScanRows {
    fn read(
        &self,
        view: &SegmentView,
        spec: &TableSpec,
        columns: &[usize],
        rows: &[u32],
    ) -> Result<Vec<ArrayRef>, SegmentError> {
        scan::read_rows(view, spec, columns, rows).map_err(|error| SegmentError::Batch {
            what: format!("rows before it cannot be read: {error}"),
        })
    }
}

impl Runner {
    /// Reads the keys of the sealed segments, when all of them are here.
    pub(super) async fn read_keys(&mut self, stop: &CancellationToken) -> Result<Flow, Fault> {
        let sealed = match self.sealed_before() {
            Ok(sealed) => sealed,
            Err(missing) => {
                *self.trouble.lock() = Some(format!(
                    "waits for {missing} segments whose primary keys it must know"
                ));
                return self.wait(LOOK_AGAIN, stop).await;
            }
        };
        let spec = Arc::clone(self.current.spec());
        let keys = PartitionKeys::new(&spec, &self.core.spill, Arc::new(ScanRows));
        let Some(keys) = keys.map_err(|error| segment_fault(&error))? else {
            return Err(Fault::internal("keys without rules"));
        };
        let keys = Arc::new(keys);
        let started = self.core.clock.monotonic();
        for segment in sealed {
            if stop.is_cancelled() {
                return Ok(Flow::GoOn);
            }
            if !self.seat(&keys, &segment).await? {
                return Ok(Flow::GoOn);
            }
        }
        keys.open(&self.current);
        let figures = keys.figures();
        let took = self.core.clock.monotonic().saturating_sub(started);
        tracing::info!(segment = %self.current.id(), keys = figures.keys, rows = figures.rows,
            bytes = figures.bytes, ?took, "primary keys are read");
        self.keys = Some(Arc::clone(&keys));
        *self.trouble.lock() = None;
        // What is consumed again aside is shown with its keys when it has caught up.
        if self.swap.is_none() {
            let shown = self
                .table
                .publish(|view| view.set_keys(self.partition, keys));
            shown.map_err(|error| segment_fault(&error))?;
            self.core.heart.hurry();
        }
        Ok(Flow::GoOn)
    }

    /// `false`: its file is damaged, and loaded again.
    async fn seat(
        &mut self,
        keys: &Arc<PartitionKeys>,
        segment: &Arc<SealedSegment>,
    ) -> Result<bool, Fault> {
        let (taker, taken) = (Arc::clone(keys), Arc::clone(segment));
        let seated = self.core.compute.run(move || taker.seat(&taken));
        match seated.await.map_err(job_fault)? {
            Ok(()) => Ok(true),
            Err(error) if error.is_corrupt() => {
                let id = segment.id();
                self.table
                    .publish(|view| view.remove_sealed(id.partition, id.sequence));
                self.core
                    .store
                    .quarantine(segment.path(), &error.to_string());
                self.core.heart.hurry();
                Ok(false)
            }
            Err(error) => Err(segment_fault(&error)),
        }
    }

    /// All of the partition that is sealed before the current segment, in the order of the log;
    /// an error tells how many are not here yet.
    fn sealed_before(&self) -> Result<Vec<Arc<SealedSegment>>, usize> {
        let cluster = Arc::clone(&self.cluster.borrow());
        let me = &self.core.config.instance;
        let before = |sequence: Sequence| sequence < self.current.id().sequence;
        let records: Vec<&SegmentRecord> = cluster
            .tables
            .get(&self.table.id)
            .into_iter()
            .flat_map(|table| &table.segments)
            .filter(|segment| segment.assigned.contains(me) && segment.record.is_done())
            .map(|segment| &segment.record)
            .filter(|record| record.id.partition == self.partition && before(record.id.sequence))
            .collect();
        let view = self.table.view();
        let swapped = self.swap.as_ref().map(|swap| &swap.sealed);
        let held = records.iter().filter_map(|record| {
            let is_it = |segment: &&Arc<SealedSegment>| {
                segment.id() == record.id && segment.crc() == record.crc
            };
            let aside = swapped.filter(is_it);
            aside.or_else(|| view.find(self.partition, record.id.sequence).filter(is_it))
        });
        let mut held: Vec<Arc<SealedSegment>> = held.cloned().collect();
        if held.len() < records.len() {
            return Err(records.len() - held.len());
        }
        held.sort_by_key(|segment| segment.id().sequence);
        Ok(held)
    }
}
