//! "I live, this is what I hold": every second, and at once when something changed.
//!
//! Invariants: heartbeats reach the controller in the order in which they were made, so that an
//! older one never takes back what a newer one said. What is held is told whole until the
//! controller says that it knows it; then only what differs from that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::TaskGroup;
use schemas::cluster::Role;
use schemas::proto::{ConsumerState, HeartbeatRequest, HeldSegment, IndexList, LetGo, SegmentRef};
use schemas::{Fault, Partition, Sequence, TableId};
use tokio::sync::{Mutex, Notify};
use upsert::KeyFigures;

use crate::Core;
use crate::exchanges::format_of;
use crate::indexes::IndexLists;
use crate::view::TableView;

/// How often dead rows of a segment are told at most.
const DEAD_STEPS: u32 = 64;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Heart {
    started_ms: i64,
    changed: Notify,
    /// One heartbeat after the other.
    said: Mutex<Said>,
}

/// Table, partition, sequence and crc.
type Held = (TableId, u32, u32, u32);

/// What was told of what is held.
#[derive(Debug, Default)]
struct Said {
    /// With the positions of their lists of indexes, and how many of their rows are dead.
    held: HashMap<Held, (u32, u32)>,
    index_lists: Vec<IndexList>,
    /// Grows with each change.
    revision: u64,
    /// The controller knows this revision; 0: not known.
    known: u64,
}

impl Said {
    /// Leaves what the controller knows out of a request that tells everything.
    fn lessen(&mut self, request: &mut HeartbeatRequest) {
        let held = request
            .held
            .iter()
            .filter_map(|one| Some((key(one)?, told_of(one))));
        let held: HashMap<Held, (u32, u32)> = held.collect();
        let same_lists = self.index_lists == request.index_lists;
        let is_known = self.known != 0 && self.known == self.revision && same_lists;
        let before = (self.revision, std::mem::replace(&mut self.held, held));
        if before.1 != self.held || !same_lists || self.revision == 0 {
            self.revision += 1;
            self.index_lists.clone_from(&request.index_lists);
        }
        request.held_revision = self.revision;
        // Not known until it is said again.
        self.known = 0;
        if !is_known {
            return;
        }
        let (base, before) = before;
        request.held_base = base;
        let is_new =
            |one: &HeldSegment| key(one).is_some_and(|key| before.get(&key) != Some(&told_of(one)));
        request.held.retain(is_new);
        if request.held.is_empty() {
            request.index_lists.clear();
        }
        let gone = before
            .into_keys()
            .filter(|key| !self.held.contains_key(key));
        request.let_go = gone
            .map(|(table, partition, sequence, crc)| LetGo {
                table_id: table.to_bytes(),
                partition,
                sequence,
                crc,
            })
            .collect();
    }
}

fn told_of(one: &HeldSegment) -> (u32, u32) {
    (one.index_list, one.dead_rows)
}

fn key(one: &HeldSegment) -> Option<Held> {
    let segment = one.segment.as_ref()?;
    let table = TableId::from_bytes(&one.table_id)?;
    Some((table, segment.partition, segment.sequence, segment.crc))
}

impl Heart {
    pub(crate) fn new(started_ms: i64) -> Self {
        Self {
            started_ms,
            changed: Notify::new(),
            said: Mutex::default(),
        }
    }

    /// Something changed that others should know soon.
    pub(crate) fn hurry(&self) {
        self.changed.notify_one();
    }

    /// The last one: another process may have this server's name at once.
    pub(crate) async fn leave(&self, core: &Core) -> Result<(), Fault> {
        let _one_after_the_other = self.said.lock().await;
        let request = HeartbeatRequest {
            leaves: true,
            ..request(core, self.started_ms)
        };
        core.membership
            .beat(&*core.network, request)
            .await
            .map(|_| ())
    }

    /// Returns when the controller has heard what this server holds now.
    pub(crate) async fn beat(&self, core: &Core) -> Result<(), Fault> {
        let mut said = self.said.lock().await;
        count_segments(core);
        count_keys(core);
        let mut request = request(core, self.started_ms);
        said.lessen(&mut request);
        let heard = core.membership.beat(&*core.network, request).await;
        said.known = heard.as_ref().map_or(0, |reply| reply.held_revision);
        heard.map(|_| ())
    }
}

