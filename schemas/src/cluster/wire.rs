//! Updates of the cluster's state between processes: made by the controller, applied by watchers.
//!
//! Invariants: who applies all updates that [`changed`] gives to the state before has the state
//! after; an update to another state than it was made for is refused, and so is one that names
//! what it does not list. Nothing of an update is seen before its last part has come. What an older
//! watcher does not understand is told as [`whole_tables`].

mod segment;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{ClusterState, InstanceState, SegmentState, ServerLists, TableState};
use crate::ids::{InstanceId, TableId};
use crate::proto::{ClusterUpdate, SegmentPlace, TableUpdate};
use crate::segments::{Chunk, Segments};
use segment::{Known, Listed};

/// Of updates that this version understands: see `WatchRequest.format`.
pub const UPDATE_FORMAT: u32 = 1;

/// Segments that one update tells of, about two megabytes.
const SEGMENTS_MAX: usize = 8192;

/// Why an update cannot be applied: the watcher asks for everything again.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error("it changes version {base} of the cluster's state, this is {version}")]
    Base { base: u64, version: u64 },
    #[error("it changes a table that is not known")]
    NoTable,
    #[error("it names {0} {1}, which it does not list")]
    NotListed(&'static str, u32),
    #[error("it tells nothing of a segment that is not known: partition {0}, sequence {1}")]
    NoFacts(u32, u32),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// How `now` is made of `before`; of nothing, when that is not given. One after the other, so that
/// a large state is never in memory twice.
pub fn changed(before: Option<&ClusterState>, now: &ClusterState) -> Updates {
    let old = |id: &TableId| before.and_then(|before| before.tables.get(id));
    let mut ids: Vec<&TableId> = now.tables.keys().collect();
    ids.sort();
    let mut work = VecDeque::new();
    for id in ids {
        let table = &now.tables[id];
        if old(id).is_some_and(|old| Arc::ptr_eq(old, table)) {
            continue;
        }
        let one = Work::of(old(id).map(|old| &**old), table);
        work.extend((!one.is_nothing()).then_some(one));
    }
    Updates {
        version: now.version,
        base: before.map_or(0, |before| before.version),
        complete: before.is_none(),
        removed_tables: gone(before, now),
        instances: news_of_instances(before, now),
        work,
        is_over: false,
    }
}

/// For watchers that understand nothing else.
pub fn whole_tables(before: Option<&ClusterState>, now: &ClusterState) -> ClusterUpdate {
    let same = |id: &TableId, table: &Arc<TableState>| {
        let old = before.and_then(|before| before.tables.get(id));
        old.is_some_and(|old| Arc::ptr_eq(old, table))
    };
    let tables = now.tables.iter().filter(|(id, table)| !same(id, table));
    ClusterUpdate {
        version: now.version,
        complete: before.is_none(),
        tables: tables.map(|(_, table)| json(&**table)).collect(),
        removed_tables: gone(before, now),
        instances: instances(now),
        ..ClusterUpdate::default()
    }
}

fn gone(before: Option<&ClusterState>, now: &ClusterState) -> Vec<Bytes> {
    let old = before.into_iter().flat_map(|before| before.tables.keys());
    let gone = old.filter(|id| !now.tables.contains_key(id));
    gone.map(|id| id.to_bytes()).collect()
}

fn instances(now: &ClusterState) -> Bytes {
    let mut all: Vec<&InstanceState> = now.instances.values().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    json(&all)
}

/// Empty: they are as they were.
fn news_of_instances(before: Option<&ClusterState>, now: &ClusterState) -> Bytes {
    match before.is_some_and(|before| before.instances == now.instances) {
        true => Bytes::new(),
        false => instances(now),
    }
}

fn json<T: serde::Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// What is told of a table.
#[derive(Debug)]
struct Work {
    id: TableId,
    head: Bytes,
    removed: Vec<SegmentPlace>,
    put: VecDeque<Told>,
}

#[derive(Debug)]
enum Told {
    /// Of which nothing was told before.
    Chunk(Arc<Chunk>),
    /// And whether its facts changed.
    Segment(Arc<SegmentState>, Tell),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    All,
    Place,
}

impl Work {
    fn of(old: Option<&TableState>, table: &TableState) -> Self {
        let Some(old) = old else {
            let chunks = table.segments.chunks().iter();
            return Self {
                id: table.spec.id,
                head: head(table),
                removed: Vec::new(),
                put: chunks.map(|chunk| Told::Chunk(Arc::clone(chunk))).collect(),
            };
        };
        let changes = old.segments.changes(&table.segments);
        let put = changes.put.into_iter().map(|segment| {
            let before = old.segments.find(segment.record.id);
            let is_known = before.is_some_and(|before| before.record == segment.record);
            let tell = if is_known { Tell::Place } else { Tell::All };
            Told::Segment(Arc::clone(segment), tell)
        });
        let removed = changes.removed.into_iter();
        Self {
            id: table.spec.id,
            head: if same_head(old, table) {
                Bytes::new()
            } else {
                head(table)
            },
            put: put.collect(),
            removed: removed
                .map(|(partition, sequence)| SegmentPlace {
                    partition,
                    sequence,
                })
                .collect(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.head.is_empty() && self.removed.is_empty() && self.put.is_empty()
    }
}

/// Everything but the segments.
fn head(table: &TableState) -> Bytes {
    json(&TableState {
        spec: table.spec.clone(),
        segments: Segments::default(),
        paused: table.paused,
        orders: table.orders.clone(),
        time_boundary_ms: table.time_boundary_ms,
        reloads: table.reloads.clone(),
    })
}

fn same_head(one: &TableState, other: &TableState) -> bool {
    one.paused == other.paused
        && one.time_boundary_ms == other.time_boundary_ms
        && one.orders == other.orders
        && one.reloads == other.reloads
        && one.spec == other.spec
}

/// The updates that make one state of another, in their order. At least one.
#[derive(Debug)]
pub struct Updates {
    version: u64,
    base: u64,
    complete: bool,
    removed_tables: Vec<Bytes>,
    instances: Bytes,
    work: VecDeque<Work>,
    is_over: bool,
}

impl Updates {
    /// Segments that are told of, those of new tables by chunks.
    pub fn weight(&self) -> usize {
        self.work
            .iter()
            .map(|one| one.put.len() + one.removed.len())
            .sum()
    }
}

impl Iterator for Updates {
    type Item = ClusterUpdate;

    fn next(&mut self) -> Option<ClusterUpdate> {
        if self.is_over {
            return None;
        }
        let (mut listed, mut changed, mut count) = (Listed::default(), Vec::new(), 0);
        while count < SEGMENTS_MAX
            && let Some(work) = self.work.front_mut()
        {
            let mut of_table = TableUpdate {
                table_id: work.id.to_bytes(),
                head: std::mem::take(&mut work.head),
                removed: std::mem::take(&mut work.removed),
                put: Vec::new(),
            };
            count += of_table.removed.len();
            while count < SEGMENTS_MAX
                && let Some(told) = work.put.pop_front()
            {
                let before = of_table.put.len();
                match told {
                    Told::Segment(segment, tell) => of_table.put.push(listed.tell(&segment, tell)),
                    Told::Chunk(chunk) => {
                        of_table
                            .put
                            .extend(chunk.iter().map(|one| listed.tell(one, Tell::All)));
                    }
                }
                count += of_table.put.len() - before;
            }
            if work.put.is_empty() {
                self.work.pop_front();
            }
            changed.push(of_table);
        }
        self.is_over = self.work.is_empty();
        Some(ClusterUpdate {
            version: self.version,
            base: std::mem::replace(&mut self.base, self.version),
            complete: std::mem::take(&mut self.complete),
            more: !self.is_over,
            removed_tables: std::mem::take(&mut self.removed_tables),
            instances: std::mem::take(&mut self.instances),
            changed,
            ..listed.into_update()
        })
    }
}

impl ClusterState {
    /// The state after `update`, which nobody may see yet while there is `more` of it. Lists of
    /// servers are those of `lists`.
    pub fn updated(&self, update: &ClusterUpdate, lists: &mut ServerLists) -> Result<Self, Misfit> {
        let (base, version) = (update.base, self.version);
        if !update.complete && base != 0 && base != version {
            return Err(Misfit::Base { base, version });
        }
        let mut tables = match update.complete {
            true => HashMap::new(),
            false => self.tables.clone(),
        };
        for json in &update.tables {
            let table: TableState = serde_json::from_slice(json)?;
            tables.insert(table.spec.id, Arc::new(table));
        }
        let removed = update.removed_tables.iter();
        for id in removed.filter_map(|id| TableId::from_bytes(id)) {
            tables.remove(&id);
        }
        let known = Known::of(update, lists)?;
        for change in &update.changed {
            let id = TableId::from_bytes(&change.table_id).ok_or(Misfit::NoTable)?;
            let table = table_after(tables.remove(&id), id, change, &known)?;
            tables.insert(id, Arc::new(table));
        }
        let instances = match update.instances.is_empty() {
            true => self.instances.clone(),
            false => {
                let all: Vec<InstanceState> = serde_json::from_slice(&update.instances)?;
                let all = all.into_iter();
                all.map(|one| (one.id.clone(), one))
                    .collect::<HashMap<InstanceId, _>>()
            }
        };
        Ok(Self {
            version: update.version,
            tables,
            instances,
        })
    }
}

fn table_after(
    old: Option<Arc<TableState>>,
    id: TableId,
    change: &TableUpdate,
    known: &Known,
) -> Result<TableState, Misfit> {
    let mut table = match (old, change.head.is_empty()) {
        (None, true) => return Err(Misfit::NoTable),
        (Some(old), true) => TableState::clone(&old),
        (old, false) => {
            let mut table: TableState = serde_json::from_slice(&change.head)?;
            if let Some(old) = old {
                table.segments = old.segments.clone();
            }
            table
        }
    };
    for place in &change.removed {
        table.segments.remove((place.partition, place.sequence));
    }
    for put in &change.put {
        let old = table.segments.get((put.partition, put.sequence));
        let segment = known.segment(id, put, old.map(|old| &old.record))?;
        table.segments.put(segment);
    }
    Ok(table)
}
