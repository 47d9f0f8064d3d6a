//! Builds the indexes that a table wants and its sealed segments lack, beside queries, and computes
//! the columns that segments were written without ([`computed`]).
//!
//! What is missing is built when a reload asks for it and for segments that are loaded: after a
//! restart, from another server or from the deep store. A changed config alone only makes the
//! indexes go that it does not name any more.
//!
//! Invariants: one segment at a time, on a thread that gives way to everything else; a finished
//! sidecar is shown in one step, and queries that are under way keep the segment that they have; a
//! segment is looked at again when its table's config changed meanwhile. What waits is in memory
//! only: after a restart every segment that is loaded is looked at anyway.

mod computed;
mod jobs;
mod list;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use runtime::TaskGroup;
use schemas::cluster::{SegmentState, TableState};
use schemas::segment::SegmentRecord;
use schemas::{Fault, SegmentId, TableSpec};
use segment::{Extent, SealedSegment};
use tokio::sync::Notify;

use crate::Core;
use crate::store::segment_fault;
use crate::view::{Table, TableView};

pub(crate) use computed::write_sidecar;
pub(crate) use jobs::Jobs;
pub(crate) use list::IndexLists;

/// A content: the same segment rewritten has another checksum.
pub(crate) type Content = (SegmentId, u32);

/// Segments whose indexes are to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Indexer {
    waiting: Mutex<Waiting>,
    wake: Notify,
    pub(crate) jobs: Jobs,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Content>,
    /// What is to be done with each of them.
    known: HashMap<Content, Extent>,
}

impl Indexer {
    pub(crate) fn want(&self, content: Content, extent: Extent) {
        let mut waiting = self.waiting.lock();
        if let Some(known) = waiting.known.get_mut(&content) {
            *known = extent.max(*known);
            return;
        }
        waiting.known.insert(content, extent);
        waiting.queue.push_back(content);
        self.wake.notify_one();
    }

    /// A segment is shown: makes up for columns that came to the table while it was opened.
    pub(crate) fn shown(&self, view: &TableView, id: SegmentId) {
        let held = view.find(id.partition, id.sequence);
        if let Some(held) = held.filter(|held| held.lacks_computed(&view.spec)) {
            self.want((id, held.crc()), Extent::Computed);
        }
    }

    fn next(&self) -> Option<(Content, Extent)> {
        let mut waiting = self.waiting.lock();
        let next = waiting.queue.pop_front()?;
        let extent = waiting.known.remove(&next)?;
        Some((next, extent))
    }

    /// Takes up the jobs that the state names.
    /// Tables with the segments of them that concern this server.
    pub(crate) fn follow(&self, core: &Core, state: &[(&Arc<TableState>, Vec<Arc<SegmentState>>)]) {
        for content in self.jobs.follow(&core.config.instance, state, &core.tables) {
            self.want(content, Extent::All);
        }
    }
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn("build indexes", |stop| async move {
        let again_and_again = async {
            loop {
                let Some((content, extent)) = core.indexer.next() else {
                    core.indexer.wake.notified().await;
                    continue;
                };
                let outcome = bring_up_to_date(&core, content, extent).await;
                if let Err(fault) = &outcome {
                    tracing::warn!(segment = %content.0, cause = %fault, "indexes were not built");
                }
                if extent == Extent::All {
                    core.indexer.jobs.settled(content, outcome.err());
                }
                core.heart.hurry();
            }
        };
        stop.run_until_cancelled(again_and_again).await;
    });
}

/// Gives the segment the indexes that its table wants now. One that is not here is done: it is
/// looked at when it comes.
async fn bring_up_to_date(core: &Arc<Core>, content: Content, extent: Extent) -> Result<(), Fault> {
    let (id, crc) = content;
    let Some(table) = core.tables.get(id.table) else {
        return Ok(());
    };
    if extent == Extent::All && core.indexer.jobs.wants_download(content) {
        load_again(core, &table, content).await?;
    }
    loop {
        let view = table.view();
        let held = view.find(id.partition, id.sequence);
        let Some(held) = held.filter(|held| held.crc() == crc).cloned() else {
            return Ok(());
        };
        let spec = Arc::clone(&view.spec);
        if !held.is_sidecar_outdated(&spec, extent) {
            return Ok(());
        }
        let built = build(core, &held, &spec, extent).await?;
        let fresh = match &built {
            Some(path) => held.with_sidecar(path, &spec),
            None => Ok(held.without_sidecar(&spec)),
        };
        let fresh = fresh.map_err(|error| segment_fault(&error))?;
        if !show(&table, &held, &fresh) {
            if let Some(path) = &built {
                core.store.remove_file(path);
            }
            continue;
        }
        if let Some((old, _)) = held.sidecar() {
            core.store.remove_file(old);
        }
        let names: Vec<String> = fresh
            .indexes()
            .iter()
            .map(|i| i.key().to_string())
            .collect();
        tracing::info!(segment = %id, indexes = names.join(", "), "indexes are up to date");
    }
}

/// Puts `fresh` in the place of `held`; `false`: something else is there by now.
fn show(table: &Table, held: &Arc<SealedSegment>, fresh: &Arc<SealedSegment>) -> bool {
    let id = held.id();
    table.publish(|view| {
        let found = view.find(id.partition, id.sequence);
        let is_held = found.is_some_and(|found| found.is_same_file(held));
        is_held && view.add_sealed(Arc::clone(fresh)).is_ok()
    })
}

/// Where the new sidecar is; `None`: none is wanted.
async fn build(
    core: &Arc<Core>,
    held: &Arc<SealedSegment>,
    spec: &Arc<TableSpec>,
    extent: Extent,
) -> Result<Option<PathBuf>, Fault> {
    let _turn = core.store.sidecar_turn.lock().await;
    let path = core.store.next_sidecar(held);
    let (held, spec, files) = (Arc::clone(held), Arc::clone(spec), Arc::clone(&core.files));
    let job = move || {
        let written = write_sidecar(&held, (&spec, extent), &*files, &path)?;
        Ok(written.then_some(path))
    };
    let built = runtime::aside::run("build indexes", job).await;
    built.map_err(|error| Fault::internal(error.to_string()))?
}

/// Takes the segment from the deep store once more, in the place of the file that is here.
async fn load_again(core: &Arc<Core>, table: &Table, content: Content) -> Result<(), Fault> {
    let (id, crc) = content;
    let Some(record) = record_of(core, content) else {
        return Ok(());
    };
    let spec = Arc::clone(&table.view().spec);
    let fresh = core.store.load_again(&spec, &record).await?;
    let shown = table.publish(|view| {
        let held = view.find(id.partition, id.sequence);
        match held.is_some_and(|held| held.crc() == crc) {
            true => view.add_sealed(fresh),
            false => Ok(()),
        }
    });
    shown.map_err(|error| segment_fault(&error))
}

fn record_of(core: &Core, (id, crc): Content) -> Option<SegmentRecord> {
    let cluster = Arc::clone(&core.cluster.borrow());
    let table = cluster.tables.get(&id.table)?;
    let segment = table.segments.find(id)?;
    (segment.record.crc == crc).then(|| segment.record.clone())
}