pub(crate) fn start(core: &Arc<Core>, tasks: &TaskGroup) {
    let core = Arc::clone(core);
    tasks.spawn("server heartbeat", |stop| async move {
        let beats = async {
            loop {
                if let Err(fault) = core.heart.beat(&core).await {
                    tracing::debug!(cause = %fault, "no heartbeat");
                }
                tokio::select! {
                    () = core.heart.changed.notified() => {}
                    () = core.clock.sleep(EVERY) => {}
                }
            }
        };
        stop.run_until_cancelled(beats).await;
    });
}

pub(crate) fn request(core: &Core, started_ms: i64) -> HeartbeatRequest {
    let (mut held, mut consumers) = (Vec::new(), Vec::new());
    let mut index_lists = IndexLists::default();
    for table in core.tables.all() {
        let table_id = table.id.to_bytes();
        let view = table.view();
        // After the view: what is new there was hidden before it was shown.
        let hidden = table.hidden();
        let statuses = table.consumers();
        index_lists.next_table();
        let dead = dead_rows(&view);
        let mut hold = |partition, sequence, crc, disk_bytes, index_list| {
            let segment = SegmentRef {
                partition,
                sequence,
                crc,
            };
            held.push(HeldSegment {
                table_id: table_id.clone(),
                segment: Some(segment),
                disk_bytes,
                index_list,
                dead_rows: dead.get(&(partition, sequence)).copied().unwrap_or(0),
            });
        };
        for ((partition, sequence), segment) in view.sealed() {
            if !view.is_shown(*partition) {
                continue;
            }
            let bytes = segment.bytes() + segment.sidecar_bytes();
            let list = index_lists.position(segment, &view.spec);
            hold(*partition, *sequence, segment.crc(), bytes, list);
            // Sealed and not committed yet: for the controller it still consumes.
            let run = view.run(*partition).first();
            let run = run.filter(|_| !hidden.contains(partition));
            if run.is_some_and(|first| first.id().sequence == sequence + 1) {
                hold(*partition, *sequence, 0, 0, 0);
            }
        }
        for ((partition, sequence), crc) in view.cold() {
            hold(*partition, *sequence, *crc, 0, 0);
        }
        for segment in view.runs() {
            let id = segment.id();
            if !hidden.contains(&id.partition) && view.is_shown(id.partition) {
                hold(id.partition, id.sequence, 0, 0, 0);
            }
        }
        let said = statuses.into_iter();
        consumers.extend(said.map(|(partition, status)| ConsumerState {
            table_id: table_id.clone(),
            partition,
            ..status.state
        }));
    }
    HeartbeatRequest {
        instance: core.config.instance.0.clone(),
        role: Role::Server.name().to_owned(),
        address: core.config.address.clone(),
        zone: String::new(),
        started_ms: started_ms.max(0) as u64,
        held,
        consumers,
        plan_format: core.config.plan_format,
        exchange_format: format_of(&*core.network),
        index_lists: index_lists.finish(),
        reloads: core.indexer.jobs.progress(&core.tables),
        deep_store_of: core.config.deep_store_of.clone(),
        low_on_disk: core.room.short().is_some(),
        ..HeartbeatRequest::default()
    }
}

/// Of sealed segments of a table whose keys have rules: rows by which no key is known, in so few
/// steps that it is seldom told anew.
fn dead_rows(view: &TableView) -> HashMap<(Partition, Sequence), u32> {
    let mut dead = HashMap::new();
    for partition in view.partitions() {
        let rows = view.keys(partition).map(|keys| keys.dead_rows());
        for (sequence, rows, all) in rows.into_iter().flatten() {
            dead.insert((partition, sequence), in_steps(rows, all));
        }
    }
    dead
}

/// Not more than there are; of all of them all.
fn in_steps(rows: u32, all: u32) -> u32 {
    let step = all.div_ceil(DEAD_STEPS).max(1);
    if rows == all { all } else { rows / step * step }
}

fn count_segments(core: &Core) {
    let (mut sealed, mut cold, mut consuming) = (0, 0, 0);
    for table in core.tables.all() {
        let view = table.view();
        let shown = view.sealed().keys();
        sealed += shown
            .filter(|(partition, _)| view.is_shown(*partition))
            .count();
        cold += view.cold().len();
        consuming += view.runs().count();
    }
    core.metrics.segments.set(sealed as i64);
    core.metrics.cold.set(cold as i64);
    core.metrics.consuming.set(consuming as i64);
}

