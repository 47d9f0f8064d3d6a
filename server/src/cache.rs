//! Sealed segments that are assigned to this server and not on its disk: their files are in the
//! deep store, and come when a query reads them.
//!
//! Invariants: all segments of a table whose keys have rules stay on the disk, as does what the
//! deep store does not have yet; what a running fragment reads is pinned. Beyond that the files of
//! segments take no more than the limit: who comes takes the place of those that were not asked
//! for longest. A segment is sealed, cold or not here, and others cannot tell sealed from cold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::proto::TableScan;
use schemas::segment::SegmentRecord;
use schemas::{Fault, FaultKind, SegmentId};
use segment::SealedSegment;

use crate::Core;
use crate::store::segment_fault;
use crate::view::Table;

/// Segments that one fragment loads at once.
const LOADS: usize = 4;

#[derive(Debug)]
pub(crate) struct Cache {
    /// Bytes of files; `None`: all that is assigned is here.
    limit: Option<u64>,
    uses: Arc<Mutex<Uses>>,
    /// One load of a segment at a time.
    turns: Mutex<HashMap<SegmentId, Arc<tokio::sync::Mutex<()>>>>,
}

/// When segments were asked for last, by a count of fragments, and by how many that still run.
#[derive(Debug, Default)]
struct Uses {
    fragments: u64,
    last: HashMap<SegmentId, u64>,
    pins: HashMap<SegmentId, u32>,
}

/// What a fragment reads stays until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    segments: Vec<SegmentId>,
    uses: Arc<Mutex<Uses>>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut uses = self.uses.lock();
        for id in &self.segments {
            if let Some(count) = uses.pins.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    uses.pins.remove(id);
                }
            }
        }
    }
}

impl Cache {
    /// `limit`: bytes of files, 0 for no limit.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit: (limit > 0).then_some(limit),
            uses: Arc::default(),
            turns: Mutex::default(),
        }
    }

    /// Whether this one of the assigned segments may be cold.
    pub(crate) fn may_be_cold(&self, table: &Table, record: &SegmentRecord) -> bool {
        self.limit.is_some() && is_stored(table, record)
    }

    /// Whether so many bytes are within the limit.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.limit.is_none_or(|limit| bytes <= limit)
    }

    /// Loads what the scan reads of cold segments, and pins all that it reads.
    pub(crate) async fn bring(
        &self,
        core: &Core,
        table: &Table,
        scan: &TableScan,
    ) -> Result<Pins, Fault> {
        let view = table.view();
        let Some(limit) = self.limit.filter(|_| view.spec.keyed.is_none()) else {
            return Ok(Pins::default());
        };
        let wanted = scan.sealed.iter().map(|wanted| SegmentId {
            table: table.id,
            partition: wanted.partition,
            sequence: wanted.sequence,
        });
        let pins = self.pin(wanted.collect());
        let is_cold = |id: &&SegmentId| view.cold().contains_key(&(id.partition, id.sequence));
        let cold: HashSet<SegmentId> = pins.segments.iter().filter(is_cold).copied().collect();
        if cold.is_empty() {
            return Ok(pins);
        }
        let records = records_of(&core.cluster.borrow(), table, &cold);
        let bytes: u64 = records.iter().map(|record| record.bytes).sum();
        if bytes > limit {
            return Err(too_large(bytes, limit));
        }
        core.metrics.cache.misses.inc_by(records.len() as u64);
        self.make_room(core, bytes).await;
        stream::iter(records)
            .map(|record| self.load(core, table, record))
            .buffer_unordered(LOADS)
            .try_collect::<()>()
            .await?;
        core.heart.hurry();
        Ok(pins)
    }

    fn pin(&self, segments: Vec<SegmentId>) -> Pins {
        let mut uses = self.uses.lock();
        uses.fragments += 1;
        let now = uses.fragments;
        for id in &segments {
            uses.last.insert(*id, now);
            *uses.pins.entry(*id).or_default() += 1;
        }
        Pins {
            segments,
            uses: Arc::clone(&self.uses),
        }
    }

    async fn load(&self, core: &Core, table: &Table, record: SegmentRecord) -> Result<(), Fault> {
        let id = record.id;
        let turn = Arc::clone(self.turns.lock().entry(id).or_default());
        let loaded = {
            let _turn = turn.lock().await;
            let view = table.view();
            match view.cold().get(&(id.partition, id.sequence)) {
                // Another fragment has loaded it meanwhile, or it is gone.
                None => Ok(()),
                Some(_) => {
                    let loaded = core.store.load(&view.spec, &record).await;
                    loaded.and_then(|segment| {
                        table
                            .publish(|view| view.add_sealed(segment))
                            .map_err(|error| segment_fault(&error))
                    })
                }
            }
        };
        self.turns
            .lock()
            .retain(|known, turn| *known != id || Arc::strong_count(turn) > 2);
        loaded.map_err(|fault| {
            let message = format!("segment {id} could not be read from the deep store: {fault}");
            Fault::unavailable(message)
        })
    }

    /// Lets files go until the limit holds, with so many bytes to come.
    pub(crate) async fn make_room(&self, core: &Core, incoming: u64) {
        let Some(limit) = self.limit else {
            return;
        };
        let tables = core.tables.all();
        let mut held = tables.iter().map(|table| held_bytes(table)).sum::<u64>();
        if held + incoming <= limit {
            return;
        }
        let mut candidates = Vec::new();
        let state = Arc::clone(&core.cluster.borrow());
        for table in tables {
            let records = state.tables.get(&table.id);
            for segment in table.view().sealed().values() {
                let known = records.and_then(|table| table.segments.find(segment.id()));
                let known = known.map(|known| &known.record);
                let known = known.filter(|known| known.crc == segment.crc());
                if known.is_some_and(|known| is_stored(&table, known)) {
                    let bytes = bytes_of(segment);
                    candidates.push((Arc::clone(&table), segment.id(), segment.crc(), bytes));
                }
            }
        }
        {
            let mut uses = self.uses.lock();
            let Uses { last, pins, .. } = &mut *uses;
            // What is neither here nor on its way here is not remembered.
            let here: HashSet<SegmentId> = candidates.iter().map(|(_, id, ..)| *id).collect();
            last.retain(|id, _| here.contains(id) || pins.contains_key(id));
            candidates.retain(|(_, id, ..)| !uses.pins.contains_key(id));
            // Those that nobody ever asked for in their order: the oldest first.
            candidates
                .sort_by_key(|(_, id, ..)| (uses.last.get(id).copied().unwrap_or(0), id.sequence));
        }
        let mut gone = Vec::new();
        for (table, id, crc, bytes) in candidates {
            if held + incoming <= limit {
                break;
            }
            table.publish(|view| view.make_cold(id, crc));
            held -= bytes;
            gone.push((id, crc));
        }
        core.metrics.cache.evictions.inc_by(gone.len() as u64);
        remove_files(core, gone).await;
    }
}

