//! The keys of a partition, read from what is sealed before anything is consumed.
//!
//! Invariants: rows are taken only beside the keys of all sealed segments before them; queries see
//! the partition only when its keys are read.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use futures::future::join_all;
use runtime::compute::JobPanicked;
use runtime::{CancellationToken, ComputePool};
use schemas::segment::SegmentRecord;
use schemas::{Fault, Sequence, TableSpec};
use segment::{SealedSegment, SegmentError, SegmentView};
use upsert::{PartitionKeys, Stage, StoredRows, Unreadable};

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

/// Why the keys are not read.
enum Broken {
    Stopped,
    Unreadable(Unreadable),
    Fault(Fault),
}

impl From<JobPanicked> for Broken {
    fn from(error: JobPanicked) -> Self {
        Self::Fault(job_fault(error))
    }
}

impl From<Unreadable> for Broken {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// By as many threads as the pool has. Gives how many segments do not tell of their keys.
async fn load(
    compute: ComputePool,
    keys: Arc<PartitionKeys>,
    sealed: Vec<Arc<SealedSegment>>,
    stop: CancellationToken,
) -> Result<usize, Broken> {
    let planner = Arc::clone(&keys);
    let load = compute.run(move || planner.plan(sealed)).await??;
    let load = Arc::new(load);
    for stage in Stage::ALL {
        let mut shares = Vec::new();
        for _ in 0..compute.threads() {
            let (keys, load, stop) = (Arc::clone(&keys), Arc::clone(&load), stop.clone());
            shares.push(compute.run(move || keys.work(&load, stage, &|| stop.is_cancelled())));
        }
        // All of them have ended when the next stage begins.
        for share in join_all(shares).await {
            share??;
        }
        if stop.is_cancelled() {
            return Err(Broken::Stopped);
        }
    }
    keys.loaded(&load);
    Ok(load.judged())
}

impl Runner {
    /// Reads the keys of the sealed segments, when all of them are here.
    pub(super) async fn read_keys(&mut self, stop: &CancellationToken) -> Result<Flow, Fault> {
        let sealed = match self.sealed_before() {
            Ok(sealed) => sealed,
            Err(missing) => {
                self.let_turn();
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
        let (compute, known) = (self.core.compute.clone(), Arc::clone(&keys));
        let judged = match load(compute, known, sealed, stop.clone()).await {
            Ok(judged) => judged,
            Err(Broken::Stopped) => return Ok(Flow::GoOn),
            Err(Broken::Unreadable(Unreadable { segment, error })) => {
                self.set_aside(&segment, error)?;
                return Ok(Flow::GoOn);
            }
            Err(Broken::Fault(fault)) => return Err(fault),
        };
        keys.open(&self.current);
        let figures = keys.figures();
        let took = self.core.clock.monotonic().saturating_sub(started);
        tracing::info!(segment = %self.current.id(), keys = figures.keys, rows = figures.rows,
            live = figures.live_rows, bytes = figures.bytes, judged, ?took,
            "primary keys are read");
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

    /// A file of before is here while the keys that are shown refuse the one that took its place,
    /// as they are behind: they go, and other replicas answer until the partition is shown anew.
    fn let_turn(&self) {
        let cluster = Arc::clone(&self.cluster.borrow());
        let Some(state) = cluster.tables.get(&self.table.id) else {
            return;
        };
        let view = self.table.view();
        let waits = state.segments.iter().map(|segment| &segment.record);
        let mut waits = waits.filter(|record| record.id.partition == self.partition);
        let is_old = waits.any(|record| {
            let held = view.find(self.partition, record.id.sequence);
            held.is_some_and(|held| record.earlier.contains(&held.crc()))
        });
        if is_old && view.keys(self.partition).is_some() {
            self.table.publish(|view| view.remove_keys(self.partition));
            self.core.heart.hurry();
        }
    }

    /// A damaged file is loaded again.
    fn set_aside(&self, segment: &SealedSegment, error: SegmentError) -> Result<(), Fault> {
        if !error.is_corrupt() {
            return Err(segment_fault(&error));
        }
        let id = segment.id();
        self.table
            .publish(|view| view.remove_sealed(id.partition, id.sequence));
        self.core
            .store
            .quarantine(segment.path(), &error.to_string());
        self.core.heart.hurry();
        Ok(())
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
            .flat_map(|table| table.segments.of_partition(self.partition))
            .filter(|segment| segment.assigned.contains(me) && segment.record.is_done())
            .map(|segment| &segment.record)
            .filter(|record| before(record.id.sequence))
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
