//! Says where segments shall be that are not where they may be: whose server died or drains, who
//! have fewer replicas or more than their table wants, who lie on servers of another tag. Takes
//! nothing from who may have it: that is a rebalance. The moves reconciler carries them there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use metastore::catalog::Move;
use schemas::cluster::{SegmentState, TableState};
use schemas::placement::{InstancePartitions, PlaceKind};
use schemas::{Fault, InstanceId, Partition, SegmentId};

use crate::assignment::{Aim, Fleet, Order, Wish, instance_partitions, plan, pool};
use crate::state::State;
use crate::view::Moving;

pub(crate) type Groups = BTreeMap<PlaceKind, InstancePartitions>;

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    state.judge_liveness();
    let mut moved = 0;
    let mut fleet = None;
    for moving in state.moving() {
        let id = moving.table.spec.id;
        let fleet = fleet.get_or_insert_with(|| state.fleet());
        let now = state.look_at(&moving, fleet);
        if !fleet.takes_anything() || state.looked_at.lock().get(&id) == Some(&now) {
            continue;
        }
        let groups = groups(state, &moving, fleet).await?;
        let order = Order {
            aim: Aim::Repair,
            consuming: true,
            bootstrap: false,
            now_ms: state.clock.now_ms(),
        };
        let wishes = plan(
            &moving.table,
            |segment| moving.wanted(segment),
            fleet,
            &groups,
            order,
        );
        if wishes.is_empty() {
            state.looked_at.lock().insert(id, now);
            continue;
        }
        moved += send(state, &moving, wishes).await?;
        state.publish(id).await?;
    }
    let gone = |id: &_| state.table(*id).is_none();
    state.looked_at.lock().retain(|id, _| !gone(id));
    Ok(match moved {
        0 => "every segment is where it may be, or on its way".to_owned(),
        moved => format!("{moved} segments were sent to other servers"),
    })
}

/// The servers of the table's replica groups; made again where one of them went.
async fn groups(state: &State, moving: &Moving, fleet: &Fleet) -> Result<Groups, Fault> {
    let groups = regrouped(&moving.table, &moving.moves.groups, fleet, false);
    if groups != moving.moves.groups {
        let kept = groups.clone();
        let id = moving.table.spec.id;
        let change = |stored: &mut metastore::catalog::StoredTable| stored.moves.groups = kept;
        state.catalog.change_table(id, change).await?;
    }
    Ok(groups)
}

/// `anew`: also those in which nobody is missing, as more servers may be there.
pub(crate) fn regrouped(table: &TableState, current: &Groups, fleet: &Fleet, anew: bool) -> Groups {
    let placement = &table.spec.placement;
    let mut groups = Groups::new();
    for (kind, rule) in placement.groups.iter().filter(|(_, rule)| rule.groups > 0) {
        let tag = placement.tag(*kind);
        let before = current.get(kind);
        let may_stay = |id: &InstanceId| {
            let mut nodes = fleet.nodes().iter();
            nodes.any(|node| node.id == *id && node.keeps && node.tags.contains(&tag))
        };
        let is_whole = before.is_some_and(|before| {
            let mut members = before.groups.iter().flatten().flatten();
            before.groups.len() == rule.groups as usize
                && before
                    .groups
                    .iter()
                    .all(|group| group.len() == rule.partitions.max(1) as usize)
                && members.all(may_stay)
                && before
                    .groups
                    .iter()
                    .flatten()
                    .all(|members| !members.is_empty())
        });
        let made = match before {
            Some(before) if is_whole && !anew => before.clone(),
            _ => {
                let mut servers = pool(fleet, &tag);
                let nodes = fleet.nodes().iter();
                let quiet = nodes.filter(|node| !node.takes && node.keeps);
                let known = |id: &InstanceId| {
                    let mut of = before.iter().flat_map(|before| &before.groups);
                    of.any(|group| group.iter().flatten().any(|member| member == id))
                };
                let quiet = quiet.filter(|node| known(&node.id) && node.tags.contains(&tag));
                servers.extend(quiet.map(|node| node.id.clone()));
                match servers.is_empty() {
                    true => before.cloned().unwrap_or_default(),
                    false => instance_partitions(rule, &servers, before),
                }
            }
        };
        groups.insert(*kind, made);
    }
    groups
}

/// From now on the segments are wanted there. How many are.
pub(crate) async fn send(
    state: &State,
    moving: &Moving,
    wishes: Vec<Wish>,
) -> Result<usize, Fault> {
    let wishes = wishes.into_iter().map(|wish| (wish.segment, wish.servers));
    let wanted: HashMap<SegmentId, Vec<InstanceId>> = wishes.collect();
    let is_whole = moving.table.spec.keyed.is_some();
    let mut partitions: BTreeMap<Partition, Vec<Move>> = BTreeMap::new();
    let mut moves = Vec::new();
    for segment in &moving.table.segments {
        let id = segment.record.id;
        let servers = wanted.get(&id).map(Vec::as_slice);
        if is_whole {
            let servers = servers.unwrap_or_else(|| moving.wanted(segment));
            let of = partitions.entry(id.partition).or_default();
            of.push(sent(moving, segment, servers));
        } else if let Some(servers) = servers {
            moves.push(sent(moving, segment, servers));
        }
    }
    let mut count = state.catalog.move_segments(&moves).await?;
    for moves in partitions.into_values() {
        if moves.iter().any(|one| one.from != one.to) {
            count += state.catalog.move_partition(&moves).await?;
        }
    }
    Ok(count)
}

/// It shall be there in the end.
fn sent(moving: &Moving, segment: &SegmentState, servers: &[InstanceId]) -> Move {
    let (assigned, target) = (segment.assigned.to_vec(), moving.target(segment));
    let is_there =
        assigned.len() == servers.len() && servers.iter().all(|one| assigned.contains(one));
    let to = match (assigned.is_empty(), is_there) {
        (true, _) => (servers.to_vec(), Vec::new()),
        (false, true) => (assigned.clone(), Vec::new()),
        (false, false) => (assigned.clone(), servers.to_vec()),
    };
    Move {
        segment: segment.record.id,
        from: (assigned, target),
        to,
    }
}