fn held_bytes(table: &Table) -> u64 {
    let view = table.view();
    view.sealed()
        .values()
        .map(|segment| bytes_of(segment))
        .sum()
}

fn bytes_of(segment: &SealedSegment) -> u64 {
    segment.bytes() + segment.sidecar_bytes()
}

/// Not every table can do without a segment, and not every segment is elsewhere.
fn is_stored(table: &Table, record: &SegmentRecord) -> bool {
    record.is_done() && !record.unstored && table.view().spec.keyed.is_none()
}

fn records_of(
    state: &ClusterState,
    table: &Table,
    wanted: &HashSet<SegmentId>,
) -> Vec<SegmentRecord> {
    let segments = state.tables.get(&table.id).map(|table| &table.segments);
    let wanted = wanted.iter();
    let records = wanted.filter_map(|id| Some(&segments?.find(*id)?.record));
    records.filter(|record| record.is_done()).cloned().collect()
}

/// Whoever still reads them has them mapped.
pub(crate) async fn remove_files(core: &Core, segments: Vec<(SegmentId, u32)>) {
    if segments.is_empty() {
        return;
    }
    let store = core.store.clone();
    let removed = core.compute.run(move || {
        for (id, crc) in segments {
            for path in store.paths(id, crc) {
                store.remove_file(&path);
            }
        }
    });
    if let Err(error) = removed.await {
        tracing::warn!(%error, "segment files were not removed");
    }
}

fn too_large(bytes: u64, limit: u64) -> Fault {
    let message = format!(
        "the query reads {bytes} bytes of segments that are in the deep store alone, and \
         server.cache_bytes is {limit}: ask for less at once, or give it more room"
    );
    Fault::new(
        FaultKind::Overloaded,
        pinot_code::SERVER_RESOURCE_LIMIT,
        message,
    )
}