fn count_keys(core: &Core) {
    let mut all = KeyFigures::default();
    for table in core.tables.all() {
        let view = table.view();
        view.all_keys().for_each(|own| all += own.figures());
    }
    let metrics = &core.metrics;
    metrics.keys.set(all.keys as i64);
    metrics.key_bytes.set(all.bytes as i64);
    metrics.spilled_key_bytes.set(all.spilled_bytes as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(held: &[(u32, u32, u32)], lists: usize) -> HeartbeatRequest {
        let table = TableId(uuid::Uuid::from_bytes([7; 16]));
        let held = held.iter().map(|(sequence, crc, index_list)| HeldSegment {
            table_id: table.to_bytes(),
            segment: Some(SegmentRef {
                partition: 0,
                sequence: *sequence,
                crc: *crc,
            }),
            disk_bytes: 1,
            index_list: *index_list,
            dead_rows: 0,
        });
        HeartbeatRequest {
            held: held.collect(),
            index_lists: vec![IndexList::default(); lists],
            ..HeartbeatRequest::default()
        }
    }

    /// Base and revision, the sequences that are told and those that are let go.
    fn told(said: &mut Said, mut request: HeartbeatRequest) -> (u64, u64, Vec<u32>, Vec<u32>) {
        said.lessen(&mut request);
        let held = request.held.iter().flat_map(|one| &one.segment);
        let mut gone: Vec<u32> = request.let_go.iter().map(|one| one.sequence).collect();
        gone.sort_unstable();
        let revision = (request.held_base, request.held_revision);
        (
            revision.0,
            revision.1,
            held.map(|one| one.sequence).collect(),
            gone,
        )
    }

    #[test]
    fn dead_rows_are_told_in_steps() {
        let told: Vec<u32> = (0..=1000).map(|rows| in_steps(rows, 1000)).collect();
        assert!(told.is_sorted() && (0..).zip(&told).all(|(rows, told)| *told <= rows));
        assert!((0..).zip(&told).all(|(rows, told)| rows - told < 16));
        let mut steps = told.clone();
        steps.dedup();
        assert!(steps.len() <= 65, "{}", steps.len());
        assert_eq!((told[15], told[16], told[1000]), (0, 16, 1000));
        assert_eq!([in_steps(3, 7), in_steps(0, 0)], [3, 0]);

        let mut said = Said::default();
        let some = |dead_rows: u32| {
            let mut request = request(&[(0, 5, 1), (1, 6, 1)], 1);
            request.held[0].dead_rows = dead_rows;
            request
        };
        assert_eq!(told_once(&mut said, some(0)), [0, 1]);
        assert_eq!(told_once(&mut said, some(0)), [0; 0]);
        assert_eq!(told_once(&mut said, some(16)), [0]);
    }

    /// What is told when all of before is known.
    fn told_once(said: &mut Said, request: HeartbeatRequest) -> Vec<u32> {
        said.known = said.revision;
        told(said, request).2
    }

    #[test]
    fn what_the_controller_knows_is_not_told_again() {
        let mut said = Said::default();
        let two = || request(&[(0, 5, 1), (1, 0, 0)], 1);
        assert_eq!(told(&mut said, two()), (0, 1, vec![0, 1], vec![]));
        // No answer, or one of a controller that does not number them.
        assert_eq!(told(&mut said, two()), (0, 1, vec![0, 1], vec![]));
        said.known = 1;
        assert_eq!(told(&mut said, two()), (1, 1, vec![], vec![]));
        said.known = 1;
        let sealed = || request(&[(0, 5, 1), (1, 6, 1), (2, 0, 0)], 1);
        assert_eq!(told(&mut said, sealed()), (1, 2, vec![1, 2], vec![1]));
        // It knows an older one, or has forgotten all.
        said.known = 1;
        assert_eq!(told(&mut said, sealed()), (0, 2, vec![0, 1, 2], vec![]));
        said.known = 2;
        let other_lists = request(&[(0, 5, 2), (1, 6, 1), (2, 0, 0)], 2);
        assert_eq!(told(&mut said, other_lists), (0, 3, vec![0, 1, 2], vec![]));
    }
}
