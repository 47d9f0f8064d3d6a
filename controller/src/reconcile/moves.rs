//! Carries segments to where they shall be: a server gets them, says that it holds them, and only
//! then others let go. Plans what rebalances asked for, and says when they are done.
//!
//! Invariant: what is on its way is in the catalog alone; whoever leads goes on from there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use metastore::catalog::{Move, RebalanceJob, RebalanceStatus};
use schemas::cluster::SegmentState;
use schemas::{Fault, InstanceId, Partition, SegmentId, TableId};

use crate::moves::{Manner, step};
use crate::state::State;
use crate::view::Moving;

/// Segments that come to a server at the same time, unless an order says otherwise.
pub(crate) const BATCH: u32 = 64;

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    let (mut left, mut jobs) = (0, 0);
    for moving in state.moving() {
        let id = moving.table.spec.id;
        if let Some(job) = moving.moves.running() {
            jobs += 1;
            // Who has just begun to lead does not know yet which servers there are.
            if !job.planned && state.is_settled() {
                state.plan_rebalance(&moving, job).await?;
                state.publish(id).await?;
            }
        }
        let Some(moving) = state.moving_of(id) else {
            continue;
        };
        left += moving.targets.len();
        let moves = steps(state, &moving);
        let moved = carry(state, &moving, moves).await?;
        if moved > 0 {
            state.publish(id).await?;
        }
        finish(state, id).await?;
    }
    Ok(match (left, jobs) {
        (0, 0) => "nothing is on its way".to_owned(),
        (left, jobs) => format!("{left} segments are on their way; {jobs} tables are rebalanced"),
    })
}

/// Of a table whose keys have rules a partition moves as one. How many segments were moved.
pub(crate) async fn carry(
    state: &State,
    moving: &Moving,
    moves: Vec<Move>,
) -> Result<usize, Fault> {
    if moving.table.spec.keyed.is_none() {
        return Ok(state.catalog.move_segments(&moves).await?);
    }
    let mut partitions: BTreeMap<Partition, Vec<Move>> = BTreeMap::new();
    for one in moves {
        partitions
            .entry(one.segment.partition)
            .or_default()
            .push(one);
    }
    let mut moved = 0;
    for moves in partitions.into_values() {
        moved += state.catalog.move_partition(&moves).await?;
    }
    Ok(moved)
}

/// What can be done now.
fn steps(state: &State, moving: &Moving) -> Vec<Move> {
    if moving.targets.is_empty() {
        return Vec::new();
    }
    let options = moving.moves.running().map(|job| job.options);
    let manner = options.map_or(Manner::default(), |options| Manner {
        downtime: options.downtime,
        leave_first_keeping: options.leave_first_keeping,
    });
    let batch = options.map_or(BATCH, |options| options.batch);
    let ending = ended_by_others(state, moving);
    let view = state.view.lock();
    let holds = |segment: &SegmentState, id: &InstanceId| view.holds(id, &segment.record);
    // Those that come to a server, and are not there yet.
    let mut coming: HashMap<InstanceId, u32> = HashMap::new();
    let mut ids: Vec<&SegmentId> = moving.targets.keys().collect();
    ids.sort_by_key(|id| id.key());
    let sent = ids
        .into_iter()
        .filter_map(|id| moving.table.segments.find(*id));
    for segment in sent.clone() {
        let target = moving.target(segment);
        let on_its_way = |id: &&InstanceId| target.contains(id) && !holds(segment, id);
        for id in segment.assigned.iter().filter(on_its_way) {
            *coming.entry(id.clone()).or_default() += 1;
        }
    }
    // Of a table whose keys have rules a partition takes its steps as one.
    let mut units: BTreeMap<(Partition, u32), Vec<&SegmentState>> = BTreeMap::new();
    for segment in sent {
        let id = segment.record.id;
        let sequence = match moving.table.spec.keyed {
            Some(_) => 0,
            None => id.sequence,
        };
        units
            .entry((id.partition, sequence))
            .or_default()
            .push(segment);
    }
    let mut moves = Vec::new();
    for unit in units.into_values() {
        let Some(newest) = unit.last() else { continue };
        if ending.contains(&newest.record.id) {
            continue;
        }
        let is_ready = |id: &InstanceId| unit.iter().all(|segment| holds(segment, id));
        let may_come = |id: &InstanceId| coming.get(id).copied().unwrap_or(0) < batch;
        let (assigned, target) = (&newest.assigned, moving.target(newest));
        let Some(to) = step(assigned, &target, manner, is_ready, may_come) else {
            continue;
        };
        for id in to.0.iter().filter(|id| !assigned.contains(id)) {
            *coming.entry(id.clone()).or_default() += unit.len() as u32;
        }
        moves.extend(unit.iter().map(|segment| Move {
            segment: segment.record.id,
            from: (segment.assigned.to_vec(), moving.target(segment)),
            to: to.clone(),
        }));
    }
    moves
}

/// Segments that are being committed by somebody who shall not have them: the one after it is where
/// it is until then.
fn ended_by_others(state: &State, moving: &Moving) -> HashSet<SegmentId> {
    let completion = state.completion.lock();
    let sent = moving.targets.keys();
    let segments = sent.filter_map(|id| moving.table.segments.find(*id));
    let consuming = segments.filter(|segment| !segment.record.is_done());
    let ending = consuming.filter(|segment| {
        let committer = completion.committer(segment.record.id);
        let target = moving.target(segment);
        committer.is_some_and(|committer| !target.is_empty() && !target.contains(committer))
    });
    ending.map(|segment| segment.record.id).collect()
}

/// A rebalance is done when nothing of its table is on its way any more.
async fn finish(state: &State, id: TableId) -> Result<(), Fault> {
    let Some(moving) = state.moving_of(id) else {
        return Ok(());
    };
    let Some(job) = moving.moves.running() else {
        return Ok(());
    };
    if !job.planned || !moving.targets.is_empty() {
        return Ok(());
    }
    state
        .change_rebalance(id, job.id, |job| {
            job.status = RebalanceStatus::Done;
        })
        .await
}

/// When it was over.
pub(crate) fn end(job: &mut RebalanceJob, now_ms: i64) {
    if job.status.is_over() && job.finished_ms.is_none() {
        job.finished_ms = Some(now_ms);
    }
}
